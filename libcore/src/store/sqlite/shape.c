/* shape.c - is the outbox as the migrations made it, and do its parts fit?
 *
 * The migrations make another one in memory, as `main`; the file is attached to
 * it as `real`. So nothing has to be written down twice. A check is a statement
 * that returns findings: level, text, fix.
 */
#include "store/sqlite/admin.h"
#include "store/schema.h"

static const struct check {
    const char *name;
    const char *fine;
    const char *sql;
} shape[] = {
    {"tables", "every table is there",
     "SELECT 'error', 'the outbox has no table ' || m.name, coalesce((SELECT "
     "'ALTER TABLE ' || min(r.name) || ' RENAME TO ' || m.name FROM "
     "real.sqlite_master r WHERE r.type = 'table' AND r.name LIKE "
     "'{{outbox}}\\_%' ESCAPE '\\' AND r.name COLLATE NOCASE NOT IN (SELECT "
     "name FROM main.sqlite_master) HAVING count(*) = 1), 'bring it back from "
     "a backup') FROM main.sqlite_master m WHERE m.type = 'table' AND m.name "
     "NOT LIKE 'sqlite%' AND m.name COLLATE NOCASE NOT IN (SELECT name FROM "
     "real.sqlite_master WHERE type = 'table')"},
    {"columns", "every column has its type",
     "SELECT 'error', CASE WHEN r.name IS NULL THEN 'column ' || c.name || "
     "' of ' || m.name || ' is missing' ELSE 'column ' || c.name || ' of ' || "
     "m.name || ' has type ' || r.type || ' instead of ' || c.type END, "
     "CASE WHEN r.name IS NOT NULL THEN 'make the table again with its type, "
     "and copy the rows' ELSE coalesce((SELECT 'ALTER TABLE ' || m.name || "
     "' RENAME COLUMN \"' || min(o.name) || '\" TO ' || c.name FROM "
     "pragma_table_info(m.name, 'real') o WHERE o.type = c.type AND o.name "
     "COLLATE NOCASE NOT IN (SELECT name FROM pragma_table_info(m.name, "
     "'main')) HAVING count(*) = 1), CASE WHEN c.\"notnull\" = 0 THEN "
     "'ALTER TABLE ' || m.name || ' ADD COLUMN ' || c.name || ' ' || c.type "
     "ELSE 'bring its values back from a backup' END) END "
     "FROM main.sqlite_master m JOIN pragma_table_info(m.name, 'main') c "
     "LEFT JOIN pragma_table_info(m.name, 'real') r ON r.name = c.name "
     "COLLATE NOCASE WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' "
     "AND m.name COLLATE NOCASE IN (SELECT name FROM real.sqlite_master) "
     "AND r.type IS NOT c.type"},
    {"objects", "every index, view and trigger is there",
     "SELECT CASE WHEN m.type = 'trigger' THEN 'error' ELSE 'warn' END, "
     "'the ' || m.type || ' ' || m.name || ' is missing' || CASE WHEN m.type "
     "= 'trigger' THEN ': headers that cannot be sent are let in' ELSE '' "
     "END, m.sql FROM main.sqlite_master m WHERE m.type IN ('index', 'view', "
     "'trigger') AND m.sql IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
     "real.sqlite_master r WHERE r.type = m.type AND r.name = m.name COLLATE "
     "NOCASE) "
     "UNION ALL SELECT 'warn', 'the trigger ' || r.name || ' on ' || "
     "r.tbl_name || ' can drop or change what is written there', 'DROP "
     "TRIGGER \"' || r.name || '\"' FROM real.sqlite_master r WHERE r.type = "
     "'trigger' AND r.tbl_name COLLATE NOCASE IN (SELECT name FROM "
     "main.sqlite_master WHERE type = 'table') AND NOT EXISTS (SELECT 1 FROM "
     "main.sqlite_master m WHERE m.type = 'trigger' AND m.name = r.name "
     "COLLATE NOCASE)"},
    {NULL, NULL, NULL},
};

/* What was enqueued since the numbers went back lies below a position: made
 * after that was last written (or shortly before: the relay may have written
 * once more). From there on everything is read again. */
