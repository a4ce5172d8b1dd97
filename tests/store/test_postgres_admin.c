/* What people do with an outbox in PostgreSQL: init, look, mend, drop. */
#include "admin_pg.h"

#include <pthread.h>

/* --- init ----------------------------------------------------------------- */

static void init_once(void **state)
{
    struct ot_buffer lines = {0};
    struct ot_store_facts facts;

    (void)state;
    ok(admin->ops->init(admin, &no_options, collect, &lines, &err));
    assert_memory_equal(lines.p, "0001 ", 5);
    ok(admin->ops->facts(admin, &facts, &err));
    assert_int_equal(facts.schema_version, facts.schema_wanted);
    ot_buffer_clear(&lines);
    failed(admin->ops->init(admin, &no_options, collect, &lines, &err),
           OUTTRAY_E_EXISTS, "there already");
    assert_string_equal(lines.p, "");
    ot_buffer_free(&lines);
}

static void init_of_others(void **state)
{
    struct ot_init_options options = {.app_role = "no_such_role"};
    struct ot_admin *a;

    (void)state;
    failed(admin->ops->init(admin, &options, NULL, NULL, &err),
           OUTTRAY_E_NOT_FOUND, "CREATE ROLE \"no_such_role\"");
    assert_int_equal(pg_int(pg.db,
                            "SELECT count(*) FROM pg_namespace WHERE nspname = "
                            "'shop'"),
                     0);
    pg_run(pg.db, "CREATE SCHEMA taken; CREATE TABLE taken.event (x int)");
    ok(open_as(pg.url, "taken", &a));
    failed(a->ops->init(a, &no_options, NULL, NULL, &err), OUTTRAY_E_EXISTS,
           "choose another store.outbox");
    a->ops->close(a);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM pg_class c JOIN "
                                   "pg_namespace n ON n.oid = relnamespace "
                                   "WHERE nspname = 'taken'"),
                     1);
    /* Two outboxes beside each other, one with a name that needs quotes. */
    ok(open_as(pg.url, "Select", &a));
    ok(a->ops->init(a, &no_options, NULL, NULL, &err));
    a->ops->close(a);
    ok(admin->ops->init(admin, &no_options, NULL, NULL, &err));
}

static void *init_thread(void *out)
{
    struct outtray_conf *c = pg_conf(pg.url, "shop");
    struct ot_admin *a;
    int *rc = out;

    *rc = ot_admin_open(&a, c, NULL);
    if (*rc == 0) {
        *rc = a->ops->init(a, &no_options, NULL, NULL, NULL);
        a->ops->close(a);
    }
    outtray_conf_free(c);
    return NULL;
}

static void init_at_once(void **state)
{
    pthread_t threads[4];
    int rc[4], made = 0;

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, init_thread, &rc[i]),
                         0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(rc[i] == 0 || rc[i] == OUTTRAY_E_EXISTS);
        made += rc[i] == 0;
    }
    assert_int_equal(made, 1);
}

static int enqueue_as(struct ot_admin *a, const struct outtray_event *events,
                      size_t n)
{
    int rc = a->ops->begin(a, &err);

    if (rc == 0)
        rc = a->ops->enqueue(a, events, n, &err);
    if (rc == 0)
        return a->ops->end(a, true, &err);
    (void)a->ops->end(a, false, NULL);
    return rc;
}

static const struct outtray_event simple = {
    .topic = {"orders", 6}, .key = {"7", 1}, .payload = {"{}", 2}};

static void refuse_sql(struct ot_admin *a, const char *sql)
{
    failed(a->ops->sql(a, sql, NULL, 0, &err), OUTTRAY_E_STORE_PERMISSION,
           "permission");
}

