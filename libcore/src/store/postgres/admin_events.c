/* admin_events.c - events, with what became of them. */
#include "store/postgres/admin.h"

#include <stdio.h>

#include "store/postgres/error.h"
#include "store/postgres/held_key.h"

#define PAGE          500 /* rows at once: nothing stays open meanwhile */
#define PAGE_PAYLOADS 20

enum column {
    SEQ,
    ID,
    TOPIC,
    KEY,
    TYPE,
    HEADERS,
    BYTES,
    CREATED,
    DELIVER,
    ABOVE,
    IN_GAP,
    STATE,
    HOLDS_KEY,
    ATTEMPTS,
    NEXT,
    FIRST_ERROR,
    LAST_ERROR,
    RETRIED,
    ERROR_CODE,
    ERROR_TEXT,
    PAYLOAD,
};

/* In microseconds. A plain INSERT may bring in any time, infinity as well, and
 * not each is an integer. */
#define MICROSECONDS(time)                                \
    "(extract(epoch FROM least(greatest(" time            \
    ", timestamptz '1970-01-01 00:00:01Z'), timestamptz " \
    "'9999-12-31 00:00:00Z')) * 1000000)::bigint"
#define OR_NULL(time) \
    "CASE WHEN isfinite(" time ") THEN " MICROSECONDS(time) " END"
#define CREATED_AT      MICROSECONDS("e.created_at")
#define DELIVER_AT      OR_NULL("e.deliver_at")
#define NEXT_ATTEMPT_AT OR_NULL("h.next_attempt_at")

/* In the order of enum column. */
static const char columns[] =
    "SELECT e.seq, e.id, e.topic, e.key, e.type, e.headers, "
    "octet_length(e.payload), " CREATED_AT ", " DELIVER_AT
    ", e.seq > coalesce((SELECT position FROM {{outbox}}.cursor "
    "WHERE subscription = $1), 0), "
    "EXISTS (SELECT FROM {{outbox}}.gap g WHERE g.subscription = $1 AND "
    "e.seq BETWEEN g.first AND g.last), "
    "h.state, h.holds_key, h.attempts, " NEXT_ATTEMPT_AT ", "
    "(extract(epoch FROM h.first_error_at) * 1000000)::bigint, "
    "(extract(epoch FROM h.last_error_at) * 1000000)::bigint, "
    "h.retried_us, h.error_code, h.error";

/* What one listing is about. */
struct listing {
    struct ot_pga *a;
    const struct ot_event_query *q;
    enum ot_pga_tx kind;
    int64_t after; /* seq > after */
    int64_t last;  /* seq <= last */
    int64_t left;  /* rows to list */
    bool found;
};

static bool from_held(const struct ot_event_query *q)
{
    return q->held_only || q->held_state >= 0;
}

/* $1 subscription, $2 and $3 the seqs, $4 id, $5 key, $6 topic, $7 state. */
static void add_from(const struct ot_event_query *q, struct ot_buffer *sql)
{
    if (from_held(q))
        ot_buffer_puts(sql, " FROM {{outbox}}.held h JOIN {{outbox}}.event e "
                            "ON e.seq = h.seq WHERE h.subscription = $1 AND "
                            "h.seq > $2 AND h.seq <= $3");
    else
        ot_buffer_puts(sql, " FROM {{outbox}}.event e LEFT JOIN "
                            "{{outbox}}.held h ON h.subscription = $1 AND "
                            "h.seq = e.seq WHERE e.seq > $2 AND e.seq <= $3");
    if (q->id != NULL)
        ot_buffer_puts(sql, " AND e.id = $4::uuid");
    if (q->key != NULL)
        ot_buffer_puts(sql, from_held(q)
                                ? " AND h.key = (SELECT " OT_PG_HELD_KEY
                                  " FROM (SELECT $5::text AS key) k) "
                                  "AND e.key = $5"
                                : " AND e.key = $5");
    if (q->topic != NULL)
        ot_buffer_puts(sql, " AND e.topic = $6");
    if (q->held_state >= 0)
        ot_buffer_puts(sql, " AND h.state = $7");
}

