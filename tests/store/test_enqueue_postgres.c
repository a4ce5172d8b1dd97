/* What the enqueue builder renders, on a real PostgreSQL: every event comes
 * back as it went in, whatever the session's settings; strict takes its locks
 * in order and before a seq. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libpq-fe.h>
#include <unistd.h>

#include "store/schema.h"
#include "support/random_event.h"
#include "support/vector.h"

#define S(literal) ((struct outtray_slice){literal, sizeof(literal) - 1})

static PGconn *db;
static char outbox[64];

static PGconn *connect_db(void)
{
    const char *url = getenv("OUTTRAY_TEST_PG");

    if (url == NULL)
        fail_msg("OUTTRAY_TEST_PG is not set: run it through ./dev test");
    PGconn *c = PQconnectdb(url);
    if (PQstatus(c) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(c));
    PQclear(PQexec(c, "SET client_min_messages = error"));
    return c;
}

static void must(PGconn *c, PGresult *r, const char *sql)
{
    ExecStatusType s = PQresultStatus(r);

    if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
        fail_msg("%s%.3000s", PQerrorMessage(c), sql);
    PQclear(r);
}

static void run(PGconn *c, const char *sql)
{
    must(c, PQexec(c, sql), sql);
}

/* What a statement of COPY takes. */
static PGresult *send_copy(PGconn *c, const struct outtray_statement *st)
{
    PGresult *r = PQexec(c, st->sql);

    if (PQresultStatus(r) != PGRES_COPY_IN)
        return r;
    PQclear(r);
    const struct outtray_slice data = st->params[0].value;
    if (PQputCopyData(c, data.p, (int)data.n) != 1 ||
        PQputCopyEnd(c, NULL) != 1)
        fail_msg("%s", PQerrorMessage(c));
    r = PQgetResult(c);
    while (PQgetResult(c) != NULL)
        ;
    return r;
}

/* One value as text; the caller frees it. */
static char *ask(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);

    if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) == 0)
        fail_msg("%s%s", PQerrorMessage(c), sql);
    char *value = strdup(PQgetvalue(r, 0, 0));
    PQclear(r);
    return value;
}

static int64_t ask_int(PGconn *c, const char *sql)
{
    char *text = ask(c, sql);
    int64_t value = strtoll(text, NULL, 10);

    free(text);
    return value;
}

/* The outbox of the migrations, in a schema of this test. */
static int set_up(void **state)
{
    (void)state;
    struct ot_buffer sql = {0};
    char quoted[80];

    db = connect_db();
    snprintf(outbox, sizeof(outbox), "Enqueue_test_%d", (int)getpid());
    snprintf(quoted, sizeof(quoted), "\"%s\"", outbox);
    for (const struct ot_migration *m = ot_migrations; m->store != NULL; m++) {
        if (strcmp(m->store, "postgres") != 0)
            continue;
        const char *p = m->sql, *at;
        while ((at = strstr(p, "{{outbox}}")) != NULL) {
            ot_buffer_add(&sql, p, (size_t)(at - p));
            ot_buffer_puts(&sql, quoted);
            p = at + strlen("{{outbox}}");
        }
        ot_buffer_puts(&sql, p);
    }
    run(db, sql.p);
    ot_buffer_free(&sql);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char sql[128];

    snprintf(sql, sizeof(sql), "DROP SCHEMA \"%s\" CASCADE", outbox);
    run(db, sql);
    PQfinish(db);
    return 0;
}

/* --- execute and read back ------------------------------------------------- */

static PGresult *execute(PGconn *c, const struct outtray_statement *st)
{
    enum { MAX = 16 };
    const char *values[MAX] = {0};
    int lengths[MAX] = {0}, formats[MAX] = {0};

    assert_in_range(st->nparams, 0, MAX);
    for (size_t i = 0; i < st->nparams; i++) {
        const struct outtray_param *p = &st->params[i];
        if (p->kind == OUTTRAY_PARAM_NULL)
            continue;
        formats[i] = p->kind == OUTTRAY_PARAM_BYTES;
        values[i] = formats[i] ? p->value.p : strndup(p->value.p, p->value.n);
        lengths[i] = (int)p->value.n;
    }
    PGresult *r = st->nparams > 0
                      ? PQexecParams(c, st->sql, (int)st->nparams, NULL, values,
                                     lengths, formats, 0)
                      : PQexec(c, st->sql);
    for (size_t i = 0; i < st->nparams; i++)
        if (st->params[i].kind == OUTTRAY_PARAM_TEXT)
            free((char *)values[i]);
    return r;
}

