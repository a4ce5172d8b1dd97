/* writer.c - a connection of our own that does nothing but enqueue.
 *
 * The commit is durable when it returns: the connection is synchronous = FULL
 * in WAL mode, so one commit is one sync of the log, however many events it
 * has. */
#include "outtray/writer.h"

#include <time.h>
#include <unistd.h>

#include "store/sqlite/insert.h"

#define BUSY_MS         2000
#define LOOK_PAUSE_US   100 /* between two looks at a busy file, at first */
#define LOOK_LONGEST_US 2000

struct outtray_writer {
    struct ot_sqlite_db db;
    struct ot_sqlite_insert insert;
    struct outtray_enqueue_options limits;
    int64_t busy_us;
    int64_t deadline_us; /* of the look at the lock */
    bool checked;        /* an outbox that fits is there */
};

/* A failing call fills it, though its caller may not ask. */
static struct outtray_error *filled(struct outtray_error *err,
                                    struct outtray_error *instead)
{
    if (err == NULL)
        err = instead;
    memset(err, 0, sizeof(*err));
    return err;
}

/* --- the file ------------------------------------------------------------ */

/* Writers share the lock for a few milliseconds each, and SQLite's own handler
 * soon sleeps for 25 and more: it would let the disk idle between them. Where
 * two look, they must not do so in step. */
static int look_again(void *ctx, int looks)
{
    const struct outtray_writer *w = ctx;
    const int64_t now = ot_now_us();
    int64_t pause_us = LOOK_PAUSE_US * (looks + 1) + now % LOOK_PAUSE_US;
    struct timespec pause;

    if (now >= w->deadline_us)
        return 0;
    if (pause_us > LOOK_LONGEST_US)
        pause_us = LOOK_LONGEST_US - now % LOOK_PAUSE_US;
    pause = (struct timespec){0, pause_us * 1000};
    nanosleep(&pause, NULL);
    return 1;
}

static void disconnect(struct outtray_writer *w)
{
    /* A forked child leaves the parent's connection alone. */
    if (w->db.c != NULL && w->db.pid == getpid())
        ot_sqlite_insert_end(&w->insert, &w->db);
    ot_sqlite_db_close(&w->db);
    w->checked = false;
}

static int check(struct outtray_writer *w, struct outtray_error *err)
{
    int code = ot_sqlite_db_check_version(&w->db, OT_SQLITE_SCHEMA - 1, err);

    if (code == 0)
        code = ot_sqlite_db_check_wal(&w->db, err);
    w->checked = code == 0;
    return code;
}

static int connected(struct outtray_writer *w, struct outtray_error *err)
{
    int code = ot_sqlite_db_check_file(&w->db, err);

    if (code == 0 && w->db.c == NULL) {
        code = ot_sqlite_db_open(&w->db, 0, 1, err);
        if (code == 0)
            w->db.f.busy_handler(w->db.c, look_again, w);
    }
    return code == 0 && !w->checked ? check(w, err) : code;
}

static bool is_of_events(int code)
{
    return code == OUTTRAY_E_EXISTS ||
           strcmp(outtray_error_class(code), "EVENT") == 0;
}

/* A failure that may be the connection's own ends it; begin makes another. */
static void give_up(struct outtray_writer *w, int code)
{
    ot_sqlite_rollback(&w->db);
    if (code != OUTTRAY_E_STORE_BUSY && code != OUTTRAY_E_STORE_FULL &&
        code != OUTTRAY_E_FORKED)
        disconnect(w);
}

/* --- what callers call --------------------------------------------------- */

int outtray_writer_open(struct outtray_writer **out,
                        const struct outtray_writer_options *options,
                        struct outtray_error *err)
{
    struct outtray_writer *w = ot_alloc_zero(1, sizeof(*w));
    struct outtray_error instead;
    int code;

