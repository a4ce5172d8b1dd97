/* test_turns_postgres.c - the story on PostgreSQL; what fails is the library
 * and the network. */
#include "turns.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "support/pg_scratch.h"

#define OUTBOX "Turns"

static struct pg_scratch scratch;
static struct outtray_conf *application, *relay;

static int set_up(void **state)
{
    (void)state;
    pg_scratch_outbox(&scratch, "turns", OUTBOX);
    application = pg_conf(scratch.url, OUTBOX);
    relay = pg_conf(scratch.relay, OUTBOX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    outtray_conf_free(application);
    outtray_conf_free(relay);
    pg_scratch_drop(&scratch);
    return 0;
}

static void make(void)
{
    pg_run(scratch.db, "TRUNCATE event, cursor, gap, held, command "
                       "RESTART IDENTITY");
    turn_admin_use(application, "SELECT pg_backend_pid()");
}

static int open_store(struct ot_store **out, struct ot_uuid owner,
                      struct outtray_error *err)
{
    return ot_store_open(out, relay, owner, NULL, err);
}

/* The connection is closed, and the server may not have come to it yet. */
static bool is_there(int writer, const struct ot_event *e)
{
    int64_t n;

    turn_aside(true);
    for (int i = 0; pg_int(scratch.db,
                           "SELECT count(*) FROM pg_stat_activity WHERE "
                           "pid = %s",
                           turn_admin_session(writer)) > 0;
         i++) {
        if (i > 20000)
            turn_fail("session %s does not end", turn_admin_session(writer));
        usleep(1000);
    }
    n = pg_int(scratch.db, "SELECT count(*) FROM event WHERE payload = '%.*s'",
               (int)e->payload.n, e->payload.p);
    turn_aside(false);
    return n > 0;
}

static int64_t number(const char *sql)
{
    int64_t n;

    turn_aside(true);
    n = pg_int(scratch.db, "%s", sql);
    turn_aside(false);
    return n;
}

static int64_t asked(void)
{
    return number("SELECT count(*) FROM command");
}

/* A row of held with seq 0 belongs to the cursor. */
static int64_t left(void)
{
    return number("SELECT (SELECT count(*) FROM gap) + "
                  "(SELECT count(*) FROM held WHERE seq > 0) + "
                  "(SELECT count(*) FROM command)");
}

static void expire(void)
{
    turn_aside(true);
    pg_run(scratch.db,
           "UPDATE cursor SET lease_expires_at = clock_timestamp()");
    turn_aside(false);
}

static size_t dead(int64_t *seqs, int *numbers, size_t max)
{
    PGresult *r;
    size_t n;

    turn_aside(true);
    r = PQexec(scratch.db,
               "SELECT seq, convert_from(payload, 'UTF8') FROM held "
               "JOIN event USING (seq) WHERE state = 'dead'");
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        turn_fail("%s", PQerrorMessage(scratch.db));
    n = (size_t)PQntuples(r) < max ? (size_t)PQntuples(r) : max;
    for (size_t i = 0; i < n; i++) {
        seqs[i] = strtoll(PQgetvalue(r, (int)i, 0), NULL, 10);
        numbers[i] = atoi(PQgetvalue(r, (int)i, 1));
    }
    PQclear(r);
    turn_aside(false);
    return n;
}

static const struct outbox outbox = {
    .name = "postgres",
    .most = {20, 5, 8, 5, 2},
    .gaps = true,
    .real_time = true,
    .make = make,
    .drop = turn_admin_close,
    .open = open_store,
    .begin = turn_admin_begin,
    .put = turn_admin_put,
    .commit = turn_admin_commit,
    .rollback = turn_admin_rollback,
    .is_there = is_there,
    .command = turn_admin_command,
    .asked = asked,
    .expire = expire,
    .dead = dead,
    .left = left,
};

/* --- the network ------------------------------------------------------------- */

static int network_error;

/* libpq reports a write that failed only once nothing more can be read. So what
 * is reset is reset for both. */
static bool broken(int fd)
{
    if (network_error == EMFILE || !turn_now(TURN_SYSTEM))
        return false;
    if (network_error == ECONNRESET)
        shutdown(fd, SHUT_RDWR);
    errno = network_error;
    return true;
}

static bool no_socket(void)
{
    if (network_error != EMFILE || !turn_now(TURN_SYSTEM))
        return false;
    errno = EMFILE;
    return true;
}

TURN_CALL ssize_t send(int fd, const void *p, size_t n, int flags)
{
    return broken(fd) ? -1
                      : syscall(SYS_sendto, fd, p, n, flags, NULL, (size_t)0);
}

TURN_CALL ssize_t recv(int fd, void *p, size_t n, int flags)
{
    return broken(fd) ? -1 : syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

TURN_CALL int socket(int domain, int type, int protocol)
{
    return no_socket() ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

TURN_CALL int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    return no_socket() ? -1 : (int)syscall(SYS_connect, fd, to, n);
}

TURN_CALL int setsockopt(int fd, int level, int name, const void *value,
                         socklen_t n)
{
    return no_socket()
               ? -1
               : (int)syscall(SYS_setsockopt, fd, level, name, value, n);
}

/* --- the tests --------------------------------------------------------------- */

static void network(void **state)
{
    static const struct {
        int error;
        const char *name;
    } errors[] = {
        {ECONNRESET, "ECONNRESET, "},
        {EINTR, "EINTR, "},
        {EMFILE, "EMFILE, "},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(errors); i++) {
        network_error = errors[i].error;
        turn_detail(errors[i].name);
        turn_each(&outbox, TURN_SYSTEM, 10);
    }
    turn_detail(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TURN_TESTS(&outbox),
        cmocka_unit_test(network),
    };

    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
