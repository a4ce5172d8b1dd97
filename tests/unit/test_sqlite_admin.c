/* test_sqlite_admin.c - what people do with an outbox in a SQLite file, and
 * what a plain INSERT of any client may do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/scratch_sqlite.h"

static int set_up(void **state)
{
    struct scratch *x = calloc(1, sizeof(*x));

    scratch_make(x);
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    scratch_drop(*state);
    free(*state);
    return 0;
}

static void must(int code, const struct outtray_error *err)
{
    if (code != 0)
        fail_msg("%s: %s", outtray_error_name(code), err->text);
}

/* --- plain SQL ----------------------------------------------------------------- */

static void a_plain_insert_is_enough(void **state)
{
    sqlite3 *app = scratch_app(*state);
    sqlite3_stmt *st;
    struct ot_uuid id, last = {{0}};
    int64_t now = ot_wall_us();
    int n = 0;

    app_run(app, "INSERT INTO outtray_event (topic, payload) VALUES "
                 "('t', 'text'), ('t', x'00ff'), ('t', NULL)");
    assert_int_equal(sqlite3_prepare_v2(app,
                                        "SELECT id, created_at, seq FROM "
                                        "outtray_event ORDER BY seq",
                                        -1, &st, NULL),
                     SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);

        assert_true(ot_uuid_parse(ot_slice_of(text), &id));
        assert_int_equal(id.b[6] >> 4, 7);
        assert_int_equal(id.b[8] >> 6, 2);
        assert_in_range(ot_uuid_time_us(id), now - 2000000, now + 2000000);
        assert_in_range(sqlite3_column_int64(st, 1), now - 2000000,
                        now + 2000000);
        assert_memory_not_equal(id.b, last.b, 16);
        last = id;
        assert_int_equal(sqlite3_column_int64(st, 2), ++n);
    }
    assert_int_equal(n, 3);
    sqlite3_finalize(st);
    sqlite3_close(app);
}

static void a_poison_row_is_refused(void **state)
{
    static const struct {
        const char *values; /* of topic, key, headers, payload, id */
        const char *why;    /* NULL: it is taken */
    } cases[] = {
        {"'t', 'k', '{\"a\":\"b\"}', 'x', "
         "'019B3F5C-7f00-7abc-8def-0123456789ab'",
         NULL},
        {"'', NULL, NULL, NULL, NULL", "topic has 1 to 249 bytes"},
        {"NULL, NULL, NULL, NULL, NULL", "NOT NULL"},
        {"printf('%.250c', 'x'), NULL, NULL, NULL, NULL",
         "topic has 1 to 249 bytes"},
        {"'t', printf('%.1025c', 'x'), NULL, NULL, NULL",
         "key has up to 1024 bytes"},
        {"'t', NULL, '{\"a\":1}', NULL, NULL", "flat JSON object"},
        {"'t', NULL, '{\"a\":{}}', NULL, NULL", "flat JSON object"},
        {"'t', NULL, '{\"Outtray-x\":\"1\"}', NULL, NULL", "outtray-..."},
        {"'t', NULL, '{\"id\":\"1\"}', NULL, NULL", "\"id\""},
        {"'t', NULL, '[\"a\"]', NULL, NULL", "headers is a JSON object"},
        {"'t', NULL, '\"a\"', NULL, NULL", "headers is a JSON object"},
        {"'t', NULL, '{\"a\"', NULL, NULL", "malformed JSON"},
        {"'t', NULL, NULL, 5, NULL", "payload is a blob or text"},
        {"'t', NULL, NULL, 'x', 'no-uuid'", "id is not a UUID"},
        {"'t', NULL, NULL, 'x', '019b3f5c-7f00-7abc-8def-0123456789ag'",
         "id is not a UUID"},
        {"'t', NULL, NULL, 'x', '019b3f5c-7f00-7abc-8def--123456789ab'",
         "id is not a UUID"},
    };
    sqlite3 *app = scratch_app(*state);
    char sql[512];

    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        char *why = NULL;

        snprintf(sql, sizeof(sql),
                 "WITH v(a, b, c, d, e) AS (VALUES (%s)) INSERT INTO "
                 "outtray_event (topic, key, headers, payload, id) SELECT a, "
                 "b, c, d, coalesce(e, '019b3f5c-7f00-7abc-8def-0123456789ab') "
                 "FROM v",
                 cases[i].values);
        sqlite3_exec(app, sql, NULL, NULL, &why);
        if (cases[i].why == NULL
                ? why != NULL
                : why == NULL || strstr(why, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].values, why != NULL ? why : "taken");
        sqlite3_free(why);
    }
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), 1);
    sqlite3_close(app);
}

