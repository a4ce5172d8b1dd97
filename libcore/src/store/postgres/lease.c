/* lease.c - who may relay, and whether this database may be relayed from. */
#include "store/postgres/error.h"
#include "store/postgres/pg.h"
#include "store/postgres/shape.h"

#include <stdio.h>

enum { TAG_SHAPE = 1, TAG_FACTS, TAG_GRANTED, TAG_WHOSE };

/* --- the conditions of ordered capture ----------------------------------- */

/* Asked for before a lease is taken; the answers are judged here, so that each
 * refusal can say what to do. The shape is looked up in the catalog: it can be
 * said of tables that may not be read, or are not what they were. */
static void say_shape(struct ot_pg *pg, struct ot_pg_script *script)
{
    ot_pg_say(
        script, TAG_SHAPE,
        "SELECT pg_is_in_recovery(), "
        "current_setting('transaction_read_only') = 'on', "
        "current_user::text, a.attidentity = 'a', s.seqcache, s.seqincrement, "
        "s.seqcycle, %s, %s, %s, %s, %s FROM (SELECT (SELECT c.oid FROM "
        "pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 "
        "AND c.relname = 'event') AS log, (SELECT c.oid FROM pg_class c JOIN "
        "pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND "
        "c.relname = 'event_seq_seq' AND c.relkind = 'S') AS seq) o "
        "JOIN pg_attribute a ON a.attrelid = o.log AND a.attname = 'seq' "
        "LEFT JOIN pg_sequence s ON s.seqrelid = o.seq",
        ot_pg_tables_missing, ot_pg_columns_missing, ot_pg_keys_missing,
        ot_pg_rights_missing, ot_pg_functions_missing);
    ot_pg_text_param(script, ot_slice_of(pg->outbox));
}

static void say_facts(struct ot_pg *pg, struct ot_pg_script *script)
{
    ot_pg_say(script, TAG_FACTS,
              "SELECT schema_version, system_identifier <> "
              "(pg_control_system()).system_identifier, (SELECT %s FROM "
              "(SELECT to_regclass('\"%s\".event') AS log) o) "
              "FROM \"%s\".meta",
              ot_pg_subscribers, pg->outbox, pg->outbox);
}

static int judge_version(const struct ot_pg *pg, int version,
                         struct outtray_error *err)
{
    int oldest = pg->version > 1 ? pg->version - 1 : 1;

    if (version >= oldest && version <= pg->version)
        return 0;
    return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                   "outbox \"%s\" has schema version %d, this program works "
                   "with %d to %d; %s",
                   pg->outbox, version, oldest, pg->version,
                   version > pg->version ? "install a newer outtray"
                                         : "run `outtray upgrade`");
}

int ot_pg_fail_identity(const struct ot_pg *pg, struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "outbox \"%s\": the identity of event must have CACHE 1, "
                   "INCREMENT 1 and NO CYCLE, or events are lost and keys lose "
                   "their order; ALTER SEQUENCE \"%s\".event_seq_seq CACHE 1 "
                   "INCREMENT 1 NO CYCLE",
                   pg->outbox, pg->outbox);
}

static int judge_identity(const struct ot_pg *pg, const PGresult *r,
                          struct outtray_error *err)
{
    if (ot_pg_null(r, 0, 4))
        return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                       "outbox \"%s\" has no sequence event_seq_seq: it was "
                       "dropped or renamed, and nothing can be enqueued; "
                       "`outtray doctor` says how to make it again",
                       pg->outbox);
    if (!ot_pg_get_bool(r, 0, 3))
        return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                       "outbox \"%s\": event.seq must be GENERATED ALWAYS, or "
                       "an application can choose a seq that was passed; ALTER "
                       "TABLE \"%s\".event ALTER seq SET GENERATED ALWAYS",
                       pg->outbox, pg->outbox);
    if (ot_pg_get_i64(r, 0, 4) != 1 || ot_pg_get_i64(r, 0, 5) != 1 ||
        ot_pg_get_bool(r, 0, 6))
        return ot_pg_fail_identity(pg, err);
    return 0;
}

