/* test_sqlite_faults.c - a file that is busy, full, damaged, or shared by many
 * processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <sys/wait.h>
#include <time.h>

#include "outtray/sqlite.h"
#include "support/faulty_sqlite.h"
#include "support/scratch_sqlite.h"

static char self[4096]; /* this program: its own writers */

/* --- busy -------------------------------------------------------------------- */

static void busy_is_waited_out(void **state)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_write_request q = {.number = 3, .position = 1, .set_paused = -1};
    struct ot_reply reply;
    sqlite3 *app;
    int64_t now;

    (void)state;
    scratch_make(&x);
    s = scratch_store(&x, 1);
    q.fence = store_lease(s).lease.fence;
    app = scratch_app(&x);
    app_run(app, "BEGIN IMMEDIATE");
    app_run(app, "INSERT INTO outtray_event (topic) VALUES ('t')");
    s->ops->write(s, &q);
    for (int i = 0; i < 30; i++) {
        assert_false(s->ops->next(s, &reply));
        now = ot_now_us();
        assert_true(s->ops->service(s, now) <= now + 10000);
        usleep(2000);
    }
    /* Reading goes on meanwhile, and sees nothing uncommitted. */
    reply = store_read(s, 0);
    assert_int_equal(reply.kind, OT_REPLY_READ);
    assert_int_equal(reply.code, 0);
    assert_int_equal(reply.read.rows->n, 0);
    ot_rows_unref(reply.read.rows);
    app_run(app, "COMMIT");
    reply = store_wait(s);
    assert_int_equal(reply.kind, OT_REPLY_WRITE);
    assert_int_equal(reply.code, 0);
    assert_int_equal(reply.write.fate, OT_WRITTEN);
    assert_int_equal(reply.write.number, 3);
    sqlite3_close(app);
    s->ops->close(s);
    scratch_drop(&x);
}

static void busy_for_too_long(void **state)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_reply reply;
    sqlite3 *app;
    int64_t started;

    (void)state;
    scratch_make(&x);
    scratch_set(&x, "store.statement_timeout_ms", "150ms");
    s = scratch_store(&x, 1);
    reply = store_lease(s);
    app = scratch_app(&x);
    app_run(app, "BEGIN IMMEDIATE");
    started = ot_now_us();
    reply = store_move(s, reply.lease.fence, 1);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_BUSY);
    assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    assert_true(ot_now_us() - started >= 150000);
    app_run(app, "ROLLBACK");
    assert_int_equal(store_lease(s).code, 0);
    sqlite3_close(app);
    s->ops->close(s);
    scratch_drop(&x);
}

/* --- many processes ---------------------------------------------------------- */

/* The program of a writer: transactions of one to three events, a tenth of them
 * rolled back. */
static int be_writer(const char *path, unsigned seed)
{
    sqlite3 *db;
    char sql[200];

    if (sqlite3_open(path, &db) != SQLITE_OK)
        return 1;
    sqlite3_busy_timeout(db, 120000);
    for (unsigned i = 0; i < 100; i++) {
        const char *end = (seed + i) % 10 == 0 ? "ROLLBACK" : "COMMIT";

        snprintf(sql, sizeof(sql),
                 "BEGIN IMMEDIATE; INSERT INTO outtray_event (topic, key, "
                 "payload) SELECT 't', '%u', '%u.' || value FROM "
                 "json_each('[1,2,3]') LIMIT %u; %s",
                 seed, i, 1 + (seed + i) % 3, end);
        if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
            fprintf(stderr, "writer: %s\n", sqlite3_errmsg(db));
            return 1;
        }
    }
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}