static void views_without_a_relay(void **state)
{
    sqlite3 *app = scratch_app(*state);

    app_run(app, "INSERT INTO outtray_event (topic, payload) VALUES "
                 "('a', 'xyz'), ('b', NULL)");
    assert_int_equal(app_int(app, "SELECT pending FROM outtray_status "
                                  "WHERE subscription = 'main'"),
                     2);
    assert_int_equal(app_int(app, "SELECT lag_s < 60 FROM outtray_status"), 1);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_pending"), 2);
    assert_int_equal(app_int(app, "SELECT payload_bytes FROM outtray_pending"),
                     3);
    /* As a relay would leave it: 1 delivered, 2 dead. */
    app_run(app, "INSERT INTO outtray_cursor (subscription, position, "
                 "created_at) VALUES ('main', 2, 0); "
                 "INSERT INTO outtray_held (subscription, seq, state, "
                 "holds_key, error) VALUES ('main', 2, 'dead', 0, 'boom')");
    assert_int_equal(app_int(app, "SELECT pending FROM outtray_status"), 0);
    assert_int_equal(app_int(app, "SELECT dead FROM outtray_status"), 1);
    assert_int_equal(app_int(app, "SELECT seq FROM outtray_dead "
                                  "WHERE error = 'boom' AND topic = 'b'"),
                     2);
    sqlite3_close(app);
}

/* --- init, upgrade, drop --------------------------------------------------------- */

static int count_line(void *ctx, const char *line)
{
    assert_true(*line != '\0' || ctx != NULL);
    ++*(int *)ctx;
    return 0;
}

