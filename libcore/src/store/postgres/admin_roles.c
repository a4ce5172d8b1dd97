/* admin_roles.c - the least that an application and a relay need. */
#include "store/postgres/admin.h"

#include <stdio.h>

/* Every column but seq: with the whole table a role could plant an event below
 * a position, never to be read, or at the end of the numbers. */
static const char *const for_app[] = {
    "GRANT USAGE ON SCHEMA {{outbox}} TO %s",
    "GRANT INSERT (id, topic, key, type, headers, payload, created_at, "
    "deliver_at) ON {{outbox}}.event TO %s",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {{outbox}} TO %s",
};

static const char *const for_relay[] = {
    "GRANT USAGE ON SCHEMA {{outbox}} TO %s",
    "GRANT SELECT, DELETE, UPDATE (headers, payload) ON {{outbox}}.event TO %s",
    "GRANT SELECT ON SEQUENCE {{outbox}}.event_seq_seq TO %s",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON {{outbox}}.cursor, "
    "{{outbox}}.gap, {{outbox}}.held, {{outbox}}.command TO %s",
    "GRANT SELECT ON {{outbox}}.meta, {{outbox}}.pending, {{outbox}}.dead, "
    "{{outbox}}.status TO %s",
    "GRANT EXECUTE ON FUNCTION {{outbox}}.status_now() TO %s",
};

static int need_role(struct ot_pga *a, const char *role,
                     struct outtray_error *err)
{
    struct ot_pga_value name = {OT_PGA_TEXT, role};
    PGresult *result;
    int rc = ot_pga_run_with(a, "SELECT FROM pg_roles WHERE rolname = $1",
                             &name, 1, "look for the role", &result, err);

    if (rc != 0)
        return rc;
    if (PQntuples(result) == 0)
        rc = ot_fail(err, OUTTRAY_E_NOT_FOUND,
                     "there is no role \"%s\" at %s; make it first: CREATE "
                     "ROLE \"%s\" LOGIN",
                     role, a->where, role);
    PQclear(result);
    return rc;
}

static int grant(struct ot_pga *a, const char *const *grants, size_t n,
                 const char *role, struct outtray_error *err)
{
    char *quoted;
    int rc = need_role(a, role, err);

    if (rc != 0)
        return rc;
    quoted = PQescapeIdentifier(a->c, role, strlen(role));
    if (quoted == NULL)
        return ot_fail_nomem(err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct ot_buffer sql = {0};
        size_t before = strlen(grants[i]) - 2; /* ends with %s */

        ot_buffer_add(&sql, grants[i], before);
        ot_buffer_puts(&sql, quoted);
        rc = sql.failed ? ot_fail_nomem(err)
                        : ot_pga_run(a, sql.p, "grant rights on the tables",
                                     NULL, err);
        ot_buffer_free(&sql);
    }
    PQfreemem(quoted);
    return rc;
}

int ot_pga_grant(struct ot_pga *a, const struct ot_init_options *options,
                 struct outtray_error *err)
{
    int rc = 0;

    if (options->app_role != NULL)
        rc = grant(a, for_app, OT_COUNT(for_app), options->app_role, err);
    if (rc == 0 && options->relay_role != NULL)
        rc = grant(a, for_relay, OT_COUNT(for_relay), options->relay_role, err);
    return rc;
}