static void rights_of_an_app(void **state)
{
    struct ot_init_options options = {.app_role = pg.name};
    struct ot_admin *a;
    char cell[64];

    (void)state;
    failed(admin->ops->init(admin, &options, NULL, NULL, &err),
           OUTTRAY_E_EXISTS, "rights were granted");
    ok(open_as(pg.relay, "shop", &a));
    ok(enqueue_as(a, &simple, 1));
    ok(a->ops->sql(a, "SELECT shop.enqueue('orders', '{}', key => '7')", cell,
                   sizeof(cell), &err));
    assert_int_equal(strlen(cell), 36);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 2);
    refuse_sql(a, "INSERT INTO shop.event (seq, topic) OVERRIDING SYSTEM VALUE "
                  "VALUES (-1, 't')");
    refuse_sql(a, "SELECT * FROM shop.event");
    refuse_sql(a, "DELETE FROM shop.event");
    refuse_sql(a, "SELECT nextval('shop.event_seq_seq')");
    refuse_sql(a, "SELECT * FROM shop.cursor");
    a->ops->close(a);
}

static int count_status(void *ctx, const struct ot_status *s)
{
    (void)s;
    ++*(int *)ctx;
    return 0;
}

static int count_events(void *ctx, const struct ot_event_info *info)
{
    (void)info;
    ++*(int *)ctx;
    return 0;
}

static void rights_of_a_relay(void **state)
{
    struct ot_init_options options = {.relay_role = pg.name};
    struct ot_event_query q = {.subscription = "main", .held_state = -1};
    struct ot_prune_reply pruned;
    struct ot_admin *a;
    int n = 0;

    (void)state;
    ok(enqueue_as(admin, &simple, 1));
    pg_run(pg.db, "CREATE TABLE business (x int); INSERT INTO shop.cursor "
                  "(subscription, position) VALUES ('main', 1)");
    failed(admin->ops->init(admin, &options, NULL, NULL, &err),
           OUTTRAY_E_EXISTS, "rights were granted");
    ok(open_as(pg.relay, "shop", &a));
    ok(a->ops->status(a, NULL, count_status, &n, &err));
    ok(a->ops->events(a, &q, count_events, &n, &err));
    assert_int_equal(n, 2);
    ok(a->ops->command(a, "main", OT_PAUSE, NULL, 0, &err));
    ok(a->ops->prune(a, &(struct ot_prune_request){ot_wall_us() + 1000000, 10},
                     false, &pruned, &err));
    assert_int_equal(pruned.deleted, 1);
    refuse_sql(a, "SELECT * FROM business");
    refuse_sql(a, "INSERT INTO shop.event (topic) VALUES ('t')");
    refuse_sql(a, "UPDATE shop.event SET topic = 't'");
    ok(a->ops->sql(a, "SELECT count(*) FROM shop.pending", NULL, 0, &err));
    ok(a->ops->sql(a, "SELECT count(*) FROM shop.dead", NULL, 0, &err));
    ok(a->ops->sql(a, "SELECT count(*) FROM shop.status", NULL, 0, &err));
    a->ops->close(a);
}

static void unique_ids(void **state)
{
    struct ot_init_options options = {.unique_ids = true};
    struct outtray_event e = simple;
    struct ot_event_query q = {.subscription = "main", .held_state = -1};
    int n = 0;

    (void)state;
    ok(admin->ops->init(admin, &options, NULL, NULL, &err));
    e.id.p = q.id = "11111111-2222-4333-8444-555555555555";
    e.id.n = 36;
    ok(enqueue_as(admin, &e, 1));
    failed(enqueue_as(admin, &e, 1), OUTTRAY_E_EXISTS, "event_id");
    assert_string_equal(err.sqlstate, "23505");
    ok(admin->ops->events(admin, &q, count_events, &n, &err));
    assert_int_equal(n, 1);
    failed(admin->ops->init(admin, &options, NULL, NULL, &err),
           OUTTRAY_E_EXISTS, "CONCURRENTLY");
}

/* --- upgrade and drop ------------------------------------------------------ */

static void upgrades(void **state)
{
    struct ot_buffer lines = {0};

    (void)state;
    ot_buffer_puts(&lines, "");
    for (int mode = OT_UPGRADE_RUN; mode <= OT_UPGRADE_CHECK; mode++)
        ok(admin->ops->upgrade(admin, (enum ot_upgrade_mode)mode, collect,
                               &lines, &err));
    assert_string_equal(lines.p, "");
    pg_run(pg.db, "UPDATE shop.meta SET schema_version = 1000");
    failed(admin->ops->upgrade(admin, OT_UPGRADE_RUN, collect, &lines, &err),
           OUTTRAY_E_STORE_VERSION, "newer outtray");
    failed(admin->ops->status(admin, NULL, NULL, NULL, &err),
           OUTTRAY_E_STORE_VERSION, "1000");
    ot_buffer_free(&lines);
}