static void init_and_upgrade(void **state)
{
    struct ot_init_options options = {0};
    struct ot_store_facts facts;
    struct outtray_error err;
    struct ot_admin *a;
    struct scratch x;
    sqlite3 *app;
    int lines = 0;
    int64_t n;

    (void)state;
    scratch_folder(&x);
    a = scratch_admin(&x);
    must(a->ops->facts(a, &facts, &err), &err);
    assert_false(facts.connected);
    assert_int_equal(facts.schema_version, 0);
    assert_true(facts.writable);
    assert_int_equal(a->ops->drop(a, false, &n, &err),
                     OUTTRAY_E_STORE_NO_SCHEMA);
    assert_int_equal(a->ops->upgrade(a, OT_UPGRADE_RUN, count_line, &lines,
                                     &err),
                     OUTTRAY_E_STORE_NO_SCHEMA);
    options.app_role = "app";
    assert_int_equal(a->ops->init(a, &options, count_line, &lines, &err),
                     OUTTRAY_E_CONF);
    assert_int_not_equal(access(x.path, F_OK), 0);

    options.app_role = NULL;
    options.unique_ids = true;
    must(a->ops->init(a, &options, count_line, &lines, &err), &err);
    assert_int_equal(lines, facts.schema_wanted);
    assert_int_equal(a->ops->init(a, &options, count_line, &lines, &err),
                     OUTTRAY_E_EXISTS);
    must(a->ops->facts(a, &facts, &err), &err);
    assert_true(facts.connected);
    assert_int_equal(facts.schema_version, facts.schema_wanted);
    must(a->ops->upgrade(a, OT_UPGRADE_CHECK, count_line, &lines, &err), &err);
    must(a->ops->upgrade(a, OT_UPGRADE_PLAN, count_line, &lines, &err), &err);
    must(a->ops->upgrade(a, OT_UPGRADE_SQL, count_line, &lines, &err), &err);
    must(a->ops->upgrade(a, OT_UPGRADE_RUN, count_line, &lines, &err), &err);
    assert_int_equal(lines, facts.schema_wanted);

    app = scratch_app(&x);
    assert_int_equal(app_int(app, "SELECT count(*) FROM pragma_journal_mode "
                                  "WHERE journal_mode = 'wal'"),
                     1);
    app_run(app, "CREATE TABLE business (id); INSERT INTO outtray_event "
                 "(topic, id) VALUES ('t', "
                 "'019b3f5c-7f00-7abc-8def-0123456789ab')");
    assert_int_not_equal(
        sqlite3_exec(app,
                     "INSERT INTO outtray_event (topic, id) VALUES ('t', "
                     "'019B3F5C-7F00-7ABC-8DEF-0123456789AB')",
                     NULL, NULL, NULL),
        SQLITE_OK);
    must(a->ops->drop(a, true, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), 1);
    must(a->ops->drop(a, false, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_int_equal(app_int(app, "SELECT count(*) FROM sqlite_master "
                                  "WHERE name NOT LIKE 'sqlite%'"),
                     1); /* the business */
    assert_int_equal(a->ops->begin(a, &err), 0);
    assert_int_equal(a->ops->enqueue(a, &(struct outtray_event){0}, 1, &err),
                     OUTTRAY_E_STORE_NO_SCHEMA);
    assert_int_equal(a->ops->end(a, false, &err), 0);
    must(a->ops->init(a, &options, count_line, &lines, &err), &err);
    sqlite3_close(app);
    a->ops->close(a);
    scratch_drop(&x);
}

static void two_outboxes_in_one_file(void **state)
{
    struct scratch *x = *state;
    struct ot_init_options options = {0};
    struct outtray_error err;
    struct ot_admin *a;
    sqlite3 *app;

    scratch_set(x, "store.outbox", "Other_1");
    a = scratch_admin(x);
    must(a->ops->init(a, &options, NULL, NULL, &err), &err);
    a->ops->close(a);
    app = scratch_app(x);
    app_run(app, "INSERT INTO other_1_event (topic) VALUES ('t')");
    assert_int_equal(app_int(app, "SELECT last_seq FROM Other_1_status"), 1);
    assert_int_equal(app_int(app, "SELECT last_seq FROM outtray_status"), 0);
    sqlite3_close(app);
    assert_int_equal(outtray_conf_set(x->conf, "store.outbox", "sqlite_x",
                                      &err) == 0
                         ? ot_admin_open(&a, x->conf, &err)
                         : OUTTRAY_E_CONF,
                     OUTTRAY_E_CONF);
}

/* --- enqueue --------------------------------------------------------------------- */

static struct outtray_event event(const char *topic, const char *payload)
{
    struct outtray_event e = {.topic = {topic, strlen(topic)},
                              .payload = {payload, strlen(payload)}};

    return e;
}

static void enqueue_is_all_or_nothing(void **state)
{
    enum { N = 2500 };
    struct outtray_event *events = calloc(N, sizeof(*events));
    struct ot_admin *a = scratch_admin(*state);
    sqlite3 *app = scratch_app(*state);
    struct outtray_error err;
    struct outtray_event one = event("orders", "\xff\x01");

    for (int i = 0; i < N; i++)
        events[i] = event("orders", "x");
    assert_int_equal(a->ops->enqueue(a, events, 1, &err),
                     OUTTRAY_E_NOT_IN_TRANSACTION);
    assert_int_equal(a->ops->end(a, true, &err), OUTTRAY_E_NOT_IN_TRANSACTION);
    must(a->ops->begin(a, &err), &err);
    assert_int_equal(a->ops->begin(a, &err), OUTTRAY_E_MISUSE);
    must(a->ops->enqueue(a, &one, 1, &err), &err);
    /* The last part is refused: the parts before it go as well. */
    events[N - 1].topic.n = 0;
    assert_int_equal(a->ops->enqueue(a, events, N, &err),
                     OUTTRAY_E_INVALID_EVENT);
    events[N - 1] = event("orders", "x");
    must(a->ops->enqueue(a, events, N, &err), &err);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), 0);
    must(a->ops->end(a, true, &err), &err);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), N + 1);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event "
                                  "WHERE seq = 1 AND payload = x'ff01'"),
                     1);
    must(a->ops->begin(a, &err), &err);
    must(a->ops->enqueue(a, events, 10, &err), &err);
    must(a->ops->end(a, false, &err), &err);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), N + 1);
    /* The same id again, where ids are unique. */
    app_run(app, "CREATE UNIQUE INDEX u ON outtray_event (id)");
    one.id = (struct outtray_slice){"019b3f5c-7f00-7abc-8def-0123456789ab", 36};
    must(a->ops->begin(a, &err), &err);
    must(a->ops->enqueue(a, &one, 1, &err), &err);
    assert_int_equal(a->ops->enqueue(a, &one, 1, &err), OUTTRAY_E_EXISTS);
    must(a->ops->end(a, true, &err), &err);
    sqlite3_close(app);
    a->ops->close(a);
    free(events);
}

