/* test_postgres_read.c - what only PostgreSQL can do to a read: plans, locks,
 * prepared transactions, policies, the defaults of a role. */
#include "conformance_parts.h"
#include "support/peak_memory.h"
#include "support/pg_scratch.h"

#include "store/postgres/pg.h"

#define OUTBOX "Read"

static struct pg_scratch scratch;

static int set_up(void **state)
{
    (void)state;
    pg_scratch_outbox(&scratch, "read", OUTBOX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pg_scratch_drop(&scratch);
    return 0;
}

static int empty(void **state)
{
    (void)state;
    /* What a failed test left open. */
    pg_run(scratch.db, "SELECT pg_terminate_backend(pid, 1000) FROM "
                       "pg_stat_activity WHERE datname = current_database() "
                       "AND pid <> pg_backend_pid()");
    pg_run(scratch.db, "TRUNCATE event, cursor, gap, held, command "
                       "RESTART IDENTITY");
    return 0;
}

static struct ot_store *open_with(const char *name, const char *value)
{
    struct outtray_conf *conf = pg_conf(scratch.relay, OUTBOX);
    struct outtray_error err = {0};
    struct ot_uuid owner = {{7}};
    struct ot_store *s;

    if ((name != NULL && outtray_conf_set(conf, name, value, &err) != 0) ||
        ot_store_open(&s, conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    outtray_conf_free(conf);
    return s;
}

/* --- plans ----------------------------------------------------------------- */

/* EXPLAIN of a read, with the settings that a read has: they overrule those of
 * the role. */
static char *plan_of(const char *options, const struct ot_pg_read_shape *shape,
                     int64_t position, const char *firsts, const char *lasts)
{
    struct ot_buffer sql = {0}, plan = {0};
    char at[24];
    const char *values[6] = {at, "main"};
    Oid types[6] = {OT_PG_INT8, OT_PG_TEXT};
    int n = 2;
    PGresult *r;

    snprintf(at, sizeof(at), "%lld", (long long)position);
    if (shape->gaps) {
        types[n] = types[n + 1] = OT_PG_INT8_ARRAY;
        values[n++] = firsts;
        values[n++] = lasts;
    }
    if (shape->filter) {
        types[n] = types[n + 1] = OT_PG_TEXT_ARRAY;
        values[n++] = "{a,b}";
        values[n++] = "{c%}";
    }
    pg_run(scratch.db, "BEGIN; SET LOCAL enable_incremental_sort = off; "
                       "SELECT " OT_PG_PLANNER("true"));
    ot_buffer_printf(&sql, "EXPLAIN (COSTS off%s) ", options);
    ot_pg_read_sql(&sql, shape);
    r = PQexecParams(scratch.db, sql.p, n, types, values, NULL, NULL, 0);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s%s", PQerrorMessage(scratch.db), sql.p);
    for (int i = 0; i < PQntuples(r); i++)
        ot_buffer_printf(&plan, "%s\n", PQgetvalue(r, i, 0));
    PQclear(r);
    pg_run(scratch.db, "ROLLBACK");
    ot_buffer_free(&sql);
    return plan.p;
}

static int count(const char *text, const char *word)
{
    int n = 0;

    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        n++;
    return n;
}

/* Every look at the log goes over its primary key, the tail is not sorted, and
 * ranges are, one after the other. */
static void good_plans(const char *when, int64_t position)
{
    for (int i = 0; i < 8; i++) {
        struct ot_pg_read_shape shape = {.outbox = OUTBOX,
                                         .limit = 2000,
                                         .gaps = (i & 1) != 0,
                                         .filter = (i & 2) != 0,
                                         .budget = i & 4 ? 8000000 : 0,
                                         .most = 4000};
        char *plan = plan_of("", &shape, position, "{10,50,90}", "{11,60,90}");
        int looks = count(plan, "Index Scan using event_pkey on event");

        if (looks != (shape.gaps ? 2 : 1) || strstr(plan, "Bitmap") != NULL ||
            strstr(plan, "Seq Scan on event ") != NULL ||
            strstr(plan, "Index Only Scan using event_pkey") != NULL ||
            (i == 0 && strstr(plan, "Sort") != NULL) ||
            (shape.gaps && strstr(plan, "Incremental Sort") == NULL))
            fail_msg("%s, shape %d:\n%s", when, i, plan);
        ot_free(plan);
    }
}

static void plans_stay_on_the_index(void **state)
{
    (void)state;
    pg_run(scratch.db, "ALTER TABLE event SET (autovacuum_enabled = off)");
    good_plans("empty, never analysed", 0);
    pg_run(scratch.db, "INSERT INTO event (topic, payload) SELECT 't', 'x' "
                       "FROM generate_series(1, 200000)");
    good_plans("large, never analysed", 0);
    good_plans("large, never analysed, at its end", 199990);
    pg_run(scratch.db, "ANALYZE event");
    good_plans("large, analysed", 0);
    good_plans("large, analysed, at its end", 199990);
    pg_run(scratch.db, "DELETE FROM event WHERE seq < 199000");
    good_plans("pruned, statistics of before", 199990);
    pg_run(scratch.db, "TRUNCATE event");
    good_plans("truncated, statistics of before", 200000);
    pg_run(scratch.db, "INSERT INTO event (topic, payload) SELECT 't', 'x' "
                       "FROM generate_series(1, 10)");
    good_plans("ten rows", 200000);
    pg_run(scratch.db, "ALTER TABLE event RESET (autovacuum_enabled)");
}

/* What a bulk insert leaves among other writers: a thousand ranges full of late
 * events. A read looks at those that it brings, not at all of them. */
static void many_ranges_cost_a_batch(void **state)
{
    struct ot_pg_read_shape shape = {
        .outbox = OUTBOX, .limit = 500, .gaps = true, .most = 4000};
    struct ot_buffer firsts = {0}, lasts = {0};
    const char *looked;
    char *plan;

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic, payload) SELECT 't', 'x' "
                       "FROM generate_series(1, 100000)");
    for (int i = 0; i < 1000; i++) {
        ot_buffer_printf(&firsts, "%c%d", i == 0 ? '{' : ',', i * 100 + 2);
        ot_buffer_printf(&lasts, "%c%d", i == 0 ? '{' : ',', i * 100 + 100);
    }
    ot_buffer_putc(&firsts, '}');
    ot_buffer_putc(&lasts, '}');
    plan = plan_of(", ANALYZE, TIMING off", &shape, 100000, firsts.p, lasts.p);
    looked = strstr(plan, "Nested Loop (actual rows=");
    if (looked == NULL || atoi(strchr(looked, '=') + 1) > 700)
        fail_msg("%s", plan);
    ot_free(plan);
    ot_buffer_free(&firsts);
    ot_buffer_free(&lasts);
}

/* --- holders --------------------------------------------------------------- */

static struct ot_read_reply read_locked(struct ot_store *s, int64_t position,
                                        const struct ot_range *gaps, size_t n)
{
    struct ot_read_request q = {.position = position,
                                .gaps = gaps,
                                .ngaps = n,
                                .with_locks = true,
                                .limit = 100,
                                .budget = 1 << 20};

    return read_with(s, &q);
}

static void holder_without_and_with_xid(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    PGconn *app = pg_connect(scratch.url);
    struct ot_read_reply r;
    uint64_t lock;

    (void)state;
    pg_run(app, "BEGIN; SET search_path = \"" OUTBOX "\"");
    pg_run(app, "LOCK TABLE event IN ROW EXCLUSIVE MODE");
    r = read_locked(s, 0, NULL, 0);
    assert_int_equal(r.nholders, 1);
    assert_int_equal(r.holders[0].xid, 0);
    lock = r.holders[0].lock;
    ot_rows_unref(r.rows);
    /* The transaction's own id, not one of its savepoints'. */
    pg_run(app, "INSERT INTO event (topic) VALUES ('t')");
    for (int i = 0; i < 3; i++)
        pg_run(app, "SAVEPOINT s%d; INSERT INTO event (topic) VALUES ('t')", i);
    r = read_locked(s, 0, NULL, 0);
    assert_int_equal(r.nholders, 1);
    assert_int_equal(r.holders[0].lock, lock);
    assert_int_equal(r.holders[0].xid,
                     pg_int(app, "SELECT pg_current_xact_id()"));
    assert_false(r.holders[0].prepared);
    assert_int_equal(r.rows->n, 0);
    ot_rows_unref(r.rows);
    PQfinish(app);
    s->ops->close(s);
}

/* Writers of other tables, and readers of this one, hold nothing. */
static void others_are_no_holders(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    PGconn *app = pg_connect(scratch.url);
    struct ot_read_reply r;

    (void)state;
    pg_run(app, "BEGIN; SET search_path = \"" OUTBOX "\"");
    pg_run(app, "INSERT INTO inbox VALUES ('c', gen_random_uuid())");
    pg_run(app, "SELECT * FROM event");
    r = read_locked(s, 0, NULL, 0);
    assert_true(r.has_locks);
    assert_int_equal(r.nholders, 0);
    ot_rows_unref(r.rows);
    PQfinish(app);
    s->ops->close(s);
}

static void prepared_transaction_holds_its_gap(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    PGconn *app = pg_connect(scratch.url);
    struct ot_range gap = {1, 1};
    struct ot_read_reply r;
    uint64_t lock, xid;

    (void)state;
    if (pg_int(app, "SHOW max_prepared_transactions") == 0)
        fail_msg("the test server needs max_prepared_transactions > 0");
    pg_run(app, "SET search_path = \"" OUTBOX "\"; BEGIN");
    pg_run(app, "INSERT INTO event (topic, payload) VALUES ('t', 'late')");
    pg_run(scratch.db, "INSERT INTO event (topic) VALUES ('t')");
    r = read_locked(s, 0, NULL, 0);
    assert_int_equal(r.nholders, 1);
    lock = r.holders[0].lock;
    xid = r.holders[0].xid;
    ot_rows_unref(r.rows);
    pg_run(app, "PREPARE TRANSACTION '%s'", scratch.name);
    PQfinish(app);
    r = read_locked(s, 2, &gap, 1);
    assert_int_equal(r.nholders, 1);
    assert_int_equal(r.holders[0].lock, lock);
    assert_int_equal(r.holders[0].xid, xid);
    assert_true(r.holders[0].prepared);
    assert_int_equal(r.rows->n, 0);
    ot_rows_unref(r.rows);
    pg_run(scratch.db, "COMMIT PREPARED '%s'", scratch.name);
    r = read_locked(s, 2, &gap, 1);
    assert_int_equal(r.nholders, 0);
    assert_int_equal(r.rows->n, 1);
    assert_int_equal(r.rows->events[0].seq, 1);
    ot_rows_unref(r.rows);
    s->ops->close(s);
}

/* --- what the answer says ---------------------------------------------------- */

static void incarnation_is_of_this_life(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    struct ot_incarnation first;
    struct ot_cursor_reply c;
    struct ot_read_reply r;

    (void)state;
    r = read_locked(s, 0, NULL, 0);
    first = r.incarnation;
    assert_true(first.started_us > 0);
    assert_int_equal(
        first.system,
        pg_int(scratch.db,
               "SELECT system_identifier FROM pg_control_system()"));
    ot_rows_unref(r.rows);
    take(s);
    c = load(s);
    assert_true(ot_incarnation_equal(&first, &c.incarnation));
    /* What a crash of a backend does as well: statistics begin anew. */
    pg_run(scratch.db, "SELECT pg_stat_reset_shared('wal')");
    for (int i = 0; i < 100; i++) {
        r = read_locked(s, 0, NULL, 0);
        ot_rows_unref(r.rows);
        if (!ot_incarnation_equal(&first, &r.incarnation))
            break;
        nap(20000); /* before 15 a process of its own keeps statistics */
    }
    assert_false(ot_incarnation_equal(&first, &r.incarnation));
    assert_int_equal(first.started_us, r.incarnation.started_us);
    s->ops->close(s);
}

static void lsn_covers_what_was_read(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    PGconn *app = pg_connect(scratch.url);
    struct ot_write_request q = {.set_paused = -1, .durable = true};
    struct ot_read_reply r;
    int64_t commit;

    (void)state;
    pg_run(app, "SET search_path = \"" OUTBOX "\"; "
                "SET synchronous_commit = off");
    /* So must the relay not be, whatever its role's default. */
    pg_run(scratch.db, "ALTER ROLE \"%s\" SET synchronous_commit = off",
           scratch.name);
    q.fence = take(s);
    for (int i = 0; i < 5; i++) {
        pg_run(app, "INSERT INTO event (topic) VALUES ('t')");
        commit = pg_int(app, "SELECT pg_current_wal_insert_lsn() - '0/0'");
        r = read_locked(s, i, NULL, 0);
        ot_rows_unref(r.rows);
        assert_true(r.lsn >= (uint64_t)commit);
        assert_int_equal(r.last_seq, i + 1);
        q.position = i + 1;
        assert_true(write_with(s, &q).flush_lsn >= r.lsn);
    }
    pg_run(scratch.db, "ALTER ROLE \"%s\" RESET synchronous_commit",
           scratch.name);
    PQfinish(app);
    s->ops->close(s);
}

/* Counted in the database: what is cut is not sent. */
static void large_payloads_come_in_parts(void **state)
{
    enum { N = 20, SIZE = 300000 };
    struct ot_store *s = open_with(NULL, NULL);
    struct ot_read_request q = {.limit = 2000, .budget = 1000000};
    uint32_t seen = 0;

    (void)state;
    pg_run(scratch.db,
           "INSERT INTO event (topic, payload) SELECT 't', "
           "convert_to(repeat('x', %d), 'UTF8') FROM generate_series(1, %d)",
           SIZE, N);
    while (seen < N) {
        struct ot_read_reply r = read_with(s, &q);

        assert_true(r.rows->n >= 1);
        assert_true(r.rows->n <= 3);
        seen += r.rows->n;
        assert_int_equal(r.cut, seen < N);
        q.position = r.rows->events[r.rows->n - 1].seq;
        ot_rows_unref(r.rows);
    }
    assert_int_equal(seen, N);
    /* One that is larger than the budget comes alone. */
    q.position = 0;
    q.budget = 1000;
    for (int i = 0; i < 3; i++) {
        struct ot_read_reply r = read_with(s, &q);

        assert_int_equal(r.rows->n, 1);
        assert_true(r.cut);
        ot_rows_unref(r.rows);
    }
    s->ops->close(s);
}

/* Payloads of 8 MB after small ones, a budget of 16 MB: the answer has two of
 * them, and nothing else was sent or kept. */
static void a_jump_of_gigabytes(void **state)
{
    enum { N = 200, SIZE = 8000000, BUDGET = 16 << 20 };
    struct ot_store *s = open_with(NULL, NULL);
    struct ot_read_request q = {.limit = 2000, .budget = BUDGET};
    unsigned seen = 0, reads = 0, empty_reads = 0;

    (void)state;
    pg_run(scratch.db,
           "INSERT INTO event (topic, payload) SELECT 't', 'small' FROM "
           "generate_series(1, 100);"
           "INSERT INTO event (topic, payload) VALUES ('t', "
           "convert_to(repeat('x', %d), 'UTF8'));"
           "INSERT INTO event (topic, payload) SELECT 't', payload FROM event, "
           "generate_series(2, %d) WHERE seq = 101", /* compressed once */
           SIZE, N);
    ot_rows_unref(read_from(s, 0, 100).rows);
    q.position = 0;
    peak_memory_start();
    while (seen < 100 + N) {
        struct ot_read_reply r = read_with(s, &q);

        reads++;
        assert_true(r.rows->bytes < BUDGET + 200 * r.rows->n);
        seen += r.rows->n;
        assert_int_equal(r.cut, seen < 100 + N);
        if (r.rows->n == 0) { /* it was not prepared */
            assert_int_equal(empty_reads++, 0);
            continue;
        }
        q.position = r.rows->events[r.rows->n - 1].seq;
        if (q.position > 100)
            assert_int_equal(r.rows->events[r.rows->n - 1].payload.n, SIZE);
        ot_rows_unref(r.rows);
    }
    assert_in_range(reads, N / 2, N / 2 + 3);
    /* The rows, and a buffer of libpq for one message, which grows by
     * doubling. */
    if (peak_memory() > (size_t)BUDGET + 4 * SIZE)
        fail_msg("%zu bytes", peak_memory());
    print_message("peak of %d events of %d bytes: %zu bytes\n", N, SIZE,
                  peak_memory());
    s->ops->close(s);
}

/* The first read cannot know: it counts. Later ones do not, until large
 * payloads were seen. The answers are the same. */
static void counting_changes_no_answer(void **state)
{
    struct ot_store *s = open_with("relay.topics", "t*");
    struct ot_read_request q = {.limit = 50, .budget = 8 << 20};

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic, payload) SELECT "
                       "CASE WHEN i %% 3 = 0 THEN 'other' ELSE 't' END, 'x' "
                       "FROM generate_series(1, 120) i");
    for (int round = 0; round < 2; round++) {
        int64_t next = 1;

        q.position = 0;
        for (int i = 0; i < 3; i++) {
            struct ot_read_reply r = read_with(s, &q);

            assert_int_equal(r.rows->n, i < 2 ? 50 : 20);
            assert_int_equal(r.cut, i < 2);
            for (uint32_t k = 0; k < r.rows->n; k++, next++) {
                assert_int_equal(r.rows->events[k].seq, next);
                assert_int_equal(r.rows->events[k].filtered, next % 3 == 0);
            }
            q.position = next - 1;
            ot_rows_unref(r.rows);
        }
    }
    s->ops->close(s);
}