static void drops(void **state)
{
    int64_t n = -1;

    (void)state;
    ok(enqueue_as(admin, &simple, 1));
    ok(enqueue_as(admin, &simple, 1));
    ok(admin->ops->drop(admin, true, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 2);
    /* What others built on it is not dropped with it. */
    pg_run(pg.db, "CREATE VIEW mine AS SELECT topic FROM shop.event");
    failed(admin->ops->drop(admin, false, &n, &err), OUTTRAY_E_STORE, "mine");
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 2);
    pg_run(pg.db, "DROP VIEW mine; CREATE TABLE shop.mine (x int)");
    ok(admin->ops->drop(admin, false, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM pg_class c JOIN "
                                   "pg_namespace n ON n.oid = relnamespace "
                                   "WHERE nspname = 'shop'"),
                     1);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM pg_proc p JOIN "
                                   "pg_namespace n ON n.oid = pronamespace "
                                   "WHERE nspname = 'shop'"),
                     0);
    pg_run(pg.db, "DROP TABLE shop.mine");
    ok(admin->ops->init(admin, &no_options, NULL, NULL, &err));
    ok(admin->ops->drop(admin, false, &n, &err));
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM pg_namespace WHERE "
                                   "nspname = 'shop'"),
                     0);
}

/* Nobody waits behind a drop that waits itself. */
static void drop_gives_up(void **state)
{
    int64_t n, start = ot_now_us();

    (void)state;
    pg_run(pg.db, "BEGIN; LOCK TABLE shop.event IN ROW EXCLUSIVE MODE");
    failed(admin->ops->drop(admin, false, &n, &err), OUTTRAY_E_STORE_BUSY,
           "lock");
    assert_in_range(ot_now_us() - start, 4000000, 60000000);
    pg_run(pg.db, "ROLLBACK");
}

/* --- enqueue --------------------------------------------------------------- */

static void enqueues(void **state)
{
    struct outtray_event events[1000];
    char keys[1000][8];

    (void)state;
    memset(events, 0, sizeof(events));
    for (int i = 0; i < 1000; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        events[i].topic.p = "orders.created";
        events[i].topic.n = 14;
        events[i].key.p = keys[i];
        events[i].key.n = strlen(keys[i]);
        events[i].payload.p = "\0\xff'\\";
        events[i].payload.n = (size_t)(i % 5);
    }
    events[7].payload.p = NULL;
    events[7].payload.n = 0;
    ok(admin->ops->begin(admin, &err));
    failed(admin->ops->begin(admin, &err), OUTTRAY_E_MISUSE, "end it first");
    ok(admin->ops->enqueue(admin, events, 1000, &err));
    ok(admin->ops->enqueue(admin, events, 1, &err));
    ok(admin->ops->end(admin, true, &err));
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 1001);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM (SELECT key, "
                                   "lag(key) OVER (ORDER BY seq) FROM "
                                   "shop.event) x WHERE key = 'k500' AND lag = "
                                   "'k499'"),
                     1);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event WHERE "
                                   "payload = '\\x00ff275c'"),
                     200);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event WHERE "
                                   "payload IS NULL AND key = 'k7'"),
                     1);
    ok(admin->ops->begin(admin, &err));
    ok(admin->ops->enqueue(admin, events, 1000, &err));
    ok(admin->ops->end(admin, false, &err));
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 1001);
}

static void enqueue_refusals(void **state)
{
    struct outtray_event bad = {.topic = {"", 0}};

    (void)state;
    failed(admin->ops->enqueue(admin, &simple, 1, &err), OUTTRAY_E_MISUSE,
           "begin one first");
    failed(admin->ops->end(admin, true, &err), OUTTRAY_E_MISUSE,
           "begin one first");
    ok(admin->ops->begin(admin, &err));
    failed(admin->ops->enqueue(admin, &bad, 1, &err), OUTTRAY_E_INVALID_EVENT,
           "topic");
    ok(admin->ops->enqueue(admin, &simple, 1, &err));
    failed(admin->ops->sql(admin, "SELECT 1 / 0", NULL, 0, &err),
           OUTTRAY_E_STORE, "division by zero");
    failed(admin->ops->end(admin, true, &err), OUTTRAY_E_STORE, "rolled back");
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 0);
    /* The connection is as good as before. */
    ok(enqueue_as(admin, &simple, 1));
}