static void business_sql(void **state)
{
    struct ot_admin *a = scratch_admin(*state);
    struct outtray_error err;
    char cell[4];

    must(a->ops->sql(a, "CREATE TABLE orders (id INTEGER PRIMARY KEY)", NULL, 0,
                     &err),
         &err);
    must(a->ops->sql(a, "SELECT 'abcdefg'", cell, sizeof(cell), &err), &err);
    assert_string_equal(cell, "abc");
    must(a->ops->sql(a, "SELECT id FROM orders", cell, sizeof(cell), &err),
         &err);
    assert_string_equal(cell, "");
    must(a->ops->begin(a, &err), &err);
    must(a->ops->sql(a, "INSERT INTO orders VALUES (1), (2)", NULL, 0, &err),
         &err);
    must(a->ops->end(a, false, &err), &err);
    must(a->ops->sql(a, "SELECT count(*) FROM orders", cell, 4, &err), &err);
    assert_string_equal(cell, "0");
    assert_int_equal(a->ops->sql(a, "SELEC", NULL, 0, &err), OUTTRAY_E_STORE);
    a->ops->close(a);
}

/* --- looking ----------------------------------------------------------------------- */

struct seen {
    unsigned n;
    int64_t seqs[16];
    int fates[16];
    size_t bytes;
    bool payload;
    char error[64];
    int stop_at; /* stop with 7 at the n-th */
};

static int see(void *ctx, const struct ot_event_info *info)
{
    struct seen *s = ctx;

    assert_true(s->n < OT_COUNT(s->seqs));
    s->seqs[s->n] = info->event.seq;
    s->fates[s->n] = (int)info->fate;
    s->bytes = info->payload_bytes;
    s->payload = info->event.payload.p != NULL;
    if (info->error != NULL)
        snprintf(s->error, sizeof(s->error), "%s", info->error);
    s->n++;
    return s->stop_at > 0 && (int)s->n == s->stop_at ? 7 : 0;
}

static struct seen look(struct ot_admin *a, struct ot_event_query q)
{
    struct outtray_error err;
    struct seen s;

    memset(&s, 0, sizeof(s));
    q.subscription = "main";
    must(a->ops->events(a, &q, see, &s, &err), &err);
    return s;
}

/* 1 and 2 delivered, 3 dead, 4 waiting, 5 in a gap, 6 and 7 pending. */
static void seven_events(sqlite3 *app)
{
    app_run(app,
            "INSERT INTO outtray_event (topic, key, payload) VALUES "
            "('a', 'k', 'xyz'), ('b', 'k', 'xyz'), ('a', 'l', 'xyz'), "
            "('a', NULL, 'xyz'), ('a', 'k', 'xyz'), ('b', 'k', 'xyz'), "
            "('a', 'k', 'xyz');"
            "INSERT INTO outtray_cursor (subscription, position, created_at, "
            "owner, fence, lease_expires_at) VALUES ('main', 5, 0, 'o', 3, 1);"
            "INSERT INTO outtray_held (subscription, seq, state, holds_key, "
            "error, attempts) VALUES ('main', 3, 'dead', 1, 'boom', 4), "
            "('main', 4, 'waiting', 0, NULL, 0), ('main', 7, 'scheduled', 0, "
            "NULL, 0);"
            "INSERT INTO outtray_gap VALUES ('main', 5, 5)");
}

