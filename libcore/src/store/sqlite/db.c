/* db.c - opening the file, and running statements on it. */
#define _GNU_SOURCE /* statx */
#include "store/sqlite/db.h"

#include "base/crash.h"
#include "conf/conf.h"
#include "event/outbox.h"
#include "store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_PAUSE_NS 100000 /* between two looks at a busy file */
#define LOOKS         15
#define OPENINGS      3

static const char *const texts[] = {
#define OT_SQL(name, text) text,
#include "store/sqlite/sql.def"
#undef OT_SQL
};

/* --- names --------------------------------------------------------------- */

/* The prefix goes into SQL as it is, so that everybody can type the names of
 * the tables without quotes. */
static int check_name(const char *name, struct outtray_error *err)
{
    int code = ot_outbox_check(name, OUTTRAY_E_CONF, err);

    if (code != 0)
        return ot_fail_context(err, code, "store.outbox \"%s\"", name);
    if (strncasecmp(name, "sqlite_", 7) == 0)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "store.outbox \"%s\": SQLite keeps names that begin "
                       "with sqlite_ for itself",
                       name);
    return 0;
}

/* sqlite:///abs/olute, sqlite:relative. */
static int path_of(const char *text, char **out, struct outtray_error *err)
{
    struct ot_url url;
    const char *path;
    int code = ot_url_parse(text, &url, err);

    if (code != 0)
        return code;
    path = url.path;
    if (*url.hosts != '\0')
        code = ot_fail(err, OUTTRAY_E_URL,
                       "store.url: \"%s\" is where a host would stand; write "
                       "sqlite:///absolute/path or sqlite:relative/path",
                       url.hosts);
    else if (*path == '\0' || strstr(path, ":memory:") != NULL)
        code = ot_fail(err, OUTTRAY_E_URL,
                       "store.url: the path of the database file is missing; "
                       "write sqlite:///absolute/path or sqlite:relative/path "
                       "(a database in memory cannot be shared)");
    else if (url.nparams > 0)
        code = ot_fail(err, OUTTRAY_E_URL,
                       "store.url: a sqlite URL takes no ?%s=…; a ? in a file "
                       "name is written %%3F",
                       url.params[0].name);
    if (code == 0) {
        struct ot_buffer b = {0};

        /* "file:…" would be taken for a URI by some builds of SQLite. */
        ot_buffer_puts(&b, *path == '/' ? "" : "./");
        ot_buffer_puts(&b, path);
        *out = b.p;
        if (b.failed) {
            ot_buffer_free(&b);
            *out = NULL;
            code = ot_fail_nomem(err);
        }
    }
    ot_url_free(&url);
    return code;
}

int ot_sqlite_db_init(struct ot_sqlite_db *db, const char *url,
                      const char *outbox, struct outtray_error *err)
{
    int code;

    memset(db, 0, sizeof(*db));
    db->pid = getpid();
    if (url == NULL)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "store.url is not set: write sqlite:///path/to/file.db");
    code = check_name(outbox, err);
    if (code != 0)
        return code;
    code = path_of(url, &db->path, err);
    if (code != 0)
        return code;
    db->outbox = ot_strdup(outbox);
    if (db->outbox == NULL) {
        ot_sqlite_db_free(db);
        return ot_fail_nomem(err);
    }
    return 0;
}

void ot_sqlite_db_free(struct ot_sqlite_db *db)
{
    ot_sqlite_db_close(db);
    ot_free(db->path);
    ot_free(db->outbox);
    memset(db, 0, sizeof(*db));
}

/* --- the file ------------------------------------------------------------ */

/* Inode numbers are given again to new files; the time of birth is not. A file
 * system that does not know it says 0. */
