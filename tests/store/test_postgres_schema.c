/* test_postgres_schema.c - what the schema of PostgreSQL offers to people and
 * to other languages: enqueue, the views, the least of rights. */
#include "support/pg_scratch.h"

#define OUTBOX "Schema"

static struct pg_scratch scratch;
static PGconn *app; /* with the rights of an application */

static int set_up(void **state)
{
    (void)state;
    pg_scratch_make(&scratch, "schema");
    /* An administrator may have made the schema already. */
    pg_run(scratch.db, "CREATE SCHEMA \"" OUTBOX "\"");
    pg_migrate(scratch.db, OUTBOX);
    pg_run(scratch.db, "GRANT USAGE ON SCHEMA \"" OUTBOX "\" TO \"%s\"",
           scratch.name);
    pg_run(scratch.db,
           "GRANT INSERT (id, topic, key, type, headers, payload, created_at, "
           "deliver_at) ON \"" OUTBOX "\".event TO \"%s\"",
           scratch.name);
    app = pg_connect(scratch.relay);
    pg_run(app, "SET search_path = \"" OUTBOX "\"");
    pg_run(scratch.db, "SET search_path = \"" OUTBOX "\"");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    PQfinish(app);
    pg_scratch_drop(&scratch);
    return 0;
}

static int empty(void **state)
{
    (void)state;
    pg_run(scratch.db, "TRUNCATE event, cursor, gap, held, command "
                       "RESTART IDENTITY");
    return 0;
}

static void refused(const char *sql, const char *sqlstate, const char *words)
{
    PGresult *r = PQexec(app, sql);
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);

    if (state == NULL || strcmp(state, sqlstate) != 0 ||
        strstr(PQresultErrorMessage(r), words) == NULL)
        fail_msg("%s: %s", sql,
                 state ? PQresultErrorMessage(r) : "was not refused");
    PQclear(r);
}

static void is(const char *condition)
{
    if (pg_int(scratch.db, "SELECT CASE WHEN (%s) THEN 1 ELSE 0 END",
               condition) != 1)
        fail_msg("not so: %s", condition);
}

static void payloads_of_each_kind(void **state)
{
    (void)state;
    pg_run(app, "SELECT enqueue('t', '{\"a\": 1}')");
    pg_run(app, "SELECT enqueue('t', '{\"a\": 1}'::json)");
    pg_run(app, "SELECT enqueue('t', '{\"a\":1}'::jsonb)");
    pg_run(app, "SELECT enqueue_bytes('t', '\\x00ff')");
    pg_run(app, "SELECT enqueue('t', NULL)");
    pg_run(app, "SELECT enqueue('t', 'x\xc3\xa4', key => 'k', type => 'T', "
                "headers => '{\"h\": \"v\"}', deliver_at => '2030-01-01Z', "
                "id => '00000000-0000-7000-8000-000000000001')");
    is("(SELECT payload FROM event WHERE seq = 1) = '{\"a\": 1}'");
    is("(SELECT payload FROM event WHERE seq = 2) = '{\"a\": 1}'");
    is("(SELECT payload FROM event WHERE seq = 3) = '{\"a\": 1}'");
    is("(SELECT payload FROM event WHERE seq = 4) = '\\x00ff'");
    is("(SELECT payload IS NULL AND key IS NULL AND headers IS NULL "
       "FROM event WHERE seq = 5)");
    is("(SELECT payload = '\\x78c3a4' AND key = 'k' AND type = 'T' AND "
       "headers->>'h' = 'v' AND deliver_at = '2030-01-01Z' AND "
       "id = '00000000-0000-7000-8000-000000000001' FROM event WHERE seq = 6)");
}

static void ids_are_of_version_7(void **state)
{
    (void)state;
    pg_run(app, "SELECT enqueue('t', 'x') FROM generate_series(1, 500)");
    /* A plain INSERT is enough, too. */
    pg_run(app, "INSERT INTO event (topic) SELECT 't' "
                "FROM generate_series(1, 500)");
    is("(SELECT count(DISTINCT id) = 1000 FROM event)");
    is("(SELECT bool_and(id::text ~ "
       "'^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-') "
       "FROM event)");
    is("(SELECT bool_and(abs(('x' || left(translate(id::text, '-', ''), 12))"
       "::bit(48)::bigint - extract(epoch FROM created_at) * 1000) < 1000) "
       "FROM event)");
}

