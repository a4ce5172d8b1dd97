/* admin_doctor.c - is the outbox, and the server around it, set up right?
 *
 * A check is one statement that returns findings: level, text, fix. Each runs
 * in a transaction of its own, so that a right that is missing for one look
 * hides nothing else. $1 is the outbox, $2 the retention in microseconds
 * (negative: nothing is pruned), $3 how many milliseconds a transaction may be
 * open, $4 how old a snapshot may be. */
#include "store/postgres/admin.h"

#include <stdio.h>

#include "store/postgres/checks.h"
#include "store/postgres/error.h"
#include "store/postgres/shape.h"
#include "store/schema.h"

struct exam {
    struct ot_pga *a;
    int64_t transaction_ms;
    int64_t snapshot_ms;
    ot_finding_fn *each;
    void *ctx;
};

static int tell(struct exam *x, enum ot_level level, const char *check,
                const char *text, const char *fix)
{
    struct ot_finding finding = {
        .level = level,
        .check = check,
        .text = text,
        .fix = fix != NULL && fix[0] != '\0' ? fix : NULL,
    };

    return x->each(x->ctx, &finding);
}

static enum ot_level level_of(const char *text)
{
    return strcmp(text, "error") == 0  ? OT_ERROR
           : strcmp(text, "warn") == 0 ? OT_WARN
                                       : OT_INFO;
}

static int ask(struct exam *x, const char *sql, PGresult **out,
               struct outtray_error *err)
{
    char retention[24], transaction[24], snapshot[24];
    struct ot_pga_value values[] = {
        {OT_PGA_TEXT, x->a->outbox},
        {OT_PGA_INT8, retention},
        {OT_PGA_INT8, transaction},
        {OT_PGA_INT8, snapshot},
    };
    int rc = ot_pga_begin(x->a, OT_PGA_CHECK, err);

    *out = NULL;
    if (rc != 0)
        return rc;
    snprintf(retention, sizeof(retention), "%lld",
             (long long)(x->a->prunes ? x->a->retention_us : -1));
    snprintf(transaction, sizeof(transaction), "%lld",
             (long long)x->transaction_ms);
    snprintf(snapshot, sizeof(snapshot), "%lld", (long long)x->snapshot_ms);
    rc = ot_pga_run_with(x->a, sql, values, OT_COUNT(values),
                         "look at the state", out, err);
    return ot_pga_end(x->a, rc, err);
}

static int run_check(struct exam *x, const struct ot_pg_check *check,
                     struct outtray_error *err)
{
    struct outtray_error why = {0};
    PGresult *r;
    int rc = ask(x, check->sql, &r, &why);

    if (rc == OUTTRAY_E_STORE_UNAVAILABLE || rc == OUTTRAY_E_NOMEM) {
        if (err != NULL)
            *err = why;
        return rc;
    }
    if (rc != 0)
        return tell(x, OT_WARN, check->name, why.text,
                    "run doctor as the owner of the outbox");
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        rc = tell(x, level_of(ot_pga_text(r, i, 0)), check->name,
                  ot_pga_text(r, i, 1), ot_pga_text(r, i, 2));
    if (rc == 0 && PQntuples(r) == 0 && check->fine != NULL)
        rc = tell(x, OT_INFO, check->name, check->fine, NULL);
    PQclear(r);
    return rc;
}