/* --- looking --------------------------------------------------------------- */

static int keep_status(void *ctx, const struct ot_status *s)
{
    *(struct ot_status *)ctx = *s;
    return 0;
}

static int stop_status(void *ctx, const struct ot_status *s)
{
    (void)ctx;
    (void)s;
    return 7;
}

static void statuses(void **state)
{
    struct ot_status s = {.position = -1};
    int n = 0;

    (void)state;
    /* No relay has ever run. */
    ok(enqueue_as(admin, &simple, 1));
    ok(admin->ops->status(admin, NULL, keep_status, &s, &err));
    assert_string_equal(s.subscription, "main");
    assert_int_equal(s.pending, 1);
    assert_int_equal(s.written_age_us, -1);
    assert_true(s.lease_left_us <= 0);
    assert_in_range(s.oldest_age_us, 0, 60000000);
    pg_run(pg.db, "TRUNCATE shop.event RESTART IDENTITY");

    make_scene();
    ok(admin->ops->status(admin, "main", keep_status, &s, &err));
    assert_int_equal(s.position, 10);
    assert_int_equal(s.last_seq, 20);
    assert_int_equal(s.pending, 10); /* 11 to 20, 3 in a gap, not 12 */
    assert_false(s.pending_is_estimate);
    assert_int_equal(s.held[OT_HELD_DEAD], 1);
    assert_int_equal(s.held[OT_HELD_RETRYING], 1);
    assert_int_equal(s.held[OT_HELD_BLOCKED], 1);
    assert_int_equal(s.held[OT_HELD_WAITING], 0);
    assert_int_equal(s.held[OT_HELD_SCHEDULED], 0);
    assert_int_equal(s.gaps, 2);
    assert_int_equal(s.fence, 3);
    assert_int_equal(s.commands, 1);
    assert_string_equal(s.owner, "11111111-2222-4333-8444-555555555555");
    assert_in_range(s.lease_left_us, 1000000, 10000000);
    assert_in_range(s.written_age_us, 1000000, 60000000);
    assert_false(s.paused);

    pg_run(pg.db, "INSERT INTO shop.cursor (subscription, paused) VALUES "
                  "('other', true)");
    ok(admin->ops->status(admin, NULL, count_status, &n, &err));
    assert_int_equal(n, 2);
    ok(admin->ops->status(admin, "other", keep_status, &s, &err));
    assert_true(s.paused);
    assert_int_equal(s.pending, 19);
    assert_string_equal(s.owner, "");
    failed(admin->ops->status(admin, "third", keep_status, &s, &err),
           OUTTRAY_E_NOT_FOUND, "third");
    assert_int_equal(admin->ops->status(admin, NULL, stop_status, NULL, &err),
                     7);
}

struct seen {
    struct ot_buffer text; /* "seq fate;" */
    struct ot_event_info last;
    char payload[8];
    char error[32];
    int stop_after;
};

static int see(void *ctx, const struct ot_event_info *info)
{
    struct seen *s = ctx;
    const char *fate = info->fate == OT_FATE_PENDING ? "p"
                       : info->fate == OT_FATE_HELD  ? "h"
                                                     : "d";

    ot_buffer_printf(&s->text, "%lld%s%s ", (long long)info->event.seq, fate,
                     info->in_gap ? "g" : "");
    s->last = *info;
    snprintf(s->error, sizeof(s->error), "%s", info->error ? info->error : "");
    memset(s->payload, 0, sizeof(s->payload));
    if (info->event.payload.p != NULL)
        memcpy(s->payload, info->event.payload.p, info->event.payload.n);
    return --s->stop_after == 0 ? 42 : 0;
}

