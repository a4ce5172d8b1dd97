/* test_postgres_faults.c - what goes wrong between a relay and PostgreSQL, and
 * what the relay is told. */
#include "conformance_parts.h"
#include "support/pg_scratch.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "store/postgres/error.h"

#define OUTBOX "Faults"

static struct pg_scratch scratch;

static int set_up(void **state)
{
    (void)state;
    pg_scratch_outbox(&scratch, "faults", OUTBOX);
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
    pg_run(scratch.db, "SELECT pg_terminate_backend(pid, 1000) FROM "
                       "pg_stat_activity WHERE datname = current_database() "
                       "AND pid <> pg_backend_pid()");
    pg_run(scratch.db, "TRUNCATE event, cursor, gap, held, command "
                       "RESTART IDENTITY");
    pg_run(scratch.db, "ALTER ROLE \"%s\" RESET ALL", scratch.name);
    return 0;
}

static struct ot_store *open_at(const char *url, const char *outbox,
                                const char *name, const char *value)
{
    struct outtray_conf *conf = pg_conf(url, outbox);
    struct outtray_error err = {0};
    struct ot_uuid owner = {{7}};
    struct ot_store *s;

    if ((name != NULL && outtray_conf_set(conf, name, value, &err) != 0) ||
        ot_store_open(&s, conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    outtray_conf_free(conf);
    return s;
}

static struct ot_store *open_relay(void)
{
    return open_at(scratch.relay, OUTBOX, NULL, NULL);
}

/* Let the store work until the database shows that a statement of the relay
 * waits for a lock; returns its backend. */
static int blocked(struct ot_store *s)
{
    for (int i = 0; i < 20000; i++) {
        int64_t pid;

        s->ops->service(s, ot_now_us());
        pid = pg_int(scratch.server,
                     "SELECT coalesce(max(pid), 0) FROM pg_stat_activity "
                     "WHERE usename = '%s' AND wait_event_type = 'Lock'",
                     scratch.name);
        if (pid != 0)
            return (int)pid;
        nap(2000);
    }
    fail_msg("no statement of the relay waits for a lock");
    return 0;
}

/* The replies of both kinds, in either order. */
static void await_two(struct ot_store *s, enum ot_reply_kind kind,
                      struct ot_reply *one_out, struct ot_reply *other)
{
    int64_t deadline = ot_now_us() + 60000000;
    struct ot_reply reply;

    for (int n = 0; n < 2;) {
        assert_true(ot_now_us() < deadline);
        s->ops->service(s, ot_now_us());
        while (s->ops->next(s, &reply)) {
            *(reply.kind == kind ? one_out : other) = reply;
            n++;
        }
        nap(1000);
    }
}

/* --- the connection breaks --------------------------------------------------- */

/* Its reason is told, not that the connection is lost, where it is known that
 * the session went: terminated, or by a time limit of the role. */
static void session_ended_by_the_server(void **state)
{
    static const char *const ends[] = {"57P01", "57P05", "25P03", "25P04"};

    (void)state;
    for (size_t i = 0; i < OT_COUNT(ends); i++)
        assert_int_equal(ot_pg_code(ends[i]), OUTTRAY_E_STORE_UNAVAILABLE);
}

static void backend_killed_in_a_read(void **state)
{
    struct ot_store *s = open_relay();
    PGconn *app = pg_connect(scratch.url);
    struct ot_read_request q = {.limit = 10, .budget = 1 << 20};
    struct ot_write_request w = {.number = 8, .position = 1, .set_paused = -1};
    struct ot_reply read, write;
    struct ot_rows *pinned;

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic, payload) VALUES ('t', 'x')");
    w.fence = take(s);
    pinned = read_with(s, &q).rows;
    pg_run(app, "BEGIN; LOCK TABLE \"" OUTBOX "\".event, \"" OUTBOX "\".cursor "
                "IN ACCESS EXCLUSIVE MODE");
    s->ops->read(s, &q);
    blocked(s);
    s->ops->write(s, &w);
    s->ops->service(s, ot_now_us());
    /* The first only: the other request fails with it. */
    pg_run(scratch.db,
           "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
           "WHERE usename = '%s' AND query LIKE '%%pg_is_in_recovery%%'",
           scratch.name);
    await_two(s, OT_REPLY_READ, &read, &write);
    assert_int_equal(read.code, OUTTRAY_E_STORE_UNAVAILABLE);
    assert_string_equal(read.err.sqlstate, "57P01");
    assert_true(outtray_error_retryable(write.code));
    assert_int_equal(write.write.fate, OT_FATE_UNKNOWN);
    assert_int_equal(write.write.number, 8);
    pg_run(app, "ROLLBACK");
    PQfinish(app);

    assert_int_equal(pinned->events[0].seq, 1);
    assert_int_equal(pinned->events[0].payload.p[0], 'x');
    assert_true(take(s) > w.fence);
    load(s);
    read.read = read_with(s, &q);
    assert_int_equal(read.read.rows->n, 1);
    ot_rows_unref(read.read.rows);
    s->ops->close(s);
    assert_int_equal(pinned->events[0].payload.p[0], 'x');
    ot_rows_unref(pinned);
}

static void backend_killed_in_a_write(void **state)
{
    struct ot_store *s = open_relay();
    PGconn *app = pg_connect(scratch.url);
    struct ot_range gap = {1, 1};
    struct ot_write_request w = {
        .position = 5, .gaps_put = &gap, .ngaps_put = 1, .set_paused = 1};
    struct ot_cursor_reply c;
    struct ot_reply reply;

    (void)state;
    w.fence = take(s);
    /* The cursor row is written, then the gap waits. */
    pg_run(app, "BEGIN; LOCK TABLE \"" OUTBOX "\".gap");
    s->ops->write(s, &w);
    pg_run(scratch.db, "SELECT pg_terminate_backend(%d, 5000)", blocked(s));
    conformance_await(s, OT_REPLY_WRITE, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
    assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    PQfinish(app);
    take(s);
    c = load(s);
    assert_int_equal(c.position, 0);
    assert_int_equal(c.ngaps, 0);
    assert_false(c.paused);
    s->ops->close(s);
}

/* Between two requests nobody has to be told. */
static void idle_connection_comes_back(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_read_request q = {.limit = 10, .budget = 1000};

    (void)state;
    take(s);
    ot_rows_unref(read_with(s, &q).rows);
    pg_run(scratch.db,
           "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
           "WHERE usename = '%s'",
           scratch.name);
    nap(20000);
    s->ops->service(s, ot_now_us());
    ot_rows_unref(read_with(s, &q).rows);
    take(s);
    s->ops->close(s);
}

/* The new sockets get the numbers of the old ones: whoever waits on them must
 * be told that they are others, or he is never woken again. */
static void new_sockets_can_be_told_apart(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_fd before[4], after[4];
    size_t n, same = 0;

    (void)state;
    take(s);
    ot_rows_unref(read_with(s, &q).rows);
    n = s->ops->fds(s, before, OT_COUNT(before));
    assert_int_equal(n, 2);
    assert_int_not_equal(before[0].generation, before[1].generation);
    pg_run(scratch.db,
           "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
           "WHERE usename = '%s'",
           scratch.name);
    nap(20000);
    s->ops->service(s, ot_now_us());
    ot_rows_unref(read_with(s, &q).rows);
    take(s);
    assert_int_equal(s->ops->fds(s, after, OT_COUNT(after)), n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            same += before[i].fd == after[k].fd;
            assert_int_not_equal(before[i].generation, after[k].generation);
        }
    }
    assert_true(same > 0); /* or this has shown nothing */
    s->ops->close(s);
}

static void close_with_requests_under_way(void **state)
{
    struct ot_store *s = open_relay();
    PGconn *app = pg_connect(scratch.url);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_lease_request l = {.take = true, .ttl_us = LONG_US};

    (void)state;
    pg_run(app, "BEGIN; LOCK TABLE \"" OUTBOX "\".event");
    s->ops->read(s, &q);
    s->ops->lease(s, &l);
    s->ops->load(s);
    blocked(s);
    s->ops->close(s);
    PQfinish(app);
    /* Never connected at all. */
    s = open_relay();
    s->ops->read(s, &q);
    s->ops->close(s);
}

/* --- the server does not answer ---------------------------------------------- */

static void statement_takes_too_long(void **state)
{
    struct ot_store *s =
        open_at(scratch.relay, OUTBOX, "store.statement_timeout_ms", "1s");
    PGconn *app = pg_connect(scratch.url);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_reply reply;

    (void)state;
    pg_run(app, "BEGIN; LOCK TABLE \"" OUTBOX "\".event");
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_BUSY);
    assert_string_equal(reply.err.sqlstate, "57014");
    PQfinish(app);
    ot_rows_unref(read_with(s, &q).rows);
    s->ops->close(s);
}

