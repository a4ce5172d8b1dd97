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
#define HOUR_US   INT64_C(3600000000)

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
    bool dead;  /* told of dead events */
    bool alone; /* told that nobody relays */
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

/* --- how it is going ------------------------------------------------------ */

/* A time; 0: there is none. */
static int time_of(struct exam *x, enum ot_sql which, const char *subscription,
                   int64_t *out)
{
    struct ot_sqlite_db *db = &x->a->db;
    sqlite3_stmt *s = ot_sqlite_stmt(db, which, x->err);

    if (s != NULL && subscription != NULL)
        ot_sqlite_bind_text(db, s, 1, subscription);
    return ot_sqlite_number(db, s, out, x->err);
}

static int exam_dead(struct exam *x, const struct ot_status *st)
{
    long long n = (long long)st->held[OT_HELD_DEAD];
    char text[32];
    int64_t since;
    int code;

    if (n == 0)
        return 0;
    code = time_of(x, OT_SQL_DEAD_SINCE, st->subscription, &since);
    if (code != 0)
        return code;
    TEXT(x, "subscription %s has %lld dead, the first for %s", st->subscription,
         n, ot_duration_text(ot_wall_us() - since, text));
    FIX(x, "outtray dead; then outtray redrive, or outtray skip");
    x->dead = true;
    return found(x, OT_WARN, "dead", true);
}

static int exam_lease(struct exam *x, const struct ot_status *st)
{
    char lag[32], gone[32];

    if (st->pending == 0 ||
        (!st->paused && st->owner[0] != '\0' && st->lease_left_us > 0))
        return 0;
    x->alone = true;
    if (st->paused) {
        TEXT(x, "subscription %s is paused, with %lld pending",
             st->subscription, (long long)st->pending);
        FIX(x, "outtray resume");
        return found(x, OT_WARN, "lease", true);
    }
    TEXT(x,
         "no relay runs for subscription %s: %s%lld pending, the "
         "oldest for %s; the lease %s%s%s",
         st->subscription, st->pending_is_estimate ? "about " : "",
         (long long)st->pending, ot_duration_text(st->oldest_age_us, lag),
         st->owner[0] == '\0' ? "is free" : "ran out ",
         st->owner[0] == '\0' ? "" : ot_duration_text(-st->lease_left_us, gone),
         st->owner[0] == '\0' ? "" : " ago");
    FIX(x, "outtray relay");
    return found(x, OT_ERROR, "lease", true);
}

static int exam_subscription(void *ctx, const struct ot_status *st)
{
    struct exam *x = ctx;
    int code = exam_dead(x, st);

    return code == 0 ? exam_lease(x, st) : code;
}

static int exam_retention(struct exam *x)
{
    bool on = x->a->retention_us >= 0;
    int64_t since, age_us, most_us = 7 * 24 * HOUR_US;
    char text[32];
    int code = time_of(x, OT_SQL_KEPT_SINCE, NULL, &since);

    if (code != 0)
        return code;
    if (on) {
        int64_t more_us = x->a->retention_us / 10;

        most_us = x->a->retention_us + (more_us > HOUR_US ? more_us : HOUR_US);
    }
    age_us = ot_wall_us() - since;
    if (since == 0 || age_us <= most_us) {
        TEXT(x, "delivered events go when they should");
        return found(x, OT_INFO, "retention", false);
    }
    ot_duration_text(age_us, text);
    if (on)
        TEXT(x,
             "delivered events are kept longer than prune.retention_ms: the "
             "oldest for %s",
             text);
    else
        TEXT(x,
             "prune.enabled is off and the oldest delivered event was kept "
             "for %s: the file grows",
             text);
    FIX(x, "outtray prune");
    return found(x, OT_WARN, "retention", true);
}

/* They stay where they are while all around them goes. */
static int exam_times(struct exam *x)
{
    struct ot_sqlite_db *db = &x->a->db;
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_AHEAD, x->err);
    long long n, first, last;
    int code;

    if (s == NULL)
        return x->err->code;
    db->f.bind_int64(s, 1, ot_wall_us() + HOUR_US);
    code = ot_sqlite_step(db, s, x->err);
    if (code < 0)
        return code;
    n = db->f.column_int64(s, 0);
    first = db->f.column_int64(s, 1);
    last = db->f.column_int64(s, 2);
    db->f.reset(s);
    if (n == 0) {
        TEXT(x, "no event is from the future");
        return found(x, OT_INFO, "times", false);
    }
    TEXT(x,
         "%lld of the oldest events are from the future, the first with seq "
         "%lld: a producer made created_at up, or the clock was set back; they "
         "are not pruned",
         n, first);
    FIX(x,
        "UPDATE %s_event SET created_at = strftime('%%s', 'now') * 1000000 "
        "WHERE seq <= %lld AND created_at > strftime('%%s', 'now') * 1000000",
        db->outbox, last);
    return found(x, OT_WARN, "times", true);
}

static int exam_going(struct exam *x)
{
    int code =
        sqlite_admin_status(&x->a->base, NULL, exam_subscription, x, x->err);

    if (code == 0 && !x->dead) {
        TEXT(x, "no event is dead");
        code = found(x, OT_INFO, "dead", false);
    }
    if (code == 0 && !x->alone) {
        TEXT(x, "no event waits for want of a relay");
        code = found(x, OT_INFO, "lease", false);
    }
    if (code == 0)
        code = exam_retention(x);
    return code == 0 ? exam_times(x) : code;
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
    int errors, code = sqlite_admin_connect(x.a, err);

    for (size_t i = 0; code == 0 && i < OT_COUNT(exams); i++)
        code = exams[i](&x);
    if (code != 0 ||
        ot_sqlite_db_check_version(&x.a->db, OT_SQLITE_SCHEMA - 1, &why) != 0)
        return code;
    code = sqlite_admin_shape(x.a, each, ctx, &errors, err);
    return code == 0 && errors == 0 ? exam_going(&x) : code;
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
