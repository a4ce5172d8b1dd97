/* doctor.c - is the file, and what is around it, set up right? */
#include "store/sqlite/admin.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define WAL_LARGE (64 << 20)
#define WRITER_MS 1000 /* longer than any commit should keep the lock */

/* The folder must be writable as well: -wal and -shm are made there. */
static bool writable(const struct ot_sqlite_db *db, bool *folder)
{
    char *copy = ot_strdup(db->path);

    *folder = copy != NULL && access(dirname(copy), W_OK | X_OK) == 0;
    ot_free(copy);
    return access(db->path, F_OK) != 0 ? *folder
                                       : access(db->path, W_OK) == 0 && *folder;
}

int sqlite_admin_facts(struct ot_admin *x, struct ot_store_facts *out,
                       struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    struct ot_sqlite_api f;
    bool folder;
    int code = ot_sqlite_api_acquire(&f, err);

    memset(out, 0, sizeof(*out));
    out->schema_wanted = OT_SQLITE_SCHEMA;
    snprintf(out->where, sizeof(out->where), "%s", a->db.path);
    if (code != 0)
        return code;
    snprintf(out->server, sizeof(out->server), "SQLite %s", f.libversion());
    ot_sqlite_api_release();
    out->writable = writable(&a->db, &folder);
    if (a->db.c == NULL && access(a->db.path, F_OK) != 0)
        return 0;
    code = sqlite_admin_connect(a, err);
    if (code == 0)
        code = ot_sqlite_db_version(&a->db, &out->schema_version, err);
    out->connected = code == 0;
    return code;
}

/* --- findings ------------------------------------------------------------- */

struct exam {
    struct admin *a;
    ot_finding_fn *each;
    void *ctx;
    struct outtray_error *err;
    char text[512];
    char fix[512];
};

static int found(struct exam *x, enum ot_level level, const char *check,
                 bool fix)
{
    struct ot_finding finding = {
        .level = level,
        .check = check,
        .text = x->text,
        .fix = fix ? x->fix : NULL,
    };

    return x->each(x->ctx, &finding);
}

#define TEXT(x, ...) snprintf((x)->text, sizeof((x)->text), __VA_ARGS__)
#define FIX(x, ...)  snprintf((x)->fix, sizeof((x)->fix), __VA_ARGS__)

static int exam_version(struct exam *x)
{
    struct ot_sqlite_api *f = &x->a->db.f;
    int version = f->libversion_number(), code;

    TEXT(x, "SQLite %s", f->libversion());
    code = found(x, OT_INFO, "version", false);
    if (code == 0 && version < 3051003) {
        TEXT(x,
             "SQLite before 3.51.3 can damage a file in WAL mode when two "
             "connections write and checkpoint at the same moment (rare; your "
             "distribution may have repaired %s)",
             f->libversion());
        FIX(x, "upgrade SQLite, and leave explicit checkpoints to one process");
        code = found(x, OT_WARN, "wal-reset-bug", true);
    }
    if (code == 0 && f->threadsafe() == 0) {
        TEXT(x, "this copy of SQLite is built without threads");
        FIX(x, "run the relay in a process of its own");
        code = found(x, OT_ERROR, "threads", true);
    }
    return code;
}

static int exam_rights(struct exam *x)
{
    struct ot_sqlite_db *db = &x->a->db;
    bool folder;

    if (writable(db, &folder)) {
        TEXT(x, "%s and its folder are writable", db->path);
        return found(x, OT_INFO, "permission", false);
    }
    TEXT(x, "%s is not writable for uid %ld",
         folder ? db->path : "the folder of the file", (long)getuid());
    FIX(x, "chown or chmod the file and its folder: -wal and -shm files are "
           "made beside it");
    return found(x, OT_ERROR, "permission", true);
}

/* Kinds of file systems whose locks or shared memory do not reach everybody
 * who opens the file. */