static void events_by_query(void **state)
{
    struct ot_admin *a = scratch_admin(*state);
    sqlite3 *app = scratch_app(*state);
    struct outtray_error err;
    struct seen s;
    char id[64];

    seven_events(app);
    s = look(a, (struct ot_event_query){.held_state = -1});
    assert_int_equal(s.n, 7);
    assert_int_equal(s.fates[0], OT_FATE_DELIVERED);
    assert_int_equal(s.fates[1], OT_FATE_DELIVERED);
    assert_int_equal(s.fates[2], OT_FATE_HELD);
    assert_int_equal(s.fates[3], OT_FATE_HELD);
    assert_int_equal(s.fates[4], OT_FATE_PENDING);
    assert_int_equal(s.fates[5], OT_FATE_PENDING);
    assert_int_equal(s.fates[6], OT_FATE_HELD);
    assert_string_equal(s.error, "boom");
    assert_int_equal(s.bytes, 3);
    assert_false(s.payload);
    s = look(a, (struct ot_event_query){
                    .held_state = -1, .after_seq = -2, .with_payload = true});
    assert_int_equal(s.n, 2);
    assert_int_equal(s.seqs[0], 6);
    assert_true(s.payload);
    s = look(a, (struct ot_event_query){
                    .held_state = -1, .after_seq = 2, .limit = 3});
    assert_int_equal(s.n, 3);
    assert_int_equal(s.seqs[0], 3);
    s = look(
        a, (struct ot_event_query){.held_state = -1, .key = "k", .topic = "a"});
    assert_int_equal(s.n, 3);
    assert_int_equal(s.seqs[1], 5);
    s = look(a, (struct ot_event_query){.held_state = -1, .held_only = true});
    assert_int_equal(s.n, 3);
    s = look(a, (struct ot_event_query){.held_state = OT_HELD_DEAD,
                                        .held_only = true});
    assert_int_equal(s.n, 1);
    assert_int_equal(s.seqs[0], 3);

    must(a->ops->sql(a, "SELECT upper(id) FROM outtray_event WHERE seq = 6", id,
                     sizeof(id), &err),
         &err);
    s = look(a, (struct ot_event_query){.held_state = -1, .id = id});
    assert_int_equal(s.n, 1);
    assert_int_equal(s.seqs[0], 6);
    memset(&s, 0, sizeof(s));
    s.stop_at = 2;
    assert_int_equal(
        a->ops->events(a,
                       &(struct ot_event_query){.subscription = "main",
                                                .held_state = -1},
                       see, &s, &err),
        7);
    assert_int_equal(s.n, 2);
    sqlite3_close(app);
    a->ops->close(a);
}

/* Found by the time in the id, among rows of other days, and by a full scan
 * where the id does not tell the time. */
static void events_by_id(void **state)
{
    struct ot_admin *a = scratch_admin(*state);
    sqlite3 *app = scratch_app(*state);
    struct seen s;

    app_run(app, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM "
                 "c WHERE i < 3000) INSERT INTO outtray_event (topic, id, "
                 "created_at) SELECT 't', printf('%08x-%04x-7000-8000-%012x', "
                 "(1700000000000 + i * 60000) >> 16, (1700000000000 + i * "
                 "60000) & 65535, i), (1700000000000 + i * 60000) * 1000 "
                 "FROM c");
    app_run(app, "DELETE FROM outtray_event WHERE seq BETWEEN 100 AND 1499");
    app_run(app, "INSERT INTO outtray_event (topic, id) VALUES "
                 "('t', '11111111-1111-4111-8111-111111111111'), "
                 "('t', '00000000-0000-7000-8000-000000000000')");
    for (int64_t seq = 1; seq <= 3000; seq += seq == 99 ? 1401 : 233) {
        char id[64], sql[100];
        struct outtray_error err;

        if (seq > 99 && seq < 1500)
            continue;
        snprintf(sql, sizeof(sql),
                 "SELECT id FROM outtray_event WHERE seq = %lld",
                 (long long)seq);
        must(a->ops->sql(a, sql, id, sizeof(id), &err), &err);
        s = look(a, (struct ot_event_query){.held_state = -1, .id = id});
        assert_int_equal(s.n, 1);
        assert_int_equal(s.seqs[0], seq);
    }
    s = look(a, (struct ot_event_query){
                    .held_state = -1,
                    .id = "11111111-1111-4111-8111-111111111111"});
    assert_int_equal(s.n, 1);
    s = look(a, (struct ot_event_query){
                    .held_state = -1,
                    .id = "00000000-0000-7000-8000-000000000000"});
    assert_int_equal(s.n, 1);
    s = look(a, (struct ot_event_query){
                    .held_state = -1,
                    .id = "22222222-1111-4111-8111-111111111111"});
    assert_int_equal(s.n, 0);
    sqlite3_close(app);
    a->ops->close(a);
}

