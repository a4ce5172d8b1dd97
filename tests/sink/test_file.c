/* The file sink when the disk or the file is not as it should be. */
#include "battery.h"

#include "sink/file/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char folder[] = "/tmp/outtray-file-XXXXXX";
static char path[100], url[200];
static struct subject file = {.name = "file", .topic = "orders"};

static int syncs;        /* of files, so far */
static bool no_truncate; /* files cannot be cut */

/* The writer calls these, not those of libc. */
int fsync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
    errno = EIO;
    return no_truncate ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

static struct rig *open_path(const char *at, const char *const *settings)
{
    static struct rig r;
    subject = &file;
    snprintf(url, sizeof(url), "file://%s", at);
    rig_open(&r, url, settings);
    return &r;
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *read_file(void)
{
    static char text[200000];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    return text;
}

static size_t whole_lines(const char *text)
{
    size_t n = 0;
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        assert_non_null(end);
        assert_int_equal(strncmp(text, "{\"id\":\"", 7), 0);
        assert_int_equal(end[-1], '}');
        text = end + 1;
        n++;
    }
    return n;
}

static void test_line(void **state)
{
    (void)state;
    unlink(path);
    struct rig *r = open_path(path, NULL);
    struct ot_event *e =
        rig_event(r, "orders", "k\"1", "{\"a\":\"x\\u0001\"}\n\t\x01");
    e->type = rig_text("made");
    e->headers = rig_text("{\n \"h\": \"v\"}");
    e = rig_event(r, "orders", NULL, NULL);
    e = rig_event(r, "orders", NULL, NULL);
    e->payload = rig_slice("\xff\x00\x01\x02", 4);
    rig_submit(r, 2);
    rig_submit_flagged(r, 1, true);
    assert_true(rig_wait(r, 3, 5000));
    assert_string_equal(
        read_file(),
        "{\"id\":\"00000000-0000-0000-0000-000000000001\",\"order\":\"7.1\","
        "\"topic\":\"orders\",\"key\":\"k\\\"1\",\"type\":\"made\","
        "\"headers\":{  \"h\": \"v\"},"
        "\"payload\":\"{\\\"a\\\":\\\"x\\\\u0001\\\"}\\n\\t\\u0001\","
        "\"created_at\":\"2025-11-24T16:00:00.000Z\"}\n"
        "{\"id\":\"00000000-0000-0000-0000-000000000002\",\"order\":\"7.2\","
        "\"topic\":\"orders\",\"key\":null,\"type\":null,\"headers\":null,"
        "\"payload\":null,\"created_at\":\"2025-11-24T16:00:00.000Z\"}\n"
        "{\"id\":\"00000000-0000-0000-0000-000000000003\",\"order\":\"7.3\","
        "\"topic\":\"orders\",\"key\":null,\"type\":null,\"headers\":null,"
        "\"payload_base64\":\"/wABAg==\","
        "\"created_at\":\"2025-11-24T16:00:00.000Z\","
        "\"maybe_duplicate\":true}\n");
    rig_close(r);
}

/* What a crash left of a line goes; what is not ours stays, with an end. */
static void test_torn(void **state)
{
    (void)state;
    write_file("{\"id\":\"1\"}\n{\"id\":\"2\",\"ord");
    struct rig *r = open_path(path, NULL);
    add_numbered(r, 1);
    rig_run(r, 1, 5000);
    rig_close(r);
    assert_int_equal(whole_lines(read_file()), 2);

    write_file("my diary, day one");
    r = open_path(path, NULL);
    add_numbered(r, 1);
    rig_run(r, 1, 5000);
    rig_close(r);
    assert_int_equal(strncmp(read_file(), "my diary, day one\n{\"id\"", 23), 0);

    write_file("{\"i");
    r = open_path(path, NULL);
    add_numbered(r, 1);
    rig_run(r, 1, 5000);
    rig_close(r);
    assert_int_equal(whole_lines(read_file()), 1);
}