/* Its kernel acknowledges what we send: no time-out of TCP would help. */
static void server_is_stopped(void **state)
{
    struct outtray_conf *conf = pg_conf(scratch.relay, OUTBOX);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct outtray_error err;
    struct ot_uuid owner = {{7}};
    struct ot_reply reply;
    struct ot_store *s;
    int64_t began, pid;

    (void)state;
    outtray_conf_set(conf, "store.statement_timeout_ms", "500", &err);
    outtray_conf_set(conf, "store.network_timeout_ms", "1s", &err);
    assert_int_equal(ot_store_open(&s, conf, owner, NULL, &err), 0);
    outtray_conf_free(conf);
    ot_rows_unref(read_with(s, &q).rows);
    pid = pg_int(scratch.db,
                 "SELECT pid FROM pg_stat_activity WHERE usename = '%s'",
                 scratch.name);
    if (kill((pid_t)pid, SIGSTOP) != 0)
        fail_msg("the test must run on the machine of its server, as its user "
                 "or as root");
    began = ot_now_us();
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    kill((pid_t)pid, SIGCONT);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
    assert_true(ot_now_us() - began >= 600000);
    ot_rows_unref(read_with(s, &q).rows);
    s->ops->close(s);
}

/* Accepts connections and says nothing. Returns its port. */
static int black_hole(int *fd)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof(a);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(*fd, 8), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&a, &n), 0);
    return ntohs(a.sin_port);
}