static void filter_takes_signs_as_they_are(void **state)
{
    static const char *const topics[] = {"a_b", "axb", "a%b", "c\\d1", "c"};
    static const bool taken[] = {true, false, false, true, false};
    struct ot_store *s = open_with("relay.topics", "a_*, c\\d*");
    struct ot_read_reply r;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(topics); i++)
        pg_run(scratch.db, "INSERT INTO event (topic) VALUES ('%s')",
               topics[i]);
    r = read_locked(s, 0, NULL, 0);
    assert_int_equal(r.rows->n, OT_COUNT(topics));
    for (size_t i = 0; i < OT_COUNT(topics); i++)
        assert_int_equal(r.rows->events[i].filtered, !taken[i]);
    ot_rows_unref(r.rows);
    s->ops->close(s);
}

/* --- what others have set ---------------------------------------------------- */

static void policy_is_an_error(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_reply reply;

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic) VALUES ('t')");
    pg_run(scratch.db, "ALTER TABLE event ENABLE ROW LEVEL SECURITY");
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_PERMISSION);
    assert_null(reply.read.rows);
    pg_run(scratch.db, "ALTER TABLE event DISABLE ROW LEVEL SECURITY");
    /* The connection is none the worse. */
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    must(&reply);
    assert_int_equal(reply.read.rows->n, 1);
    ot_rows_unref(reply.read.rows);
    s->ops->close(s);
}

