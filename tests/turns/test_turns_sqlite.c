/* test_turns_sqlite.c - the story on a SQLite file; what fails is the library,
 * SQLite's memory, and the disk. */
#include "turns.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "support/scratch_sqlite.h"

static struct scratch scratch;
static char *template; /* an outbox with nothing in it */
static size_t template_n;
static sqlite3 *look; /* the test's own eyes */

static int make_template(void **state)
{
    FILE *f;

    (void)state;
    scratch_make(&scratch);
    scratch_set(&scratch, "store.connect_timeout_ms", "100ms");
    f = fopen(scratch.path, "rb");
    assert_non_null(f);
    template = malloc(1 << 20);
    template_n = fread(template, 1, 1 << 20, f);
    assert_true(template_n > 0 && template_n < 1 << 20);
    fclose(f);
    return 0;
}

static int drop_template(void **state)
{
    (void)state;
    free(template);
    scratch_drop(&scratch);
    return 0;
}

static void make(void)
{
    static const char *const ends[] = {"-wal", "-shm"};
    char name[128];
    FILE *f;

    for (size_t i = 0; i < OT_COUNT(ends); i++) {
        snprintf(name, sizeof(name), "%s%s", scratch.path, ends[i]);
        unlink(name);
    }
    f = fopen(scratch.path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(template, 1, template_n, f), template_n);
    fclose(f);
    turn_admin_use(scratch.conf, NULL);
}

static void drop(void)
{
    turn_admin_close();
    sqlite3_close(look);
    look = NULL;
}

static int open_store(struct ot_store **out, struct ot_uuid owner,
                      struct outtray_error *err)
{
    return ot_store_open(out, scratch.conf, owner, NULL, err);
}

/* Opened by the first look, so that it does not keep the file open before. */
static sqlite3_stmt *ask(const char *sql)
{
    sqlite3_stmt *st;

    if (look == NULL)
        look = scratch_app(&scratch);
    if (sqlite3_prepare_v2(look, sql, -1, &st, NULL) != SQLITE_OK)
        turn_fail("%s: %s", sql, sqlite3_errmsg(look));
    return st;
}

static int64_t number(const char *sql)
{
    sqlite3_stmt *st;
    int64_t n;

    turn_aside(true);
    st = ask(sql);
    if (sqlite3_step(st) != SQLITE_ROW)
        turn_fail("%s: %s", sql, sqlite3_errmsg(look));
    n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    turn_aside(false);
    return n;
}

static bool is_there(int writer, const struct ot_event *e)
{
    char sql[120];

    (void)writer;
    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM outtray_event WHERE "
             "CAST(payload AS TEXT) = '%.*s'",
             (int)e->payload.n, e->payload.p);
    return number(sql) > 0;
}

static int64_t asked(void)
{
    return number("SELECT count(*) FROM outtray_command");
}

/* A row of held with seq 0 belongs to the cursor. */
static int64_t left(void)
{
    return number("SELECT (SELECT count(*) FROM outtray_held WHERE "
                  "seq > 0) + "
                  "(SELECT count(*) FROM outtray_command)");
}

static size_t dead(int64_t *seqs, int *numbers, size_t max)
{
    sqlite3_stmt *st;
    size_t n = 0;

    turn_aside(true);
    st =
        ask("SELECT seq, CAST(CAST(payload AS TEXT) AS INTEGER) FROM "
            "outtray_held JOIN outtray_event USING (seq) WHERE state = 'dead'");
    while (n < max && sqlite3_step(st) == SQLITE_ROW) {
        seqs[n] = sqlite3_column_int64(st, 0);
        numbers[n++] = sqlite3_column_int(st, 1);
    }
    sqlite3_finalize(st);
    turn_aside(false);
    return n;
}

static const struct outbox outbox = {
    .name = "sqlite",
    .most = {300, 60, 80, 40, 15},
    .make = make,
    .drop = drop,
    .open = open_store,
    .begin = turn_admin_begin,
    .put = turn_admin_put,
    .commit = turn_admin_commit,
    .rollback = turn_admin_rollback,
    .is_there = is_there,
    .command = turn_admin_command,
    .asked = asked,
    .dead = dead,
    .left = left,
};

/* --- SQLite's memory --------------------------------------------------------- */

static sqlite3_mem_methods memory;

