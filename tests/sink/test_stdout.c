/* Standard output when nobody reads it. */
#include "battery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

static struct subject out = {.name = "stdout", .topic = "orders"};

static bool signalled; /* poll returns because of a signal */

/* The sink calls this, not that of libc. */
int poll(struct pollfd *fds, nfds_t n, int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    errno = EINTR;
    return signalled ? -1
                     : (int)syscall(SYS_ppoll, fds, n, ms < 0 ? NULL : &t, NULL,
                                    (size_t)0);
}

/* The sink on ends[1], which it has for itself. */
static int open_on(struct rig *r, const int ends[2])
{
    int home = dup(1);
    subject = &out;
    fflush(stdout);
    dup2(ends[1], 1);
    close(ends[1]);
    rig_open(r, "stdout:", NULL);
    dup2(home, 1);
    close(home);
    return ends[0];
}

/* The sink on a pipe of its own; returns the end to read from. */
static int open_pipe(struct rig *r)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    return open_on(r, ends);
}

/* A stuck reader is back-pressure, and nothing hangs. */
static void test_stuck(void **state)
{
    (void)state;
    struct rig r;
    int fd = open_pipe(&r);
    add_numbered(&r, 60000);
    while (rig_submit(&r, 5000) == 5000)
        ;
    assert_true(r.sent < r.n);
    size_t done = r.done;
    rig_waits_in_vain(&r, r.sent, 300);
    assert_true(r.done < r.sent);
    struct ot_health h;
    r.sink->ops->health(r.sink, &h);
    assert_int_equal(h.state, OT_HEALTH_DEGRADED);
    assert_non_null(strstr(h.reason, "slow"));
    /* Some of it is read: some of it completes. */
    char waste[30000];
    assert_true(read(fd, waste, sizeof(waste)) > 0);
    assert_true(rig_wait(&r, done + 1, 1000));
    r.sink->ops->abandon(r.sink);
    assert_true(rig_wait(&r, r.sent, 1000));
    assert_true(r.outcome[OT_UNKNOWN] <= 1); /* the one that is half out */
    close(fd);
    rig_close(&r);
}

/* A signal comes while it looks whether there is room: it does not write, since
 * a descriptor that it shares with others would let it wait. */
static void test_signalled(void **state)
{
    (void)state;
    struct timeval patience = {.tv_sec = 20};
    struct rig r;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    setsockopt(ends[1], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    int fd = open_on(&r, ends);
    add_numbered(&r, 60000);
    while (rig_submit(&r, 5000) == 5000)
        ;
    int64_t began_us = ot_now_us();
    signalled = true;
    r.sink->ops->service(r.sink, began_us);
    signalled = false;
    assert_true(ot_now_us() - began_us < 10000000);
    r.sink->ops->abandon(r.sink);
    assert_true(rig_wait(&r, r.sent, 1000));
    close(fd);
    rig_close(&r);
}

/* After an abandon the reader still gets whole lines. */
static void test_whole_lines(void **state)
{
    (void)state;
    struct rig r;
    int fd = open_pipe(&r);
    add_numbered(&r, 2000);
    rig_submit(&r, 1500);
    r.sink->ops->abandon(r.sink);
    while (rig_take(&r) > 0)
        ;
    assert_int_equal(r.done, 1500);
    assert_true(r.outcome[OT_OK] < 1500);
    static char text[400000];
    size_t n = 0, ok = r.outcome[OT_OK] + r.outcome[OT_UNKNOWN];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    rig_submit(&r, 500);
    int64_t until_us = ot_now_us() + 60000000;
    while (r.done < 2000 && ot_now_us() < until_us) {
        ssize_t got = read(fd, text + n, sizeof(text) - n - 1);
        n += got > 0 ? (size_t)got : 0;
        rig_turn(&r, 10);
    }
    ssize_t got;
    while ((got = read(fd, text + n, sizeof(text) - n - 1)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    size_t lines = 0;
    for (char *at = text; *at != '\0'; lines++) {
        char *end = strchr(at, '\n');
        assert_non_null(end);
        assert_int_equal(strncmp(at, "{\"id\":\"", 7), 0);
        assert_int_equal(end[-1], '}');
        at = end + 1;
    }
    assert_int_equal(lines, ok + 500);
    close(fd);
    rig_close(&r);
}

/* The reader is gone: a reason, and the process lives. */
static void test_gone(void **state)
{
    (void)state;
    struct rig r;
    signal(SIGPIPE, SIG_DFL);
    int fd = open_pipe(&r);
    add_numbered(&r, 3);
    rig_submit(&r, 1);
    assert_true(rig_wait(&r, 1, 1000));
    close(fd);
    rig_submit(&r, 2);
    assert_true(rig_wait(&r, 3, 1000));
    assert_int_equal(r.outcome[OT_UNAVAILABLE], 2);
    assert_int_equal(r.events[2].completion.scope, OT_THE_SINK);
    assert_non_null(strstr(r.events[2].reason, "is gone"));
    struct outtray_error err = {0};
    assert_int_equal(r.sink->ops->check(r.sink, NULL, 100, &err),
                     OUTTRAY_E_SINK_UNAVAILABLE);
    rig_close(&r);
}

/* The shell's own descriptor stays as it was. */
static void test_left_alone(void **state)
{
    (void)state;
    struct rig r;
    int before = fcntl(1, F_GETFL);
    subject = &out;
    rig_open(&r, "stdout:", NULL);
    assert_int_equal(fcntl(1, F_GETFL), before);
    rig_close(&r);
    assert_int_equal(fcntl(1, F_GETFL), before);
}

static void test_closed(void **state)
{
    (void)state;
    fflush(stdout);
    int home = fcntl(1, F_DUPFD_CLOEXEC, 3);
    close(1);
    rig_refused("stdout:", NULL, OUTTRAY_E_IO, "Bad file descriptor; redirect");
    dup2(home, 1);
    close(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stuck),       cmocka_unit_test(test_signalled),
        cmocka_unit_test(test_whole_lines), cmocka_unit_test(test_gone),
        cmocka_unit_test(test_left_alone),  cmocka_unit_test(test_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
