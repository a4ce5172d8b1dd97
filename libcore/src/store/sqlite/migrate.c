/* migrate.c - making, upgrading and removing an outbox. */
#include "store/sqlite/admin.h"

#include "base/crash.h"
#include "store/schema.h"

static const struct ot_migration *migration(int number)
{
    return ot_migration_find("sqlite", number);
}

static int say(ot_text_fn *each, void *ctx, const struct ot_migration *m,
               struct outtray_error *err)
{
    struct ot_buffer b = {0};
    int code = 0;

    if (each == NULL)
        return 0;
    ot_buffer_printf(&b, "%04d %s", m->number, m->name);
    code = b.failed ? ot_fail_nomem(err) : each(ctx, b.p);
    ot_buffer_free(&b);
    return code;
}

/* The migrations after version, inside the caller's transaction. */
static int run(struct admin *a, int version, ot_text_fn *each, void *ctx,
               struct outtray_error *err)
{
    const struct ot_migration *m;
    int code = 0;

    while (code == 0 && (m = migration(version + 1)) != NULL) {
        struct ot_buffer b = {0};

        ot_crash_point("migration.wanted");
        code = ot_sqlite_exec(&a->db, m->sql, err);
        ot_crash_point("migration.made");
        ot_buffer_printf(&b, "UPDATE {{outbox}}_meta SET schema_version = %d",
                         m->number);
        if (b.failed)
            code = ot_fail_nomem(err);
        if (code == 0)
            code = ot_sqlite_exec(&a->db, b.p, err);
        ot_buffer_free(&b);
        ot_crash_point("migration.noted");
        if (code == 0)
            code = say(each, ctx, m, err);
        version = m->number;
    }
    return code;
}

/* WAL is a property of the file, and stays. */
static int set_wal(struct admin *a, struct outtray_error *err)
{
    int code = ot_sqlite_exec(&a->db, "PRAGMA main.journal_mode = WAL", err);

    return code == 0 ? ot_sqlite_db_check_wal(&a->db, err) : code;
}

static int refuse_existing(struct admin *a, int version,
                           struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_EXISTS,
                   "there is an outbox \"%s\" in %s already, with schema "
                   "version %d%s",
                   a->db.outbox, a->db.path, version,
                   version < OT_SQLITE_SCHEMA ? ": run `outtray upgrade`" : "");
}

int sqlite_admin_init(struct ot_admin *x, const struct ot_init_options *options,
                      ot_text_fn *each, void *ctx, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int version = 0, code;

    if (options->app_role != NULL || options->relay_role != NULL)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "SQLite has no roles: leave --app-role and --relay-role "
                       "out, and let the rights of the file say who may write");
    code = ot_sqlite_db_open(&a->db, SQLITE_OPEN_CREATE, a->busy_ms, err);
    if (code == 0)
        code = ot_sqlite_db_version(&a->db, &version, err);
    if (code == 0 && version > 0)
        return refuse_existing(a, version, err);
    if (code == 0)
        code = set_wal(a, err);
    if (code == 0)
        code = ot_sqlite_begin_write(&a->db, err);
    if (code != 0)
        return code;
    /* Again, now that nobody else can make one. */
    code = ot_sqlite_db_version(&a->db, &version, err);
    if (code == 0 && version > 0)
        code = refuse_existing(a, version, err);
    if (code == 0)
        code = run(a, 0, each, ctx, err);
    if (code == 0 && options->unique_ids)
        code = ot_sqlite_exec(&a->db,
                              "CREATE UNIQUE INDEX {{outbox}}_event_id "
                              "ON {{outbox}}_event (id)",
                              err);
    if (code == 0)
        code = ot_sqlite_commit(&a->db, err);
    if (code != 0)
        ot_sqlite_rollback(&a->db);
    return code;
}

/* --- upgrade ------------------------------------------------------------- */

static int show_sql(struct admin *a, int version, ot_text_fn *each, void *ctx,
                    struct outtray_error *err)
{
    const struct ot_migration *m;
    struct ot_buffer b = {0};
    int code;

    ot_buffer_puts(&b, "BEGIN IMMEDIATE;\n");
    for (; (m = migration(version + 1)) != NULL; version = m->number) {
        ot_sqlite_expand(&a->db, m->sql, &b);
        ot_buffer_printf(&b, "UPDATE %s_meta SET schema_version = %d;\n",
                         a->db.outbox, m->number);
    }
    ot_buffer_puts(&b, "COMMIT;\n");
    code = b.failed ? ot_fail_nomem(err) : ot_sql_lines(b.p, each, ctx);
    ot_buffer_free(&b);
    return code;
}

static int show_plan(int version, ot_text_fn *each, void *ctx,
                     struct outtray_error *err)
{
    const struct ot_migration *m;
    int code = 0;

    for (; code == 0 && (m = migration(version + 1)) != NULL;
         version = m->number)
        code = say(each, ctx, m, err);
    return code;
}

static int upgrade_now(struct admin *a, ot_text_fn *each, void *ctx,
                       struct outtray_error *err)
{
    int version = 0, code = set_wal(a, err);

    if (code == 0)
        code = ot_sqlite_begin_write(&a->db, err);
    if (code != 0)
        return code;
    /* Again: another upgrade may have been at work. */
    code = ot_sqlite_db_version(&a->db, &version, err);
    if (code == 0)
        code = run(a, version, each, ctx, err);
    if (code == 0)
        code = ot_sqlite_commit(&a->db, err);
    if (code != 0)
        ot_sqlite_rollback(&a->db);
    return code;
}

int sqlite_admin_upgrade(struct ot_admin *x, enum ot_upgrade_mode mode,
                         ot_text_fn *each, void *ctx, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int version, code = sqlite_admin_connect(a, err);

    if (code == 0)
        code = ot_sqlite_db_check_version(&a->db, 1, err);
    if (code == 0)
        code = ot_sqlite_db_version(&a->db, &version, err);
    if (code != 0)
        return code;
    switch (mode) {
    case OT_UPGRADE_CHECK:
        return ot_sqlite_db_check_version(&a->db, OT_SQLITE_SCHEMA, err);
    case OT_UPGRADE_PLAN:
        return show_plan(version, each, ctx, err);
    case OT_UPGRADE_SQL:
        return version < OT_SQLITE_SCHEMA ? show_sql(a, version, each, ctx, err)
                                          : 0;
    case OT_UPGRADE_RUN:
        break;
    }
    return upgrade_now(a, each, ctx, err);
}

/* --- drop ---------------------------------------------------------------- */

int sqlite_admin_drop(struct ot_admin *x, bool dry_run, int64_t *events,
                      struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int code = sqlite_admin_connect(a, err);

    *events = 0;
    if (code == 0)
        code = ot_sqlite_db_check_version(&a->db, 1, err);
    if (code == 0)
        code = dry_run ? ot_sqlite_begin_read(&a->db, err)
                       : ot_sqlite_begin_write(&a->db, err);
    if (code != 0)
        return code;
    code = ot_sqlite_number(
        &a->db, ot_sqlite_stmt(&a->db, OT_SQL_COUNT_EVENTS, err), events, err);
    if (code == 0 && !dry_run)
        code = ot_sqlite_exec(&a->db, ot_drop_sql("sqlite"), err);
    if (code == 0 && !dry_run)
        code = ot_sqlite_commit(&a->db, err);
    ot_sqlite_rollback(&a->db);
    if (!dry_run && code == 0)
        a->checked = false;
    return code;
}
