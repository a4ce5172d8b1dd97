/* What the enqueue builder renders, on SQLite: every event comes back as it
 * went in, bound or literal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sqlite3.h>

#include "store/schema.h"
#include "support/random_event.h"
#include "support/vector.h"

#define OUTBOX "Enqueue_test"

static sqlite3 *db;

static void run(const char *sql)
{
    char *err = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &err) != SQLITE_OK)
        fail_msg("%s: %.3000s", err, sql);
}

static int set_up(void **state)
{
    (void)state;
    struct ot_buffer sql = {0};

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    for (const struct ot_migration *m = ot_migrations; m->store != NULL; m++) {
        if (strcmp(m->store, "sqlite") != 0)
            continue;
        const char *p = m->sql, *at;
        while ((at = strstr(p, "{{outbox}}")) != NULL) {
            ot_buffer_add(&sql, p, (size_t)(at - p));
            ot_buffer_puts(&sql, OUTBOX);
            p = at + strlen("{{outbox}}");
        }
        ot_buffer_puts(&sql, p);
    }
    run(sql.p);
    ot_buffer_free(&sql);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return 0;
}

static void execute(const struct outtray_statement *st)
{
    sqlite3_stmt *q = NULL;
    const char *rest = NULL;

    if (sqlite3_prepare_v2(db, st->sql, (int)st->sql_n + 1, &q, &rest) !=
        SQLITE_OK)
        fail_msg("%s: %.3000s", sqlite3_errmsg(db), st->sql);
    assert_int_equal(rest - st->sql, st->sql_n);
    assert_int_equal(sqlite3_bind_parameter_count(q), st->nparams);
    for (size_t i = 0; i < st->nparams; i++) {
        const struct outtray_param *p = &st->params[i];
        int at = (int)i + 1;
        if (p->kind == OUTTRAY_PARAM_TEXT)
            sqlite3_bind_text(q, at, p->value.p, (int)p->value.n,
                              SQLITE_STATIC);
        if (p->kind == OUTTRAY_PARAM_BYTES && p->value.n > 0)
            sqlite3_bind_blob(q, at, p->value.p, (int)p->value.n,
                              SQLITE_STATIC);
        if (p->kind == OUTTRAY_PARAM_BYTES && p->value.n == 0)
            sqlite3_bind_zeroblob(q, at, 0);
    }
    if (sqlite3_step(q) != SQLITE_DONE)
        fail_msg("%s: %.3000s", sqlite3_errmsg(db), st->sql);
    sqlite3_finalize(q);
}

static void same(sqlite3_stmt *q, int column, int type,
                 struct outtray_slice want)
{
    if (want.p == NULL) {
        assert_int_equal(sqlite3_column_type(q, column), SQLITE_NULL);
        return;
    }
    assert_int_equal(sqlite3_column_type(q, column), type);
    const void *got = sqlite3_column_blob(q, column);
    assert_int_equal(sqlite3_column_bytes(q, column), want.n);
    if (want.n > 0)
        assert_memory_equal(got, want.p, want.n);
}

static void compare(const struct outtray_event *events, size_t n,
                    const struct outtray_statement *st)
{
    sqlite3_stmt *q = NULL;

    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT id, topic, key, type, headers, payload, "
                           "deliver_at FROM " OUTBOX "_event ORDER BY seq",
                           -1, &q, NULL),
        SQLITE_OK);
    for (size_t i = 0; i < n; i++) {
        const struct outtray_event *e = &events[i];
        assert_int_equal(sqlite3_step(q), SQLITE_ROW);
        same(q, 0, SQLITE_TEXT, (struct outtray_slice){st->ids[i], 36});
        same(q, 1, SQLITE_TEXT, e->topic);
        same(q, 2, SQLITE_TEXT, e->key);
        same(q, 3, SQLITE_TEXT, e->type);
        same(q, 4, SQLITE_TEXT, e->headers);
        same(q, 5, SQLITE_BLOB, e->payload);
        assert_int_equal(sqlite3_column_type(q, 6),
                         e->deliver_at_us == 0 ? SQLITE_NULL : SQLITE_INTEGER);
        assert_true(sqlite3_column_int64(q, 6) == e->deliver_at_us);
    }
    assert_int_equal(sqlite3_step(q), SQLITE_DONE);
    sqlite3_finalize(q);
}

static void round_trip(const struct outtray_event *events, size_t n,
                       bool strict)
{
    static const enum outtray_style styles[] = {OUTTRAY_QMARK, OUTTRAY_DOLLAR,
                                                OUTTRAY_LITERAL};

    for (size_t s = 0; s < OT_COUNT(styles); s++) {
        struct outtray_enqueue_options options = {.outbox = OUTBOX,
                                                  .dialect = OUTTRAY_SQLITE,
                                                  .style = styles[s],
                                                  .strict = strict};
        struct outtray_statement st;
        struct outtray_error err;
        if (outtray_enqueue_build(&st, &options, events, n, &err) != 0)
            fail_msg("%s", err.text);
        run("BEGIN IMMEDIATE");
        execute(&st);
        compare(events, n, &st);
        run("ROLLBACK");
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
    for (int round = 0; round < 400; round++) {
        size_t n = (size_t)ot_rng_between(&rng, 1, OT_COUNT(events));
        for (size_t i = 0; i < n; i++)
            events[i] = random_event(&rng);
        round_trip(events, n, false);
        for (size_t i = 0; i < n; i++)
            random_event_free(&events[i]);
    }
}

/* The documented limits hold on the real library. */
static void test_largest_statements(void **state)
{
    (void)state;
    enum { N = 6000, MOST = 4680 };
    struct outtray_event *events = calloc(N, sizeof(*events));
    struct outtray_enqueue_options options = {
        .outbox = OUTBOX, .dialect = OUTTRAY_SQLITE, .style = OUTTRAY_QMARK};
    struct outtray_statement st;

    for (int i = 0; i < N; i++)
        events[i].topic = (struct outtray_slice){"t", 1};
    for (int literal = 0; literal < 2; literal++) {
        size_t n = literal ? N : MOST;
        if (literal)
            options.style = OUTTRAY_LITERAL;
        assert_int_equal(outtray_enqueue_build(&st, &options, events, n, NULL),
                         0);
        run("BEGIN IMMEDIATE");
        execute(&st);
        compare(events, n, &st);
        run("ROLLBACK");
        outtray_statement_free(&st);
    }
    free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_random_events),
        cmocka_unit_test(test_largest_statements),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