static bool look(const char *path, struct ot_sqlite_file *out)
{
    struct statx st;

    memset(out, 0, sizeof(*out));
    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME | STATX_SIZE, &st) !=
        0)
        return false;
    out->device = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
    out->inode = st.stx_ino;
    out->empty = st.stx_size == 0;
    if (st.stx_mask & STATX_BTIME)
        out->born_ns = (int64_t)st.stx_btime.tv_sec * 1000000000 +
                       (int64_t)st.stx_btime.tv_nsec;
    return true;
}

static bool same(const struct ot_sqlite_file *a, const struct ot_sqlite_file *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->born_ns == b->born_ns;
}

/* Whoever looks first, the text is the same. */
static int fail_gone(const struct ot_sqlite_db *db, struct outtray_error *err)
{
    int code = ot_sqlite_path_check(db, false, err);

    if (code != 0)
        return code;
    return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                   "%s is gone while it was in use: put it back, with its "
                   "-wal file",
                   db->path);
}

static const char *const beside[] = {"-wal", "-shm"};

static void forget_beside(struct ot_sqlite_db *db)
{
    for (size_t i = 0; i < OT_COUNT(beside); i++) {
        ot_free(db->beside[i].path);
        db->beside[i].path = NULL;
    }
}

/* SQLite goes through links to the file itself. */
static void learn_beside(struct ot_sqlite_db *db)
{
    char real[PATH_MAX];

    forget_beside(db);
    if (realpath(db->path, real) == NULL)
        return;
    for (size_t i = 0; i < OT_COUNT(beside); i++) {
        struct ot_buffer path = {0};
        struct ot_sqlite_beside *b = &db->beside[i];

        ot_buffer_printf(&path, "%s%s", real, beside[i]);
        if (!path.failed && look(path.p, &b->file))
            b->path = path.p;
        else
            ot_buffer_free(&path);
    }
}

/* Was it deleted, or (taken) is there another in its place by now, made by a
 * connection that was opened since? */
static bool deleted(const struct ot_sqlite_beside *b, bool taken)
{
    struct ot_sqlite_file now;

    if (b->path == NULL)
        return false;
    return look(b->path, &now) ? !same(&now, &b->file)
                               : !taken && errno == ENOENT;
}

/* Those who had the file open go on in a log that has no name any more, all
 * others in a new one. To open the file anew does not help as long as this
 * process has it open elsewhere: SQLite shares the index. */
static int check_beside(struct ot_sqlite_db *db, struct outtray_error *err)
{
    for (size_t i = 0; i < OT_COUNT(beside); i++)
        db->forsaken |= deleted(&db->beside[i], false);
    if (!db->forsaken)
        return 0;
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "somebody deleted the -wal or -shm file of %s while it was "
                   "in use: programs that opened it before and after that do "
                   "not see what the others write, and damage the file; end "
                   "them all, this one too, and start them again",
                   db->path);
}

/* The first page is never in the log alone. What the connection still has of
 * the others must not get into what is put in its place, which may be the same
 * file. */
static int check_emptied(struct ot_sqlite_db *db,
                         const struct ot_sqlite_file *now,
                         struct outtray_error *err)
{
    db->emptied |= now->empty && !db->file.empty;
    if (!db->emptied)
        return 0;
    return ot_fail(
        err, OUTTRAY_E_STORE_CONDITION,
        "somebody emptied %s while it was in use: what was in it is "
        "gone; end all programs that have it open, this one too, put "
        "a backup in its place and no -wal or -shm file beside it, "
        "and start them again",
        db->path);
}

/* The connection keeps reading a file that was removed or replaced by another;
 * nobody else would ever see what it writes. */
int ot_sqlite_db_check_file(struct ot_sqlite_db *db, struct outtray_error *err)
{
    struct ot_sqlite_file now;
    int code;

    if (db->pid != getpid())
        return ot_fail(err, OUTTRAY_E_FORKED,
                       "the store of %s was opened before fork(): open it in "
                       "the child",
                       db->path);
    if (db->c == NULL)
        return db->emptied ? check_emptied(db, &db->file, err)
                           : check_beside(db, err);
    if (!look(db->path, &now))
        return fail_gone(db, err);
    if (!same(&now, &db->file))
        return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                       "%s was replaced by another file while it was in use",
                       db->path);
    code = check_emptied(db, &now, err);
    return code != 0 ? code : check_beside(db, err);
}