static void expect(struct ot_event_query q, const char *wanted)
{
    struct seen s = {.stop_after = -1};

    q.subscription = "main";
    ot_buffer_puts(&s.text, "");
    ok(admin->ops->events(admin, &q, see, &s, &err));
    if (strcmp(s.text.p, wanted) != 0)
        fail_msg("'%s' instead of '%s'", s.text.p, wanted);
    ot_buffer_free(&s.text);
}

#define ANY .held_state = -1

static void listings(void **state)
{
    struct ot_event_query q = {.subscription = "main", ANY};
    struct seen s = {.stop_after = 3};

    (void)state;
    make_scene();
    expect((struct ot_event_query){ANY, .limit = 12},
           "1d 2d 3pg 4h 5h 6d 8d 9d 10d 11p 12h 13p ");
    expect((struct ot_event_query){ANY, .after_seq = 18}, "19p 20p ");
    expect((struct ot_event_query){ANY, .after_seq = -3}, "18p 19p 20p ");
    expect((struct ot_event_query){ANY, .after_seq = -3, .limit = 2},
           "19p 20p ");
    expect((struct ot_event_query){ANY, .after_seq = -100, .key = "k1"},
           "1d 4h 10d 13p 16p 19p ");
    expect((struct ot_event_query){ANY, .after_seq = -2, .key = "k1"},
           "16p 19p ");
    expect((struct ot_event_query){ANY, .topic = "t0", .limit = 4},
           "2d 4h 6d 8d ");
    expect((struct ot_event_query){ANY, .topic = "none"}, "");
    expect((struct ot_event_query){ANY, .after_seq = -2, .topic = "none"}, "");
    expect((struct ot_event_query){ANY, .held_only = true}, "4h 5h 12h ");
    expect((struct ot_event_query){ANY, .held_only = true, .key = "k2"}, "5h ");
    expect((struct ot_event_query){ANY, .held_only = true, .after_seq = -2},
           "5h 12h ");
    expect((struct ot_event_query){.held_only = true,
                                   .held_state = OT_HELD_DEAD},
           "4h ");
    expect((struct ot_event_query){.held_state = OT_HELD_BLOCKED}, "12h ");
    assert_int_equal(admin->ops->events(admin, &q, see, &s, &err), 42);
    assert_string_equal(s.text.p, "1d 2d 3pg ");
    ot_buffer_free(&s.text);
    /* Another subscription has another view. */
    q.subscription = "other";
    q.limit = 4;
    s = (struct seen){.stop_after = -1};
    ok(admin->ops->events(admin, &q, see, &s, &err));
    assert_string_equal(s.text.p, "1p 2p 3p 4p ");
    ot_buffer_free(&s.text);
}

static void details(void **state)
{
    struct ot_event_query q = {.subscription = "main",
                               .held_state = OT_HELD_DEAD};
    struct seen s = {.stop_after = -1};
    const struct ot_event_info *i = &s.last;
    int64_t now = ot_wall_us();

    (void)state;
    make_scene();
    ok(admin->ops->events(admin, &q, see, &s, &err));
    assert_int_equal(i->held.attempts, 9);
    assert_int_equal(i->held.error_code, 10);
    assert_int_equal(i->held.retried_us, 77);
    assert_int_equal(i->held.next_us, 0);
    assert_int_equal(i->held.state, OT_HELD_DEAD);
    assert_true(i->held.holds_key);
    assert_in_range(i->held.last_error_us, now - 60000000, now + 60000000);
    assert_true(i->held.key == ot_hash(ot_slice("k1", 2)));
    assert_string_equal(s.error, "too large");
    assert_in_range(i->event.created_us, now - 60000000, now + 60000000);
    assert_int_equal(i->event.deliver_us, 0);
    assert_int_equal(i->payload_bytes, 1);
    assert_null(i->event.payload.p);
    q.with_payload = true;
    ok(admin->ops->events(admin, &q, see, &s, &err));
    assert_int_equal(i->event.payload.n, 1);
    assert_int_equal(s.payload[0], 4);
    /* Bytes, times and nothing at all. */
    pg_run(pg.db, "INSERT INTO shop.event (topic, type, headers, payload, "
                  "deliver_at) VALUES ('t', 'T', '{\"a\":\"b\"}', "
                  "'\\x00ff275c', '2030-01-01T00:00:00Z'), ('t', NULL, NULL, "
                  "NULL, 'infinity'), ('t', NULL, NULL, '', NULL)");
    q = (struct ot_event_query){
        .subscription = "main", ANY, .after_seq = 20, .with_payload = true};
    q.limit = 1;
    ok(admin->ops->events(admin, &q, see, &s, &err));
    assert_int_equal(i->event.payload.n, 4);
    assert_memory_equal(s.payload, "\x00\xff'\\", 4);
    assert_true(i->event.deliver_us == INT64_C(1893456000000000));
    q.after_seq = 21;
    ok(admin->ops->events(admin, &q, see, &s, &err));
    assert_null(i->event.payload.p);
    assert_int_equal(i->payload_bytes, 0);
    assert_null(i->event.type.p);
    assert_null(i->event.key.p);
    q.after_seq = 22;
    ok(admin->ops->events(admin, &q, see, &s, &err));
    assert_non_null(i->event.payload.p);
    assert_int_equal(i->event.payload.n, 0);
    ot_buffer_free(&s.text);
}

