/* fail.c - the errors of SQLite as ours, each with what to do. */
#include "store/sqlite/db.h"

static int read_only(struct ot_sqlite_db *db, const char *what,
                     struct outtray_error *err)
{
    int code = ot_sqlite_path_check(db, true, err);

    if (code != 0)
        return code;
    return ot_fail(err, OUTTRAY_E_STORE_STANDBY,
                   "%s: %s: the file is read-only: make it writable, with its "
                   "folder (-wal and -shm files are made beside it)",
                   db->path, what);
}

static int cannot_open(struct ot_sqlite_db *db, const char *what,
                       struct outtray_error *err)
{
    int code = ot_sqlite_path_check(db, true, err);

    if (code != 0)
        return code;
    return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                   "%s: %s: %s: are there files open without end (ulimit -n), "
                   "or -wal and -shm files of another user beside it?",
                   db->path, what, db->f.errmsg(db->c));
}

/* A file that went from under its connection is the cause of much that SQLite
 * may say then. */
static int lost_file(struct ot_sqlite_db *db, int rc, struct outtray_error *err)
{
    int kind = rc & 0xff;

    if (!db->was_open ||
        (rc != SQLITE_READONLY_DBMOVED && kind != SQLITE_IOERR &&
         kind != SQLITE_CORRUPT && kind != SQLITE_NOTADB))
        return 0;
    return ot_sqlite_db_check_file(db, err);
}

/* SQLite has one code for all that is wrong in a statement. */
static int wrong_statement(const struct ot_sqlite_db *db, const char *what,
                           const char *said, struct outtray_error *err)
{
    if (strncmp(said, "no such column", 14) == 0 ||
        strstr(said, "has no column named") != NULL)
        return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                       "%s: %s: %s: somebody altered the table; `outtray "
                       "doctor` says how to mend it",
                       db->path, what, said);
    if (strncmp(said, "no such table", 13) == 0)
        return ot_fail(err, OUTTRAY_E_STORE_NO_SCHEMA,
                       "%s: %s: `outtray init` makes the outbox \"%s\"",
                       db->path, said, db->outbox);
    return ot_fail(err, OUTTRAY_E_STORE, "%s: %s: %s", db->path, what, said);
}

int ot_sqlite_fail(struct ot_sqlite_db *db, int rc, const char *what,
                   struct outtray_error *err)
{
    const char *said = db->c != NULL ? db->f.errmsg(db->c) : "no memory";
    int code = lost_file(db, rc, err);

    switch (code == 0 ? rc & 0xff : SQLITE_OK) {
    case SQLITE_OK:
        break;
    case SQLITE_NOMEM:
        code = ot_fail_nomem(err);
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ot_fail(err, OUTTRAY_E_STORE_BUSY,
                       "%s: %s: another connection holds the write lock: look "
                       "for a transaction that stays open",
                       db->path, what);
        break;
    case SQLITE_FULL:
        code = ot_fail(err, OUTTRAY_E_STORE_FULL,
                       "%s: %s: no room left: free space on its file system, "
                       "or raise max_page_count",
                       db->path, what);
        break;
    case SQLITE_IOERR:
        code = ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                       "%s: %s: %s (%d): look at the disk and the system log",
                       db->path, what, said, rc);
        break;
    case SQLITE_CORRUPT:
        code = ot_fail(err, OUTTRAY_E_STORE,
                       "%s: %s: the file is damaged (%s): stop what writes to "
                       "it, run `PRAGMA integrity_check`, restore a backup",
                       db->path, what, said);
        break;
    case SQLITE_NOTADB:
        code = ot_fail(err, OUTTRAY_E_CONF,
                       "%s is not a SQLite database (or it is encrypted): "
                       "does store.url name the right file?",
                       db->path);
        break;
    case SQLITE_READONLY:
        code = rc == SQLITE_READONLY_DBMOVED
                   ? ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                             "%s: %s: the file was away for a moment while it "
                             "was in use",
                             db->path, what)
                   : read_only(db, what, err);
        break;
    case SQLITE_CANTOPEN:
        code = cannot_open(db, what, err);
        break;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        code = ot_fail(err, OUTTRAY_E_STORE_PERMISSION, "%s: %s: %s", db->path,
                       what, said);
        break;
    default:
        code = wrong_statement(db, what, said, err);
        break;
    }
    if (err != NULL)
        err->native = rc;
    return code;
}