static const struct {
    unsigned long magic;
    const char *name;
    enum ot_level level;
} remote[] = {
    {0x6969, "NFS", OT_ERROR},         {0xff534d42, "CIFS", OT_ERROR},
    {0xfe534d42, "SMB", OT_ERROR},     {0x517b, "SMB", OT_ERROR},
    {0x00c36400, "Ceph", OT_ERROR},    {0x5346414f, "AFS", OT_ERROR},
    {0x01021997, "9p", OT_WARN},       {0x65735546, "FUSE", OT_WARN},
    {0x6a656a63, "virtiofs", OT_WARN},
};

static int exam_disk(struct exam *x)
{
    struct ot_sqlite_db *db = &x->a->db;
    struct statfs fs;

    if (statfs(db->path, &fs) != 0) {
        TEXT(x, "cannot ask for the file system of %s (errno %d)", db->path,
             errno);
        return found(x, OT_WARN, "local-disk", false);
    }
    for (size_t i = 0; i < OT_COUNT(remote); i++) {
        if ((unsigned long)fs.f_type != remote[i].magic)
            continue;
        TEXT(x,
             "%s is on %s: WAL mode needs shared memory, which works only "
             "between processes of one machine",
             db->path, remote[i].name);
        FIX(x, "move the file to a local disk");
        return found(x, remote[i].level, "local-disk", true);
    }
    TEXT(x, "the file system looks local, %lld MiB are free",
         (long long)fs.f_bavail * (long long)fs.f_bsize / (1 << 20));
    return found(x, OT_INFO, "local-disk", false);
}

static int exam_wal(struct exam *x)
{
    struct ot_sqlite_db *db = &x->a->db;
    struct outtray_error err;
    struct stat st;
    char path[4096];
    int code;

    if (ot_sqlite_db_check_wal(db, &err) != 0) {
        TEXT(x, "%s", err.text);
        FIX(x, "sqlite3 '%s' 'PRAGMA journal_mode = WAL'", db->path);
        return found(x, OT_ERROR, "journal-mode", true);
    }
    TEXT(x, "journal mode is WAL");
    code = found(x, OT_INFO, "journal-mode", false);
    snprintf(path, sizeof(path), "%s-wal", db->path);
    if (code == 0 && stat(path, &st) == 0 && st.st_size > WAL_LARGE) {
        TEXT(x,
             "the WAL has %lld MiB: a reader that stays open keeps it from "
             "being used again",
             (long long)st.st_size / (1 << 20));
        FIX(x, "look for a read transaction or a cursor that is never closed");
        code = found(x, OT_WARN, "wal-size", true);
    }
    return code;
}

/* What other connections do cannot be seen from here: it is said, so that it
 * can be looked up. */
static int exam_application(struct exam *x)
{
    int code;

    TEXT(x, "the relay commits with synchronous = FULL; the application's "
            "connections may use FULL or NORMAL, not OFF");
    code = found(x, OT_INFO, "synchronous", false);
    TEXT(x, "the application's connections need a busy_timeout of some "
            "seconds, and BEGIN IMMEDIATE where a transaction reads first");
    return code == 0 ? found(x, OT_INFO, "busy-timeout", false) : code;
}

static int exam_schema(struct exam *x)
{
    struct ot_sqlite_db *db = &x->a->db;
    struct outtray_error err;
    sqlite3_stmt *s;
    bool increments;
    int code;

    if (ot_sqlite_db_check_version(db, OT_SQLITE_SCHEMA, &err) != 0) {
        TEXT(x, "%s", err.text);
        FIX(x, "%s",
            err.code == OUTTRAY_E_STORE_NO_SCHEMA ? "outtray init"
                                                  : "outtray upgrade");
        return found(x, OT_ERROR, "schema", true);
    }
    TEXT(x, "the outbox \"%s\" has schema version %d", db->outbox,
         OT_SQLITE_SCHEMA);
    code = found(x, OT_INFO, "schema", false);
    s = ot_sqlite_stmt(db, OT_SQL_EVENT_SQL, x->err);
    if (code != 0 || s == NULL)
        return code != 0 ? code : x->err->code;
    code = ot_sqlite_step(db, s, x->err);
    if (code < 0)
        return code;
    increments = code == 1 &&
                 strstr(ot_sqlite_column(db, s, 0).p, "AUTOINCREMENT") != NULL;
    db->f.reset(s);
    if (increments)
        return 0;
    TEXT(x,
         "%s_event.seq is not AUTOINCREMENT: after pruning, seqs would be "
         "given out again and their events never be read",
         db->outbox);
    FIX(x, "make the table again by `outtray init`, under another name or "
           "after `outtray drop`");
    return found(x, OT_ERROR, "autoincrement", true);
}

