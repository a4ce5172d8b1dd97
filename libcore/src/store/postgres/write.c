/* write.c - the cursor and all that changes with it, under owner and fence.
 *
 * [INV-4]: the first statement writes the cursor row, if owner, fence and
 * incarnation are as they were, and leaves word whether it did in a setting of
 * the transaction; each of the others does nothing unless it did. So a refused
 * write changes nothing, in one round trip.
 */
#include "store/postgres/pg.h"

#include <stdio.h>

#include "store/postgres/held_key.h"

enum { TAG_MOVED = 1, TAG_FLUSHED };

/* Of a text that a broker sent, whatever it is. */
#define ERROR_BYTES 4000

#define IF_MOVED "current_setting('outtray.moved') = '1'"

/* By place first: under an old snapshot the row leaves a long chain of dead
 * versions, and by name each write would walk all of it. By name if it is not
 * there any more (renewed, vacuumed, another connection). */
static void say_move(struct ot_pg *pg, struct ot_pg_script *script,
                     const struct ot_write_request *w)
{
    static const struct ot_incarnation none;
    char set[300], report[200] = "";

    if (w->report != NULL)
        ot_pg_report_set(pg, 11, report);
    snprintf(set, sizeof(set),
             "SET position = $4, written_at = clock_timestamp(), "
             "paused = coalesce($5, paused)%s ",
             report);

    ot_pg_say(script, TAG_MOVED,
              "WITH i AS MATERIALIZED (SELECT $7 OR ("
              "pg_postmaster_start_time() = $8 AND "
              "coalesce((pg_stat_get_wal()).stats_reset, 'epoch') = $9 AND "
              "(pg_control_system()).system_identifier = $10) AS same), "
              "a AS (UPDATE \"%s\".cursor %s WHERE ctid = $6 "
              "AND subscription = $1 AND owner = $2 AND fence = $3 "
              "AND (SELECT same FROM i) RETURNING ctid), "
              "b AS (UPDATE \"%s\".cursor %s WHERE subscription = $1 "
              "AND owner = $2 AND fence = $3 AND (SELECT same FROM i) "
              "AND NOT EXISTS (SELECT FROM a) RETURNING ctid), "
              "c AS (SELECT ctid FROM a UNION ALL SELECT ctid FROM b) "
              "SELECT (SELECT ctid FROM c), set_config('outtray.moved', "
              "(SELECT count(*)::text FROM c), true)",
              pg->outbox, set, pg->outbox, set);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    ot_pg_bytes_param(script, OT_PG_UUID, pg->owner.b, sizeof(pg->owner.b));
    ot_pg_i64_param(script, w->fence);
    ot_pg_i64_param(script, w->position);
    if (w->set_paused < 0)
        ot_pg_null_param(script, OT_PG_BOOL);
    else
        ot_pg_bool_param(script, w->set_paused != 0);
    if (pg->has_ctid)
        ot_pg_bytes_param(script, OT_PG_TID, pg->ctid, sizeof(pg->ctid));
    else
        ot_pg_null_param(script, OT_PG_TID);
    ot_pg_bool_param(script, ot_incarnation_allows(&w->incarnation, &none));
    ot_pg_time_param(script, w->incarnation.started_us);
    ot_pg_time_param(script, w->incarnation.stats_reset_us);
    ot_pg_i64_param(script, (int64_t)w->incarnation.system);
    if (w->report != NULL)
        ot_pg_report_param(pg, script, w->report);
}

