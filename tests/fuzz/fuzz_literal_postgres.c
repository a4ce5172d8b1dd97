/* fuzz_literal_postgres.c - a literal statement says to PostgreSQL what was
 * meant, whatever standard_conforming_strings is. The server is that of
 * OUTTRAY_TEST_PG. */
#include <libpq-fe.h>

#include "literal.h"

static void run(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);

    if (PQresultStatus(r) != PGRES_COMMAND_OK) {
        fprintf(stderr, "%s%s\n", PQerrorMessage(c), sql);
        abort();
    }
    PQclear(r);
}

static PGconn *open_db(void)
{
    const char *url = getenv("OUTTRAY_TEST_PG");
    PGconn *c;

    CHECK(url != NULL);
    c = PQconnectdb(url);
    CHECK(PQstatus(c) == CONNECTION_OK);
    run(c, "SET client_min_messages = error; SET escape_string_warning = off; "
           "SET synchronous_commit = off");
    run(c, "CREATE SCHEMA IF NOT EXISTS fuzz; "
           "CREATE TABLE IF NOT EXISTS fuzz.event (seq bigint GENERATED "
           "ALWAYS AS IDENTITY, id uuid, topic text, key text, type text, "
           "headers json, payload bytea, deliver_at timestamptz)");
    return c;
}

static void compare(PGconn *c, const struct outtray_event *e)
{
    const struct outtray_slice want[] = {e->topic, e->key, e->type, e->headers,
                                         e->payload};
    PGresult *r = PQexecParams(
        c, "SELECT topic, key, type, headers, payload FROM fuzz.event", 0, NULL,
        NULL, NULL, NULL, 1);

    CHECK(PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1);
    for (int i = 0; i < (int)OT_COUNT(want); i++)
        literal_same(want[i], PQgetvalue(r, 0, i), (size_t)PQgetlength(r, 0, i),
                     PQgetisnull(r, 0, i));
    PQclear(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const settings[] = {
        "BEGIN; SET LOCAL standard_conforming_strings = on",
        "BEGIN; SET LOCAL standard_conforming_strings = off"};
    static PGconn *c; /* lives as long as the fuzzer */
    struct literal l;

    if (c == NULL)
        c = open_db();
    if (literal_make(&l, (struct input){data, size}, OUTTRAY_POSTGRESQL))
        for (size_t i = 0; i < OT_COUNT(settings); i++) {
            run(c, settings[i]);
            run(c, l.statement.sql);
            compare(c, &l.event);
            run(c, "ROLLBACK");
        }
    literal_free(&l);
    return 0;
}