/* What only a newer program knows of cannot be told from a mistake. */
static int exam_version_edited(struct exam *x)
{
    struct ot_sqlite_db *db = &x->a->db;
    struct outtray_error err;
    int version = 0, looks;

    if (ot_sqlite_db_version(db, &version, &err) != 0)
        return 0;
    looks = ot_sqlite_stmt(db, OT_SQL_STATUS_REPORT, &err) != NULL ? 2 : 1;
    if (version == looks || ot_sqlite_stmt(db, OT_SQL_CURSOR, &err) == NULL)
        return 0;
    TEXT(x,
         "table %s_meta says schema version %d, the tables look like version "
         "%d%s",
         db->outbox, version, looks,
         version > OT_SQLITE_SCHEMA
             ? " at least: a newer program has been here, or somebody changed "
               "the number"
             : ": somebody changed it");
    if (version == 0)
        FIX(x,
            "INSERT INTO %s_meta (schema_version, outbox_id, created_at) "
            "VALUES (%d, lower(hex(randomblob(16))), 0)",
            db->outbox, looks);
    else
        FIX(x, "%sUPDATE %s_meta SET schema_version = %d",
            version > OT_SQLITE_SCHEMA
                ? "install a newer outtray; or, if nobody "
                  "has upgraded the outbox: "
                : "",
            db->outbox, looks);
    return found(x, OT_ERROR, "version-edited", true);
}

int sqlite_admin_doctor(struct ot_admin *a, ot_finding_fn *each, void *ctx,
                        struct outtray_error *err)
{
    static int (*const exams[])(struct exam *) = {
        exam_version,     exam_rights,         exam_disk,   exam_wal,
        exam_application, exam_version_edited, exam_schema,
    };
    struct exam x = {.a = admin_of(a), .each = each, .ctx = ctx, .err = err};
    struct outtray_error why;
    int code = sqlite_admin_connect(x.a, err);

    for (size_t i = 0; code == 0 && i < OT_COUNT(exams); i++)
        code = exams[i](&x);
    if (code != 0 ||
        ot_sqlite_db_check_version(&x.a->db, OT_SQLITE_SCHEMA - 1, &why) != 0)
        return code;
    return sqlite_admin_shape(x.a, each, ctx, err);
}

/* Whoever can begin to write keeps nobody from it. */
int sqlite_admin_obstacles(struct ot_admin *a, ot_finding_fn *each, void *ctx,
                           struct outtray_error *err)
{
    struct exam x = {.a = admin_of(a), .each = each, .ctx = ctx, .err = err};
    struct outtray_error why;
    int code = sqlite_admin_connect(x.a, err);

    if (code != 0)
        return code;
    x.a->db.f.busy_timeout(x.a->db.c, WRITER_MS);
    code = ot_sqlite_begin_write(&x.a->db, &why);
    ot_sqlite_rollback(&x.a->db);
    x.a->db.f.busy_timeout(x.a->db.c, x.a->busy_ms);
    if (code == 0)
        return 0;
    TEXT(&x, "%s", why.text);
    FIX(&x, "%s",
        code == OUTTRAY_E_STORE_BUSY
            ? "end the transaction that has been writing for so long"
            : "outtray doctor");
    return found(&x, OT_ERROR, code == OUTTRAY_E_STORE_BUSY ? "lock" : "write",
                 true);
}