static void many_pages(void **state)
{
    struct ot_event_query q = {.subscription = "main", ANY};
    int n = 0;

    (void)state;
    pg_run(pg.db, "INSERT INTO shop.event (topic) SELECT 't' FROM "
                  "generate_series(1, 1300)");
    ok(admin->ops->events(admin, &q, count_events, &n, &err));
    assert_int_equal(n, 1300);
    n = 0;
    q.limit = 1001;
    q.after_seq = -1200;
    ok(admin->ops->events(admin, &q, count_events, &n, &err));
    assert_int_equal(n, 1001);
    n = 0;
    q = (struct ot_event_query){
        .subscription = "main", ANY, .after_seq = 1200, .with_payload = true};
    ok(admin->ops->events(admin, &q, count_events, &n, &err));
    assert_int_equal(n, 100);
}

static void expect_id(const char *id, int64_t seq)
{
    struct ot_event_query q = {.subscription = "main", ANY, .id = id};
    struct seen s = {.stop_after = -1};

    ok(admin->ops->events(admin, &q, see, &s, &err));
    if (s.last.event.seq != seq)
        fail_msg("%s is seq %lld, found %lld", id, (long long)seq,
                 (long long)s.last.event.seq);
    ot_buffer_free(&s.text);
}

static void by_id(void **state)
{
    struct ot_event_query q = {.subscription = "main", ANY};
    char id[37];
    uint8_t rnd[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    int64_t now = ot_wall_us();

    (void)state;
    /* One event a minute over the last day. */
    for (int i = 1; i <= 1440; i++) {
        int64_t at = now - (1440 - i) * INT64_C(60000000);

        rnd[8] = (uint8_t)i;
        rnd[9] = (uint8_t)(i >> 8);
        /* 20 were made by a machine whose clock is 5 minutes late. */
        ot_uuid_text(
            ot_uuid_v7(at - (i > 700 && i <= 720 ? 300000000 : 0), rnd), id);
        pg_run(pg.db,
               "INSERT INTO shop.event (topic, id, created_at) VALUES ('t', "
               "'%s', timestamptz 'epoch' + %lld * interval '1 us')",
               id, (long long)at);
        if (i == 1 || i == 710 || i == 1000 || i == 1440)
            expect_id(id, i);
    }
    ot_uuid_text(ot_uuid_v7(now - INT64_C(7200000000), rnd), id);
    expect_id(id, 0);
    /* A time that is far off, and ids without a time. */
    ot_uuid_text(ot_uuid_v7(now - INT64_C(864000000000), rnd), id);
    pg_run(pg.db,
           "INSERT INTO shop.event (topic, id) VALUES ('t', '%s'), "
           "('t', '11111111-2222-4333-8444-555555555555')",
           id);
    expect_id(id, 1441);
    expect_id("11111111-2222-4333-8444-555555555555", 1442);
    q.id = "1442";
    failed(admin->ops->events(admin, &q, count_events, NULL, &err),
           OUTTRAY_E_MISUSE, "1442");
}

/* --- commands and pruning --------------------------------------------------- */

static void commands(void **state)
{
    int64_t seqs[] = {4, 12, 5};

    (void)state;
    failed(admin->ops->command(admin, "main", OT_PAUSE, NULL, 0, &err),
           OUTTRAY_E_NOT_FOUND, "start a relay first");
    pg_run(pg.db, "INSERT INTO shop.cursor (subscription) VALUES ('main')");
    ok(admin->ops->command(admin, "main", OT_REDRIVE, seqs, 3, &err));
    ok(admin->ops->command(admin, "main", OT_PAUSE, NULL, 0, &err));
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.command WHERE "
                                   "verb = 'redrive' AND subscription = "
                                   "'main' AND asked_by = session_user"),
                     3);
    assert_int_equal(pg_int(pg.db, "SELECT string_agg(argument, '' ORDER BY "
                                   "id) FROM shop.command"),
                     4125);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.command WHERE "
                                   "verb = 'pause' AND argument IS NULL"),
                     1);
    failed(admin->ops->command(admin, "mian", OT_PAUSE, NULL, 0, &err),
           OUTTRAY_E_NOT_FOUND, "there are: main");
}