static int run(const struct listing *l, const char *sql, PGresult **out,
               struct outtray_error *err)
{
    const struct ot_event_query *q = l->q;
    char after[24], last[24];
    struct ot_pga_value values[] = {
        {OT_PGA_TEXT, q->subscription},
        {OT_PGA_INT8, after},
        {OT_PGA_INT8, last},
        {OT_PGA_TEXT, q->id},
        {OT_PGA_TEXT, q->key},
        {OT_PGA_TEXT, q->topic},
        {OT_PGA_TEXT,
         q->held_state >= 0
             ? ot_held_state_name((enum ot_held_state)q->held_state)
             : NULL},
    };

    snprintf(after, sizeof(after), "%lld", (long long)l->after);
    snprintf(last, sizeof(last), "%lld", (long long)l->last);
    return ot_pga_run_with(l->a, sql, values, OT_COUNT(values),
                           "read the events", out, err);
}

/* --- rows ---------------------------------------------------------------- */

static struct ot_slice slice(const PGresult *r, int row, enum column c)
{
    if (PQgetisnull(r, row, c))
        return ot_slice(NULL, 0);
    return ot_slice(PQgetvalue(r, row, c), (size_t)PQgetlength(r, row, c));
}

static void read_held(const PGresult *r, int row, struct ot_event_info *out)
{
    struct ot_held *h = &out->held;

    out->fate = OT_FATE_HELD;
    h->seq = out->event.seq;
    h->key = out->event.key.p != NULL ? ot_hash(out->event.key) : 0;
    h->topic = ot_hash(out->event.topic);
    (void)ot_held_state_parse(slice(r, row, STATE), &h->state);
    h->holds_key = ot_pga_bool(r, row, HOLDS_KEY);
    h->attempts = (uint32_t)ot_pga_int(r, row, ATTEMPTS);
    h->next_us = ot_pga_int(r, row, NEXT);
    h->first_error_us = ot_pga_int(r, row, FIRST_ERROR);
    h->last_error_us = ot_pga_int(r, row, LAST_ERROR);
    h->retried_us = ot_pga_int(r, row, RETRIED);
    h->error_code = (int32_t)ot_pga_int(r, row, ERROR_CODE);
    out->error = slice(r, row, ERROR_TEXT).p;
    h->error = out->error;
}

static void read_row(const PGresult *r, int row, struct ot_event_info *out)
{
    struct ot_event *e = &out->event;

    memset(out, 0, sizeof(*out));
    e->seq = ot_pga_int(r, row, SEQ);
    (void)ot_uuid_parse(slice(r, row, ID), &e->id);
    e->topic = slice(r, row, TOPIC);
    e->key = slice(r, row, KEY);
    e->type = slice(r, row, TYPE);
    e->headers = slice(r, row, HEADERS);
    e->created_us = ot_pga_int(r, row, CREATED);
    e->deliver_us = ot_pga_int(r, row, DELIVER);
    out->payload_bytes = (size_t)ot_pga_int(r, row, BYTES);
    if (!PQgetisnull(r, row, STATE)) {
        read_held(r, row, out);
        return;
    }
    out->in_gap = ot_pga_bool(r, row, IN_GAP) && !ot_pga_bool(r, row, ABOVE);
    out->fate = out->in_gap || ot_pga_bool(r, row, ABOVE) ? OT_FATE_PENDING
                                                          : OT_FATE_DELIVERED;
}

static int tell(const PGresult *r, int row, bool with_payload,
                ot_event_fn *each, void *ctx, struct outtray_error *err)
{
    struct ot_event_info info;
    unsigned char *payload = NULL;
    size_t n = 0;
    int rc;

    read_row(r, row, &info);
    if (with_payload && !PQgetisnull(r, row, PAYLOAD)) {
        payload = PQunescapeBytea(
            (const unsigned char *)PQgetvalue(r, row, PAYLOAD), &n);
        if (payload == NULL)
            return ot_fail_nomem(err);
        info.event.payload = ot_slice((const char *)payload, n);
    }
    rc = each(ctx, &info);
    PQfreemem(payload);
    return rc;
}

