/* db.h - one connection to an outbox in a SQLite file.
 *
 * Both halves of the store use it. It names every error with its file and with
 * what to do, and knows when the file is not the one any more that it opened.
 */
#ifndef OT_SQLITE_DB_H
#define OT_SQLITE_DB_H

#include <sys/types.h>

#include "base/base.h"
#include "store/sqlite/api.h"

#define OT_SQLITE_SCHEMA 2 /* of this program; it works with the one before */

/* Every statement, prepared once per connection: see sql.def. */
enum ot_sql {
#define OT_SQL(name, text) OT_SQL_##name,
#include "store/sqlite/sql.def"
#undef OT_SQL
    OT_SQL_COUNT
};

/* Which file it is, whatever its name. */
struct ot_sqlite_file {
    uint64_t device;
    uint64_t inode;
    int64_t born_ns; /* 0: the file system does not know */
    bool empty;      /* when it was looked at: no part of which file it is */
};

/* A file of SQLite beside it: its log, or the index of that. */
struct ot_sqlite_beside {
    char *path; /* NULL: not known */
    struct ot_sqlite_file file;
};

struct ot_sqlite_db {
    struct ot_sqlite_api f;
    sqlite3 *c;                 /* NULL: not open */
    char *path;                 /* as the URL has it */
    char *outbox;               /* prefix of the tables */
    pid_t pid;                  /* of the process that it belongs to */
    struct ot_sqlite_file file; /* the one that is open, or was last */
    struct ot_sqlite_beside beside[2];
    bool forsaken; /* one of those was deleted: nobody sees what it writes */
    bool emptied;  /* under a connection, which keeps what was in it */
    bool was_open; /* once: a missing file was there before */
    bool replaced; /* it is another than before, and nobody has told it yet */
    int schema;    /* of the outbox, as last checked */
    sqlite3_stmt *stmts[OT_SQL_COUNT];
};

/* url is that of store.url, which may be NULL; outbox that of store.outbox.
 * Opens nothing. */
int ot_sqlite_db_init(struct ot_sqlite_db *, const char *url,
                      const char *outbox, struct outtray_error *err);
void ot_sqlite_db_free(struct ot_sqlite_db *);

/* Does anything stand in the way to the file, or (write) to writing it and
 * beside it? A file that is not there does not. */
int ot_sqlite_path_check(const struct ot_sqlite_db *, bool write,
                         struct outtray_error *err);

/* flags: 0 or SQLITE_OPEN_CREATE. busy_ms: how long SQLite itself waits for a
 * lock; 0: a moment only, as fits a loop. Checks nothing of what is in the file but that it is a database. */
int ot_sqlite_db_open(struct ot_sqlite_db *, int flags, int busy_ms,
                      struct outtray_error *err);
void ot_sqlite_db_close(struct ot_sqlite_db *);

/* Is an outbox there, of a version that this program can relay? *version is 0
 * if there is none. */
int ot_sqlite_db_version(struct ot_sqlite_db *, int *version,
                         struct outtray_error *err);
int ot_sqlite_db_check_version(struct ot_sqlite_db *, int oldest,
                               struct outtray_error *err);
/* E_STORE_CONDITION if the file is not in WAL mode. Learns the files beside it,
 * which are there after that. */
int ot_sqlite_db_check_wal(struct ot_sqlite_db *, struct outtray_error *err);

/* E_STORE_UNAVAILABLE if the path leads to another file now than the one that
 * is open, or to none; E_STORE_CONDITION, and always from then on, if that is
 * so of a file beside it, or this one was emptied; E_FORKED in another process
 * than the one of init. */
int ot_sqlite_db_check_file(struct ot_sqlite_db *, struct outtray_error *err);

/* {{outbox}} becomes the prefix. */
void ot_sqlite_expand(const struct ot_sqlite_db *, const char *sql,
                      struct ot_buffer *out);
/* Runs one or more statements without parameters. */
int ot_sqlite_exec(struct ot_sqlite_db *, const char *sql,
                   struct outtray_error *err);

/* The statement, reset and ready to bind; NULL with err. */
sqlite3_stmt *ot_sqlite_stmt(struct ot_sqlite_db *, enum ot_sql,
                             struct outtray_error *err);
/* 1: a row; 0: done, and reset; else a negative code, and reset. */
int ot_sqlite_step(struct ot_sqlite_db *, sqlite3_stmt *,
                   struct outtray_error *err);
/* What a bound statement says in its first column, 0 where there is no row or
 * NULL, and reset. s NULL: the code that err has. */
int ot_sqlite_number(struct ot_sqlite_db *, sqlite3_stmt *s, int64_t *out,
                     struct outtray_error *err);
/* For a statement that gives no rows. */
int ot_sqlite_run(struct ot_sqlite_db *, sqlite3_stmt *,
                  struct outtray_error *err);

void ot_sqlite_bind_text(struct ot_sqlite_db *, sqlite3_stmt *, int i,
                         const char *s); /* NULL: NULL. Not copied. */
void ot_sqlite_bind_time(struct ot_sqlite_db *, sqlite3_stmt *, int i,
                         int64_t us); /* 0: NULL */
/* Text or a blob of a column, valid until the next step; NULL: p is NULL. */
struct ot_slice ot_sqlite_column(struct ot_sqlite_db *, sqlite3_stmt *, int i);

int ot_sqlite_begin_read(struct ot_sqlite_db *, struct outtray_error *err);
int ot_sqlite_begin_write(struct ot_sqlite_db *, struct outtray_error *err);
int ot_sqlite_commit(struct ot_sqlite_db *, struct outtray_error *err);
void ot_sqlite_rollback(struct ot_sqlite_db *); /* fine with none open */

/* What SQLite said last, as one of ours. what: "reading events". */
int ot_sqlite_fail(struct ot_sqlite_db *, int rc, const char *what,
                   struct outtray_error *err);

#endif