/* SQLite's locks know no queue: where writers leave the file free for a moment
 * only, whoever looks most often gets it. The relay must (a lease that is not
 * renewed is lost), and may not sleep for long on the loop: 2 to 3 ms, then it
 * comes back from service(). */
static int look_again(void *ctx, int looks)
{
    const struct timespec pause = {0, LOOK_PAUSE_NS};

    (void)ctx;
    if (looks >= LOOKS)
        return 0;
    nanosleep(&pause, NULL);
    return 1;
}

/* Opens the file and learns which one it is. If two change places meanwhile,
 * or the first opening for writing makes another of it (an overlay), nobody
 * knows: once more. */
static int open_known(struct ot_sqlite_db *db, int flags,
                      struct outtray_error *err)
{
    struct ot_sqlite_file before, now;

    for (int i = 0; i < OPENINGS; i++) {
        bool there = look(db->path, &before);
        int rc;

        db->f.close_v2(db->c);
        rc = db->f.open_v2(
            db->path, &db->c,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE | flags, NULL);
        if (rc != SQLITE_OK)
            return ot_sqlite_fail(db, rc, "opening", err);
        if (!look(db->path, &now) || (there && !same(&before, &now)))
            continue;
        db->replaced |= db->was_open && !same(&now, &db->file);
        db->file = now;
        return 0;
    }
    return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                   "%s is moved or replaced again and again while it is "
                   "opened: wait until that is over",
                   db->path);
}

static int open_file(struct ot_sqlite_db *db, int flags, int busy_ms,
                     struct outtray_error *err)
{
    int code = open_known(db, flags, err);

    if (code != 0)
        return code;
    db->f.extended_result_codes(db->c, 1);
    if (busy_ms > 0)
        db->f.busy_timeout(db->c, busy_ms);
    else
        db->f.busy_handler(db->c, look_again, NULL);
    /* A commit returns after the disk has it: the barrier of [INV-2] is a
     * commit of this connection. The temporary B-trees of the views stay out
     * of the file system. */
    return ot_sqlite_exec(db,
                          "PRAGMA synchronous = FULL;"
                          "PRAGMA temp_store = MEMORY",
                          err);
}

int ot_sqlite_db_open(struct ot_sqlite_db *db, int flags, int busy_ms,
                      struct outtray_error *err)
{
    int code;

    if (db->c != NULL)
        return 0;
    code = ot_sqlite_path_check(db, false, err);
    if (code != 0)
        return code;
    if (db->was_open && access(db->path, F_OK) != 0)
        return fail_gone(db, err);
    if (!(flags & SQLITE_OPEN_CREATE) && access(db->path, F_OK) != 0)
        return ot_fail(err, OUTTRAY_E_STORE_NO_SCHEMA,
                       "there is no file %s%s: `outtray init` makes it",
                       db->path,
                       *db->path == '/' ? " (an absolute path; a relative one "
                                          "is written sqlite:name.db)"
                                        : "");
    code = ot_sqlite_api_acquire(&db->f, err);
    if (code != 0)
        return code;
    code = open_file(db, flags, busy_ms, err);
    if (code != 0) {
        db->f.close_v2(db->c);
        db->c = NULL;
        ot_sqlite_api_release();
        return code;
    }
    db->was_open = true;
    return 0;
}