static int keep_status(void *ctx, const struct ot_status *st)
{
    *(struct ot_status *)ctx = *st;
    return 0;
}

static void status(void **state)
{
    struct ot_admin *a = scratch_admin(*state);
    sqlite3 *app = scratch_app(*state);
    struct outtray_error err;
    struct ot_status st;
    int64_t seqs[] = {3, 4};

    must(a->ops->status(a, NULL, keep_status, &st, &err), &err);
    assert_string_equal(st.subscription, "main");
    assert_int_equal(st.oldest_age_us, -1);
    assert_int_equal(st.written_age_us, -1);
    seven_events(app);
    must(a->ops->command(a, "main", OT_REDRIVE, seqs, 2, &err), &err);
    must(a->ops->command(a, "main", OT_PAUSE, NULL, 0, &err), &err);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_command "
                                  "WHERE verb = 'redrive' AND argument = 4"),
                     1);
    must(a->ops->status(a, "main", keep_status, &st, &err), &err);
    assert_int_equal(st.position, 5);
    assert_int_equal(st.last_seq, 7);
    assert_int_equal(st.pending, 1); /* 6; 7 is held */
    assert_false(st.pending_is_estimate);
    assert_int_equal(st.held[OT_HELD_DEAD], 1);
    assert_int_equal(st.held[OT_HELD_WAITING], 1);
    assert_int_equal(st.held[OT_HELD_SCHEDULED], 1);
    assert_int_equal(st.gaps, 1);
    assert_int_equal(st.commands, 3);
    assert_int_equal(st.fence, 3);
    assert_true(st.lease_left_us < 0);
    assert_true(st.oldest_age_us >= 0 && st.oldest_age_us < 60000000);
    assert_int_equal(a->ops->status(a, "nobody", keep_status, &st, &err),
                     OUTTRAY_E_NOT_FOUND);
    sqlite3_close(app);
    a->ops->close(a);
}

static int no_error(void *ctx, const struct ot_finding *f)
{
    ++*(int *)ctx;
    if (f->level == OT_ERROR)
        fail_msg("%s: %s", f->check, f->text);
    assert_true(f->text[0] != '\0');
    assert_true(f->level == OT_INFO || f->fix != NULL);
    return 0;
}

static int find_wal(void *ctx, const struct ot_finding *f)
{
    if (strcmp(f->check, "journal-mode") == 0 && f->level == OT_ERROR)
        *(int *)ctx = 1;
    return 0;
}

static void doctor(void **state)
{
    struct ot_admin *a = scratch_admin(*state);
    sqlite3 *app = scratch_app(*state);
    struct outtray_error err;
    int n = 0, found = 0;

    must(a->ops->doctor(a, no_error, &n, &err), &err);
    assert_true(n >= 7);
    a->ops->close(a); /* the mode changes only if nobody has the file open */
    app_run(app, "PRAGMA journal_mode = DELETE");
    a = scratch_admin(*state);
    must(a->ops->doctor(a, find_wal, &found, &err), &err);
    assert_int_equal(found, 1);
    sqlite3_close(app);
    a->ops->close(a);
}

static void prune_by_hand(void **state)
{
    struct ot_admin *a = scratch_admin(*state);
    sqlite3 *app = scratch_app(*state);
    struct ot_prune_request q = {INT64_MAX, 100};
    struct ot_prune_reply r;
    struct outtray_error err;

    seven_events(app);
    must(a->ops->prune(a, &q, true, &r, &err), &err);
    assert_int_equal(r.deleted, 2);
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), 7);
    a->ops->close(a);
    a = scratch_admin(*state);
    must(a->ops->prune(a, &q, false, &r, &err), &err);
    assert_int_equal(r.deleted, 2);
    assert_false(r.more);
    assert_int_equal(app_int(app, "SELECT min(seq) FROM outtray_event"), 3);
    sqlite3_close(app);
    a->ops->close(a);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_plain_insert_is_enough),
        TEST(a_poison_row_is_refused),
        TEST(views_without_a_relay),
        cmocka_unit_test(init_and_upgrade),
        TEST(two_outboxes_in_one_file),
        TEST(enqueue_is_all_or_nothing),
        TEST(business_sql),
        TEST(events_by_query),
        TEST(events_by_id),
        TEST(status),
        TEST(doctor),
        TEST(prune_by_hand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
