/* admin_schema.c - making, upgrading and removing an outbox. */
#include "store/postgres/admin.h"

#include <stdio.h>

#include "base/crash.h"
#include "store/postgres/error.h"
#include "store/postgres/shape.h"
#include "store/schema.h"

/* Two `outtray init` at once: the second waits, then finds it done. */
static int lock_schema(struct ot_pga *a, struct outtray_error *err)
{
    struct ot_pga_value name = {OT_PGA_TEXT, a->outbox};

    return ot_pga_run_with(a,
                           "SELECT pg_advisory_xact_lock(hashtextextended("
                           "'outtray schema ' || $1, 0))",
                           &name, 1, "wait for another init or upgrade", NULL,
                           err);
}

/* What init and upgrade cannot go without. */
static int check_server(struct ot_pga *a, struct outtray_error *err)
{
    int version = PQserverVersion(a->c);
    struct ot_buffer sql = {0};
    PGresult *result;
    int rc;

    if (version < 140001)
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "the server at %s is PostgreSQL %d.%d, outtray needs "
                       "14.1 or newer",
                       a->where, version / 10000, version % 10000);
    ot_buffer_printf(&sql, "SELECT pg_is_in_recovery(), %s, current_user",
                     ot_pg_functions_missing);
    rc = sql.failed ? ot_fail_nomem(err)
                    : ot_pga_run(a, sql.p, "ask the server", &result, err);
    ot_buffer_free(&sql);
    if (rc != 0)
        return rc;
    if (ot_pga_bool(result, 0, 0))
        rc = ot_fail(err, OUTTRAY_E_STORE_STANDBY,
                     "the server at %s is a standby; connect to the primary",
                     a->where);
    else if (!PQgetisnull(result, 0, 1))
        rc = ot_pg_fail_functions(err, ot_slice_of(ot_pga_text(result, 0, 1)),
                                  ot_slice_of(ot_pga_text(result, 0, 2)));
    PQclear(result);
    return rc;
}

static int say(ot_text_fn *each, void *ctx, const struct ot_migration *m)
{
    char line[160];

    snprintf(line, sizeof(line), "%04d %s", m->number, m->name);
    return each != NULL ? each(ctx, line) : 0;
}

/* --- migrations ---------------------------------------------------------- */

static const struct ot_migration *migration(int number)
{
    return ot_migration_find("postgres", number);
}

static int run_migration(struct ot_pga *a, const struct ot_migration *m,
                         struct outtray_error *err)
{
    char sql[128], what[160];
    int rc;

    snprintf(what, sizeof(what), "run migration %04d %s", m->number, m->name);
    ot_crash_point("migration.wanted");
    rc = ot_pga_run(a, m->sql, what, NULL, err);
    ot_crash_point("migration.made");
    if (rc != 0)
        return rc;
    snprintf(sql, sizeof(sql),
             "UPDATE {{outbox}}.meta SET schema_version = %d WHERE "
             "schema_version <> %d",
             m->number, m->number);
    rc = ot_pga_run(a, sql, what, NULL, err);
    ot_crash_point("migration.noted");
    return rc;
}

/* Those above version, in order. */
static int run_migrations(struct ot_pga *a, int version, ot_text_fn *each,
                          void *ctx, struct outtray_error *err)
{
    const struct ot_migration *m;
    int rc = 0;

    while (rc == 0 && (m = migration(++version)) != NULL) {
        rc = say(each, ctx, m);
        if (rc == 0)
            rc = run_migration(a, m, err);
    }
    return rc;
}

/* --- init ---------------------------------------------------------------- */

static int make_unique(struct ot_pga *a, struct outtray_error *err)
{
    return ot_pga_run(a,
                      "CREATE UNIQUE INDEX event_id ON {{outbox}}.event (id)",
                      "index the ids", NULL, err);
}

/* init needs CREATE on the database; say so, and who grants it. */
static int explain_init(struct ot_pga *a, int rc, struct outtray_error *err)
{
    struct outtray_error old;

    if (err == NULL)
        return rc;
    old = *err;
    if (rc == OUTTRAY_E_STORE_PERMISSION)
        ot_fail(err, rc,
                "cannot make outbox \"%s\": %s; run init as the owner of the "
                "database, or GRANT CREATE ON DATABASE \"%s\" TO \"%s\"",
                a->outbox, old.text, PQdb(a->c), PQuser(a->c));
    else if (rc == OUTTRAY_E_EXISTS)
        ot_fail(err, rc,
                "schema \"%s\" has tables of these names that are no outbox: "
                "%s; choose another store.outbox",
                a->outbox, old.text);
    memcpy(err->sqlstate, old.sqlstate, sizeof(err->sqlstate));
    return rc;
}

static int init_in_transaction(struct ot_pga *a,
                               const struct ot_init_options *options,
                               bool *existed, ot_text_fn *each, void *ctx,
                               struct outtray_error *err)
{
    int version, rc = lock_schema(a, err);

    if (rc == 0)
        rc = ot_pga_version(a, &version, err);
    if (rc != 0)
        return rc;
    *existed = version != 0;
    if (!*existed) {
        rc = run_migrations(a, 0, each, ctx, err);
        if (rc == 0 && options->unique_ids)
            rc = make_unique(a, err);
        if (rc != 0)
            return explain_init(a, rc, err);
    }
    return ot_pga_grant(a, options, err);
}