void ot_sqlite_db_close(struct ot_sqlite_db *db)
{
    if (db->c == NULL)
        return;
    /* A forked child leaves the parent's connection alone, and pays with some
     * memory. */
    if (db->pid == getpid()) {
        for (size_t i = 0; i < OT_SQL_COUNT; i++)
            db->f.finalize(db->stmts[i]);
        /* Else the last to close it would write the old log into the file, and
         * delete the new one by its name. */
        if (db->emptied || deleted(&db->beside[0], true) ||
            deleted(&db->beside[1], true))
            db->f.db_config(db->c, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        db->f.close_v2(db->c);
        ot_sqlite_api_release();
    }
    forget_beside(db);
    memset(db->stmts, 0, sizeof(db->stmts));
    db->c = NULL;
}

/* --- what is in it ------------------------------------------------------- */

int ot_sqlite_db_version(struct ot_sqlite_db *db, int *version,
                         struct outtray_error *err)
{
    int64_t n = 0;
    int code =
        ot_sqlite_number(db, ot_sqlite_stmt(db, OT_SQL_HAS_META, err), &n, err);

    *version = 0;
    if (code == 0 && n > 0) {
        code = ot_sqlite_number(db, ot_sqlite_stmt(db, OT_SQL_VERSION, err), &n,
                                err);
        *version = (int)n;
    }
    return code;
}

int ot_sqlite_db_check_version(struct ot_sqlite_db *db, int oldest,
                               struct outtray_error *err)
{
    int version, code = ot_sqlite_db_version(db, &version, err);

    if (code != 0)
        return code;
    if (version == 0)
        return ot_fail(err, OUTTRAY_E_STORE_NO_SCHEMA,
                       "there is no outbox \"%s\" in %s: `outtray init` makes "
                       "it (if there was one, `outtray doctor` says what "
                       "happened to it)",
                       db->outbox, db->path);
    if (version > OT_SQLITE_SCHEMA)
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "the outbox \"%s\" in %s has schema version %d, this "
                       "program knows %d: install a newer outtray",
                       db->outbox, db->path, version, OT_SQLITE_SCHEMA);
    db->schema = version;
    if (version < oldest)
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "the outbox \"%s\" in %s has schema version %d, this "
                       "program needs %d: run `outtray upgrade`",
                       db->outbox, db->path, version, oldest);
    return 0;
}

int ot_sqlite_db_check_wal(struct ot_sqlite_db *db, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_JOURNAL_MODE, err);
    int code;

    if (s == NULL)
        return err->code;
    code = ot_sqlite_step(db, s, err);
    if (code == 1) {
        struct ot_slice mode = ot_sqlite_column(db, s, 0);

        code = 0;
        if (!ot_slice_equal(mode, ot_slice_of("wal")))
            code = ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                           "%s is in journal mode %.*s, so the relay and the "
                           "application would block each other: run "
                           "`PRAGMA journal_mode = WAL` on it once",
                           db->path, (int)mode.n, mode.p);
    }
    db->f.reset(s);
    if (code == 0)
        learn_beside(db);
    return code;
}

/* --- statements ---------------------------------------------------------- */

void ot_sqlite_expand(const struct ot_sqlite_db *db, const char *sql,
                      struct ot_buffer *out)
{
    ot_sql_expand(out, sql, "", db->outbox);
}

int ot_sqlite_exec(struct ot_sqlite_db *db, const char *sql,
                   struct outtray_error *err)
{
    struct ot_buffer b = {0};
    int rc, code = 0;

    ot_sqlite_expand(db, sql, &b);
    if (b.failed) {
        ot_buffer_free(&b);
        return ot_fail_nomem(err);
    }
    rc = db->f.exec(db->c, b.p, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        code = ot_sqlite_fail(db, rc, "running a statement", err);
    ot_buffer_free(&b);
    return code;
}

sqlite3_stmt *ot_sqlite_stmt(struct ot_sqlite_db *db, enum ot_sql which,
                             struct outtray_error *err)
{
    struct ot_buffer b = {0};
    int rc;

