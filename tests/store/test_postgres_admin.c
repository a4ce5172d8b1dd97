/* What people do with an outbox in PostgreSQL: init, look, mend, drop. */
#include "support/pg_scratch.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "store/stores.h"

static struct pg_scratch pg;
static struct outtray_conf *conf;
static struct ot_admin *admin;
static struct outtray_error err;
static const struct ot_init_options no_options;

static int open_as(const char *url, const char *outbox, struct ot_admin **out)
{
    struct outtray_conf *c = pg_conf(url, outbox);
    int rc;

    assert_int_equal(
        outtray_conf_set(c, "store.connect_timeout_ms", "500", &err), 0);
    ot_error_clear(&err);
    rc = ot_postgres_admin_ops.open(out, c, &err);
    outtray_conf_free(c);
    return rc;
}

static void ok(int rc)
{
    if (rc != 0)
        fail_msg("%s: %s", outtray_error_name(rc), err.text);
}

/* It failed with this code; the text is one line and has these words. */
static void failed(int rc, int code, const char *words)
{
    if (rc != code)
        fail_msg("%s instead of %s: %s", outtray_error_name(rc),
                 outtray_error_name(code), rc != 0 ? err.text : "");
    assert_int_equal(err.code, code);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' has no '%s'", err.text, words);
    assert_null(strchr(err.text, '\n'));
    assert_null(strstr(err.text, "secret"));
}

static int setup(void **state)
{
    (void)state;
    ot_error_clear(&err);
    pg_scratch_make(&pg, "admin");
    conf = pg_conf(pg.url, "shop");
    ok(ot_admin_open(&admin, conf, &err));
    return 0;
}