/* Where the log is missing as a whole the next statement says so. */
static int judge_shape(struct ot_pg *pg, const PGresult *r,
                       struct outtray_error *err)
{
    static const char *const words[] = {
        "has not all of its tables any more: there is no",
        "lacks what it was made with, column", "lacks the primary key of"};
    struct ot_slice user, what;
    int code;

    if (PQntuples(r) != 1)
        return 0;
    if (ot_pg_get_bool(r, 0, 0))
        return ot_fail(err, OUTTRAY_E_STORE_STANDBY,
                       "the database is a standby; connect to the primary "
                       "(store.url takes several hosts)");
    if (ot_pg_get_bool(r, 0, 1))
        return ot_fail(err, OUTTRAY_E_STORE_STANDBY,
                       "transactions of %.*s are read-only: "
                       "default_transaction_read_only is on (some services "
                       "set it while a disk is full); `outtray doctor` says "
                       "how to end that",
                       (int)ot_pg_get_slice(r, 0, 2).n,
                       ot_pg_get_slice(r, 0, 2).p);
    for (int i = 0; i < 3; i++) {
        what = ot_pg_get_slice(r, 0, 7 + i);
        if (what.p != NULL)
            return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                           "outbox \"%s\" %s %.*s; `outtray doctor` says how "
                           "to mend it",
                           pg->outbox, words[i], (int)what.n, what.p);
    }
    code = judge_identity(pg, r, err);
    what = ot_pg_get_slice(r, 0, 10);
    user = ot_pg_get_slice(r, 0, 2);
    if (code == 0 && what.p != NULL)
        code = ot_fail(err, OUTTRAY_E_STORE_PERMISSION,
                       "role %.*s may not %.*s in outbox \"%s\"; `outtray init "
                       "--relay-role %.*s`, typed by its owner, grants what a "
                       "relay needs",
                       (int)user.n, user.p, (int)what.n, what.p, pg->outbox,
                       (int)user.n, user.p);
    what = ot_pg_get_slice(r, 0, 11);
    if (code == 0 && what.p != NULL)
        code = ot_pg_fail_functions(err, what, user);
    return code;
}

static int judge_subscribers(const struct ot_pg *pg, struct ot_slice names,
                             struct outtray_error *err)
{
    if (names.p == NULL)
        return 0;
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "outbox \"%s\": subscription %.*s of logical replication "
                   "writes the log, in an order of its own, and events would "
                   "be lost; relay on the server that they come from, or ALTER "
                   "SUBSCRIPTION %.*s DISABLE",
                   pg->outbox, (int)names.n, names.p, (int)names.n, names.p);
}

static int judge_facts(struct ot_pg *pg, const PGresult *r,
                       struct outtray_error *err)
{
    int code;

    if (PQntuples(r) != 1)
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "outbox \"%s\" says nothing of its version (table meta "
                       "is empty); `outtray doctor` says how to write it again",
                       pg->outbox);
    if (ot_pg_get_bool(r, 0, 1) && !pg->told_copy)
        ot_log(pg->log, OT_WARN, "postgres",
               "outbox \"%s\" was made on another server, and this is a copy, "
               "which delivers the same events again; `outtray doctor` says "
               "what to do if it is to go on here",
               pg->outbox);
    pg->told_copy |= ot_pg_get_bool(r, 0, 1);
    pg->schema = ot_pg_get_i32(r, 0, 0);
    code = judge_version(pg, pg->schema, err);
    return code != 0 ? code
                     : judge_subscribers(pg, ot_pg_get_slice(r, 0, 2), err);
}

/* --- lease --------------------------------------------------------------- */

static void lease_params(struct ot_pg *pg, struct ot_pg_script *script)
{
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    ot_pg_bytes_param(script, OT_PG_UUID, pg->owner.b, sizeof(pg->owner.b));
}

/* The first relay of a subscription makes its row, and leaves a mark that there
 * is one: a held event 0, which is none. Where somebody deleted the row later,
 * a new one would begin at another place, and events be skipped or sent again
 * without a word. */
