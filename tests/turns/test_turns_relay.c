/* test_turns_relay.c - a whole relay, as the program has it, from a SQLite file
 * to a file: its loop, its thread and its disks fail, one system call at a
 * time. */
#include "turns.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "outtray.h"
#include "support/scratch_sqlite.h"

enum { EVENTS = 24, KEYS = 3 };

static struct scratch scratch;
static struct ot_admin *application;
static char out[128];

/* --- the system -------------------------------------------------------------- */

static int system_error;

/* Which calls can fail like this. */
enum { DISK = 1, ROOM = 2, WAIT = 4, HANDLE = 8 };

static bool fails(unsigned call)
{
    unsigned wanted = system_error == ENOSPC   ? ROOM
                      : system_error == EINTR  ? WAIT
                      : system_error == EMFILE ? HANDLE
                                               : DISK;

    if ((call & wanted) == 0 || !turn_now(TURN_SYSTEM))
        return false;
    errno = system_error;
    return true;
}

/* To the disk, not to wake a thread up. Half of it is there before it fails. */
TURN_CALL ssize_t write(int fd, const void *p, size_t n)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        !fails(DISK | ROOM | WAIT))
        return syscall(SYS_write, fd, p, n);
    return n > 8 && system_error == ENOSPC ? syscall(SYS_write, fd, p, n / 2)
                                           : -1;
}

TURN_CALL ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
    return fails(DISK | ROOM) ? -1 : syscall(SYS_pwrite64, fd, p, n, at);
}

TURN_CALL ssize_t pread64(int fd, void *p, size_t n, off_t at)
{
    return fails(DISK) ? -1 : syscall(SYS_pread64, fd, p, n, at);
}

TURN_CALL int fsync(int fd)
{
    return fails(DISK | ROOM) ? -1 : (int)syscall(SYS_fsync, fd);
}

TURN_CALL int fdatasync(int fd)
{
    return fails(DISK | ROOM) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static int open_file(const char *path, int flags, int mode)
{
    return fails(DISK | HANDLE | WAIT)
               ? -1
               : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

TURN_CALL int open(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    return open_file(path, flags, mode);
}

TURN_CALL int open64(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    return open_file(path, flags, mode);
}

TURN_CALL int eventfd(unsigned count, int flags)
{
    return fails(HANDLE) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

TURN_CALL int epoll_create1(int flags)
{
    return fails(HANDLE) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

TURN_CALL int epoll_pwait(int fd, struct epoll_event *events, int n, int ms,
                          const sigset_t *mask)
{
    return fails(WAIT) ? -1
                       : (int)syscall(SYS_epoll_pwait, fd, events, n, ms, mask,
                                      (size_t)8);
}

/* --- the story --------------------------------------------------------------- */

static void set(const char *name, const char *value)
{
    scratch_set(&scratch, name, value);
}

static void make(void)
{
    static const char *const quick[] = {
        "breaker.min_ms",
        "probe.min_ms",
        "retry.min_ms",
        "relay.poll_max_ms",
    };
    struct outtray_event event = {.topic = {"t", 1}};
    struct outtray_error err;
    char url[160], payload[8], key[8];

    scratch_make(&scratch);
    snprintf(out, sizeof(out), "%s/out", scratch.folder);
    snprintf(url, sizeof(url), "file://%s", out);
    set("sink.url", url);
    set("sink.fsync", "true");
    set("relay.batch_events", "8");
    for (size_t i = 0; i < OT_COUNT(quick); i++)
        set(quick[i], "10ms");
    application = scratch_admin(&scratch);
    assert_int_equal(application->ops->begin(application, &err), 0);
    for (int i = 0; i < EVENTS; i++) {
        event.payload.n = (size_t)snprintf(payload, sizeof(payload), "%d", i);
        event.payload.p = payload;
        event.key.n = (size_t)snprintf(key, sizeof(key), "k%d", i % KEYS);
        event.key.p = key;
        if (application->ops->enqueue(application, &event, 1, &err) != 0)
            fail_msg("%s", err.text);
    }
    assert_int_equal(application->ops->end(application, true, &err), 0);
    application->ops->close(application);
}

static void drop(void)
{
    unlink(out);
    scratch_drop(&scratch);
}

/* To its end, or until it ends with an error: whoever supervises it starts it
 * again. */
static int relay_once(struct outtray_error *err)
{
    int64_t until_us = turn_clock() + 60000000;
    struct outtray_relay *relay;
    int rc = outtray_relay_open(&relay, scratch.conf, NULL, NULL, err);

    if (rc != 0)
        return rc;
    outtray_relay_until_empty(relay);
    do {
        rc = outtray_relay_step(relay, 50, err);
        if (turn_clock() > until_us) {
            struct outtray_relay_stats stats;

            outtray_relay_stats(relay, &stats);
            turn_fail("it does not end: %s, %s", stats.stall,
                      stats.stall_detail);
        }
    } while (rc == 1);
    outtray_relay_close(relay);
    return rc;
}

/* The payload is the number; lines are whole, also behind a failed write. */
static void check_file(void)
{
    bool there[EVENTS] = {false};
    char line[1024];
    int lines = 0;
    FILE *f;

    turn_aside(true);
    f = fopen(out, "r");
    if (f == NULL)
        turn_fail("nothing was written");
    while (fgets(line, sizeof(line), f) != NULL) {
        const char *at = strstr(line, "\"payload\":");
        int i;

        if (line[0] != '{' || strlen(line) < 3 ||
            strcmp(line + strlen(line) - 2, "}\n") != 0 || at == NULL)
            turn_fail("line %d is broken: %.100s", lines + 1, line);
        i = atoi(at + strcspn(at, "0123456789"));
        if (i < 0 || i >= EVENTS)
            turn_fail("nobody has enqueued this: %.200s", line);
        if (!there[i] && i >= KEYS && !there[i - KEYS])
            turn_fail("%d came before %d", i, i - KEYS);
        there[i] = true;
        lines++;
    }
    fclose(f);
    turn_aside(false);
    for (int i = 0; i < EVENTS; i++)
        if (!there[i])
            turn_fail("event %d is lost", i);
    if (lines > 3 * EVENTS)
        turn_fail("%d lines for %d events", lines, EVENTS);
}

static void story(void)
{
    struct outtray_error err = {0};
    int starts = 0;

    while (relay_once(&err) != 0)
        if (++starts > 3)
            turn_fail("it does not recover: %.300s", err.text);
    check_file();
}

static const struct outbox outbox = {
    .name = "relay",
    .real_time = true,
    .make = make,
    .drop = drop,
    .story = story,
};

static void each(int error, const char *name, long most)
{
    system_error = error;
    turn_detail(name);
    turn_each(&outbox, TURN_SYSTEM, most);
    turn_detail(NULL);
}

static void disk_fails(void **state)
{
    (void)state;
    each(EIO, "EIO, ", 1000);
}

static void disk_is_full(void **state)
{
    (void)state;
    each(ENOSPC, "ENOSPC, ", 1000);
}

static void interrupted(void **state)
{
    (void)state;
    each(EINTR, "EINTR, ", 1000);
}

static void no_handles(void **state)
{
    (void)state;
    each(EMFILE, "EMFILE, ", 1000);
}

static void allocations(void **state)
{
    (void)state;
    turn_each(&outbox, TURN_ALLOC, 60);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_fails),  cmocka_unit_test(disk_is_full),
        cmocka_unit_test(interrupted), cmocka_unit_test(no_handles),
        cmocka_unit_test(allocations),
    };

    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