static int setup_outbox(void **state)
{
    setup(state);
    ok(admin->ops->init(admin, &no_options, NULL, NULL, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    admin->ops->close(admin);
    outtray_conf_free(conf);
    pg_scratch_drop(&pg);
    return 0;
}

static int collect(void *ctx, const char *line)
{
    ot_buffer_printf(ctx, "%s\n", line);
    return 0;
}

/* --- opening -------------------------------------------------------------- */

/* The scratch URL with another user, host or database. */
static void make_url(char out[512], const char *user, const char *hosts,
                     const char *database)
{
    struct ot_url url;

    ok(ot_url_parse(pg.url, &url, &err));
    snprintf(out, 512, "postgresql://%s@%s/%s", user ? user : url.user,
             hosts ? hosts : url.hosts, database ? database : pg.name);
    ot_url_free(&url);
}

static void refuse_open(const char *url, int code, const char *words)
{
    struct ot_admin *a = (void *)1;

    failed(open_as(url, "shop", &a), code, words);
    assert_null(a);
}

/* A server that takes connections and says nothing. */
static int silent_server(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static void wrong_servers(void **state)
{
    char url[512], hosts[200];
    struct ot_admin *a;
    struct ot_url real;
    int port, fd = silent_server(&port);

    (void)state;
    make_url(url, NULL, "no-such-host.invalid:5432", NULL);
    refuse_open(url, OUTTRAY_E_STORE_UNAVAILABLE, "no-such-host.invalid");
    make_url(url, NULL, "127.0.0.1:1", NULL);
    refuse_open(url, OUTTRAY_E_STORE_UNAVAILABLE, "host and port");
    snprintf(hosts, sizeof(hosts), "127.0.0.1:%d", port);
    make_url(url, NULL, hosts, NULL);
    refuse_open(url, OUTTRAY_E_STORE_UNAVAILABLE, "no answer within 500 ms");
    /* Of several hosts, one that answers is enough. */
    ok(ot_url_parse(pg.url, &real, &err));
    snprintf(hosts, sizeof(hosts), "127.0.0.1:%d,%s", port, real.hosts);
    ot_url_free(&real);
    make_url(url, NULL, hosts, NULL);
    ok(open_as(url, "shop", &a));
    a->ops->close(a);
    close(fd);
}

static void wrong_logins(void **state)
{
    char url[512];

    (void)state;
    make_url(url, "nobody_like_that", NULL, NULL);
    refuse_open(url, OUTTRAY_E_STORE_AUTH, "nobody_like_that");
    assert_string_equal(err.sqlstate, "28000");
    make_url(url, NULL, NULL, "no_such_database");
    refuse_open(url, OUTTRAY_E_STORE_NO_SCHEMA, "no_such_database");
    assert_string_equal(err.sqlstate, "3D000");
    pg_run(pg.server, "REVOKE CONNECT ON DATABASE \"%s\" FROM PUBLIC", pg.name);
    refuse_open(pg.relay, OUTTRAY_E_STORE_PERMISSION, "GRANT CONNECT");
    pg_run(pg.server, "GRANT CONNECT ON DATABASE \"%s\" TO PUBLIC", pg.name);
    pg_run(pg.server, "ALTER ROLE \"%s\" CONNECTION LIMIT 0", pg.name);
    refuse_open(pg.relay, OUTTRAY_E_STORE_BUSY, "too many connections");
}

static void set_hba(const char *text)
{
    char *quoted = PQescapeLiteral(pg.server, text, strlen(text));

    pg_run(pg.server,
           "DO $$ BEGIN EXECUTE format('COPY (SELECT unnest(string_to_array("
           "%%L, E''\\n''))) TO %%L', $h$%s$h$, current_setting('hba_file')); "
           "END $$",
           text);
    pg_int(pg.server, "SELECT pg_reload_conf()::int");
    PQfreemem(quoted);
}

/* Only the role of this test has to show a password, and only meanwhile. */
static void wrong_passwords(void **state)
{
    PGresult *r = PQexec(pg.server, "SELECT regexp_replace(pg_read_file("
                                    "current_setting('hba_file')), "
                                    "'(^|\\n)[ \\t]*(#[^\\n]*)?(?=\\n|$)', '', "
                                    "'g')");
    char url[512];
    struct ot_buffer strict = {0};
    struct ot_admin *a = NULL;

    (void)state;
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    ot_buffer_printf(&strict, "host all \"%s\" 127.0.0.1/32 scram-sha-256\n%s",
                     pg.name, PQgetvalue(r, 0, 0));
    set_hba(strict.p);
    for (int i = 0; i < 50 && a == NULL; i++) { /* until it is reloaded */
        char wrong[200];

        snprintf(wrong, sizeof(wrong), "%s:not-the-secret", pg.name);
        make_url(url, wrong, NULL, NULL);
        if (open_as(url, "shop", &a) != 0)
            break;
        a->ops->close(a);
        a = NULL;
        usleep(20000);
    }
    refuse_open(url, OUTTRAY_E_STORE_AUTH, "password");
    assert_string_equal(err.sqlstate, "28P01");
    make_url(url, pg.name, NULL, NULL);
    refuse_open(url, OUTTRAY_E_STORE_AUTH, "it wants a password");
    ok(open_as(pg.relay, "shop", &a));
    a->ops->close(a);
    set_hba(PQgetvalue(r, 0, 0));
    ot_buffer_free(&strict);
    PQclear(r);
}

static void wrong_settings(void **state)
{
    struct ot_admin *a;

    (void)state;
    failed(open_as(pg.url, "bad name", &a), OUTTRAY_E_CONF, "store.outbox");
    failed(open_as("postgresql:db", "shop", &a), OUTTRAY_E_URL, "write postg");
    failed(open_as("postgresql://h/d?no_such=1", "shop", &a), OUTTRAY_E_URL,
           "parameter");
}

static void missing_outbox(void **state)
{
    struct ot_store_facts facts;
    struct ot_prune_reply pruned;
    struct ot_event_query q = {.subscription = "main", .held_state = -1};
    int64_t n;

    (void)state;
    ok(admin->ops->facts(admin, &facts, &err));
    assert_memory_equal(facts.server, "PostgreSQL 1", 12);
    assert_non_null(strstr(facts.where, pg.name));
    assert_true(facts.connected);
    assert_true(facts.writable);
    assert_int_equal(facts.schema_version, 0);
    assert_true(facts.schema_wanted >= 1);
    failed(admin->ops->status(admin, NULL, NULL, NULL, &err),
           OUTTRAY_E_STORE_NO_SCHEMA, "outtray init");
    failed(admin->ops->events(admin, &q, NULL, NULL, &err),
           OUTTRAY_E_STORE_NO_SCHEMA, "outtray init");
    failed(admin->ops->command(admin, "main", OT_PAUSE, NULL, 0, &err),
           OUTTRAY_E_STORE_NO_SCHEMA, "outtray init");
    failed(admin->ops->prune(admin, &(struct ot_prune_request){0, 1}, false,
                             &pruned, &err),
           OUTTRAY_E_STORE_NO_SCHEMA, "outtray init");
    failed(admin->ops->drop(admin, false, &n, &err), OUTTRAY_E_STORE_NO_SCHEMA,
           "outtray init");
    failed(admin->ops->upgrade(admin, OT_UPGRADE_RUN, NULL, NULL, &err),
           OUTTRAY_E_STORE_NO_SCHEMA, "outtray init");
}

static void missing_rights(void **state)
{
    struct ot_admin *a;
    struct ot_store_facts facts;

    (void)state;
    ok(open_as(pg.relay, "shop", &a));
    failed(a->ops->facts(a, &facts, &err), OUTTRAY_E_STORE_PERMISSION,
           "outtray init --app-role");
    assert_string_equal(err.sqlstate, "42501");
    assert_true(facts.connected);
    failed(a->ops->status(a, NULL, NULL, NULL, &err),
           OUTTRAY_E_STORE_PERMISSION, "schema shop");
    failed(a->ops->init(a, &no_options, NULL, NULL, &err),
           OUTTRAY_E_STORE_PERMISSION, "schema shop");
    a->ops->close(a);
    ok(open_as(pg.relay, "another", &a));
    failed(a->ops->init(a, &no_options, NULL, NULL, &err),
           OUTTRAY_E_STORE_PERMISSION, "GRANT CREATE ON DATABASE");
    a->ops->close(a);
}

static void lost_connection(void **state)
{
    (void)state;
    pg_int(pg.server,
           "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
           "WHERE datname = '%s' AND application_name = 'outtray'",
           pg.name);
    failed(admin->ops->status(admin, NULL, NULL, NULL, &err),
           OUTTRAY_E_STORE_UNAVAILABLE, "outbox \"shop\"");
}

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
    assert_in_range(ot_now_us() - start, 4000000, 9000000);
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

/* 20 events; main has read up to 10; 3 is in a gap, 5 and 12 are held, 4 dead.
 */
static void make_scene(void)
{
    pg_run(pg.db,
           "INSERT INTO shop.event (topic, key, payload) SELECT 't' || i %% 2, "
           "'k' || i %% 3, decode(lpad(to_hex(i), 2, '0'), 'hex') FROM "
           "generate_series(1, 20) i;"
           "INSERT INTO shop.cursor (subscription, position, owner, fence, "
           "lease_expires_at, written_at) VALUES ('main', 10, "
           "'11111111-2222-4333-8444-555555555555', 3, clock_timestamp() + "
           "interval '10 s', clock_timestamp() - interval '1 s');"
           "INSERT INTO shop.gap VALUES ('main', 3, 3), ('main', 7, 6 + 1);"
           "DELETE FROM shop.event WHERE seq = 7;"
           "INSERT INTO shop.held (subscription, seq, key, topic, state, "
           "holds_key, attempts, next_attempt_at, first_error_at, "
           "last_error_at, retried_us, error_code, error) VALUES "
           "('main', 4, 'k1', 't0', 'dead', true, 9, NULL, now(), now(), 77, "
           "10, 'too large'), ('main', 5, 'k2', 't1', 'retrying', true, 1, "
           "now(), now(), now(), 0, -5, 'later'), ('main', 12, 'k0', 't0', "
           "'blocked', false, 0, NULL, NULL, NULL, 0, 0, NULL);"
           "INSERT INTO shop.command (subscription, verb) VALUES ('main', "
           "'pause')");
}

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

/* --- doctor ----------------------------------------------------------------- */

struct findings {
    struct ot_buffer all;
    const char *check; /* keep the fix of this one */
    enum ot_level level;
    int errors;
    int blind; /* checks that could not look */
    char text[600];
    char fix[600];
};

static int hear(void *ctx, const struct ot_finding *f)
{
    struct findings *all = ctx;

    ot_buffer_printf(&all->all, "%d %s: %s [%s]\n", (int)f->level, f->check,
                     f->text, f->fix != NULL ? f->fix : "");
    all->errors += f->level == OT_ERROR;
    if (f->level >= OT_WARN && f->fix == NULL)
        fail_msg("no fix for %s: %s", f->check, f->text);
    all->blind += strncmp(f->text, "cannot", 6) == 0;
    if (all->check != NULL && strcmp(f->check, all->check) == 0 &&
        f->level >= all->level) {
        all->level = f->level;
        snprintf(all->text, sizeof(all->text), "%s", f->text);
        snprintf(all->fix, sizeof(all->fix), "%s", f->fix ? f->fix : "");
    }
    return 0;
}

static bool damaged; /* so much that some checks cannot look */

static enum ot_level examine(struct ot_admin *a, const char *check,
                             struct findings *out)
{
    memset(out, 0, sizeof(*out));
    out->check = check;
    ok(a->ops->doctor(a, hear, out, &err));
    if ((check == NULL && out->errors != 0) || (!damaged && out->blind != 0))
        fail_msg("%s", out->all.p);
    ot_buffer_free(&out->all);
    return out->level;
}

/* sql breaks something: check finds it, with these words; its fix cures it. */
static void break_and_fix(const char *sql, const char *check,
                          enum ot_level level, const char *words)
{
    struct findings f;

    pg_run(pg.db, "%s", sql);
    if (examine(admin, check, &f) != level)
        fail_msg("%s after %s: level %d, %s", check, sql, (int)f.level, f.text);
    if (strstr(f.text, words) == NULL)
        fail_msg("'%s' has no '%s'", f.text, words);
    pg_run(pg.db, "%s", f.fix);
    if (examine(admin, check, &f) != OT_DEBUG && f.level != OT_INFO)
        fail_msg("%s after its fix: %s", check, f.text);
}

static void doctor_of_nothing(void **state)
{
    struct findings f;

    (void)state;
    assert_int_equal(examine(admin, "schema", &f), OT_ERROR);
    assert_string_equal(f.fix, "outtray init");
}

static void doctor_cures(void **state)
{
    char sql[300];

    (void)state;
    break_and_fix("ALTER TABLE shop.event ALTER COLUMN seq SET GENERATED BY "
                  "DEFAULT",
                  "identity", OT_ERROR, "BY DEFAULT");
    break_and_fix("ALTER TABLE shop.event ALTER COLUMN seq SET CACHE 50",
                  "identity", OT_ERROR, "CACHE 50");
    damaged = true;
    break_and_fix("ALTER TABLE shop.event ALTER COLUMN seq DROP IDENTITY",
                  "identity", OT_ERROR, "no identity");
    damaged = false;
    snprintf(sql, sizeof(sql), "GRANT INSERT ON shop.event TO \"%s\"", pg.name);
    break_and_fix(sql, "app-rights", OT_ERROR, "choose the seq");
    snprintf(sql, sizeof(sql), "GRANT INSERT (seq) ON shop.event TO \"%s\"",
             pg.name);
    break_and_fix(sql, "app-rights", OT_ERROR, "choose the seq");
    break_and_fix("GRANT UPDATE ON shop.event TO PUBLIC", "app-rights", OT_WARN,
                  "everybody may update");
    snprintf(sql, sizeof(sql),
             "CREATE TABLE shop.leaf () INHERITS (shop.event); GRANT INSERT ON "
             "shop.leaf TO \"%s\"",
             pg.name);
    break_and_fix(sql, "partitions", OT_ERROR, "shop.leaf");
    pg_run(pg.db, "DROP TABLE shop.leaf");
    pg_run(pg.db, "INSERT INTO shop.event (topic) SELECT 't' FROM "
                  "generate_series(1, 9)");
    break_and_fix("SELECT setval('shop.event_seq_seq', 5)", "sequence",
                  OT_ERROR, "collide");
    assert_int_equal(pg_int(pg.db, "SELECT nextval('shop.event_seq_seq')"), 10);
    pg_run(pg.db, "TRUNCATE shop.event");
    break_and_fix("INSERT INTO shop.cursor (subscription, position) VALUES "
                  "('main', 500)",
                  "sequence", OT_ERROR, "not be read");
    pg_run(pg.db, "UPDATE shop.meta SET system_identifier = 5");
}

static void doctor_warns(void **state)
{
    struct findings f;

    (void)state;
    make_scene();
    pg_run(pg.db, "UPDATE shop.meta SET system_identifier = 5");
    assert_int_equal(examine(admin, "sequence", &f), OT_WARN);
    assert_non_null(strstr(f.text, "another server"));
    assert_int_equal(examine(admin, "dead", &f), OT_WARN);
    assert_non_null(strstr(f.text, "1 dead events in subscription main"));
    assert_true(examine(admin, "lease", &f) <= OT_INFO);
    pg_run(pg.db, "UPDATE shop.cursor SET lease_expires_at = now() - interval "
                  "'1 min'");
    assert_int_equal(examine(admin, "lease", &f), OT_ERROR);
    assert_non_null(strstr(f.text, "no relay runs for subscription main: 10"));
    assert_string_equal(f.fix, "outtray relay");
    pg_run(pg.db, "UPDATE shop.cursor SET paused = true");
    assert_int_equal(examine(admin, "lease", &f), OT_WARN);
    assert_true(examine(admin, "retention", &f) <= OT_INFO);
    pg_run(pg.db, "UPDATE shop.event SET created_at = now() - interval '3 "
                  "days'");
    assert_int_equal(examine(admin, "retention", &f), OT_WARN);
    pg_run(pg.db, "ALTER TABLE shop.event ENABLE ROW LEVEL SECURITY");
    assert_int_equal(examine(admin, "row-security", &f), OT_WARN);
}

static void doctor_of_roles(void **state)
{
    struct ot_init_options options = {.relay_role = pg.name};
    struct findings f;
    struct ot_admin *a;

    (void)state;
    assert_int_equal(examine(admin, "relay-rights", &f), OT_WARN);
    assert_non_null(strstr(f.text, "superuser"));
    (void)admin->ops->init(admin, &options, NULL, NULL, &err);
    ok(open_as(pg.relay, "shop", &a));
    examine(a, NULL, &f);
    pg_run(pg.db, "REVOKE DELETE ON shop.held FROM \"%s\"", pg.name);
    assert_int_equal(examine(a, "relay-rights", &f), OT_ERROR);
    assert_non_null(strstr(f.text, "delete held"));
    pg_run(pg.db, "ALTER TABLE shop.event ENABLE ROW LEVEL SECURITY");
    damaged = true;
    assert_int_equal(examine(a, "row-security", &f), OT_ERROR);
    damaged = false;
    a->ops->close(a);
}

static void doctor_of_a_server(void **state)
{
    struct ot_store_facts facts;
    struct findings f;
    struct ot_admin *a;

    (void)state;
    examine(admin, NULL, &f); /* nothing is an error */
    pg_run(pg.server,
           "ALTER DATABASE \"%s\" SET default_transaction_read_only "
           "= on",
           pg.name);
    pg_run(pg.server, "ALTER DATABASE \"%s\" SET synchronous_commit = off",
           pg.name);
    ok(open_as(pg.url, "shop", &a));
    assert_int_equal(examine(a, "primary", &f), OT_ERROR);
    assert_int_equal(examine(a, "durability", &f), OT_WARN);
    assert_non_null(strstr(f.text, "synchronous_commit"));
    ok(a->ops->facts(a, &facts, &err));
    assert_false(facts.writable);
    a->ops->close(a);
}

static int stop_finding(void *ctx, const struct ot_finding *f)
{
    (void)ctx;
    (void)f;
    return 9;
}

static void doctor_stops(void **state)
{
    (void)state;
    assert_int_equal(admin->ops->doctor(admin, stop_finding, NULL, &err), 9);
}

#define BARE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define FULL(f) cmocka_unit_test_setup_teardown(f, setup_outbox, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(wrong_servers),
        BARE(wrong_logins),
        BARE(wrong_passwords),
        BARE(wrong_settings),
        BARE(missing_outbox),
        FULL(missing_rights),
        FULL(lost_connection),
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
        BARE(doctor_of_nothing),
        FULL(doctor_cures),
        FULL(doctor_warns),
        FULL(doctor_of_roles),
        FULL(doctor_of_a_server),
        FULL(doctor_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
