/* test_conformance_postgres.c - the battery on a real PostgreSQL, as a role
 * that has a relay's rights and no more. */
#include "conformance.h"

#include "support/pg_scratch.h"

static struct pg_scratch scratch;

#define OUTBOX "Battery"

struct tx {
    PGconn *c;
};

/* One schema, emptied: making one anew takes longer than most tests. */
static void *make(void)
{
    pg_run(scratch.db, "TRUNCATE \"" OUTBOX "\".event, \"" OUTBOX "\".cursor, "
                       "\"" OUTBOX "\".gap, \"" OUTBOX "\".held, "
                       "\"" OUTBOX "\".command RESTART IDENTITY");
    return &scratch;
}

static void drop(void *outbox)
{
    (void)outbox;
}

static struct outtray_conf *conf_of(void *outbox)
{
    (void)outbox;
    return pg_conf(scratch.relay, OUTBOX);
}

static struct ot_store *open_on(void *outbox, const struct outtray_conf *conf,
                                struct ot_uuid owner)
{
    struct outtray_error err;
    struct ot_store *s;

    (void)outbox;
    if (ot_store_open(&s, conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static void *begin(void *outbox)
{
    struct tx *tx = calloc(1, sizeof(*tx));

    (void)outbox;
    tx->c = pg_connect(scratch.url);
    pg_run(tx->c, "BEGIN");
    return tx;
}

static int64_t enqueue(void *handle, const struct ot_event *e)
{
    static const struct ot_uuid none;
    struct tx *tx = handle;
    const struct ot_slice texts[] = {e->topic, e->key, e->type, e->headers,
                                     e->payload};
    const char *values[7];
    int lengths[7] = {0}, formats[7] = {1, 1, 1, 1, 1, 0, 0};
    char id[37], at[32];
    PGresult *r;
    int64_t seq;

    for (int i = 0; i < 5; i++) {
        values[i] = texts[i].p;
        lengths[i] = (int)texts[i].n;
    }
    snprintf(at, sizeof(at), "%lld", (long long)e->deliver_us);
    values[5] = e->deliver_us != 0 ? at : NULL;
    values[6] = memcmp(&e->id, &none, sizeof(none)) != 0
                    ? ot_uuid_text(e->id, id)
                    : NULL;
    r = PQexecParams(tx->c,
                     "INSERT INTO \"" OUTBOX
                     "\".event (topic, key, type, headers, payload, "
                     "deliver_at, id) VALUES ($1, $2, $3, $4::json, $5::bytea, "
                     "'epoch'::timestamptz + $6::bigint * interval '1 us', "
                     "coalesce($7::uuid, gen_random_uuid())) RETURNING seq",
                     7, NULL, values, lengths, formats, 0);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s", PQerrorMessage(tx->c));
    seq = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return seq;
}

static void finish(void *handle, const char *sql)
{
    struct tx *tx = handle;

    pg_run(tx->c, "%s", sql);
    PQfinish(tx->c);
    free(tx);
}

static void commit(void *tx)
{
    finish(tx, "COMMIT");
}

static void rollback(void *tx)
{
    finish(tx, "ROLLBACK");
}

static void command(void *outbox, const char *subscription, enum ot_verb verb,
                    int64_t seq)
{
    (void)outbox;
    pg_run(scratch.db,
           "INSERT INTO \"" OUTBOX "\".command (subscription, verb, argument) "
           "VALUES ('%s', '%s', nullif(%lld, 0))",
           subscription, ot_verb_name(verb), (long long)seq);
}

static void report(void *outbox, const char *subscription, char *out,
                   size_t size)
{
    PGresult *r = PQexecParams(scratch.db,
                               "SELECT report FROM \"" OUTBOX
                               "\".status WHERE subscription = $1",
                               1, NULL, &subscription, NULL, NULL, 0);

    (void)outbox;
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    snprintf(out, size, "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
}

static void error_of(void *outbox, const char *subscription, int64_t seq,
                     char *out, size_t size)
{
    char text[24];
    const char *const values[] = {subscription, text};
    PGresult *r;

    (void)outbox;
    snprintf(text, sizeof(text), "%lld", (long long)seq);
    r = PQexecParams(scratch.db,
                     "SELECT error FROM \"" OUTBOX
                     "\".held WHERE subscription = $1 AND seq = $2",
                     2, NULL, values, NULL, NULL, 0);
    assert_int_equal(PQntuples(r), 1);
    snprintf(out, size, "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
}

/* The connections are ended, and no other is let in. */
static void cut(void *outbox, struct ot_store *s)
{
    (void)outbox;
    (void)s;
    pg_run(scratch.db, "ALTER ROLE \"%s\" CONNECTION LIMIT 0", scratch.name);
    while (pg_int(scratch.db,
                  "SELECT count(pg_terminate_backend(pid)) "
                  "FROM pg_stat_activity WHERE usename = '%s'",
                  scratch.name) > 0)
        usleep(5000);
}

static void mend(void *outbox)
{
    (void)outbox;
    pg_run(scratch.db, "ALTER ROLE \"%s\" CONNECTION LIMIT -1", scratch.name);
}

static int set_up(void **state)
{
    (void)state;
    pg_scratch_make(&scratch, "battery");
    pg_migrate(scratch.db, OUTBOX);
    pg_grant_relay(scratch.db, OUTBOX, scratch.name);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pg_scratch_drop(&scratch);
    return 0;
}

/* The battery runs groups of its own; the database is made in one before. */
static void nothing(void **state)
{
    (void)state;
}

int main(void)
{
    static const struct adapter adapter = {
        .name = "postgres",
        .caps = OT_STORE_GAPS,
        .make = make,
        .drop = drop,
        .conf = conf_of,
        .open = open_on,
        .begin = begin,
        .enqueue = enqueue,
        .commit = commit,
        .rollback = rollback,
        .command = command,
        .report = report,
        .error = error_of,
        .cut = cut,
        .mend = mend,
    };
    const struct CMUnitTest test[] = {cmocka_unit_test(nothing)};
    int failed = cmocka_run_group_tests_name("database", test, set_up, NULL);

    if (failed == 0) {
        failed = conformance_run(&adapter);
        failed +=
            cmocka_run_group_tests_name("database", test, NULL, tear_down);
    }
    return failed;
}