static uint32_t prune(int64_t before, uint32_t limit, bool dry_run, bool *more)
{
    struct ot_prune_request request = {before, limit};
    struct ot_prune_reply reply;

    ok(admin->ops->prune(admin, &request, dry_run, &reply, &err));
    *more = reply.more;
    return reply.deleted;
}

static void prunes(void **state)
{
    int64_t later = ot_wall_us() + 60000000;
    uint32_t total = 0;
    bool more;

    (void)state;
    pg_run(pg.db, "INSERT INTO shop.event (topic) SELECT 't' FROM "
                  "generate_series(1, 20)");
    /* Nobody has passed anything. */
    assert_int_equal(prune(later, 100, false, &more), 0);
    pg_run(pg.db, "TRUNCATE shop.event RESTART IDENTITY");
    make_scene();
    pg_run(pg.db, "INSERT INTO shop.cursor (subscription, position) VALUES "
                  "('slow', 8); INSERT INTO shop.gap VALUES ('slow', 1, 1), "
                  "('gone', 2, 2)");
    /* Nothing is old enough. */
    assert_int_equal(prune(ot_wall_us() - 60000000, 100, true, &more), 0);
    assert_false(more);
    /* Up to 8: not 1 (a gap of slow), 3 (a gap), 4 and 5 (held). */
    assert_int_equal(prune(later, 100, true, &more), 3);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event"), 19);
    do
        total += prune(later, 2, false, &more);
    while (more);
    assert_int_equal(total, 3);
    assert_int_equal(pg_int(pg.db, "SELECT string_agg(seq::text, '' ORDER BY "
                                   "seq) FROM shop.event WHERE seq < 12"),
                     134591011);
    /* What was held below is found again. */
    pg_run(pg.db, "DELETE FROM shop.held WHERE seq = 4");
    assert_int_equal(prune(later, 100, false, &more), 1);
    assert_int_equal(pg_int(pg.db, "SELECT count(*) FROM shop.event WHERE seq "
                                   "= 4"),
                     0);
}

/* A young row ends the walk, whatever comes after it. */
static void prune_stops_at_young(void **state)
{
    bool more;

    (void)state;
    pg_run(pg.db, "INSERT INTO shop.event (topic, created_at) SELECT 't', "
                  "now() - interval '2 days' FROM generate_series(1, 5); "
                  "INSERT INTO shop.event (topic) SELECT 't' FROM "
                  "generate_series(1, 5); INSERT INTO shop.cursor "
                  "(subscription, position) VALUES ('main', 10)");
    assert_int_equal(
        prune(ot_wall_us() - INT64_C(86400000000), 7, false, &more), 5);
    assert_false(more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(init_once),
        BARE(init_of_others),
        BARE(init_at_once),
        FULL(rights_of_an_app),
        FULL(rights_of_a_relay),
        BARE(unique_ids),
        FULL(upgrades),
        FULL(drops),
        FULL(drop_gives_up),
        FULL(enqueues),
        FULL(enqueue_refusals),
        FULL(statuses),
        FULL(listings),
        FULL(details),
        FULL(many_pages),
        FULL(by_id),
        FULL(commands),
        FULL(prunes),
        FULL(prune_stops_at_young),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