static void nobody_answers_the_login(void **state)
{
    char url[200];
    int fd, port = black_hole(&fd);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_reply reply;
    struct ot_store *s;

    (void)state;
    snprintf(url, sizeof(url), "postgresql://127.0.0.1:%d/db", port);
    s = open_at(url, OUTBOX, "store.connect_timeout_ms", "300");
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
    s->ops->close(s);
    close(fd);
}

/* The first is silent, so the next attempt begins with the second. */
static void second_host_answers(void **state)
{
    char url[400], hosts[200];
    const char *at = strstr(scratch.relay, "@127.0.0.1");
    int fd, port = black_hole(&fd);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_reply reply;
    struct ot_store *s;

    (void)state;
    if (at == NULL)
        fail_msg("OUTTRAY_TEST_PG must name 127.0.0.1");
    snprintf(hosts, sizeof(hosts), "@127.0.0.1:%d,", port);
    snprintf(url, sizeof(url), "%.*s%s%s", (int)(at - scratch.relay),
             scratch.relay, hosts, at + 1);
    s = open_at(url, OUTBOX, "store.connect_timeout_ms", "2s");
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
    ot_rows_unref(read_with(s, &q).rows);
    s->ops->close(s);
    close(fd);
}

static void nobody_listens(void **state)
{
    char url[200];
    int fd, port = black_hole(&fd);
    struct ot_write_request w = {.number = 3, .set_paused = -1};
    struct ot_reply reply;
    struct ot_store *s;

    (void)state;
    close(fd);
    snprintf(url, sizeof(url), "postgresql://127.0.0.1:%d/db", port);
    s = open_at(url, OUTBOX, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        s->ops->write(s, &w);
        conformance_await(s, OT_REPLY_WRITE, &reply);
        assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
        assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    }
    s->ops->close(s);
}

