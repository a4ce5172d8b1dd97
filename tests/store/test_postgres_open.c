/* Opening an outbox in PostgreSQL, and every way in which it is refused. */
#include "admin_pg.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>

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
    patience = "500";
    refuse_open(url, OUTTRAY_E_STORE_UNAVAILABLE, "no answer within 500 ms");
    patience = "3s";
    /* Of several hosts, one that answers is enough. */
    ok(ot_url_parse(pg.url, &real, &err));
    snprintf(hosts, sizeof(hosts), "127.0.0.1:%d,%s", port, real.hosts);
    ot_url_free(&real);
    make_url(url, NULL, hosts, NULL);
    ok(open_as(url, "shop", &a));
    a->ops->close(a);
    close(fd);
    patience = "10s";
}

/* What lacks is here, and not at the server. */
static void no_socket_left(void **state)
{
    struct rlimit was, none;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){0, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    refuse_open(pg.url, OUTTRAY_E_STORE_UNAVAILABLE, "ulimit -n");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
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
    for (int i = 0; i < 3000 && a == NULL; i++) { /* until it is reloaded */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(wrong_servers),   BARE(no_socket_left),  BARE(wrong_logins),
        BARE(wrong_passwords), BARE(wrong_settings),  BARE(missing_outbox),
        FULL(missing_rights),  FULL(lost_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