static void *sqlite_malloc(int n)
{
    return turn_now(TURN_SQLITE) ? NULL : memory.xMalloc(n);
}

static void *sqlite_realloc(void *p, int n)
{
    return turn_now(TURN_SQLITE) ? NULL : memory.xRealloc(p, n);
}

static void watch_memory(void)
{
    sqlite3_mem_methods shaky;

    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory), 0);
    shaky = memory;
    shaky.xMalloc = sqlite_malloc;
    shaky.xRealloc = sqlite_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &shaky), 0);
}

/* --- the disk ----------------------------------------------------------------
 * The system calls of SQLite's own table, and those that it makes besides. */
static int disk_error;

static bool no_disk(void)
{
    if (!turn_now(TURN_SYSTEM) && !turn_now(TURN_SYSTEMS))
        return false;
    errno = disk_error;
    return true;
}

/* Only what needs room can lack it. */
static bool no_room(void)
{
    return disk_error == ENOSPC && no_disk();
}

static bool other_trouble(void)
{
    return disk_error != ENOSPC && no_disk();
}

static int disk_open(const char *path, int flags, int mode)
{
    return other_trouble() ? -1 : open(path, flags, mode);
}

static ssize_t disk_read(int fd, void *p, size_t n, off_t at)
{
    return other_trouble() ? -1 : pread(fd, p, n, at);
}

static ssize_t disk_write(int fd, const void *p, size_t n, off_t at)
{
    if (no_disk())
        return n > 1 && disk_error == ENOSPC ? pwrite(fd, p, n / 2, at) : -1;
    return pwrite(fd, p, n, at);
}

static int disk_truncate(int fd, off_t n)
{
    return no_disk() ? -1 : ftruncate(fd, n);
}

static int disk_stat(int fd, struct stat *st)
{
    return other_trouble() ? -1 : fstat(fd, st);
}

static void *disk_map(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
    return other_trouble() ? MAP_FAILED : mmap(p, n, prot, flags, fd, at);
}

/* To give a lock back does not fail on any system. */
static int disk_lock(int fd, int what, struct flock *lock)
{
    bool taken = what == F_SETLK && lock->l_type != F_UNLCK;

    return taken && other_trouble() ? -1 : fcntl(fd, what, lock);
}

/* Of this program, so that libraries come here too. */
TURN_CALL int fsync(int fd)
{
    return no_room() || other_trouble() ? -1 : (int)syscall(SYS_fsync, fd);
}

TURN_CALL int fdatasync(int fd)
{
    return no_room() || other_trouble() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static void watch_disk(void)
{
    static const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } calls[] = {
        {"open", (sqlite3_syscall_ptr)disk_open},
        {"pread", (sqlite3_syscall_ptr)disk_read},
        {"pread64", (sqlite3_syscall_ptr)disk_read},
        {"pwrite", (sqlite3_syscall_ptr)disk_write},
        {"pwrite64", (sqlite3_syscall_ptr)disk_write},
        {"ftruncate", (sqlite3_syscall_ptr)disk_truncate},
        {"fstat", (sqlite3_syscall_ptr)disk_stat},
        {"mmap", (sqlite3_syscall_ptr)disk_map},
        {"fcntl", (sqlite3_syscall_ptr)disk_lock},
    };
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    size_t taken = 0;

    for (size_t i = 0; i < OT_COUNT(calls); i++)
        taken +=
            vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call) == SQLITE_OK;
    assert_true(taken >= 7); /* one of each pair may be missing */
}

/* --- the tests ---------------------------------------------------------------- */

static void memory_of_sqlite(void **state)
{
    (void)state;
    turn_each(&outbox, TURN_SQLITE, 150);
}

static void disk(void **state)
{
    static const struct {
        int error;
        const char *name;
    } errors[] = {
        {EIO, "EIO, "},
        {ENOSPC, "ENOSPC, "},
        {EINTR, "EINTR, "},
        {EMFILE, "EMFILE, "},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(errors); i++) {
        disk_error = errors[i].error;
        turn_detail(errors[i].name);
        turn_each(&outbox, TURN_SYSTEM, 40);
        turn_each(&outbox, TURN_SYSTEMS, 40);
    }
    turn_detail(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TURN_TESTS(&outbox),
        cmocka_unit_test(memory_of_sqlite),
        cmocka_unit_test(disk),
    };

    watch_memory();
    watch_disk();
    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_template, drop_template);
}