static void say_first(struct ot_pg *pg, struct ot_pg_script *script)
{
    ot_pg_say(script, 0,
              "INSERT INTO \"%s\".cursor (subscription, position) "
              "SELECT $1, CASE WHEN $2 THEN " OT_PG_LAST_SEQ " ELSE 0 END "
              "WHERE NOT EXISTS (SELECT FROM \"%s\".held WHERE subscription = "
              "$1) AND NOT EXISTS (SELECT FROM \"%s\".gap WHERE subscription "
              "= $1) ON CONFLICT (subscription) DO NOTHING",
              pg->outbox, pg->outbox, pg->outbox, pg->outbox, pg->outbox);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    ot_pg_bool_param(script, pg->start_now);
    ot_pg_say(script, 0,
              "INSERT INTO \"%s\".held (subscription, seq, topic, state, "
              "holds_key) SELECT subscription, 0, '', 'skipped', false FROM "
              "\"%s\".cursor WHERE subscription = $1 ON CONFLICT "
              "(subscription, seq) DO NOTHING",
              pg->outbox, pg->outbox);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
}

/* No report leaves what is there; it is from another time then. */
const char *ot_pg_report_set(const struct ot_pg *pg, int n, char out[200])
{
    out[0] = '\0';
    if (pg->schema >= 2)
        snprintf(out, 200,
                 ", report = coalesce($%d::json, report), reported_at = "
                 "CASE WHEN $%d IS NULL THEN reported_at "
                 "ELSE clock_timestamp() END",
                 n, n);
    return out;
}

void ot_pg_report_param(const struct ot_pg *pg, struct ot_pg_script *script,
                        const char *report)
{
    if (pg->schema >= 2)
        ot_pg_text_param(script, ot_slice_of(report));
}

static void say_take(struct ot_pg *pg, struct ot_pg_script *script)
{
    char report[200];

    ot_pg_say(script, TAG_GRANTED,
              "UPDATE \"%s\".cursor SET owner = $2, "
              "fence = greatest(fence, $5) + 1, "
              "lease_expires_at = clock_timestamp() + $3 * interval '1 us', "
              "topics = $4%s WHERE subscription = $1 AND (owner IS NULL OR "
              "owner = $2 OR lease_expires_at IS NULL OR "
              "lease_expires_at <= clock_timestamp()) RETURNING fence, ctid",
              pg->outbox, ot_pg_report_set(pg, 6, report));
    lease_params(pg, script);
    ot_pg_i64_param(script, pg->lease.ttl_us);
    ot_pg_text_param(script, ot_slice_of(pg->topics));
    ot_pg_i64_param(script, pg->lease.fence);
    ot_pg_report_param(pg, script, pg->lease.report);
}

/* An expired lease is never revived: somebody may have seen it expired. */
static void say_renew(struct ot_pg *pg, struct ot_pg_script *script)
{
    char report[200];

    ot_pg_say(script, TAG_GRANTED,
              "UPDATE \"%s\".cursor SET "
              "lease_expires_at = clock_timestamp() + $3 * interval '1 us'%s "
              "WHERE subscription = $1 AND owner = $2 AND fence = $4 "
              "AND lease_expires_at > clock_timestamp() RETURNING fence, ctid",
              pg->outbox, ot_pg_report_set(pg, 5, report));
    lease_params(pg, script);
    ot_pg_i64_param(script, pg->lease.ttl_us);
    ot_pg_i64_param(script, pg->lease.fence);
    ot_pg_report_param(pg, script, pg->lease.report);
}

static void say_whose(struct ot_pg *pg, struct ot_pg_script *script)
{
    ot_pg_say(script, TAG_WHOSE,
              "SELECT owner, (extract(epoch FROM lease_expires_at - "
              "clock_timestamp()) * 1000000)::int8 FROM \"%s\".cursor "
              "WHERE subscription = $1",
              pg->outbox);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
}

static void say_lease(struct ot_pg *pg, struct ot_pg_job *job)
{
    ot_pg_begin(pg, job, OT_PG_WRITE);
    if (pg->lease.take) {
        say_first(pg, &job->script);
        say_take(pg, &job->script);
    } else {
        say_renew(pg, &job->script);
    }
    say_whose(pg, &job->script);
    ot_pg_commit(job);
}

static void hear_granted(struct ot_pg *pg, struct ot_lease_reply *out,
                         const PGresult *r)
{
    out->granted = PQntuples(r) == 1;
    pg->has_ctid = out->granted && PQgetlength(r, 0, 1) == sizeof(pg->ctid);
    if (out->granted)
        out->fence = ot_pg_get_i64(r, 0, 0);
    if (pg->has_ctid)
        memcpy(pg->ctid, PQgetvalue(r, 0, 1), sizeof(pg->ctid));
}

