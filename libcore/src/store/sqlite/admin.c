/* admin.c - one blocking connection: enqueue, commands, retention. */
#include "store/sqlite/admin.h"

#include <unistd.h>

#include "store/stores.h"

#define ENQUEUE_AT_ONCE \
    1000 /* rows of one INSERT; its parameters are limited */

int sqlite_admin_connect(struct admin *a, struct outtray_error *err)
{
    if (a->db.c != NULL)
        return ot_sqlite_db_check_file(&a->db, err);
    a->checked = false;
    return ot_sqlite_db_open(&a->db, 0, a->busy_ms, err);
}

int sqlite_admin_ready(struct admin *a, struct outtray_error *err)
{
    int code = sqlite_admin_connect(a, err);

    if (code == 0 && !a->checked) {
        code = ot_sqlite_db_check_version(&a->db, OT_SQLITE_SCHEMA - 1, err);
        a->checked = code == 0;
    }
    return code;
}

static void admin_close(struct ot_admin *x)
{
    struct admin *a;

    if (x == NULL)
        return;
    a = admin_of(x);
    if (a->db.c != NULL && a->db.pid == getpid()) {
        ot_sqlite_insert_end(&a->insert, &a->db);
        ot_sqlite_rollback(&a->db);
    }
    ot_sqlite_db_free(&a->db);
    ot_free(a);
}

static int admin_open(struct ot_admin **out, const struct outtray_conf *conf,
                      struct outtray_error *err)
{
    struct admin *a = ot_alloc_zero(1, sizeof(*a));
    int code;

    *out = NULL;
    if (a == NULL)
        return ot_fail_nomem(err);
    a->base.ops = &ot_sqlite_admin_ops;
    a->busy_ms = (int)(ot_conf_us(conf, "store.connect_timeout_ms") / 1000);
    a->max_payload_bytes =
        (size_t)ot_conf_int(conf, "enqueue.max_payload_bytes");
    a->retention_us = ot_conf_bool(conf, "prune.enabled")
                          ? ot_conf_us(conf, "prune.retention_ms")
                          : -1;
    code = ot_sqlite_db_init(&a->db, ot_conf_secret(conf, "store.url"),
                             ot_conf_text(conf, "store.outbox"), err);
    /* A file that is not there yet is no error: init makes it. */
    if (code == 0 && access(a->db.path, F_OK) == 0)
        code = sqlite_admin_connect(a, err);
    if (code != 0) {
        admin_close(&a->base);
        return code;
    }
    *out = &a->base;
    return 0;
}

/* --- enqueue ------------------------------------------------------------- */

static int admin_begin(struct ot_admin *x, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int code = sqlite_admin_connect(a, err);

    if (code == 0 && !a->db.f.get_autocommit(a->db.c))
        code = ot_fail(err, OUTTRAY_E_MISUSE, "a transaction is open already");
    return code == 0 ? ot_sqlite_begin_write(&a->db, err) : code;
}

static int admin_end(struct ot_admin *x, bool commit, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int code = 0;

    if (a->db.c == NULL || a->db.f.get_autocommit(a->db.c))
        return commit ? ot_fail(err, OUTTRAY_E_NOT_IN_TRANSACTION,
                                "there is no transaction to commit")
                      : 0;
    if (commit)
        code = ot_sqlite_commit(&a->db, err);
    if (code != 0 || !commit)
        ot_sqlite_rollback(&a->db);
    return code;
}

static int admin_enqueue(struct ot_admin *x, const struct outtray_event *events,
                         size_t n, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    const struct outtray_enqueue_options options = {
        .max_payload_bytes = a->max_payload_bytes,
    };
    struct outtray_error ignored;
    bool parts = n > ENQUEUE_AT_ONCE;
    int code = sqlite_admin_ready(a, err);

    if (code != 0)
        return code;
    if (a->db.f.get_autocommit(a->db.c))
        return ot_fail(err, OUTTRAY_E_NOT_IN_TRANSACTION,
                       "begin a transaction before enqueueing");
    if (parts)
        code = ot_sqlite_exec(&a->db, "SAVEPOINT outtray_enqueue", err);
    for (size_t i = 0; code == 0 && i < n; i += ENQUEUE_AT_ONCE) {
        size_t left = n - i;

        code = ot_sqlite_insert_run(
            &a->insert, &a->db, &options, events + i,
            left < ENQUEUE_AT_ONCE ? left : ENQUEUE_AT_ONCE, NULL, err);
        if (code != 0 && i > 0)
            ot_fail_context(err, code, "after the first %zu events", i);
    }
    if (parts && code == 0)
        code = ot_sqlite_exec(&a->db, "RELEASE outtray_enqueue", err);
    else if (parts && !a->db.f.get_autocommit(a->db.c))
        ot_sqlite_exec(&a->db,
                       "ROLLBACK TO outtray_enqueue; RELEASE outtray_enqueue",
                       &ignored);
    return code;
}