    if (db->stmts[which] != NULL)
        return db->stmts[which];
    ot_sqlite_expand(db, texts[which], &b);
    if (b.failed) {
        ot_fail_nomem(err);
        ot_buffer_free(&b);
        return NULL;
    }
    rc = db->f.prepare_v2(db->c, b.p, (int)b.n + 1, &db->stmts[which], NULL);
    if (rc != SQLITE_OK)
        ot_sqlite_fail(db, rc, "preparing a statement", err);
    ot_buffer_free(&b);
    return db->stmts[which];
}

int ot_sqlite_step(struct ot_sqlite_db *db, sqlite3_stmt *s,
                   struct outtray_error *err)
{
    int rc = db->f.step(s);
    int code = 0;

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        code = ot_sqlite_fail(db, rc, "running a statement", err);
    db->f.reset(s);
    return code;
}

int ot_sqlite_number(struct ot_sqlite_db *db, sqlite3_stmt *s, int64_t *out,
                     struct outtray_error *err)
{
    int code = s != NULL ? ot_sqlite_step(db, s, err) : err->code;

    *out = code == 1 ? db->f.column_int64(s, 0) : 0;
    if (code == 1)
        db->f.reset(s);
    return code < 0 ? code : 0;
}

int ot_sqlite_run(struct ot_sqlite_db *db, sqlite3_stmt *s,
                  struct outtray_error *err)
{
    int code = ot_sqlite_step(db, s, err);

    if (code == 1) {
        db->f.reset(s);
        code = 0;
    }
    return code;
}

void ot_sqlite_bind_text(struct ot_sqlite_db *db, sqlite3_stmt *s, int i,
                         const char *text)
{
    if (text == NULL)
        db->f.bind_null(s, i);
    else
        db->f.bind_text(s, i, text, -1, SQLITE_STATIC);
}

void ot_sqlite_bind_time(struct ot_sqlite_db *db, sqlite3_stmt *s, int i,
                         int64_t us)
{
    if (us == 0)
        db->f.bind_null(s, i);
    else
        db->f.bind_int64(s, i, us);
}

struct ot_slice ot_sqlite_column(struct ot_sqlite_db *db, sqlite3_stmt *s,
                                 int i)
{
    const void *p;
    int type = db->f.column_type(s, i);

    if (type == SQLITE_NULL)
        return ot_slice(NULL, 0);
    /* Text first as text: the file may keep it as UTF-16. */
    p = type == SQLITE_BLOB ? db->f.column_blob(s, i)
                            : (const void *)db->f.column_text(s, i);
    /* An empty blob has no address, and is not NULL all the same. */
    return ot_slice(p != NULL ? p : "", (size_t)db->f.column_bytes(s, i));
}

/* --- transactions -------------------------------------------------------- */

static int control(struct ot_sqlite_db *db, enum ot_sql which,
                   struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, which, err);

    return s != NULL ? ot_sqlite_run(db, s, err) : err->code;
}

int ot_sqlite_begin_read(struct ot_sqlite_db *db, struct outtray_error *err)
{
    return control(db, OT_SQL_BEGIN_READ, err);
}

/* Never a plain BEGIN before a write: what it read would be an old snapshot,
 * and the write would fail at once however long one is ready to wait. */
int ot_sqlite_begin_write(struct ot_sqlite_db *db, struct outtray_error *err)
{
    int code = control(db, OT_SQL_BEGIN_WRITE, err);

    ot_crash_point("sqlite.begun");
    return code;
}

int ot_sqlite_commit(struct ot_sqlite_db *db, struct outtray_error *err)
{
    int code;

    ot_crash_point("sqlite.commit");
    code = control(db, OT_SQL_COMMIT, err);
    ot_crash_point("sqlite.committed");
    return code;
}

void ot_sqlite_rollback(struct ot_sqlite_db *db)
{
    struct outtray_error ignored = {0};

    if (db->c != NULL && !db->f.get_autocommit(db->c))
        control(db, OT_SQL_ROLLBACK, &ignored);
}
