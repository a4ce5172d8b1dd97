/* test_postgres_plans.c - statements the server keeps for us: only on a
 * session of our own, and only as long as they are good. */
#include "conformance_parts.h"
#include "store/postgres/pg.h"
#include "support/pg_scratch.h"

#define OUTBOX "Plans"

static struct pg_scratch scratch;

static int set_up(void **state)
{
    (void)state;
    pg_scratch_outbox(&scratch, "plans", OUTBOX);
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
    pg_run(scratch.db,
           "TRUNCATE event, cursor, gap, held, command RESTART IDENTITY");
    return 0;
}

static struct ot_store *open_relay(void)
{
    struct outtray_conf *conf = pg_conf(scratch.relay, OUTBOX);
    struct outtray_error err = {0};
    struct ot_store *s;

    if (ot_store_open(&s, conf, (struct ot_uuid){{3}}, NULL, &err) != 0)
        fail_msg("%s", err.text);
    outtray_conf_free(conf);
    return s;
}

static const struct ot_pg_link *reads(struct ot_store *s)
{
    return &((const struct ot_pg *)(void *)s)->links[OT_PG_READS];
}

static int ready(struct ot_store *s)
{
    int n = 0;

    for (int i = 0; i < OT_PG_PLANS; i++)
        n += reads(s)->plans.plans[i].ready;
    return n;
}

static void look(struct ot_store *s, int64_t position, uint32_t expect)
{
    struct ot_read_reply r = read_from(s, position, 10);

    assert_int_equal(r.rows->n, expect);
    ot_rows_unref(r.rows);
}

static void add(int64_t seq)
{
    pg_run(scratch.db, "INSERT INTO event (topic, payload) VALUES ('t', 'x')");
    assert_int_equal(pg_int(scratch.db, "SELECT max(seq) FROM event"), seq);
}

/* The session of the reads, as others see it. */
static int64_t begins(void)
{
    return pg_int(scratch.server,
                  "SELECT count(*) FROM pg_stat_activity WHERE usename = '%s' "
                  "AND query LIKE 'COMMIT%%'",
                  scratch.name);
}

static void what_is_said_often_is_planned_once(void **state)
{
    struct ot_store *s = open_relay();

    (void)state;
    add(1);
    take(s);
    for (int i = 0; i < 8; i++)
        look(s, 0, 1);
    assert_true(reads(s)->ours);
    assert_int_equal(ready(s), 1); /* a look is one statement */
    add(2);
    look(s, 0, 2);
    look(s, 1, 1);
    s->ops->close(s);
}

/* Every look in a transaction of its own, of READ COMMITTED, whatever is the
 * default: what was committed since the last one is seen. */
static void the_session_keeps_what_it_was_told(void **state)
{
    struct ot_store *s;

    (void)state;
    pg_run(scratch.db,
           "ALTER ROLE \"%s\" SET default_transaction_isolation = "
           "'serializable'",
           scratch.name);
    s = open_relay();
    take(s);
    for (int64_t seq = 1; seq <= 6; seq++) {
        add(seq);
        look(s, 0, (uint32_t)seq);
    }
    assert_int_equal(begins(), 1); /* that of the lease, on the other one */
    pg_run(scratch.db, "ALTER ROLE \"%s\" RESET ALL", scratch.name);
    s->ops->close(s);
}

/* A pooler tells its clients another process number than the server has. */
static void behind_a_pooler_nothing_is_left(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_pg *pg = (struct ot_pg *)(void *)s;

    (void)state;
    for (int i = 0; i < OT_PG_LINKS; i++)
        pg->links[i].greeting = "SELECT set_config('jit', 'on', false) WHERE "
                                "pg_catalog.pg_backend_pid() <> $1";
    add(1);
    take(s);
    for (int i = 0; i < 8; i++)
        look(s, 0, 1);
    assert_false(reads(s)->ours);
    assert_int_equal(ready(s), 0);
    assert_int_equal(begins(), 2);
    s->ops->close(s);
}

/* Somebody let DISCARD ALL loose in it, or a table has another type now. */
static void a_plan_that_is_gone_is_made_anew(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_pg *pg = (struct ot_pg *)(void *)s;
    struct ot_read_request q = {.limit = 10, .budget = 64 << 20};
    struct ot_reply reply;

    (void)state;
    add(1);
    take(s);
    for (int i = 0; i < 8; i++)
        look(s, 0, 1);
    assert_int_equal(ready(s), 1);
    pg->links[OT_PG_READS].plans.series++; /* names it never heard of */
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_BUSY);
    assert_non_null(strstr(reply.err.text, "made anew"));
    assert_int_equal(ready(s), 0);
    for (int i = 0; i < 8; i++)
        look(s, 0, 1);
    assert_int_equal(ready(s), 1);
    s->ops->close(s);
}

/* Texts that change all the time push nothing out that the server has. */
static void numbers_that_change_are_not_planned(void **state)
{
    struct ot_pg_plans plans = {0};
    char sql[32], name[32], other[32];
    int at = OT_NO_PLAN;

    (void)state;
    for (int i = 0; i < 3; i++)
        at = ot_pg_plans_say(&plans, "SELECT 1");
    assert_int_not_equal(at, OT_NO_PLAN);
    plans.plans[at].ready = true;
    for (int i = 0; i < 1000; i++) {
        snprintf(sql, sizeof(sql), "SELECT %d", i + 2);
        assert_int_equal(ot_pg_plans_say(&plans, sql), OT_NO_PLAN);
    }
    assert_int_equal(ot_pg_plans_say(&plans, "SELECT 1"), at);
    ot_pg_plans_name(&plans, at, name);
    ot_pg_plans_forget(&plans);
    ot_pg_plans_name(&plans, at, other);
    assert_string_not_equal(name, other);
    assert_int_equal(ot_pg_plans_say(&plans, "SELECT 1"), OT_NO_PLAN);
    ot_pg_plans_forget(&plans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_said_often_is_planned_once, empty),
        cmocka_unit_test_setup(the_session_keeps_what_it_was_told, empty),
        cmocka_unit_test_setup(behind_a_pooler_nothing_is_left, empty),
        cmocka_unit_test_setup(a_plan_that_is_gone_is_made_anew, empty),
        cmocka_unit_test(numbers_that_change_are_not_planned),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