/* --- the database is not what it should be ------------------------------------ */

static void lease_fails(struct ot_store *s, int code, const char *words)
{
    struct ot_lease_request q = {.take = true, .ttl_us = LONG_US};
    struct ot_reply reply;

    s->ops->lease(s, &q);
    conformance_await(s, OT_REPLY_LEASE, &reply);
    if (reply.code != code || strstr(reply.err.text, words) == NULL)
        fail_msg("%s: %s", outtray_error_name(reply.code), reply.err.text);
    assert_false(reply.lease.granted);
}

static void no_outbox(void **state)
{
    struct ot_store *s = open_at(scratch.url, "missing", NULL, NULL);

    (void)state;
    lease_fails(s, OUTTRAY_E_STORE_NO_SCHEMA, "outtray init");
    s->ops->close(s);
}

static void no_database(void **state)
{
    char url[600];
    struct ot_store *s;

    (void)state;
    snprintf(url, sizeof(url), "%s_missing", scratch.url);
    s = open_at(url, OUTBOX, NULL, NULL);
    lease_fails(s, OUTTRAY_E_STORE_NO_SCHEMA, "store.url");
    s->ops->close(s);
}

static void schema_of_another_version(void **state)
{
    struct ot_store *s = open_relay();

    (void)state;
    pg_run(scratch.db, "UPDATE meta SET schema_version = 99");
    lease_fails(s, OUTTRAY_E_STORE_VERSION, "newer outtray");
    pg_run(scratch.db, "UPDATE meta SET schema_version = 0");
    lease_fails(s, OUTTRAY_E_STORE_VERSION, "outtray upgrade");
    pg_run(scratch.db, "UPDATE meta SET schema_version = 1");
    assert_int_equal(pg_int(scratch.db, "SELECT count(*) FROM cursor"), 0);
    take(s);
    s->ops->close(s);
}

static void identity_breaks_order(void **state)
{
    struct ot_store *s = open_relay();

    (void)state;
    pg_run(scratch.db, "ALTER SEQUENCE event_seq_seq CACHE 10");
    lease_fails(s, OUTTRAY_E_STORE_CONDITION, "CACHE 1");
    pg_run(scratch.db, "ALTER SEQUENCE event_seq_seq CACHE 1 INCREMENT 2");
    lease_fails(s, OUTTRAY_E_STORE_CONDITION, "INCREMENT 1");
    pg_run(scratch.db, "ALTER SEQUENCE event_seq_seq INCREMENT 1");
    pg_run(scratch.db, "ALTER TABLE event ALTER seq SET GENERATED BY DEFAULT");
    lease_fails(s, OUTTRAY_E_STORE_CONDITION, "SET GENERATED ALWAYS");
    pg_run(scratch.db, "ALTER TABLE event ALTER seq SET GENERATED ALWAYS");
    take(s);
    s->ops->close(s);
}

/* A new row would begin elsewhere, without a word; a first one is no mistake,
 * also where another subscription has held events. */
static void cursor_row_deleted(void **state)
{
    struct ot_store *s = open_relay();

    (void)state;
    pg_run(scratch.db, "INSERT INTO held (subscription, seq, topic, state, "
                       "holds_key) VALUES ('other', 7, 't', 'dead', false)");
    take(s);
    pg_run(scratch.db, "DELETE FROM cursor");
    lease_fails(s, OUTTRAY_E_STORE_CONDITION, "was deleted");
    assert_int_equal(pg_int(scratch.db, "SELECT count(*) FROM cursor"), 0);
    pg_run(scratch.db, "INSERT INTO cursor (subscription, position) VALUES "
                       "('main', 0)");
    take(s);
    s->ops->close(s);
}