static void limit_file(rlim_t bytes)
{
    struct rlimit l = {bytes, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* The disk is full in the middle of a line: whole lines count, the rest fails
 * with a reason and leaves nothing, and all goes on when there is room. */
static void full_disk(const char *const *settings)
{
    signal(SIGXFSZ, SIG_IGN);
    unlink(path);
    struct rig *r = open_path(path, settings);
    add_numbered(r, 100);
    limit_file(5000);
    assert_int_equal(rig_submit(r, 60), 60);
    rig_submit(r, 40);
    assert_true(rig_wait(r, r->sent, 5000));
    assert_true(r->outcome[OT_OK] > 5);
    assert_true(r->outcome[OT_UNAVAILABLE] > 5);
    size_t ok = r->outcome[OT_OK];
    assert_int_equal(whole_lines(read_file()), ok);
    /* none that failed stands before one that is there */
    for (size_t i = 0; i < ok; i++)
        assert_int_equal(r->events[i].completion.outcome, OT_OK);
    const struct rig_event *e = &r->events[ok];
    assert_int_equal(e->completion.scope, OT_THE_SINK);
    assert_non_null(strstr(e->reason, path));
    assert_non_null(strstr(e->reason, "too large"));
    struct ot_health h;
    r->sink->ops->health(r->sink, &h);
    assert_int_equal(h.state, OT_HEALTH_DOWN);
    limit_file(RLIM_INFINITY);
    add_numbered(r, 20);
    rig_run(r, 20, 5000);
    assert_int_equal(whole_lines(read_file()), r->outcome[OT_OK]);
    r->sink->ops->health(r->sink, &h);
    assert_int_equal(h.state, OT_HEALTH_UP);
    assert_non_null(strstr(r->logged, "writing again"));
    rig_close(r);
}

static const char *const synced[] = {"sink.fsync=true", NULL};

/* A line that another relay is writing just now is no half of one: it is waited
 * for. */
static void test_shared(void **state)
{
    static const char half[] = "{\"id\":\"2\",\"ord", rest[] = "er\":\"1\"}\n";
    (void)state;
    write_file(half);
    int fd = open(path, O_RDWR | O_APPEND);
    assert_true(fd >= 0 && flock(fd, LOCK_SH) == 0);
    struct rig *r = open_path(path, NULL);
    rig_event(r, "orders", "k", "1");
    rig_submit(r, 1);
    rig_waits_in_vain(r, 1, 300);
    assert_int_equal(write(fd, rest, sizeof(rest) - 1), sizeof(rest) - 1);
    assert_int_equal(flock(fd, LOCK_UN), 0);
    assert_true(rig_wait(r, 1, 5000));
    assert_int_equal(r->outcome[OT_OK], 1);
    assert_int_equal(whole_lines(read_file()), 2);
    /* It keeps no lock when it has written. */
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    rig_close(r);
}

/* A relay that is stopped while it writes keeps the file: the others say so,
 * and write when it is free. */
static void test_shared_with_the_stopped(void **state)
{
    (void)state;
    write_file("");
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    struct rig *r = open_path(path, NULL);
    add_numbered(r, 2);
    rig_submit(r, 1);
    assert_true(rig_wait(r, 1, 10000));
    assert_int_equal(r->outcome[OT_UNAVAILABLE], 1);
    assert_non_null(strstr(r->events[0].reason, "another process has it"));
    assert_string_equal(read_file(), "");
    close(fd);
    rig_submit(r, 1);
    assert_true(rig_wait(r, 2, 5000));
    assert_int_equal(r->outcome[OT_OK], 1);
    rig_close(r);
}

/* Another relay died in the middle of a line, while this one has the file open:
 * the next line does not become the end of it. */
static void test_shared_with_the_dead(void **state)
{
    static const char half[] = "{\"id\":\"2\",\"ord";
    (void)state;
    unlink(path);
    struct rig *r = open_path(path, NULL);
    add_numbered(r, 3);
    for (size_t n = 1; n <= 3; n++) {
        rig_submit(r, 1);
        assert_true(rig_wait(r, n, 5000));
        assert_int_equal(whole_lines(read_file()), n);
        int fd = open(path, O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, half, sizeof(half) - 1), sizeof(half) - 1);
        close(fd);
    }
    assert_int_equal(r->outcome[OT_OK], 3);
    rig_close(r);
}

static void test_full(void **state)
{
    (void)state;
    full_disk(NULL);
    full_disk(synced);
}

/* Half a line that cannot be taken away closes the file; the whole ones before
 * it are on the disk all the same. */
static void test_full_and_closed(void **state)
{
    (void)state;
    unlink(path);
    struct rig *r = open_path(path, synced);
    add_numbered(r, 60);
    limit_file(5000);
    no_truncate = true;
    syncs = 0;
    rig_run(r, 60, 5000);
    limit_file(RLIM_INFINITY);
    no_truncate = false;
    assert_true(r->outcome[OT_OK] > 5);
    assert_int_equal(syncs, 2); /* the folder, for a new file; the lines */
    rig_close(r);
}

/* What is behind a pipe cannot be synced, and need not be. */
static void test_pipe_synced(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    FILE *reader = fopen(path, "r+");
    assert_non_null(reader);
    struct rig *r = open_path(path, synced);
    add_numbered(r, 3);
    rig_run(r, 3, 5000);
    assert_int_equal(r->outcome[OT_OK], 3);
    rig_close(r);
    fclose(reader);
    unlink(path);
}

static void test_no_space(void **state)
{
    (void)state;
    struct rig *r = open_path("/dev/full", NULL);
    add_numbered(r, 5);
    rig_run(r, 5, 5000);
    assert_int_equal(r->outcome[OT_UNAVAILABLE], 5);
    assert_non_null(strstr(r->events[0].reason, "No space left"));
    assert_non_null(strstr(r->events[0].reason, "make room"));
    rig_close(r);
}

static void test_cannot_open(void **state)
{
    (void)state;
    struct outtray_error err = {0};
    struct rig *r = open_path("/tmp/outtray-no-such-folder/x", NULL);
    assert_int_equal(r->sink->ops->check(r->sink, NULL, 100, &err),
                     OUTTRAY_E_SINK_MISCONFIGURED);
    assert_non_null(strstr(err.text, "outtray-no-such-folder"));
    assert_non_null(strstr(err.text, "No such file or directory; make the"));
    add_numbered(r, 3);
    rig_run(r, 3, 5000);
    assert_int_equal(r->outcome[OT_UNAVAILABLE], 3);
    assert_non_null(strstr(r->events[0].reason, "make the folder"));
    rig_close(r);
    r = open_path("/tmp", NULL);
    assert_int_equal(r->sink->ops->check(r->sink, "orders", 100, &err),
                     OUTTRAY_E_SINK_MISCONFIGURED);
    rig_close(r);
}

/* On a file system that nobody may write to, rights are no help. */
static void test_advice(void **state)
{
    (void)state;
    assert_non_null(strstr(ot_writer_advice(EACCES), "relay's user"));
    assert_non_null(strstr(ot_writer_advice(EROFS), "mount"));
    assert_null(strstr(ot_writer_advice(EROFS), "user"));
}

/* Rotated away: the next line begins a new file. */
static void test_rotated(void **state)
{
    char old[120];
    (void)state;
    unlink(path);
    snprintf(old, sizeof(old), "%s.1", path);
    struct rig *r = open_path(path, NULL);
    add_numbered(r, 2);
    assert_int_equal(rig_submit(r, 1), 1);
    assert_true(rig_wait(r, 1, 5000));
    assert_int_equal(rename(path, old), 0);
    rig_run(r, 1, 5000);
    assert_int_equal(whole_lines(read_file()), 1);
    unlink(old);
    rig_close(r);
}

/* A disk that hangs: a pipe that nobody reads. Abandon and close do not wait
 * for it. */
static void test_hanging(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    FILE *reader = fopen(path, "r+"); /* so that opening does not wait */
    assert_non_null(reader);
    struct rig *r = open_path(path, NULL);
    add_numbered(r, 4000);
    rig_submit(r, 2000);
    rig_turn(r, 20);
    rig_submit(r, 2000);
    /* Until the writer has filled it. */
    for (int i = 0, held = 0; i < 6000 && held < 60000; i++) {
        rig_turn(r, 10);
        assert_int_equal(ioctl(fileno(reader), FIONREAD, &held), 0);
    }
    rig_waits_in_vain(r, r->sent, 300);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, r->sent, 100));
    assert_true(r->outcome[OT_UNKNOWN] > 0);
    assert_int_equal(r->outcome[OT_UNKNOWN] + r->outcome[OT_UNAVAILABLE] +
                         r->outcome[OT_OK],
                     r->sent);
    rig_close(r);
    /* The writer is still there and frees itself once it can go on. */
    char waste[4096];
    size_t n, all = 0;
    while (all < 100000 && (n = fread(waste, 1, sizeof(waste), reader)) > 0)
        all += n;
    fclose(reader);
    usleep(200000);
    unlink(path);
}

