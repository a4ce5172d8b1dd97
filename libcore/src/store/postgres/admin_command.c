/* admin_command.c - what an admin asks of a relay, and prune, which it does by
 * itself. */
#include "store/postgres/admin.h"

#include <stdio.h>

#include "store/postgres/prune.h"

/* --- commands ------------------------------------------------------------ */

/* A command for a subscription that nobody has would wait for ever. */
static int check_subscription(struct ot_pga *a, const char *subscription,
                              struct outtray_error *err)
{
    struct ot_pga_value name = {OT_PGA_TEXT, subscription};
    PGresult *result;
    int rc = ot_pga_run_with(
        a,
        "SELECT coalesce(bool_or(subscription = $1), false), "
        "coalesce(string_agg(subscription, ', ' ORDER BY subscription), "
        "'none yet: start a relay first') FROM {{outbox}}.cursor",
        &name, 1, "read the subscriptions", &result, err);

    if (rc != 0)
        return rc;
    if (!ot_pga_bool(result, 0, 0))
        rc = ot_fail(err, OUTTRAY_E_NOT_FOUND,
                     "outbox \"%s\" has no subscription \"%s\"; there are: %s",
                     a->outbox, subscription, ot_pga_text(result, 0, 1));
    PQclear(result);
    return rc;
}

/* {1,2,3}, or {NULL} for a verb without a seq: one row each. */
static void seq_array(struct ot_buffer *out, enum ot_verb verb,
                      const int64_t *seqs, size_t n)
{
    int64_t argument;

    ot_buffer_putc(out, '{');
    if (n == 0)
        ot_buffer_puts(out, "NULL");
    for (size_t i = 0; i < n; i++) {
        (void)ot_verb_stored(verb, seqs[i], &argument);
        ot_buffer_printf(out, "%s%lld", i != 0 ? "," : "", (long long)argument);
    }
    ot_buffer_putc(out, '}');
}

static int insert_commands(struct ot_pga *a, const char *subscription,
                           enum ot_verb verb, const char *seqs,
                           struct outtray_error *err)
{
    int64_t ignored;
    struct ot_pga_value values[] = {{OT_PGA_TEXT, subscription},
                                    {OT_PGA_TEXT,
                                     ot_verb_stored(verb, 0, &ignored)},
                                    {OT_PGA_TEXT, seqs}};
    int rc = ot_pga_begin(a, OT_PGA_WRITE, err);

    if (rc != 0)
        return rc;
    rc = check_subscription(a, subscription, err);
    if (rc == 0)
        rc = ot_pga_run_with(a,
                             "INSERT INTO {{outbox}}.command (subscription, "
                             "verb, argument) SELECT $1, $2, u.seq::text FROM "
                             "unnest($3::bigint[]) WITH ORDINALITY u(seq, n) "
                             "ORDER BY u.n",
                             values, 3, "write the commands", NULL, err);
    return ot_pga_end(a, rc, err);
}

int ot_pga_command(struct ot_admin *base, const char *subscription,
                   enum ot_verb verb, const int64_t *seqs, size_t n,
                   struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    struct ot_buffer text = {0};
    int rc = ot_pga_need_outbox(a, err);

    if (rc != 0)
        return rc;
    seq_array(&text, verb, seqs, n);
    rc = text.failed ? ot_fail_nomem(err)
                     : insert_commands(a, subscription, verb, text.p, err);
    ot_buffer_free(&text);
    return rc;
}

/* --- prune --------------------------------------------------------------- */

static int prune_batch(struct ot_pga *a, const struct ot_prune_request *request,
                       bool dry_run, struct ot_prune_reply *out,
                       struct outtray_error *err)
{
    char low[24], before[24];
    struct ot_pga_value values[] = {{OT_PGA_INT8, low}, {OT_PGA_INT8, before}};
    struct ot_buffer sql = {0};
    PGresult *result = NULL;
    int rc;

    snprintf(low, sizeof(low), "%lld", (long long)a->low);
    snprintf(before, sizeof(before), "%lld", (long long)request->older_than_us);
    ot_pg_prune_sql(&sql, a->outbox, request->limit, dry_run);
    rc = sql.failed ? ot_fail_nomem(err)
                    : ot_pga_run_with(a, sql.p, values, 2, "prune the log",
                                      &result, err);
    ot_buffer_free(&sql);
    if (rc != 0)
        return rc;
    out->deleted = (uint32_t)ot_pga_int(result, 0, 0);
    out->more = ot_pga_bool(result, 0, 2);
    /* The end of a walk: the next one begins anew, events that were held
     * below may be free by then. */
    a->low = out->more ? ot_pga_int(result, 0, 1) : 0;
    PQclear(result);
    return 0;
}

int ot_pga_prune(struct ot_admin *base, const struct ot_prune_request *request,
                 bool dry_run, struct ot_prune_reply *out,
                 struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    int rc = ot_pga_need_outbox(a, err);

    memset(out, 0, sizeof(*out));
    if (rc == 0)
        rc = ot_pga_begin(a, dry_run ? OT_PGA_READ : OT_PGA_WRITE, err);
    if (rc != 0)
        return rc;
    rc = ot_pga_end(a, prune_batch(a, request, dry_run, out, err), err);
    if (rc != 0) {
        a->low = 0;
        memset(out, 0, sizeof(*out));
    }
    return rc;
}