/* No gap may be given up then: its seq may still be in a session's cache. */
static void identity_breaks_order_while_relaying(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_read_request q = {
        .limit = 10, .budget = 1000, .with_locks = true};
    struct ot_reply reply;

    (void)state;
    take(s);
    ot_rows_unref(read_with(s, &q).rows);
    pg_run(scratch.db, "ALTER SEQUENCE event_seq_seq CACHE 10");
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_CONDITION);
    assert_non_null(strstr(reply.err.text, "CACHE 1"));
    pg_run(scratch.db, "ALTER SEQUENCE event_seq_seq CACHE 1");
    ot_rows_unref(read_with(s, &q).rows);
    s->ops->close(s);
}

static void rights_are_missing(void **state)
{
    struct ot_store *s = open_relay();
    const char *tables[] = {"meta", "event", "event_seq_seq", "cursor"};

    (void)state;
    for (size_t i = 0; i < OT_COUNT(tables); i++) {
        pg_run(scratch.db, "REVOKE SELECT ON %s FROM \"%s\"", tables[i],
               scratch.name);
        lease_fails(s, OUTTRAY_E_STORE_PERMISSION, "--relay-role");
        pg_run(scratch.db, "GRANT SELECT ON %s TO \"%s\"", tables[i],
               scratch.name);
    }
    pg_run(scratch.db, "REVOKE USAGE ON SCHEMA \"" OUTBOX "\" FROM \"%s\"",
           scratch.name);
    lease_fails(s, OUTTRAY_E_STORE_PERMISSION, "--relay-role");
    pg_run(scratch.db, "GRANT USAGE ON SCHEMA \"" OUTBOX "\" TO \"%s\"",
           scratch.name);
    take(s);
    s->ops->close(s);
}

static void database_is_read_only(void **state)
{
    struct ot_store *s;

    (void)state;
    pg_run(scratch.db,
           "ALTER ROLE \"%s\" SET default_transaction_read_only "
           "= on",
           scratch.name);
    s = open_relay();
    lease_fails(s, OUTTRAY_E_STORE_STANDBY, "read-only");
    pg_run(scratch.db, "ALTER ROLE \"%s\" RESET ALL", scratch.name);
    /* It was given up, and the next one finds a primary. */
    take(s);
    s->ops->close(s);
}

/* --- the cursor row moves ------------------------------------------------------ */

static void cursor_row_moved(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_write_request w = {.number = 1, .position = 1, .set_paused = -1};

    (void)state;
    w.fence = take(s);
    for (int i = 0; i < 3; i++) {
        w.position = i + 1;
        assert_int_equal(write_with(s, &w).fate, OT_WRITTEN);
        if (i == 0) {
            pg_run(scratch.db, "UPDATE cursor SET paused = false");
            pg_run(scratch.db, "VACUUM FULL cursor");
        }
    }
    assert_int_equal(load(s).position, 3);
    /* Another subscription's row at the same place is not ours. */
    pg_run(scratch.db, "TRUNCATE cursor");
    pg_run(scratch.db,
           "INSERT INTO cursor (subscription, owner, fence) "
           "VALUES ('other', '07000000-0000-0000-0000-"
           "000000000000', %lld)",
           (long long)w.fence);
    assert_int_equal(write_with(s, &w).fate, OT_REFUSED);
    assert_int_equal(pg_int(scratch.db, "SELECT position FROM cursor"), 0);
    s->ops->close(s);
}