/* --- pages --------------------------------------------------------------- */

static int load_page(const struct listing *l, int64_t rows, PGresult **out,
                     struct outtray_error *err)
{
    struct ot_buffer sql = {0};
    int rc;

    *out = NULL;
    ot_buffer_puts(&sql, columns);
    if (l->q->with_payload)
        ot_buffer_puts(&sql, ", e.payload");
    add_from(l->q, &sql);
    ot_buffer_printf(&sql, " ORDER BY %s.seq LIMIT %lld",
                     from_held(l->q) ? "h" : "e", (long long)rows);
    rc = sql.failed ? ot_fail_nomem(err) : ot_pga_begin(l->a, l->kind, err);
    if (rc == 0)
        rc = ot_pga_end(l->a, run(l, sql.p, out, err), err);
    ot_buffer_free(&sql);
    return rc;
}

/* Each page in a transaction of its own: whoever looks at the listing may
 * take his time, and holds no snapshot meanwhile. */
static int list(struct listing *l, ot_event_fn *each, void *ctx,
                struct outtray_error *err)
{
    int64_t most = l->q->with_payload ? PAGE_PAYLOADS : PAGE;
    bool more = true;
    int rc = 0;

    while (rc == 0 && more && l->left > 0) {
        int64_t rows = l->left < most ? l->left : most;
        PGresult *r;
        int n;

        rc = load_page(l, rows, &r, err);
        n = rc == 0 ? PQntuples(r) : 0;
        for (int i = 0; rc == 0 && i < n; i++)
            rc = tell(r, i, l->q->with_payload, each, ctx, err);
        if (n > 0) {
            l->found = true;
            l->after = ot_pga_int(r, n - 1, SEQ);
        }
        l->left -= n;
        more = n == rows;
        PQclear(r);
    }
    return rc;
}

/* The last n: list from where they begin. */
static int seek_tail(struct listing *l, int64_t n, struct outtray_error *err)
{
    const char *of = from_held(l->q) ? "h" : "e";
    struct ot_buffer sql = {0};
    PGresult *r = NULL;
    int rc;

    if (l->left > n)
        l->left = n;
    ot_buffer_printf(&sql,
                     "SELECT coalesce(min(seq), 1) - 1 FROM (SELECT "
                     "%s.seq",
                     of);
    add_from(l->q, &sql);
    ot_buffer_printf(&sql, " ORDER BY %s.seq DESC LIMIT %lld) t", of,
                     (long long)l->left);
    rc = sql.failed ? ot_fail_nomem(err) : ot_pga_begin(l->a, l->kind, err);
    if (rc == 0)
        rc = ot_pga_end(l->a, run(l, sql.p, &r, err), err);
    if (rc == 0)
        l->after = ot_pga_int(r, 0, 0);
    PQclear(r);
    ot_buffer_free(&sql);
    return rc;
}

/* --- by id --------------------------------------------------------------- */

/* Is there an index to find ids by (init --unique-ids, or somebody's own)? */
static const char id_is_indexed[] =
    "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = "
    "i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN "
    "pg_attribute t ON t.attrelid = c.oid AND t.attname = 'id' "
    "WHERE n.nspname = $1 AND c.relname = 'event' AND i.indkey[0] = t.attnum "
    "AND i.indisvalid AND i.indpred IS NULL)";

static int ask_index(struct ot_pga *a, bool *out, struct outtray_error *err)
{
    struct ot_pga_value name = {OT_PGA_TEXT, a->outbox};
    PGresult *r;
    int rc = ot_pga_run_with(a, id_is_indexed, &name, 1, "read the indexes", &r,
                             err);

    *out = false;
    if (rc == 0)
        *out = ot_pga_bool(r, 0, 0);
    PQclear(r);
    return rc;
}

/* The lowest seq written at or after a time, by halving: times grow with seqs,
 * but for a clock that was set and transactions that overlap. */
