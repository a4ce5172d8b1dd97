/* rows.c - the events of a result, without copying what they hold. */
#include "store/postgres/pg.h"

struct pg_rows {
    struct ot_rows rows;
    PGresult *result; /* the slices point into it */
    struct ot_event events[];
};

static void free_rows(struct ot_rows *rows)
{
    struct pg_rows *pg = (struct pg_rows *)(void *)rows;

    PQclear(pg->result);
    ot_free(pg);
}

/* As ot_pg_get_slice, but it asks for NULL only where that is in doubt: there
 * are five of them in every event. */
static inline struct ot_slice text_of(const PGresult *r, int row, int column)
{
    int n = PQgetlength(r, row, column);

    if (n == 0)
        return ot_pg_get_slice(r, row, column);
    return ot_slice(PQgetvalue(r, row, column), (size_t)n);
}

/* The same of a column that has NULL or a text, but no empty one. */
static inline struct ot_slice some_text_of(const PGresult *r, int row,
                                           int column)
{
    int n = PQgetlength(r, row, column);

    return n > 0 ? ot_slice(PQgetvalue(r, row, column), (size_t)n)
                 : ot_slice(NULL, 0);
}

static void decode(const PGresult *r, int row, bool filtered,
                   struct ot_event *out)
{
    /* The columns that cannot be NULL: seq, id and created_at. */
    out->seq = ot_pg_i64(PQgetvalue(r, row, 0));
    out->filtered = filtered && ot_pg_get_bool(r, row, OT_PG_COLUMN_N);
    if (out->filtered) {
        memset(&out->id, 0, sizeof(out->id));
        out->topic = out->key = out->type = out->headers = out->payload =
            ot_slice(NULL, 0);
        out->created_us = out->deliver_us = 0;
        return;
    }
    memcpy(out->id.b, PQgetvalue(r, row, 1), sizeof(out->id.b));
    out->topic = text_of(r, row, 2);
    out->key = text_of(r, row, 3);
    out->type = text_of(r, row, 4);
    out->headers = some_text_of(r, row, 5); /* JSON */
    out->payload = text_of(r, row, 6);
    out->created_us = ot_pg_time(PQgetvalue(r, row, 7));
    out->deliver_us = ot_pg_get_time(r, row, 8);
}

bool ot_pg_rows_fit(const PGresult *r)
{
    static const Oid types[OT_PG_COLUMN_N] = {
        OT_PG_INT8,  OT_PG_UUID,        OT_PG_TEXT,
        OT_PG_TEXT,  OT_PG_TEXT,        OT_PG_JSON,
        OT_PG_BYTEA, OT_PG_TIMESTAMPTZ, OT_PG_TIMESTAMPTZ};

    for (int i = 0; i < OT_PG_COLUMN_N; i++)
        if (PQftype(r, i) != types[i])
            return false;
    return true;
}

struct ot_rows *ot_pg_rows(PGresult *result, int first, bool filtered,
                           size_t *largest)
{
    uint32_t n = (uint32_t)(PQntuples(result) - first);
    struct pg_rows *pg = ot_alloc(sizeof(*pg) + n * sizeof(pg->events[0]));
    size_t bytes = 0, most = 0;

    if (pg == NULL) {
        PQclear(result);
        return NULL;
    }
    pg->result = result;
    pg->rows = (struct ot_rows){
        .refs = 1, .free = free_rows, .events = pg->events, .n = n};
    for (uint32_t i = 0; i < n; i++) {
        decode(result, first + (int)i, filtered, &pg->events[i]);
        bytes += ot_event_bytes(&pg->events[i]);
        if (pg->events[i].payload.n > most)
            most = pg->events[i].payload.n;
    }
    pg->rows.bytes = bytes;
    *largest = most;
    return &pg->rows;
}

void ot_pg_rows_cut(struct ot_rows *rows, uint32_t n)
{
    while (rows->n > n)
        rows->bytes -= ot_event_bytes(&rows->events[--rows->n]);
}