static void poison_is_refused(void **state)
{
    (void)state;
    refused("SELECT enqueue('', 'x')", "22023", "topic");
    refused("SELECT enqueue(NULL, 'x')", "22023", "topic");
    refused("SELECT enqueue(repeat('t', 250), 'x')", "54000", "249");
    refused("SELECT enqueue('t', 'x', repeat('k', 1025))", "54000", "1024");
    refused("SELECT enqueue('t', 'x', type => repeat('T', 256))", "54000",
            "255");
    refused("SELECT enqueue('t', repeat('x', 921601))", "54000", "921600");
    refused("SELECT enqueue('t', 'x', headers => '[]')", "22023", "object");
    refused("SELECT enqueue('t', 'x', headers => 'null')", "22023", "object");
    refused("SELECT enqueue('t', 'x', headers => '{\"a\": 1}')", "22023",
            "\"a\"");
    refused("SELECT enqueue('t', 'x', headers => '{\"a\": null}')", "22023",
            "\"a\"");
    refused("SELECT enqueue('t', 'x', headers => '{\"a\": {}}')", "22023",
            "\"a\"");
    refused("SELECT enqueue('t', 'x', headers => '{\"a\":\"1\",\"a\":\"2\"}')",
            "22023", "twice");
    refused("SELECT enqueue('t', 'x', headers => '{\"\": \"1\"}')", "22023",
            "reserved");
    refused("SELECT enqueue('t', 'x', headers => '{\"Outtray-Order\":\"1\"}')",
            "22023", "Outtray-Order");
    refused("SELECT enqueue('t', 'x', headers => '{\"Id\":\"1\"}')", "22023",
            "\"Id\" is reserved");
    refused("SELECT enqueue('t', 'x', headers => '{\"type\":\"1\"}')", "22023",
            "\"type\" is reserved");
    refused("SELECT enqueue('t', 'x', headers => '{\"a\":\"\\u0000\"}')",
            "22P05", "0000");
    refused("SELECT enqueue('t', 'x', headers => json_build_object('a', "
            "repeat('x', 32768)))",
            "54000", "32768");
    refused("SELECT enqueue('t', 'x', deliver_at => 'infinity')", "22023",
            "finite");
    is("(SELECT count(*) = 0 FROM event)");
    pg_run(app, "SELECT enqueue(repeat('t', 249), repeat('x', 921600), "
                "repeat('k', 1024), repeat('T', 255))");
    /* The limit is the application's to move. */
    pg_run(app, "SET outtray.max_payload_bytes = '3'");
    refused("SELECT enqueue('t', 'abcd')", "54000", "3 are allowed");
    pg_run(app, "SELECT enqueue('t', 'abc')");
    pg_run(app, "RESET outtray.max_payload_bytes");
}

static void seq_cannot_be_chosen(void **state)
{
    PGresult *r;

    (void)state;
    refused("INSERT INTO event (seq, topic) OVERRIDING SYSTEM VALUE VALUES "
            "(9, 't')",
            "42501", "event");
    refused("SELECT nextval('event_seq_seq')", "42501", "event_seq_seq");
    refused("SELECT * FROM event", "42501", "event");
    refused("DELETE FROM event", "42501", "event");
    refused("UPDATE cursor SET position = 9", "42501", "cursor");
    /* Nor by its owner, by mistake. */
    r = PQexec(scratch.db, "INSERT INTO event (seq, topic) VALUES (9, 't')");
    assert_int_equal(PQresultStatus(r), PGRES_FATAL_ERROR);
    PQclear(r);
}

/* Temporary objects and a search_path of the caller lead nothing astray. */
static void names_mean_ours(void **state)
{
    (void)state;
    pg_run(scratch.db, "GRANT TEMPORARY ON DATABASE \"%s\" TO \"%s\"",
           scratch.name, scratch.name);
    pg_run(app,
           "CREATE TEMPORARY TABLE event (id uuid, topic text, key text, "
           "type text, headers json, payload bytea, deliver_at timestamptz)");
    pg_run(app, "SET search_path = pg_temp, public");
    pg_run(app, "SELECT \"" OUTBOX "\".enqueue('t', 'x')");
    pg_run(app, "SET search_path = \"" OUTBOX "\"");
    assert_int_equal(pg_int(app, "SELECT count(*) FROM pg_temp.event"), 0);
    is("(SELECT count(*) = 1 FROM event)");
    pg_run(app, "DROP TABLE pg_temp.event");
}

/* --- views ------------------------------------------------------------------- */

static void status_without_a_relay(void **state)
{
    (void)state;
    is("(SELECT subscription = 'main' AND pending = 0 AND last_seq = 0 AND "
       "lag = '0' AND NOT lease_live FROM status)");
    pg_run(app, "SELECT enqueue('t', 'x') FROM generate_series(1, 7)");
    is("(SELECT pending = 7 AND last_seq = 7 AND lag > '0' AND "
       "NOT pending_is_estimate AND oldest_undelivered = "
       "(SELECT min(created_at) FROM event) FROM status)");
}