static pid_t start_writer(const struct scratch *x, const char *seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl(self, self, "writer", x->path, seed, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Reads what is new and moves the cursor behind it; the order must hold. */
static int64_t relay_once(struct ot_store *s, int64_t fence, int64_t position,
                          int64_t *n)
{
    struct ot_reply reply = store_read(s, position);

    if (reply.code != 0)
        fail_msg("read: %s", reply.err.text);
    for (uint32_t i = 0; i < reply.read.rows->n; i++) {
        int64_t seq = reply.read.rows->events[i].seq;

        assert_true(seq > position);
        position = seq;
        ++*n;
    }
    ot_rows_unref(reply.read.rows);
    reply = store_move(s, fence, position);
    if (reply.code != 0)
        fail_msg("write: %s", reply.err.text);
    assert_int_equal(reply.write.fate, OT_WRITTEN);
    return position;
}

static void writers_in_many_processes(void **state)
{
    static const char *const seeds[] = {"1", "2", "3"};
    struct scratch x;
    struct ot_store *s;
    int64_t position = 0, n = 0, fence;
    pid_t pids[OT_COUNT(seeds)];
    size_t running = OT_COUNT(seeds);
    sqlite3 *app;

    (void)state;
    scratch_make(&x);
    /* Forked before the store is open. */
    for (size_t i = 0; i < OT_COUNT(seeds); i++)
        pids[i] = start_writer(&x, seeds[i]);
    s = scratch_store(&x, 1);
    fence = store_lease(s).lease.fence;
    assert_true(fence > 0);
    while (running > 0) {
        position = relay_once(s, fence, position, &n);
        for (size_t i = 0; i < OT_COUNT(seeds); i++) {
            int status;

            if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) > 0) {
                assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
                pids[i] = 0;
                running--;
            }
        }
    }
    relay_once(s, fence, position, &n);
    app = scratch_app(&x);
    assert_true(n > 0);
    assert_int_equal(n, app_int(app, "SELECT count(*) FROM outtray_event"));
    sqlite3_close(app);
    s->ops->close(s);
    scratch_drop(&x);
}

/* --- no room, read-only, damaged ---------------------------------------------- */

static void full(void **state)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_write_request q = {.position = 5, .set_paused = -1};
    struct ot_held *held = calloc(3000, sizeof(*held));
    struct ot_reply reply;

    (void)state;
    scratch_make(&x);
    use_faulty(true);
    s = scratch_store(&x, 1);
    q.fence = store_lease(s).lease.fence;
    sqlite3_exec(opened, "PRAGMA max_page_count = 1", NULL, NULL, NULL);
    for (int i = 0; i < 3000; i++)
        held[i] = (struct ot_held){.seq = i + 1,
                                   .state = OT_HELD_DEAD,
                                   .error = "some text that takes room"};
    q.held_put = held;
    q.nheld_put = 3000;
    s->ops->write(s, &q);
    reply = store_wait(s);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_FULL);
    assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    assert_true(outtray_error_retryable(reply.code));
    s->ops->load(s);
    reply = store_wait(s);
    assert_int_equal(reply.code, 0);
    assert_int_equal(reply.cursor.position, 0);
    assert_int_equal(reply.cursor.nheld, 0);
    sqlite3_exec(opened, "PRAGMA max_page_count = 100000", NULL, NULL, NULL);
    s->ops->write(s, &q);
    reply = store_wait(s);
    assert_int_equal(reply.code, 0);
    assert_int_equal(reply.write.fate, OT_WRITTEN);
    s->ops->close(s);
    use_faulty(false);
    free(held);
    scratch_drop(&x);
}

static void failing_disk(void **state)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_reply reply;
    int64_t fence;

    (void)state;
    scratch_make(&x);
    use_faulty(true);
    s = scratch_store(&x, 1);
    fence = store_lease(s).lease.fence;
    fail_step_code = SQLITE_IOERR_FSYNC;
    reply = store_move(s, fence, 1);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
    assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    assert_int_equal(reply.err.native, SQLITE_IOERR_FSYNC);
    fail_step_code = SQLITE_CORRUPT;
    reply = store_move(s, fence, 1);
    assert_int_equal(reply.code, OUTTRAY_E_STORE);
    assert_non_null(strstr(reply.err.text, "integrity_check"));
    fail_step_code = 0;
    /* It goes on by itself, on a connection of its own. */
    reply = store_lease(s);
    assert_int_equal(reply.code, 0);
    assert_int_equal(store_move(s, reply.lease.fence, 1).write.fate,
                     OT_WRITTEN);
    s->ops->close(s);
    use_faulty(false);
    scratch_drop(&x);
}

static void read_only(void **state)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_reply reply;

    (void)state;
    scratch_make(&x);
    use_faulty(true);
    open_flags = SQLITE_OPEN_READONLY;
    s = scratch_store(&x, 1);
    reply = store_lease(s);
    assert_int_equal(reply.code, OUTTRAY_E_STORE_STANDBY);
    s->ops->close(s);
    use_faulty(false);
    scratch_drop(&x);
}

static int lease_code(struct scratch *x, char *text)
{
    struct ot_store *s = scratch_store(x, 1);
    struct ot_reply reply = store_lease(s);

    snprintf(text, 512, "%s", reply.err.text);
    s->ops->close(s);
    return reply.code;
}