static void same(const PGresult *r, int row, int column,
                 struct outtray_slice want)
{
    if (want.p == NULL) {
        assert_true(PQgetisnull(r, row, column));
        return;
    }
    assert_false(PQgetisnull(r, row, column));
    assert_int_equal(PQgetlength(r, row, column), want.n);
    assert_memory_equal(PQgetvalue(r, row, column), want.p, want.n);
}

static void compare(const struct outtray_event *events, size_t n,
                    const struct outtray_statement *st)
{
    char sql[512], moment[32];

    snprintf(sql, sizeof(sql),
             "SELECT id::text, topic, key, type, headers, payload, "
             "(extract(epoch FROM deliver_at) * 1000000)::bigint::text "
             "FROM \"%s\".event ORDER BY seq",
             outbox);
    PGresult *r = PQexecParams(db, sql, 0, NULL, NULL, NULL, NULL, 1);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s", PQerrorMessage(db));
    assert_int_equal(PQntuples(r), n);
    for (int i = 0; i < (int)n; i++) {
        const struct outtray_event *e = &events[i];
        same(r, i, 0, (struct outtray_slice){st->ids[i], 36});
        same(r, i, 1, e->topic);
        same(r, i, 2, e->key);
        same(r, i, 3, e->type);
        same(r, i, 4, e->headers);
        same(r, i, 5, e->payload);
        snprintf(moment, sizeof(moment), "%lld", (long long)e->deliver_at_us);
        same(r, i, 6,
             e->deliver_at_us == 0
                 ? (struct outtray_slice){0}
                 : (struct outtray_slice){moment, strlen(moment)});
    }
    PQclear(r);
}

/* In one session after the other; none of them may change what is stored. */
static const struct session {
    enum outtray_style style;
    const char *set;
} sessions[] = {
    {OUTTRAY_DOLLAR, "SET LOCAL DateStyle = 'SQL, DMY'"},
    {OUTTRAY_DOLLAR, "SET LOCAL TimeZone = 'Asia/Kathmandu'"},
    {OUTTRAY_LITERAL, "SET LOCAL standard_conforming_strings = on"},
    {OUTTRAY_LITERAL, "SET LOCAL standard_conforming_strings = off"},
    {OUTTRAY_LITERAL, "SET LOCAL client_encoding = 'SJIS'"},
    {OUTTRAY_LITERAL, "SET LOCAL client_encoding = 'LATIN1'"},
    {OUTTRAY_COPY, "SET LOCAL TimeZone = 'Asia/Kathmandu'"},
};