static void status_with_all_there_is(void **state)
{
    (void)state;
    pg_run(app, "SELECT enqueue('t', i::text) FROM generate_series(1, 20) i");
    pg_run(scratch.db,
           "INSERT INTO cursor (subscription, position, owner, fence, "
           "lease_expires_at) VALUES ('main', 10, gen_random_uuid(), 4, "
           "now() + interval '1 min'), ('audit', 20, NULL, 1, NULL)");
    /* Seq 3 is in a gap of main; 5 and 6 are dead, 12 is blocked. */
    pg_run(scratch.db, "INSERT INTO gap VALUES ('main', 3, 3), "
                       "('main', 8, 7 + 1)");
    pg_run(scratch.db, "DELETE FROM event WHERE seq = 8");
    pg_run(scratch.db,
           "INSERT INTO held (subscription, seq, topic, state, holds_key) "
           "VALUES ('main', 5, 't', 'dead', true), "
           "('main', 6, 't', 'dead', true), "
           "('main', 12, 't', 'blocked', false), "
           "('main', 1, 't', 'scheduled', false)");
    pg_run(scratch.db, "INSERT INTO command (subscription, verb) VALUES "
                       "('main', 'pause')");
    is("(SELECT count(*) = 2 FROM status)");
    /* 11 and 13 to 20, and 3. */
    is("(SELECT pending = 10 AND dead = 2 AND blocked = 1 AND scheduled = 1 "
       "AND gaps = 2 AND commands = 1 AND lease_live AND fence = 4 AND "
       "oldest_undelivered = (SELECT created_at FROM event WHERE seq = 3) "
       "FROM status WHERE subscription = 'main')");
    is("(SELECT pending = 0 AND lag = '0' AND NOT lease_live AND "
       "oldest_undelivered IS NULL FROM status WHERE subscription = 'audit')");
    is("(SELECT array_agg(seq ORDER BY seq) = "
       "'{3,11,13,14,15,16,17,18,19,20}' FROM pending "
       "WHERE subscription = 'main')");
    is("(SELECT bool_and(in_gap = (seq = 3)) FROM pending "
       "WHERE subscription = 'main')");
    is("(SELECT array_agg(seq ORDER BY seq) = '{5,6}' FROM dead)");
    pg_run(scratch.db, "UPDATE cursor SET lease_expires_at = now()");
    is("(SELECT NOT bool_or(lease_live) FROM status)");
}

/* What this session has done to the log; the server counts in what it did
 * lately, before the transaction. */
static int64_t log_count(const char *what)
{
    return pg_int(scratch.db,
                  "SELECT %s FROM pg_stat_xact_user_tables "
                  "WHERE relid = 'event'::regclass",
                  what);
}

/* It looks at the log by its index, and at no more than it must. */
static void status_stays_cheap(void **state)
{
    int64_t scans, rows;

    (void)state;
    pg_run(scratch.db, "ALTER TABLE event SET (autovacuum_enabled = off)");
    pg_run(scratch.db, "INSERT INTO event (topic) SELECT 't' "
                       "FROM generate_series(1, 100000)");
    pg_run(scratch.db, "INSERT INTO cursor (subscription, position) VALUES "
                       "('main', 99990), ('slow', 10)");
    pg_run(scratch.db, "BEGIN");
    scans = log_count("seq_scan");
    rows = log_count("idx_tup_fetch");
    is("(SELECT pending = 10 AND NOT pending_is_estimate FROM status "
       "WHERE subscription = 'main')");
    is("(SELECT pending = 99990 AND pending_is_estimate FROM status "
       "WHERE subscription = 'slow')");
    scans = log_count("seq_scan") - scans;
    rows = log_count("idx_tup_fetch") - rows;
    pg_run(scratch.db, "COMMIT");
    assert_int_equal(scans, 0);
    assert_true(rows > 0 && rows < 50000);
    pg_run(scratch.db, "ALTER TABLE event RESET (autovacuum_enabled)");
}

/* Who may see a view needs no right on what is behind it. */
static void views_for_readers(void **state)
{
    (void)state;
    pg_run(scratch.db, "GRANT SELECT ON status, pending, dead TO \"%s\"",
           scratch.name);
    pg_run(app, "SELECT * FROM status");
    pg_run(app, "SELECT * FROM pending");
    pg_run(app, "SELECT * FROM dead");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(payloads_of_each_kind, empty),
        cmocka_unit_test_setup(ids_are_of_version_7, empty),
        cmocka_unit_test_setup(poison_is_refused, empty),
        cmocka_unit_test_setup(seq_cannot_be_chosen, empty),
        cmocka_unit_test_setup(names_mean_ours, empty),
        cmocka_unit_test_setup(status_without_a_relay, empty),
        cmocka_unit_test_setup(status_with_all_there_is, empty),
        cmocka_unit_test_setup(status_stays_cheap, empty),
        cmocka_unit_test_setup(views_for_readers, empty),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