/* The words of a broker, cut in the middle of a character. */
static void error_texts_of_any_kind(void **state)
{
    struct ot_store *s = open_relay();
    struct ot_held held = {.seq = 1,
                           .state = OT_HELD_DEAD,
                           .last_error_us = 1000000,
                           .error = "bad \xff\xc3 end \xe2\x82"};
    struct ot_write_request w = {
        .position = 1, .held_put = &held, .nheld_put = 1, .set_paused = -1};

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic) VALUES ('t')");
    w.fence = take(s);
    assert_int_equal(write_with(s, &w).fate, OT_WRITTEN);
    assert_int_equal(pg_int(scratch.db, "SELECT count(*) FROM dead WHERE "
                                        "error LIKE 'bad __ end '"),
                     1);
    /* What the engine has forgotten since is kept. */
    held.error = NULL;
    held.state = OT_HELD_RETRYING;
    assert_int_equal(write_with(s, &w).fate, OT_WRITTEN);
    assert_int_equal(pg_int(scratch.db, "SELECT count(*) FROM held WHERE "
                                        "error LIKE 'bad __ end '"),
                     1);
    held.last_error_us++;
    assert_int_equal(write_with(s, &w).fate, OT_WRITTEN);
    assert_int_equal(pg_int(scratch.db, "SELECT count(*) FROM held WHERE seq > "
                                        "0 AND error IS NULL"),
                     1);
    s->ops->close(s);
}

/* Nobody is waited for, and the rest goes. */
static void pruning_passes_a_locked_row(void **state)
{
    struct ot_store *s = open_relay();
    PGconn *app = pg_connect(scratch.url);
    struct ot_write_request w = {.position = 5, .set_paused = -1};
    struct ot_prune_request q = {.limit = 100};
    struct ot_reply reply;

    (void)state;
    pg_run(scratch.db, "INSERT INTO event (topic) SELECT 't' "
                       "FROM generate_series(1, 5)");
    w.fence = take(s);
    assert_int_equal(write_with(s, &w).fate, OT_WRITTEN);
    q.older_than_us = load(s).db_now_us + LONG_US;
    pg_run(app, "BEGIN; UPDATE \"" OUTBOX "\".event SET payload = NULL "
                "WHERE seq = 3");
    s->ops->prune(s, &q);
    conformance_await(s, OT_REPLY_PRUNE, &reply);
    must(&reply);
    assert_int_equal(reply.prune.deleted, 4);
    assert_int_equal(pg_int(scratch.db, "SELECT min(seq) FROM event"), 3);
    PQfinish(app);
    s->ops->close(s);
}

static void forked_child_is_refused(void **state)
{
    struct ot_store *s = open_relay();
    int status;
    pid_t child;

    (void)state;
    take(s);
    child = fork();
    if (child == 0) {
        struct ot_reply reply;

        s->ops->load(s);
        s->ops->service(s, ot_now_us());
        _exit(s->ops->next(s, &reply) && reply.code == OUTTRAY_E_FORKED ? 0
                                                                        : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    load(s);
    s->ops->close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(session_ended_by_the_server, empty),
        cmocka_unit_test_setup(backend_killed_in_a_read, empty),
        cmocka_unit_test_setup(backend_killed_in_a_write, empty),
        cmocka_unit_test_setup(idle_connection_comes_back, empty),
        cmocka_unit_test_setup(new_sockets_can_be_told_apart, empty),
        cmocka_unit_test_setup(close_with_requests_under_way, empty),
        cmocka_unit_test_setup(statement_takes_too_long, empty),
        cmocka_unit_test_setup(server_is_stopped, empty),
        cmocka_unit_test_setup(nobody_answers_the_login, empty),
        cmocka_unit_test_setup(second_host_answers, empty),
        cmocka_unit_test_setup(nobody_listens, empty),
        cmocka_unit_test_setup(no_outbox, empty),
        cmocka_unit_test_setup(no_database, empty),
        cmocka_unit_test_setup(schema_of_another_version, empty),
        cmocka_unit_test_setup(identity_breaks_order, empty),
        cmocka_unit_test_setup(identity_breaks_order_while_relaying, empty),
        cmocka_unit_test_setup(cursor_row_deleted, empty),
        cmocka_unit_test_setup(rights_are_missing, empty),
        cmocka_unit_test_setup(database_is_read_only, empty),
        cmocka_unit_test_setup(cursor_row_moved, empty),
        cmocka_unit_test_setup(error_texts_of_any_kind, empty),
        cmocka_unit_test_setup(pruning_passes_a_locked_row, empty),
        cmocka_unit_test_setup(forked_child_is_refused, empty),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