static void what_is_in_the_file(void **state)
{
    struct scratch x;
    char text[512];
    sqlite3 *app;

    (void)state;
    scratch_folder(&x);
    assert_int_equal(lease_code(&x, text), OUTTRAY_E_STORE_NO_SCHEMA);
    assert_non_null(strstr(text, "outtray init"));
    assert_int_not_equal(access(x.path, F_OK), 0); /* none was made */

    app = scratch_app(&x);
    app_run(app, "CREATE TABLE business (id)");
    assert_int_equal(lease_code(&x, text), OUTTRAY_E_STORE_NO_SCHEMA);
    sqlite3_close(app);
    scratch_drop(&x);

    scratch_make(&x);
    app = scratch_app(&x);
    app_run(app, "UPDATE outtray_meta SET schema_version = 99");
    assert_int_equal(lease_code(&x, text), OUTTRAY_E_STORE_VERSION);
    assert_non_null(strstr(text, "newer"));
    app_run(app, "UPDATE outtray_meta SET schema_version = 1");
    app_run(app, "PRAGMA journal_mode = DELETE");
    assert_int_equal(lease_code(&x, text), OUTTRAY_E_STORE_CONDITION);
    app_run(app, "PRAGMA journal_mode = WAL");
    assert_int_equal(lease_code(&x, text), 0);
    sqlite3_close(app);
    scratch_drop(&x);
}

static void forked_child(void **state)
{
    struct scratch x;
    struct ot_store *s;
    int status;
    pid_t pid;

    (void)state;
    scratch_make(&x);
    s = scratch_store(&x, 1);
    assert_int_equal(store_lease(s).code, 0);
    pid = fork();
    if (pid == 0) {
        struct ot_uuid owner = {{2}};
        struct outtray_error err;
        struct ot_store *mine;

        for (int i = 0; i < 2; i++)
            if (store_lease(s).code != OUTTRAY_E_FORKED)
                _exit(1);
        s->ops->close(s);
        /* SQLite itself remembers the parent's locks. */
        if (ot_store_open(&mine, x.conf, owner, NULL, &err) != 0)
            _exit(2);
        _exit(store_lease(mine).code == OUTTRAY_E_FORKED ? 0 : 3);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(store_lease(s).code, 0);
    s->ops->close(s);
    scratch_drop(&x);
}

/* --- cost ---------------------------------------------------------------------- */

/* Of this process: what others do meanwhile costs it nothing. */
static int64_t spent_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Of so many idle polls, at the end of a log of n events. */
static int64_t cost_of_polls(int n)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_reply reply;
    sqlite3 *app;
    char sql[200];
    int64_t spent, position = 0, seen = 0, fence;

    scratch_make(&x);
    app = scratch_app(&x);
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "
             "WHERE i < %d) INSERT INTO outtray_event (topic, payload) "
             "SELECT 't', i || '' FROM c",
             n);
    app_run(app, sql);
    s = scratch_store(&x, 1);
    fence = store_lease(s).lease.fence;
    while (seen < n)
        position = relay_once(s, fence, position, &seen);
    spent = spent_us();
    for (int i = 0; i < 1000; i++) {
        reply = store_read(s, position);
        assert_int_equal(reply.read.rows->n, 0);
        assert_false(reply.read.cut);
        ot_rows_unref(reply.read.rows);
    }
    spent = spent_us() - spent;
    app_run(app, "INSERT INTO outtray_event (topic) VALUES ('late')");
    reply = store_read(s, position);
    assert_int_equal(reply.read.rows->n, 1);
    ot_rows_unref(reply.read.rows);
    sqlite3_close(app);
    s->ops->close(s);
    scratch_drop(&x);
    return spent;
}

/* Microseconds, however long the log is. */
static void idle_poll_is_cheap(void **state)
{
    int64_t of_few = cost_of_polls(50), of_many = cost_of_polls(5000);

    (void)state;
    if (of_many > 3 * of_few)
        fail_msg("1000 polls take %" PRId64 " us, and %" PRId64
                 " us with a hundred times as many events",
                 of_few, of_many);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_is_waited_out),
        cmocka_unit_test(busy_for_too_long),
        cmocka_unit_test(writers_in_many_processes),
        cmocka_unit_test(full),
        cmocka_unit_test(failing_disk),
        cmocka_unit_test(read_only),
        cmocka_unit_test(what_is_in_the_file),
        cmocka_unit_test(forked_child),
        cmocka_unit_test(idle_poll_is_cheap),
    };

    if (argc == 4 && strcmp(argv[1], "writer") == 0)
        return be_writer(argv[2], (unsigned)atoi(argv[3]));
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