static void defaults_of_the_role_do_not_matter(void **state)
{
    static const char *const settings[] = {
        "default_transaction_isolation = 'repeatable read'",
        "search_path = 'nowhere'",
        "enable_indexscan = off",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'German, DMY'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
    };
    struct ot_store *s = open_with(NULL, NULL);
    struct ot_read_reply r;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(settings); i++)
        pg_run(scratch.db, "ALTER ROLE \"%s\" SET %s", scratch.name,
               settings[i]);
    take(s);
    for (int i = 0; i < 3; i++) {
        int64_t now;

        pg_run(scratch.db, "INSERT INTO event (topic, payload, deliver_at) "
                           "VALUES ('t', 'x', now())");
        now = pg_int(scratch.db, "SELECT (extract(epoch FROM deliver_at) * "
                                 "1000000)::bigint FROM event ORDER BY seq "
                                 "DESC LIMIT 1");
        r = read_locked(s, i, NULL, 0);
        assert_int_equal(r.rows->n, 1);
        assert_int_equal(r.rows->events[0].deliver_us, now);
        assert_true(r.rows->events[0].created_us >= now);
        ot_rows_unref(r.rows);
    }
    pg_run(scratch.db, "ALTER ROLE \"%s\" RESET ALL", scratch.name);
    s->ops->close(s);
}