static const struct check contents[] = {
    {"sequence", "the numbers are ahead of every position",
     "WITH s AS (SELECT coalesce(max(seq), 0) AS drawn FROM "
     "real.sqlite_sequence WHERE name = '{{outbox}}_event' COLLATE NOCASE), "
     "c AS (SELECT coalesce(max(position), 0) AS top FROM "
     "real.{{outbox}}_cursor), u AS (SELECT min(e.seq) AS first FROM s JOIN "
     "real.{{outbox}}_cursor r ON r.position > s.drawn JOIN "
     "real.{{outbox}}_event e ON e.seq <= s.drawn AND e.created_at > "
     "r.written_at - 60000000) "
     "SELECT 'error', 'the numbers stand at ' || s.drawn || ', but a "
     "subscription has read up to ' || c.top || ': new events would not be "
     "read' || CASE WHEN u.first IS NOT NULL THEN '; those since seq ' || "
     "u.first || ' may not have been read' ELSE '' END, CASE WHEN u.first IS "
     "NULL THEN 'DELETE FROM sqlite_sequence WHERE name = "
     "''{{outbox}}_event''; INSERT INTO sqlite_sequence (name, seq) VALUES "
     "(''{{outbox}}_event'', ' || c.top || ')' ELSE 'with all relays stopped: "
     "DELETE FROM {{outbox}}_held WHERE seq >= ' || u.first || '; UPDATE "
     "{{outbox}}_cursor SET position = ' || (u.first - 1) || ' WHERE position "
     "> ' || (u.first - 1) END FROM s, c, u WHERE c.top > s.drawn"},
    {"cursor", "every subscription has its cursor, its lease and its events",
     "SELECT 'error', 'the cursor of subscription ' || x.subscription || "
     "' was deleted: a relay does not know how far it was', 'INSERT INTO "
     "{{outbox}}_cursor (subscription, position, created_at) VALUES (' || "
     "quote(x.subscription) || ', 0, strftime(''%s'', ''now'') * 1000000)"
     ": all that the log has is sent again; a higher position leaves out what "
     "is below it' FROM (SELECT DISTINCT subscription FROM "
     "real.{{outbox}}_held) x WHERE x.subscription NOT IN (SELECT "
     "subscription FROM real.{{outbox}}_cursor) "
     "UNION ALL SELECT 'warn', count(*) || ' held events of subscription ' || "
     "h.subscription || ' are not in the log any more: somebody deleted them', "
     "'INSERT INTO {{outbox}}_command (subscription, verb, argument) SELECT "
     "subscription, ''skip'', seq FROM {{outbox}}_held WHERE seq > 0 AND seq "
     "NOT IN (SELECT seq FROM {{outbox}}_event)' FROM real.{{outbox}}_held h "
     "WHERE h.seq > 0 AND h.state <> 'skipped' AND NOT EXISTS (SELECT 1 FROM "
     "real.{{outbox}}_event e WHERE e.seq = h.seq) GROUP BY h.subscription "
     "UNION ALL SELECT 'error', 'the lease of subscription ' || subscription "
     "|| ' ends in more than an hour: the clock was set back, or somebody "
     "changed the row', 'UPDATE {{outbox}}_cursor SET lease_expires_at = 0 "
     "WHERE subscription = ' || quote(subscription) FROM "
     "real.{{outbox}}_cursor WHERE owner IS NOT NULL AND lease_expires_at > "
     "(strftime('%s', 'now') + 3600) * 1000000"},
    {NULL, NULL, NULL},
};

static enum ot_level level_of(struct ot_slice level)
{
    return ot_slice_equal(level, ot_slice_of("error")) ? OT_ERROR : OT_WARN;
}

static int run_check(struct ot_sqlite_db *model, const struct check *check,
                     ot_finding_fn *each, void *ctx, int *errors,
                     struct outtray_error *err)
{
    struct ot_finding finding = {OT_INFO, check->name, check->fine, NULL};
    struct ot_buffer sql = {0};
    sqlite3_stmt *s = NULL;
    int rc, code = 0, found = 0;

    ot_sqlite_expand(model, check->sql, &sql);
    if (sql.failed) {
        ot_buffer_free(&sql);
        return ot_fail_nomem(err);
    }
    rc = model->f.prepare_v2(model->c, sql.p, (int)sql.n + 1, &s, NULL);
    ot_buffer_free(&sql);
    if (rc != 0)
        return ot_sqlite_fail(model, rc, "looking at the outbox", err);
    while (code == 0 && (code = ot_sqlite_step(model, s, err)) == 1) {
        finding.level = level_of(ot_sqlite_column(model, s, 0));
        finding.text = (const char *)model->f.column_text(s, 1);
        finding.fix = (const char *)model->f.column_text(s, 2);
        *errors += finding.level == OT_ERROR;
        found++;
        code = each(ctx, &finding);
    }
    model->f.finalize(s);
    return code == 0 && found == 0 ? each(ctx, &finding) : code;
}

/* A quote in the path is doubled. */
static int attach(struct ot_sqlite_db *model, struct outtray_error *err)
{
    struct ot_buffer sql = {0};
    int rc, code = 0;

    ot_buffer_puts(&sql, "ATTACH '");
    for (const char *p = model->path; *p != '\0'; p++) {
        if (*p == '\'')
            ot_buffer_putc(&sql, '\'');
        ot_buffer_putc(&sql, *p);
    }
    ot_buffer_puts(&sql, "' AS real");
    if (sql.failed)
        code = ot_fail_nomem(err);
    else if ((rc = model->f.exec(model->c, sql.p, NULL, NULL, NULL)) != 0)
        code = ot_sqlite_fail(model, rc, "opening", err);
    ot_buffer_free(&sql);
    return code;
}

static int make_model(struct admin *a, struct ot_sqlite_db *model,
                      struct outtray_error *err)
{
    const struct ot_migration *m;
    int rc, code = 0;

    *model = (struct ot_sqlite_db){
        .f = a->db.f, .path = a->db.path, .outbox = a->db.outbox};
    rc = model->f.open_v2(":memory:", &model->c,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (rc != 0)
        return ot_sqlite_fail(model, rc, "opening", err);
    for (int n = 1; code == 0 && n <= a->db.schema; n++) {
        m = ot_migration_find("sqlite", n);
        code = m != NULL ? ot_sqlite_exec(model, m->sql, err) : 0;
    }
    return code == 0 ? attach(model, err) : code;
}

int sqlite_admin_shape(struct admin *a, ot_finding_fn *each, void *ctx,
                       int *errors, struct outtray_error *err)
{
    struct ot_sqlite_db model;
    int code = make_model(a, &model, err);

    *errors = 0;

    for (const struct check *c = shape; code == 0 && c->name != NULL; c++)
        code = run_check(&model, c, each, ctx, errors, err);
    /* These need what those look for. */
    for (const struct check *c = contents;
         code == 0 && *errors == 0 && c->name != NULL; c++)
        code = run_check(&model, c, each, ctx, errors, err);
    model.f.close_v2(model.c);
    return code;
}