static int seq_at(struct ot_pga *a, int64_t time_us, int64_t low, int64_t high,
                  int64_t *out, struct outtray_error *err)
{
    char from[24], below[24];
    struct ot_pga_value values[] = {{OT_PGA_INT8, from}, {OT_PGA_INT8, below}};
    int rc = 0;

    while (rc == 0 && low < high) {
        int64_t middle = low + (high - low) / 2;
        PGresult *r;

        snprintf(from, sizeof(from), "%lld", (long long)middle);
        snprintf(below, sizeof(below), "%lld", (long long)high);
        rc = ot_pga_run_with(
            a,
            "SELECT seq, " CREATED_AT
            " FROM {{outbox}}.event e WHERE seq >= $1 AND seq < $2 "
            "ORDER BY seq LIMIT 1",
            values, 2, "look for a time in the log", &r, err);
        if (rc == 0 && PQntuples(r) != 0 && ot_pga_int(r, 0, 1) < time_us)
            low = ot_pga_int(r, 0, 0) + 1;
        else
            high = middle;
        PQclear(r);
    }
    *out = low;
    return rc;
}

/* Narrow the listing to the rows written around a time. */
static int narrow(struct listing *l, int64_t time_us, int64_t around_us,
                  struct outtray_error *err)
{
    PGresult *r;
    int64_t low, high;
    int rc = ot_pga_run(l->a,
                        "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) + "
                        "1 FROM {{outbox}}.event",
                        "look at the ends of the log", &r, err);

    if (rc != 0)
        return rc;
    low = ot_pga_int(r, 0, 0);
    high = ot_pga_int(r, 0, 1);
    PQclear(r);
    rc = seq_at(l->a, time_us - around_us, low, high, &l->after, err);
    l->after--;
    if (rc == 0)
        rc = seq_at(l->a, time_us + around_us, low, high, &l->last, err);
    l->last--;
    return rc;
}

static int list_around(struct listing *l, int64_t time_us, int64_t around_us,
                       ot_event_fn *each, void *ctx, struct outtray_error *err)
{
    int rc = ot_pga_begin(l->a, OT_PGA_READ, err);

    if (rc == 0)
        rc = ot_pga_end(l->a, narrow(l, time_us, around_us, err), err);
    return rc == 0 ? list(l, each, ctx, err) : rc;
}

/* Near the time that the id tells, farther away (clocks differ), everywhere
 * (the id is no UUIDv7, or somebody's clock was wrong). */
static int list_by_id(struct listing *l, ot_event_fn *each, void *ctx,
                      struct outtray_error *err)
{
    static const int64_t around_us[] = {2000000, 600000000};
    int64_t after = l->after;
    struct ot_uuid id;
    int64_t time_us;
    bool indexed;
    int rc;

    if (!ot_uuid_parse(ot_slice_of(l->q->id), &id))
        return ot_fail(err, OUTTRAY_E_MISUSE, "'%s' is not the id of an event",
                       l->q->id);
    time_us = ot_uuid_time_us(id);
    rc = ask_index(l->a, &indexed, err);
    for (size_t i = 0; rc == 0 && !l->found && !indexed && time_us >= 0 &&
                       i < OT_COUNT(around_us);
         i++)
        rc = list_around(l, time_us, around_us[i], each, ctx, err);
    if (rc != 0 || l->found)
        return rc;
    l->after = after;
    l->last = INT64_MAX;
    l->kind = indexed ? OT_PGA_READ : OT_PGA_SCAN;
    return list(l, each, ctx, err);
}

int ot_pga_events(struct ot_admin *base, const struct ot_event_query *q,
                  ot_event_fn *each, void *ctx, struct outtray_error *err)
{
    struct listing l = {
        .a = ot_pga(base),
        .q = q,
        .kind = OT_PGA_READ,
        .after = q->after_seq > 0 ? q->after_seq : 0,
        .last = INT64_MAX,
        .left = q->limit != 0 ? q->limit : INT64_MAX,
    };
    int rc = ot_pga_need_outbox(l.a, err);

    if (rc != 0)
        return rc;
    if (q->id != NULL)
        return list_by_id(&l, each, ctx, err);
    if (q->after_seq < 0)
        rc = seek_tail(&l, -q->after_seq, err);
    return rc == 0 ? list(&l, each, ctx, err) : rc;
}