static int admin_sql(struct ot_admin *x, const char *sql, char *cell,
                     size_t size, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    sqlite3_stmt *s = NULL;
    bool first = true;
    int rc, code = sqlite_admin_connect(a, err);

    if (cell != NULL && size > 0)
        *cell = '\0';
    if (code != 0)
        return code;
    rc = a->db.f.prepare_v2(a->db.c, sql, -1, &s, NULL);
    if (rc != SQLITE_OK)
        return ot_sqlite_fail(&a->db, rc, sql, err);
    while (s != NULL && (code = ot_sqlite_step(&a->db, s, err)) == 1) {
        if (first && cell != NULL && size > 0) {
            struct ot_slice v = ot_sqlite_column(&a->db, s, 0);
            size_t n = v.n < size - 1 ? v.n : size - 1;

            if (n > 0)
                memcpy(cell, v.p, n);
            cell[n] = '\0';
        }
        first = false;
    }
    a->db.f.finalize(s);
    return code;
}

/* --- commands, retention ------------------------------------------------- */

static int one_command(struct admin *a, const char *subscription,
                       enum ot_verb verb, const int64_t *seq,
                       const char *asked_by, struct outtray_error *err)
{
    struct ot_sqlite_db *db = &a->db;
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_COMMAND_PUT, err);
    int64_t argument;

    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(db, s, 1, subscription);
    ot_sqlite_bind_text(
        db, s, 2, ot_verb_stored(verb, seq != NULL ? *seq : 0, &argument));
    if (seq != NULL)
        db->f.bind_int64(s, 3, argument);
    else
        db->f.bind_null(s, 3);
    ot_sqlite_bind_text(db, s, 4, asked_by);
    return ot_sqlite_run(db, s, err);
}

static int admin_command(struct ot_admin *x, const char *subscription,
                         enum ot_verb verb, const int64_t *seqs, size_t n,
                         struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    struct ot_buffer by = {0};
    int code = sqlite_admin_ready(a, err);

    if (code == 0)
        code = ot_sqlite_begin_write(&a->db, err);
    if (code != 0)
        return code;
    ot_buffer_printf(&by, "uid %ld, pid %ld", (long)getuid(), (long)getpid());
    if (by.failed)
        code = ot_fail_nomem(err);
    if (n == 0 && code == 0)
        code = one_command(a, subscription, verb, NULL, by.p, err);
    for (size_t i = 0; code == 0 && i < n; i++)
        code = one_command(a, subscription, verb, &seqs[i], by.p, err);
    if (code == 0)
        code = ot_sqlite_commit(&a->db, err);
    if (code != 0)
        ot_sqlite_rollback(&a->db);
    ot_buffer_free(&by);
    return code;
}

static int admin_prune(struct ot_admin *x, const struct ot_prune_request *q,
                       bool dry_run, struct ot_prune_reply *out,
                       struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int code = sqlite_admin_ready(a, err);

    memset(out, 0, sizeof(*out));
    if (code != 0)
        return code;
    return ot_sqlite_prune(&a->db, q, dry_run, &a->low, out, err);
}

const struct ot_admin_ops ot_sqlite_admin_ops = {
    .open = admin_open,
    .close = admin_close,
    .facts = sqlite_admin_facts,
    .doctor = sqlite_admin_doctor,
    .obstacles = sqlite_admin_obstacles,
    .init = sqlite_admin_init,
    .upgrade = sqlite_admin_upgrade,
    .drop = sqlite_admin_drop,
    .begin = admin_begin,
    .enqueue = admin_enqueue,
    .end = admin_end,
    .status = sqlite_admin_status,
    .events = sqlite_admin_events,
    .command = admin_command,
    .prune = admin_prune,
    .sql = admin_sql,
};
