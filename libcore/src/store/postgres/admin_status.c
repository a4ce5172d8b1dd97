/* admin_status.c - where each subscription stands, with no relay running. */
#include "store/postgres/admin.h"

#include <stdio.h>

/* The work is done by the view's function, bounded in what it counts. */
static const char query[] =
    "SELECT subscription, position, last_seq, pending, pending_is_estimate, "
    "CASE WHEN oldest_undelivered IS NULL THEN -1 ELSE "
    "(extract(epoch FROM lag) * 1000000)::bigint END, "
    "retrying, waiting, blocked, scheduled, dead, gaps, paused, "
    "coalesce(owner::text, ''), fence, "
    "coalesce((extract(epoch FROM lease_expires_at - clock_timestamp()) * "
    "1000000)::bigint, 0), "
    "coalesce((extract(epoch FROM clock_timestamp() - written_at) * "
    "1000000)::bigint, -1), commands, coalesce(w.whole ->> 'report', ''), "
    "coalesce((extract(epoch FROM clock_timestamp() - "
    "(w.whole ->> 'reported_at')::timestamptz) * 1000000)::bigint, 0), "
    "coalesce(topics, '') "
    /* As JSON: an outbox of schema 1 has no such columns. */
    "FROM (SELECT s.*, to_jsonb(s) AS whole FROM {{outbox}}.status s) w "
    "WHERE $1::text IS NULL OR subscription = $1 "
    "ORDER BY subscription";

static void read_row(const PGresult *r, int row, struct ot_status *out)
{
    memset(out, 0, sizeof(*out));
    snprintf(out->subscription, sizeof(out->subscription), "%s",
             ot_pga_text(r, row, 0));
    out->position = ot_pga_int(r, row, 1);
    out->last_seq = ot_pga_int(r, row, 2);
    out->pending = ot_pga_int(r, row, 3);
    out->pending_is_estimate = ot_pga_bool(r, row, 4);
    out->oldest_age_us = ot_pga_int(r, row, 5);
    for (int state = OT_HELD_RETRYING; state <= OT_HELD_DEAD; state++)
        out->held[state] = ot_pga_int(r, row, 6 + state);
    out->gaps = ot_pga_int(r, row, 11);
    out->paused = ot_pga_bool(r, row, 12);
    snprintf(out->owner, sizeof(out->owner), "%s", ot_pga_text(r, row, 13));
    out->fence = ot_pga_int(r, row, 14);
    out->lease_left_us = ot_pga_int(r, row, 15);
    out->written_age_us = ot_pga_int(r, row, 16);
    out->commands = ot_pga_int(r, row, 17);
    snprintf(out->report, sizeof(out->report), "%s", ot_pga_text(r, row, 18));
    out->report_age_us = ot_pga_int(r, row, 19);
    snprintf(out->topics, sizeof(out->topics), "%s", ot_pga_text(r, row, 20));
}

static int load(struct ot_pga *a, const char *subscription, PGresult **out,
                struct outtray_error *err)
{
    struct ot_pga_value name = {OT_PGA_TEXT, subscription};
    int rc = ot_pga_need_outbox(a, err);

    if (rc == 0)
        rc = ot_pga_begin(a, OT_PGA_READ, err);
    if (rc != 0)
        return rc;
    rc = ot_pga_run_with(a, query, &name, 1, "read the status", out, err);
    return ot_pga_end(a, rc, err);
}

int ot_pga_status(struct ot_admin *base, const char *subscription,
                  ot_status_fn *each, void *ctx, struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    struct ot_status status;
    PGresult *result = NULL;
    int rc = load(a, subscription, &result, err);

    if (rc == 0 && subscription != NULL && PQntuples(result) == 0)
        rc = ot_fail(err, OUTTRAY_E_NOT_FOUND,
                     "outbox \"%s\" has no subscription \"%s\"; `outtray "
                     "status` lists them, a relay makes one when it first runs",
                     a->outbox, subscription);
    for (int i = 0; rc == 0 && i < PQntuples(result); i++) {
        read_row(result, i, &status);
        rc = each(ctx, &status);
    }
    PQclear(result);
    return rc;
}