    err = filled(err, &instead);
    *out = NULL;
    if (w == NULL)
        return ot_fail_nomem(err);
    w->busy_us = 1000LL * (options->busy_ms > 0 ? options->busy_ms : BUSY_MS);
    w->limits.max_payload_bytes = options->max_payload_bytes;
    w->limits.max_headers_bytes = options->max_headers_bytes;
    code =
        ot_sqlite_db_init(&w->db, options->store,
                          options->outbox != NULL ? options->outbox : "outtray",
                          err);
    if (code != 0) {
        ot_free(w);
        return code;
    }
    *out = w;
    return 0;
}

static bool is_begun(const struct outtray_writer *w)
{
    return w->db.c != NULL && w->db.pid == getpid() &&
           !w->db.f.get_autocommit(w->db.c);
}

int outtray_writer_begin(struct outtray_writer *w, struct outtray_error *err)
{
    struct outtray_error instead;
    int code;

    err = filled(err, &instead);
    if (is_begun(w))
        return ot_fail(err, OUTTRAY_E_MISUSE,
                       "%s: a transaction is open already", w->db.path);
    w->deadline_us = ot_now_us() + w->busy_us;
    code = connected(w, err);
    if (code == 0)
        code = ot_sqlite_begin_write(&w->db, err);
    if (code != 0)
        give_up(w, code);
    return code;
}

static int no_transaction(const struct outtray_writer *w,
                          struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_NOT_IN_TRANSACTION,
                   "%s: there is no transaction: call outtray_writer_begin",
                   w->db.path);
}

/* One by one: the statement stays prepared, whatever their number is. */
static int insert(struct outtray_writer *w, const struct outtray_event *events,
                  size_t n, char (*ids)[37], struct outtray_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int code =
            ot_sqlite_insert_run(&w->insert, &w->db, &w->limits, &events[i], 1,
                                 ids != NULL ? &ids[i] : NULL, err);
        if (code != 0)
            return i > 0 ? ot_fail_context(err, code,
                                           "after the first %zu events", i)
                         : code;
    }
    return 0;
}

int outtray_writer_add(struct outtray_writer *w,
                       const struct outtray_event *events, size_t n,
                       char (*ids)[37], struct outtray_error *err)
{
    struct outtray_error instead, ignored;
    int code = 0;

    err = filled(err, &instead);
    if (!is_begun(w))
        return no_transaction(w, err);
    /* A statement that is refused leaves nothing; several need a savepoint. */
    if (n > 1)
        code = ot_sqlite_exec(&w->db, "SAVEPOINT outtray_add", err);
    if (code == 0)
        code = insert(w, events, n, ids, err);
    if (n > 1 && code == 0)
        code = ot_sqlite_exec(&w->db, "RELEASE outtray_add", err);
    else if (n > 1 && is_of_events(code) &&
             ot_sqlite_exec(&w->db,
                            "ROLLBACK TO outtray_add; RELEASE outtray_add",
                            &ignored) != 0)
        code = ignored.code;
    if (code != 0 && !is_of_events(code))
        give_up(w, code);
    return code;
}

int outtray_writer_commit(struct outtray_writer *w, struct outtray_error *err)
{
    struct outtray_error instead;
    int code;

    err = filled(err, &instead);
    if (!is_begun(w))
        return no_transaction(w, err);
    code = ot_sqlite_commit(&w->db, err);
    if (code == 0)
        return 0;
    give_up(w, code);
    /* What found no room was not written to its end, and what is not whole is
     * not taken up after a crash. Of a sync that failed nobody knows. */
    if (code == OUTTRAY_E_STORE_FULL || code == OUTTRAY_E_STORE_BUSY ||
        code == OUTTRAY_E_NOMEM)
        return code;
    ot_fail_context(err, code, "whether the events are written is not known");
    err->code = OUTTRAY_E_COMMIT_UNKNOWN;
    return err->code;
}

void outtray_writer_rollback(struct outtray_writer *w)
{
    if (is_begun(w))
        ot_sqlite_rollback(&w->db);
}

void outtray_writer_close(struct outtray_writer *w)
{
    if (w == NULL)
        return;
    outtray_writer_rollback(w);
    disconnect(w);
    ot_sqlite_db_free(&w->db);
    ot_free(w);
}