static void round_trip(const struct outtray_event *events, size_t n,
                       bool strict)
{
    for (size_t s = 0; s < OT_COUNT(sessions); s++) {
        struct outtray_enqueue_options options = {
            .outbox = outbox, .style = sessions[s].style, .strict = strict};
        struct outtray_statement st;
        struct outtray_error err;
        if (strict && options.style == OUTTRAY_COPY)
            continue;
        if (outtray_enqueue_build(&st, &options, events, n, &err) != 0)
            fail_msg("%s", err.text);
        if (options.style == OUTTRAY_LITERAL)
            for (size_t i = 0; i < st.sql_n; i++)
                assert_in_range(st.sql[i], 1, 127);
        run(db, "BEGIN");
        run(db, sessions[s].set);
        must(db,
             options.style == OUTTRAY_COPY ? send_copy(db, &st)
                                           : execute(db, &st),
             st.sql);
        run(db, "SET LOCAL client_encoding = 'UTF8'");
        compare(events, n, &st);
        run(db, "ROLLBACK");
        outtray_statement_free(&st);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    json_t *root = vector_load("enqueue.json"), *c;
    size_t i;

    json_array_foreach(root, i, c)
    {
        struct vector_input in = vector_input(c);
        round_trip(in.events, in.n, in.options.strict);
        vector_free(&in);
    }
    json_decref(root);
}

static void test_random_events(void **state)
{
    (void)state;
    struct outtray_event events[6];
    struct ot_rng rng;

    ot_rng_seed(&rng, 20261125);
    for (int round = 0; round < 120; round++) {
        size_t n = (size_t)ot_rng_between(&rng, 1, OT_COUNT(events));
        for (size_t i = 0; i < n; i++)
            events[i] = random_event(&rng);
        round_trip(events, n, ot_rng_between(&rng, 0, 1));
        for (size_t i = 0; i < n; i++)
            random_event_free(&events[i]);
    }
}

/* The server is the judge of what is text: the builder takes as much. */
static void test_text_is_what_the_server_calls_text(void **state)
{
    (void)state;
    struct ot_rng rng;
    size_t taken = 0, refused = 0;

    ot_rng_seed(&rng, 7);
    for (int i = 0; i < 1500; i++) {
        /* Short and often near-miss: a valid text with one byte changed. */
        struct outtray_slice s =
            i % 2 ? random_bytes(&rng, 4) : random_text(&rng, 3);
        if (i % 2 == 0)
            ((char *)s.p)[ot_rng_between(&rng, 0, (int64_t)s.n - 1)] =
                (char)ot_rng_between(&rng, 0, 255);
        const char *values[] = {s.p};
        int lengths[] = {(int)s.n}, formats[] = {1};
        PGresult *r = PQexecParams(db, "SELECT convert_from($1::bytea, 'UTF8')",
                                   1, NULL, values, lengths, formats, 0);
        bool good = PQresultStatus(r) == PGRES_TUPLES_OK;
        PQclear(r);
        struct outtray_event e = {.topic = S("t"), .key = s};
        struct outtray_statement st;
        int rc = outtray_enqueue_build(&st, NULL, &e, 1, NULL);
        outtray_statement_free(&st);
        if ((rc == 0) != good)
            fail_msg("the builder %s what the server %s (round %d)",
                     rc == 0 ? "takes" : "refuses", good ? "takes" : "refuses",
                     i);
        taken += good;
        refused += !good;
        free((char *)s.p);
    }
    assert_in_range(taken, 100, 1400);
    assert_in_range(refused, 100, 1400);
}

static void test_large_payload(void **state)
{
    (void)state;
    struct outtray_event events[3] = {{.topic = S("t")}, {.topic = S("u")}};
    char *payload = malloc(921600);

    for (size_t i = 0; i < 921600; i++)
        payload[i] = (char)(i * 7 + i / 251);
    for (int i = 0; i < 3; i += 2) {
        events[i].topic = S("t");
        events[i].payload = (struct outtray_slice){payload, 921600};
    }
    round_trip(events, 3, false);
    round_trip(events, 1, false);
    free(payload);
}

/* --- order ----------------------------------------------------------------- */

/* seq follows the order of the events, and the plan sorts nothing for it. */
static void test_seq_follows_the_batch(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct outtray_event *events = calloc(N, sizeof(*events));
    char(*keys)[16] = calloc(N, sizeof(*keys));
    struct outtray_statement st;
    char sql[512];

    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%d", i);
        events[i].topic = S("t");
        events[i].key = (struct outtray_slice){keys[i], strlen(keys[i])};
    }
    for (int strict = 0; strict < 2; strict++) {
        struct outtray_enqueue_options options = {.outbox = outbox,
                                                  .strict = strict};
        size_t n = strict ? 500 : N; /* each lock takes shared memory */
        assert_int_equal(outtray_enqueue_build(&st, &options, events, n, NULL),
                         0);
        run(db, "BEGIN");
        must(db, execute(db, &st), "batch");
        snprintf(sql, sizeof(sql),
                 "SELECT count(*) FROM (SELECT key::int - row_number() OVER "
                 "(ORDER BY seq) + 1 AS off FROM \"%s\".event) x WHERE off = 0",
                 outbox);
        assert_int_equal(ask_int(db, sql), n);
        run(db, "ROLLBACK");
        outtray_statement_free(&st);
    }

    struct outtray_enqueue_options options = {.outbox = outbox,
                                              .style = OUTTRAY_LITERAL};
    struct ot_buffer plan = {0};
    assert_int_equal(outtray_enqueue_build(&st, &options, events, 3, NULL), 0);
    ot_buffer_printf(&plan, "EXPLAIN (FORMAT JSON) %s", st.sql);
    char *text = ask(db, plan.p);
    assert_null(strstr(text, "\"Sort\""));
    assert_non_null(strstr(text, "\"Function Scan\""));
    free(text);
    ot_buffer_free(&plan);
    outtray_statement_free(&st);
    free(keys);
    free(events);
}

static int64_t last_seq(void)
{
    char sql[128];

    snprintf(sql, sizeof(sql), "SELECT last_value FROM \"%s\".event_seq_seq",
             outbox);
    return ask_int(db, sql);
}