static void subscription_and_seqs(struct ot_pg *pg, struct ot_pg_script *script,
                                  const int64_t *seqs, size_t n)
{
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    ot_pg_array_begin(script, OT_PG_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        ot_pg_array_i64(script, seqs[i]);
    ot_pg_array_end(script);
}

static void say_delete(struct ot_pg *pg, struct ot_pg_script *script,
                       const char *table, const char *column,
                       const int64_t *values, size_t n)
{
    if (n == 0)
        return;
    ot_pg_say(script, 0,
              "DELETE FROM \"%s\".%s WHERE subscription = $1 "
              "AND %s = ANY ($2) AND " IF_MOVED,
              pg->outbox, table, column);
    subscription_and_seqs(pg, script, values, n);
}

static void say_gaps(struct ot_pg *pg, struct ot_pg_script *script,
                     const struct ot_range *gaps, size_t n)
{
    if (n == 0)
        return;
    ot_pg_say(script, 0,
              "INSERT INTO \"%s\".gap (subscription, first, last) "
              "SELECT $1, r.first, r.last FROM unnest($2::int8[], $3::int8[]) "
              "r(first, last) WHERE " IF_MOVED
              " ON CONFLICT (subscription, first) DO UPDATE SET last = "
              "excluded.last",
              pg->outbox);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    ot_pg_array_begin(script, OT_PG_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        ot_pg_array_i64(script, gaps[i].first);
    ot_pg_array_end(script);
    ot_pg_array_begin(script, OT_PG_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        ot_pg_array_i64(script, gaps[i].last);
    ot_pg_array_end(script);
}

/* A broker's words may be no UTF-8, and the database takes nothing else. */
static void error_text(struct ot_pg_script *script, const char *error)
{
    char copy[ERROR_BYTES];

    snprintf(copy, sizeof(copy), "%s", error != NULL ? error : "");
    ot_utf8_mend(copy, true);
    ot_pg_array_text(script, ot_slice_of(error != NULL ? copy : NULL));
}

static void held_params(struct ot_pg_script *script, const struct ot_held *held,
                        size_t n)
{
#define EACH(type, call, value)      \
    ot_pg_array_begin(script, type); \
    for (size_t i = 0; i < n; i++)   \
        call(script, value);         \
    ot_pg_array_end(script)

    EACH(OT_PG_INT8_ARRAY, ot_pg_array_i64, held[i].seq);
    EACH(OT_PG_TEXT_ARRAY, ot_pg_array_text,
         ot_slice_of(ot_held_state_name(held[i].state)));
    EACH(OT_PG_BOOL_ARRAY, ot_pg_array_bool, held[i].holds_key);
    EACH(OT_PG_INT4_ARRAY, ot_pg_array_i32, (int32_t)held[i].attempts);
    EACH(OT_PG_TIMESTAMPTZ_ARRAY, ot_pg_array_time, held[i].next_us);
    EACH(OT_PG_TIMESTAMPTZ_ARRAY, ot_pg_array_time, held[i].first_error_us);
    EACH(OT_PG_TIMESTAMPTZ_ARRAY, ot_pg_array_time, held[i].last_error_us);
    EACH(OT_PG_INT8_ARRAY, ot_pg_array_i64, held[i].retried_us);
    EACH(OT_PG_INT4_ARRAY, ot_pg_array_i32, held[i].error_code);
    EACH(OT_PG_TEXT_ARRAY, error_text, held[i].error);
    EACH(OT_PG_BOOL_ARRAY, ot_pg_array_bool, held[i].maybe_duplicate);
#undef EACH
}

/* Key and topic come from the log. The text of an error that did not change is
 * kept: the engine forgets texts when it loads. */
static void say_held(struct ot_pg *pg, struct ot_pg_script *script,
                     const struct ot_held *held, size_t n)
{
    if (n == 0)
        return;
    ot_pg_say(
        script, 0,
        "INSERT INTO \"%s\".held AS h (subscription, seq, key, topic, state, "
        "holds_key, attempts, next_attempt_at, first_error_at, last_error_at, "
        "retried_us, error_code, error, maybe_duplicate) "
        "SELECT $1, r.seq, e.key, coalesce(e.topic, ''), r.state, r.holds, "
        "r.attempts, r.next, r.first, r.last, r.retried, r.code, r.error, "
        "r.maybe "
        "FROM unnest($2::int8[], $3::text[], $4::bool[], $5::int4[], "
        "$6::timestamptz[], $7::timestamptz[], $8::timestamptz[], "
        "$9::int8[], $10::int4[], $11::text[], $12::bool[]) r(seq, state, "
        "holds, attempts, next, first, last, retried, code, error, maybe) "
        "LEFT JOIN LATERAL (SELECT " OT_PG_HELD_KEY " AS key, topic "
        "FROM \"%s\".event "
        "WHERE event.seq = r.seq LIMIT 1) e ON true WHERE " IF_MOVED
        " ON CONFLICT (subscription, seq) DO UPDATE SET "
        "state = excluded.state, holds_key = excluded.holds_key, "
        "attempts = excluded.attempts, "
        "next_attempt_at = excluded.next_attempt_at, "
        "first_error_at = excluded.first_error_at, "
        "last_error_at = excluded.last_error_at, "
        "retried_us = excluded.retried_us, error_code = excluded.error_code, "
        "maybe_duplicate = excluded.maybe_duplicate, "
        "error = CASE WHEN excluded.error IS NULL AND excluded.last_error_at "
        "IS NOT DISTINCT FROM h.last_error_at THEN h.error "
        "ELSE excluded.error END",
        pg->outbox, pg->outbox);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    held_params(script, held, n);
}

/* --- the answer ---------------------------------------------------------- */

static bool heard(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                  PGresult *result)
{
    if (PQntuples(result) != 1) {
        ot_pg_garbled(job);
        return false;
    }
    if (tag == TAG_FLUSHED) {
        job->reply.write.flush_lsn = (uint64_t)ot_pg_get_i64(result, 0, 0);
        return false;
    }
    pg->written = !ot_pg_null(result, 0, 0);
    pg->has_ctid = pg->written && PQgetlength(result, 0, 0) == sizeof(pg->ctid);
    if (pg->has_ctid)
        memcpy(pg->ctid, PQgetvalue(result, 0, 0), sizeof(pg->ctid));
    return false;
}

static void done(struct ot_pg *pg, struct ot_pg_job *job)
{
    struct ot_write_reply *out = &job->reply.write;

    out->number = pg->write_number;
    if (job->reply.code != 0)
        out->fate = OT_FATE_UNKNOWN;
    else
        out->fate = pg->written ? OT_WRITTEN : OT_REFUSED;
    if (out->fate != OT_WRITTEN) {
        out->flush_lsn = 0;
        pg->has_ctid = false;
    }
}

/* The transaction writes the cursor row in any case, so its commit, with
 * synchronous_commit on, flushes; one that wrote nothing would not. The flush
 * LSN is asked for behind the commit. [INV-2] */
void ot_pg_write(struct ot_pg *pg, const struct ot_write_request *w)
{
    struct ot_pg_job *job =
        ot_pg_job(pg, OT_REPLY_WRITE, "cannot write the cursor");
    struct ot_pg_script *script = &job->script;

    pg->write_number = w->number;
    pg->written = false;
    job->heard = heard;
    job->done = done;
    ot_pg_begin(pg, job, OT_PG_WRITE);
    say_move(pg, script, w);
    say_delete(pg, script, "gap", "first", w->gaps_del, w->ngaps_del);
    say_gaps(pg, script, w->gaps_put, w->ngaps_put);
    say_delete(pg, script, "held", "seq", w->held_del, w->nheld_del);
    say_held(pg, script, w->held_put, w->nheld_put);
    say_delete(pg, script, "command", "id", w->commands_done,
               w->ncommands_done);
    ot_pg_say(script, 0, "COMMIT");
    if (w->durable)
        ot_pg_say(script, TAG_FLUSHED, "SELECT pg_current_wal_flush_lsn()");
    ot_pg_link_ask(&pg->links[OT_PG_WRITES], job);
}