static int fail_deleted(const struct ot_pg *pg, struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "outbox \"%s\": the cursor of subscription %s was deleted, "
                   "and a new one would skip or repeat events; INSERT INTO "
                   "\"%s\".cursor (subscription, position) VALUES ('%s', 0) "
                   "sends all that the log has again, a higher position leaves "
                   "out what is below it",
                   pg->outbox, pg->subscription, pg->outbox, pg->subscription);
}

static void hear_whose(struct ot_pg *pg, struct ot_pg_job *job,
                       const PGresult *r)
{
    struct ot_lease_reply *out = &job->reply.lease;
    struct ot_uuid owner;

    if (PQntuples(r) != 1 && pg->lease.take && job->reply.code == 0)
        job->reply.code = fail_deleted(pg, &job->reply.err);
    if (out->granted || PQntuples(r) != 1 || ot_pg_null(r, 0, 0))
        return;
    memcpy(owner.b, PQgetvalue(r, 0, 0), sizeof(owner.b));
    if (memcmp(owner.b, pg->owner.b, sizeof(owner.b)) == 0)
        return;
    ot_uuid_text(owner, out->owner);
    out->free_in_us = ot_pg_get_i64(r, 0, 1);
    if (out->free_in_us < 0)
        out->free_in_us = 0;
}

static bool heard(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                  PGresult *result)
{
    if (tag == TAG_SHAPE)
        job->reply.code = judge_shape(pg, result, &job->reply.err);
    else if (tag == TAG_FACTS)
        job->reply.code = judge_facts(pg, result, &job->reply.err);
    else if (tag == TAG_GRANTED)
        hear_granted(pg, &job->reply.lease, result);
    else
        hear_whose(pg, job, result);
    return false;
}

/* The conditions hold: now the lease. */
static bool again(struct ot_pg *pg, struct ot_pg_job *job)
{
    job->again = NULL;
    ot_pg_script_clear(&job->script);
    say_lease(pg, job);
    return true;
}

static void done(struct ot_pg *pg, struct ot_pg_job *job)
{
    if (job->reply.code != 0 || !job->reply.lease.granted)
        pg->has_ctid = false;
    if (job->reply.code != 0)
        memset(&job->reply.lease, 0, sizeof(job->reply.lease));
}

void ot_pg_lease(struct ot_pg *pg, const struct ot_lease_request *request)
{
    struct ot_pg_job *job = ot_pg_job(pg, OT_REPLY_LEASE,
                                      request->take ? "cannot take the lease"
                                                    : "cannot renew the lease");

    pg->lease = *request;
    if (request->report != NULL) {
        snprintf(pg->report, sizeof(pg->report), "%s", request->report);
        pg->lease.report = pg->report;
    }
    job->heard = heard;
    job->done = done;
    if (request->take) {
        job->again = again;
        ot_pg_begin(pg, job, OT_PG_WRITE);
        say_shape(pg, &job->script);
        say_facts(pg, &job->script);
        ot_pg_commit(job);
    } else {
        say_lease(pg, job);
    }
    ot_pg_link_ask(&pg->links[OT_PG_WRITES], job);
}

/* --- release ------------------------------------------------------------- */

/* The fence stays, so that the next owner's is larger. */
void ot_pg_release(struct ot_pg *pg, int64_t fence)
{
    struct ot_pg_job *job =
        ot_pg_job(pg, OT_REPLY_RELEASE, "cannot release the lease");

    pg->has_ctid = false;
    ot_pg_begin(pg, job, OT_PG_WRITE);
    ot_pg_say(&job->script, 0,
              "UPDATE \"%s\".cursor SET owner = NULL, lease_expires_at = NULL "
              "WHERE subscription = $1 AND owner = $2 AND fence = $3",
              pg->outbox);
    lease_params(pg, &job->script);
    ot_pg_i64_param(&job->script, fence);
    ot_pg_commit(job);
    ot_pg_link_ask(&pg->links[OT_PG_WRITES], job);
}