static void infinite_times(void **state)
{
    struct ot_store *s = open_with(NULL, NULL);
    struct ot_read_reply r;

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic, deliver_at) VALUES "
                       "('t', 'infinity'), ('t', '-infinity')");
    r = read_locked(s, 0, NULL, 0);
    assert_int_equal(r.rows->events[0].deliver_us, INT64_MAX);
    assert_in_range(r.rows->events[1].deliver_us, 0, 1);
    ot_rows_unref(r.rows);
    s->ops->close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(plans_stay_on_the_index, empty),
        cmocka_unit_test_setup(many_ranges_cost_a_batch, empty),
        cmocka_unit_test_setup(holder_without_and_with_xid, empty),
        cmocka_unit_test_setup(others_are_no_holders, empty),
        cmocka_unit_test_setup(prepared_transaction_holds_its_gap, empty),
        cmocka_unit_test_setup(incarnation_is_of_this_life, empty),
        cmocka_unit_test_setup(lsn_covers_what_was_read, empty),
        cmocka_unit_test_setup(large_payloads_come_in_parts, empty),
        cmocka_unit_test_setup(a_jump_of_gigabytes, empty),
        cmocka_unit_test_setup(counting_changes_no_answer, empty),
        cmocka_unit_test_setup(filter_takes_signs_as_they_are, empty),
        cmocka_unit_test_setup(policy_is_an_error, empty),
        cmocka_unit_test_setup(defaults_of_the_role_do_not_matter, empty),
        cmocka_unit_test_setup(infinite_times, empty),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