int ot_pga_init(struct ot_admin *base, const struct ot_init_options *options,
                ot_text_fn *each, void *ctx, struct outtray_error *err)
{
    static const struct ot_init_options none;
    struct ot_pga *a = ot_pga(base);
    bool existed = false;
    int rc = check_server(a, err);

    if (options == NULL)
        options = &none;
    if (rc == 0)
        rc = ot_pga_begin(a, OT_PGA_SCHEMA, err);
    if (rc != 0)
        return rc;
    rc = init_in_transaction(a, options, &existed, each, ctx, err);
    rc = ot_pga_end(a, rc, err);
    if (rc == 0 && existed)
        return ot_fail(err, OUTTRAY_E_EXISTS,
                       "outbox \"%s\" is there already%s%s", a->outbox,
                       options->app_role != NULL || options->relay_role != NULL
                           ? ", the rights were granted"
                           : "",
                       options->unique_ids
                           ? "; unique ids need CREATE UNIQUE INDEX "
                             "CONCURRENTLY event_id on its event (id)"
                           : "");
    return rc;
}

/* --- upgrade ------------------------------------------------------------- */

static int say_sql(struct ot_pga *a, int version, ot_text_fn *each, void *ctx,
                   struct outtray_error *err)
{
    const struct ot_migration *m;
    struct ot_buffer sql = {0};
    int rc;

    ot_buffer_puts(&sql, "BEGIN;\n");
    while ((m = migration(++version)) != NULL) {
        ot_buffer_printf(&sql, "-- %04d %s\n", m->number, m->name);
        ot_pga_expand(a, m->sql, &sql);
        ot_pga_expand(a,
                      "\nUPDATE {{outbox}}.meta SET schema_version = ", &sql);
        ot_buffer_printf(&sql, "%d;\n", m->number);
    }
    ot_buffer_puts(&sql, "COMMIT;\n");
    rc = sql.failed ? ot_fail_nomem(err) : ot_sql_lines(sql.p, each, ctx);
    ot_buffer_free(&sql);
    return rc;
}

static int upgrade_in_transaction(struct ot_pga *a, ot_text_fn *each, void *ctx,
                                  struct outtray_error *err)
{
    int version, rc = lock_schema(a, err);

    /* Again: another one may have been faster. */
    if (rc == 0)
        rc = ot_pga_version(a, &version, err);
    if (rc == 0)
        rc = run_migrations(a, version, each, ctx, err);
    if (rc == OUTTRAY_E_STORE_PERMISSION)
        rc = ot_fail_context(err, rc,
                             "the upgrade is for the owner of the tables");
    return rc;
}

static int run_upgrade(struct ot_pga *a, ot_text_fn *each, void *ctx,
                       struct outtray_error *err)
{
    int rc = check_server(a, err);

    if (rc == 0)
        rc = ot_pga_begin(a, OT_PGA_SCHEMA, err);
    if (rc != 0)
        return rc;
    return ot_pga_end(a, upgrade_in_transaction(a, each, ctx, err), err);
}

static int check_version(struct ot_pga *a, int *version,
                         struct outtray_error *err)
{
    int rc = ot_pga_version(a, version, err);

    /* Too old is what upgrade is for. */
    if (rc == 0 && (*version == 0 || *version > ot_pga_version_wanted()))
        rc = ot_pga_need_outbox(a, err);
    return rc;
}

int ot_pga_upgrade(struct ot_admin *base, enum ot_upgrade_mode mode,
                   ot_text_fn *each, void *ctx, struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    const struct ot_migration *m;
    int version, rc = check_version(a, &version, err);

    if (rc != 0 || version == ot_pga_version_wanted())
        return rc;
    switch (mode) {
    case OT_UPGRADE_RUN:
        return run_upgrade(a, each, ctx, err);
    case OT_UPGRADE_PLAN:
        while (rc == 0 && (m = migration(++version)) != NULL)
            rc = say(each, ctx, m);
        return rc;
    case OT_UPGRADE_SQL:
        return say_sql(a, version, each, ctx, err);
    case OT_UPGRADE_CHECK:
        break;
    }
    return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                   "outbox \"%s\" has schema version %d, this program wants "
                   "%d; run `outtray upgrade`",
                   a->outbox, version, ot_pga_version_wanted());
}

/* --- drop ---------------------------------------------------------------- */

int ot_pga_drop(struct ot_admin *base, bool dry_run, int64_t *events,
                struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    PGresult *result;
    int version, rc = ot_pga_version(a, &version, err);

    *events = 0;
    if (rc == 0 && version == 0)
        rc = ot_pga_need_outbox(a, err);
    if (rc == 0)
        rc = ot_pga_begin(a, dry_run ? OT_PGA_SCAN : OT_PGA_SCHEMA, err);
    if (rc != 0)
        return rc;
    if (!dry_run)
        rc = lock_schema(a, err);
    if (rc == 0)
        rc = ot_pga_run(a, "SELECT count(*) FROM {{outbox}}.event",
                        "count the events", &result, err);
    if (rc == 0) {
        *events = ot_pga_int(result, 0, 0);
        PQclear(result);
    }
    if (rc == 0 && !dry_run)
        rc = ot_pga_run(a, ot_drop_sql("postgres"), "drop the tables", NULL,
                        err);
    return ot_pga_end(a, rc, err);
}