/* The rest makes no sense without tables, or with tables of the future. */
static int check_schema(struct exam *x, bool *go_on, struct outtray_error *err)
{
    struct outtray_error why = {0};
    char text[160];
    int version = 0, rc = ot_pga_version(x->a, &version, &why);

    *go_on = false;
    if (rc == OUTTRAY_E_STORE_UNAVAILABLE) {
        if (err != NULL)
            *err = why;
        return rc;
    }
    if (version != 0 || rc == 0 || rc == OUTTRAY_E_STORE_VERSION) {
        int told = run_check(x,
                             version == 0 && rc == 0 ? &ot_pg_check_meta
                                                     : &ot_pg_check_version,
                             err);

        if (told != 0)
            return told;
    }
    if (rc == 0 && version != 0 && version == ot_pga_version_wanted()) {
        *go_on = true;
        snprintf(text, sizeof(text), "outbox \"%s\" has schema version %d",
                 x->a->outbox, version);
        return tell(x, OT_INFO, "schema", text, NULL);
    }
    if (rc == OUTTRAY_E_STORE_VERSION)
        return 0;
    if (rc == 0)
        rc = ot_pga_need_outbox(x->a, &why);
    if (rc != 0)
        return tell(x, OT_ERROR, "schema", why.text,
                    version != 0 && version < ot_pga_version_wanted()
                        ? "outtray upgrade"
                    : rc == OUTTRAY_E_STORE_NO_SCHEMA ? "outtray init"
                                                      : NULL);
    *go_on = true; /* one version behind */
    snprintf(text, sizeof(text),
             "outbox \"%s\" has schema version %d, this program knows %d",
             x->a->outbox, version, ot_pga_version_wanted());
    return tell(x, OT_WARN, "schema", text, "outtray upgrade");
}

/* A column can be dropped or altered only with the views that show it. */
static int check_view(struct exam *x, const char *view, int version)
{
    struct ot_slice sql = ot_schema_view("postgres", version, view);
    struct ot_buffer made = {0}, fix = {0};
    char text[160];
    int rc;

    snprintf(text, sizeof(text),
             "the view %s is missing, and with it the rights that were given "
             "on it",
             view);
    ot_buffer_add(&made, sql.p, sql.n);
    ot_buffer_putc(&made, '\0');
    if (!made.failed)
        ot_pga_expand(x->a, made.p, &fix);
    rc = made.failed || fix.failed ? OUTTRAY_E_NOMEM
                                   : tell(x, OT_WARN, "views", text, fix.p);
    ot_buffer_free(&made);
    ot_buffer_free(&fix);
    return rc;
}

static int check_views(struct exam *x, struct outtray_error *err)
{
    static const char missing[] =
        "SELECT v FROM unnest(ARRAY['pending', 'dead', 'status']) v "
        "WHERE NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid "
        "= "
        "c.relnamespace WHERE n.nspname = $1 AND c.relname = v)";
    struct outtray_error why = {0};
    PGresult *r = NULL;
    int version = 0, rc = ot_pga_version(x->a, &version, &why);

    if (rc == 0)
        rc = ask(x, missing, &r, &why);
    if (rc != 0) {
        if (err != NULL)
            *err = why;
        return rc;
    }
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        rc = check_view(x, ot_pga_text(r, i, 0), version);
    if (rc == 0 && PQntuples(r) == 0)
        rc = tell(x, OT_INFO, "views", "every view is there", NULL);
    PQclear(r);
    return rc == OUTTRAY_E_NOMEM ? ot_fail_nomem(err) : rc;
}

int ot_pga_doctor(struct ot_admin *base, ot_finding_fn *each, void *ctx,
                  struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    struct exam x = {a, a->transaction_ms, a->snapshot_ms, each, ctx};
    bool go_on = false;
    int rc = 0;

    for (const struct ot_pg_check *c = ot_pg_checks_server; rc == 0 && c->name;
         c++)
        rc = run_check(&x, c, err);
    if (rc == 0)
        rc = check_schema(&x, &go_on, err);
    for (const struct ot_pg_check *c = ot_pg_checks_shape;
         rc == 0 && go_on && c->name; c++)
        rc = run_check(&x, c, err);
    if (rc == 0 && go_on)
        rc = check_views(&x, err);
    for (const struct ot_pg_check *c = ot_pg_checks_outbox;
         rc == 0 && go_on && c->name; c++)
        rc = run_check(&x, c, err);
    return rc;
}

/* What a person who looks because nothing moves should be told after seconds. */
int ot_pga_obstacles(struct ot_admin *base, ot_finding_fn *each, void *ctx,
                     struct outtray_error *err)
{
    struct exam x = {ot_pga(base), 5000, 5000, each, ctx};
    int rc = 0;

    for (const struct ot_pg_check *c = ot_pg_checks_now; rc == 0 && c->name;
         c++)
        rc = run_check(&x, c, err);
    return rc;
}