/* Until the other connection waits for an advisory lock. */
static void await_blocked(PGconn *other)
{
    char sql[256];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM pg_locks WHERE pid = %d AND locktype = "
             "'advisory' AND NOT granted",
             PQbackendPID(other));
    for (int i = 0; ask_int(db, sql) == 0; i++) {
        if (i > 12000)
            fail_msg("it does not wait for the lock");
        usleep(5000);
    }
}

/* Sends and does not wait. */
static void start(PGconn *c, const struct outtray_event *events, size_t n)
{
    struct outtray_enqueue_options options = {
        .outbox = outbox, .style = OUTTRAY_LITERAL, .strict = true};
    struct outtray_statement st;

    assert_int_equal(outtray_enqueue_build(&st, &options, events, n, NULL), 0);
    run(c, "BEGIN");
    assert_int_equal(PQsendQuery(c, st.sql), 1);
    outtray_statement_free(&st);
}

static void finish(PGconn *c)
{
    PGresult *r;

    while ((r = PQgetResult(c)) != NULL)
        must(c, r, "strict enqueue");
    run(c, "ROLLBACK");
}

/* One event: its key is locked before its seq is drawn. */
static void test_strict_draws_after_the_lock(void **state)
{
    (void)state;
    struct outtray_event e = {.topic = S("t"), .key = S("it's a \\ key")};
    PGconn *other = connect_db();

    for (size_t n = 1; n <= 2; n++) {
        struct outtray_event events[2] = {e, {.topic = S("t"), .key = S("b")}};
        run(db, "BEGIN");
        run(db, "SELECT pg_advisory_xact_lock(hashtextextended("
                "E'it''s a \\\\ key', 0))");
        int64_t before = last_seq();
        start(other, events, n);
        await_blocked(other);
        assert_int_equal(last_seq(), before);
        run(db, "COMMIT");
        finish(other);
        assert_int_equal(last_seq(), before + (int64_t)n);
    }
    /* Without a key there is nothing to wait for. */
    e.key = (struct outtray_slice){0};
    start(other, &e, 1);
    finish(other);
    PQfinish(other);
}

/* A batch locks in the order of the lock's number: with the middle one taken
 * it holds the lowest and not yet the highest, whatever the order it was given
 * the events in. */
static void test_strict_locks_in_order(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b", "c"};
    PGconn *other = connect_db();
    char sql[512];

    char *middle = ask(db, "SELECT k FROM unnest(ARRAY['a', 'b', 'c']) k ORDER "
                           "BY hashtextextended(k, 0) OFFSET 1 LIMIT 1");
    for (int turn = 0; turn < 6; turn++) {
        /* All six orders, and one key twice. */
        int a = turn / 2, b = (a + 1 + turn % 2) % 3, c = 3 - a - b;
        struct outtray_event events[4] = {
            {.topic = S("t"), .key = {keys[a], 1}},
            {.topic = S("t"), .key = {keys[b], 1}},
            {.topic = S("t"), .key = {keys[c], 1}},
            {.topic = S("t"), .key = {keys[a], 1}}};
        run(db, "BEGIN");
        snprintf(sql, sizeof(sql),
                 "SELECT pg_advisory_xact_lock(hashtextextended('%s', 0))",
                 middle);
        run(db, sql);
        start(other, events, 4);
        await_blocked(other);
        snprintf(sql, sizeof(sql),
                 "SELECT string_agg(k, ',') = (SELECT k FROM unnest(ARRAY['a', "
                 "'b', 'c']) k ORDER BY hashtextextended(k, 0) LIMIT 1) "
                 "FROM unnest(ARRAY['a', 'b', 'c']) k JOIN pg_locks l ON "
                 "(l.classid::bigint << 32 | l.objid::bigint) = "
                 "hashtextextended(k, 0) WHERE l.locktype = 'advisory' AND "
                 "l.granted AND l.pid = %d",
                 PQbackendPID(other));
        char *held = ask(db, sql);
        assert_string_equal(held, "t");
        free(held);
        run(db, "COMMIT");
        finish(other);
    }
    free(middle);
    PQfinish(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_random_events),
        cmocka_unit_test(test_text_is_what_the_server_calls_text),
        cmocka_unit_test(test_large_payload),
        cmocka_unit_test(test_seq_follows_the_batch),
        cmocka_unit_test(test_strict_draws_after_the_lock),
        cmocka_unit_test(test_strict_locks_in_order),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
