/* fuzz_rows.c - a result of the log in binary, from a table that somebody may
 * have altered: it is refused, or read within its bounds. */
#include <libpq-fe.h>

#include "input.h"
#include "store/postgres/pg.h"

enum { COLUMNS = 9 };
static const Oid right[COLUMNS] = {20, 2950, 25, 25, 25, 114, 17, 1184, 1184};
static const Oid wrong[] = {23, 25, 17, 16, 1082, 701, 1700, 2950};

/* As many bytes as the server sends for the type. */
static int width(Oid type)
{
    switch (type) {
    case 16:
        return 1;
    case 23:
    case 1082:
        return 4;
    case 20:
    case 701:
    case 1184:
        return 8;
    case 2950:
        return 16;
    default:
        return -1;
    }
}

static PGresult *build(struct input *in)
{
    PGresult *r = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[COLUMNS] = {{0}};
    uint8_t odd = take_byte(in);

    for (int i = 0; i < COLUMNS; i++) {
        attributes[i].name = "c";
        attributes[i].format = 1;
        attributes[i].typid =
            odd == i + 1 ? wrong[take_byte(in) % OT_COUNT(wrong)] : right[i];
    }
    CHECK(PQsetResultAttrs(r, COLUMNS, attributes));
    for (int row = 0; row < 4 && in->n > 0; row++)
        for (int i = 0; i < COLUMNS; i++) {
            int n = width(attributes[i].typid);
            char value[256] = {0};

            if (n < 0)
                n = take_byte(in);
            for (int k = 0; k < n; k++)
                value[k] = (char)take_byte(in);
            if (take_byte(in) % 4 == 0 && i > 1)
                n = -1; /* NULL */
            CHECK(PQsetvalue(r, row, i, n < 0 ? NULL : value, n));
        }
    return r;
}

static size_t touch(struct ot_slice s)
{
    size_t sum = 0;

    for (size_t i = 0; i < s.n; i++)
        sum += (uint8_t)s.p[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    PGresult *r = build(&in);
    struct ot_rows *rows;
    size_t sum = 0, largest, most = 0;

    if (!ot_pg_rows_fit(r)) {
        PQclear(r);
        return 0;
    }
    rows = ot_pg_rows(r, 0, false, &largest);
    CHECK(rows != NULL);
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct ot_event *e = &rows->events[i];
        sum += touch(e->topic) + touch(e->key) + touch(e->type) +
               touch(e->headers) + touch(e->payload);
        most = e->payload.n > most ? e->payload.n : most;
    }
    CHECK(largest == most);
    ot_rows_unref(rows);
    return sum == SIZE_MAX;
}