static void test_refused(void **state)
{
    (void)state;
    rig_refused("file:///", NULL, OUTTRAY_E_URL, "file:///absolute/path");
    rig_refused("file://host/x", NULL, OUTTRAY_E_URL, "host");
    rig_refused("null", NULL, OUTTRAY_E_URL, "kafka://");
    rig_refused("amqp://x", NULL, OUTTRAY_E_URL, "\"amqp\"");
    rig_refused("stdout:x", NULL, OUTTRAY_E_URL, "stdout:");
    rig_refused("fault:?script=okk", NULL, OUTTRAY_E_URL, "okk");
    rig_refused("fault:?script=ok*0", NULL, OUTTRAY_E_URL, "ok*0");
    rig_refused("fault:?script=again", NULL, OUTTRAY_E_URL, "again");
    rig_refused("fault:?script=again@key=7", NULL, OUTTRAY_E_URL, "rule");
    rig_refused("fault:?script=retry:0s,again", NULL, OUTTRAY_E_URL, "no time");
    rig_refused("fault:?scrpt=ok", NULL, OUTTRAY_E_URL, "scrpt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_shared_with_the_stopped),
        cmocka_unit_test(test_shared_with_the_dead),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_full_and_closed),
        cmocka_unit_test(test_pipe_synced),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_cannot_open),
        cmocka_unit_test(test_advice),
        cmocka_unit_test(test_rotated),
        cmocka_unit_test(test_hanging),
        cmocka_unit_test(test_refused),
    };
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/out", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
