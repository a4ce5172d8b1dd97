/* load.c - the cursor as the database has it, commands, pruning. */
#include "store/postgres/pg.h"

#include "store/postgres/held_key.h"
#include "store/postgres/prune.h"

#include <inttypes.h>

/* Where the walk of pruning starts again from the bottom, for events that were
 * held when it passed them. Not more often: what was deleted down there is
 * walked over again until vacuum has been there. */
#define AGAIN_US INT64_C(600000000)

enum { TAG_CURSOR = 1, TAG_GAPS, TAG_HELD, TAG_COMMANDS, TAG_PRUNED };

/* --- load ---------------------------------------------------------------- */

static void hear_cursor(struct ot_pg *pg, struct ot_pg_job *job,
                        const PGresult *r)
{
    struct ot_cursor_reply *out = &job->reply.cursor;

    if (PQntuples(r) != 1) {
        job->reply.code =
            ot_fail(&job->reply.err, OUTTRAY_E_NOT_FOUND,
                    "outbox \"%s\" has no subscription \"%s\": its first "
                    "lease makes it",
                    pg->outbox, pg->subscription);
        return;
    }
    if (ot_pg_null(r, 0, 6)) {
        job->reply.code = ot_fail(
            &job->reply.err, OUTTRAY_E_STORE_STANDBY,
            "cannot load the cursor: %s is a standby; connect to the primary "
            "(store.url takes several hosts)",
            PQhost(job->link->conn));
        return;
    }
    out->position = ot_pg_get_i64(r, 0, 0);
    out->paused = ot_pg_get_bool(r, 0, 1);
    out->incarnation.started_us = ot_pg_get_time(r, 0, 2);
    out->incarnation.stats_reset_us = ot_pg_get_time(r, 0, 3);
    out->incarnation.system = (uint64_t)ot_pg_get_i64(r, 0, 4);
    out->last_seq = ot_pg_get_i64(r, 0, 5);
    out->flush_lsn = (uint64_t)ot_pg_get_i64(r, 0, 6);
    out->db_now_us = ot_pg_get_time(r, 0, 7);
    if (!ot_pg_null(r, 0, 8)) {
        out->fence = ot_pg_get_i64(r, 0, 8);
        out->lease_left_us = ot_pg_get_time(r, 0, 9) - out->db_now_us;
    }
}

static void hear_gaps(struct ot_pg *pg, struct ot_pg_job *job,
                      const PGresult *r)
{
    struct ot_cursor_reply *out = &job->reply.cursor;

    ot_buffer_clear(&pg->gaps);
    out->ngaps = (size_t)PQntuples(r);
    for (size_t i = 0; i < out->ngaps; i++) {
        struct ot_range range = {ot_pg_get_i64(r, (int)i, 0),
                                 ot_pg_get_i64(r, (int)i, 1)};

        ot_buffer_add(&pg->gaps, &range, sizeof(range));
    }
    out->gaps = (const struct ot_range *)(const void *)pg->gaps.p;
    if (pg->gaps.failed)
        job->reply.code = ot_fail_nomem(&job->reply.err);
}

static bool held_of(const PGresult *r, int i, struct ot_held *out)
{
    struct ot_slice key = ot_pg_get_slice(r, i, 1);
    struct ot_slice topic = ot_pg_get_slice(r, i, 2);

    *out = (struct ot_held){
        .seq = ot_pg_get_i64(r, i, 0),
        .key = key.p != NULL ? ot_hash(key) : 0,
        .topic = ot_hash(topic),
        .holds_key = ot_pg_get_bool(r, i, 4),
        .attempts = (uint32_t)ot_pg_get_i32(r, i, 5),
        .next_us = ot_pg_get_time(r, i, 6),
        .first_error_us = ot_pg_get_time(r, i, 7),
        .last_error_us = ot_pg_get_time(r, i, 8),
        .retried_us = ot_pg_get_i64(r, i, 9),
        .error_code = ot_pg_get_i32(r, i, 10),
        .maybe_duplicate = ot_pg_get_bool(r, i, 11),
    };
    return ot_held_state_parse(ot_pg_get_slice(r, i, 3), &out->state) == 0;
}

static void hear_held(struct ot_pg *pg, struct ot_pg_job *job,
                      const PGresult *r)
{
    struct ot_cursor_reply *out = &job->reply.cursor;

    ot_buffer_clear(&pg->held);
    out->nheld = (size_t)PQntuples(r);
    for (size_t i = 0; i < out->nheld; i++) {
        struct ot_held held;

        if (!held_of(r, (int)i, &held)) {
            job->reply.code =
                ot_fail(&job->reply.err, OUTTRAY_E_STORE_VERSION,
                        "outbox \"%s\": table held has a state that this "
                        "program does not know; install a newer outtray",
                        pg->outbox);
            return;
        }
        ot_buffer_add(&pg->held, &held, sizeof(held));
    }
    out->held = (const struct ot_held *)(const void *)pg->held.p;
    if (pg->held.failed)
        job->reply.code = ot_fail_nomem(&job->reply.err);
}

static bool heard(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                  PGresult *result)
{
    if (tag == TAG_CURSOR)
        hear_cursor(pg, job, result);
    else if (tag == TAG_GAPS)
        hear_gaps(pg, job, result);
    else
        hear_held(pg, job, result);
    return false;
}

/* One snapshot for all of it. */
void ot_pg_load(struct ot_pg *pg)
{
    struct ot_pg_job *job =
        ot_pg_job(pg, OT_REPLY_CURSOR, "cannot load the cursor");
    struct ot_pg_script *script = &job->script;
    struct ot_slice subscription = ot_slice_of(pg->subscription);

    job->heard = heard;
    ot_pg_begin(pg, job, OT_PG_READ_ONCE);
    ot_pg_say(script, TAG_CURSOR,
              "SELECT position, paused, pg_postmaster_start_time(), "
              "coalesce((pg_stat_get_wal()).stats_reset, 'epoch'), "
              "(pg_control_system()).system_identifier, " OT_PG_LAST_SEQ ", "
              "CASE WHEN NOT pg_is_in_recovery() THEN "
              "pg_current_wal_flush_lsn() END, clock_timestamp(), "
              "CASE WHEN owner = $2 THEN fence END, lease_expires_at "
              "FROM \"%s\".cursor WHERE subscription = $1",
              pg->outbox, pg->outbox, pg->outbox);
    ot_pg_text_param(script, subscription);
    ot_pg_bytes_param(script, OT_PG_UUID, pg->owner.b, sizeof(pg->owner.b));
    ot_pg_say(script, TAG_GAPS,
              "SELECT first, last FROM \"%s\".gap WHERE subscription = $1 "
              "ORDER BY first",
              pg->outbox);
    ot_pg_text_param(script, subscription);
    ot_pg_say(script, TAG_HELD,
              "SELECT seq, " OT_PG_WHOLE_KEY
              ", topic, state, holds_key, attempts, next_attempt_at, "
              "first_error_at, last_error_at, retried_us, error_code, "
              "maybe_duplicate FROM \"%s\".held h WHERE subscription = $1 "
              "AND seq > 0 ORDER BY seq",
              pg->outbox, pg->outbox);
    ot_pg_text_param(script, subscription);
    ot_pg_commit(job);
    ot_pg_link_ask(&pg->links[OT_PG_WRITES], job);
}

/* --- commands ------------------------------------------------------------ */

static int64_t seq_of(struct ot_slice text)
{
    int64_t seq = 0;
    bool negative = text.n > 0 && text.p[0] == '-';

    if (text.n == negative)
        return 0;
    for (size_t i = negative; i < text.n; i++) {
        int digit = text.p[i] - '0';

        if (digit < 0 || digit > 9 || seq > (INT64_MAX - digit) / 10)
            return 0;
        seq = seq * 10 + digit;
    }
    return negative ? -seq : seq;
}

static bool heard_commands(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                           PGresult *r)
{
    struct ot_commands_reply *out = &job->reply.commands;

    (void)tag;
    ot_buffer_clear(&pg->commands);
    out->n = (size_t)PQntuples(r);
    for (size_t i = 0; i < out->n; i++) {
        struct ot_command command = {.id = ot_pg_get_i64(r, (int)i, 0)};
        struct ot_slice verb = ot_pg_get_slice(r, (int)i, 1);

        if (ot_command_parse(verb, seq_of(ot_pg_get_slice(r, (int)i, 2)),
                             &command) != 0) {
            job->reply.code = ot_fail(
                &job->reply.err, OUTTRAY_E_STORE_VERSION,
                "outbox \"%s\": a command asks for \"%.*s\", which this "
                "program does not know; install a newer outtray, or delete "
                "row %" PRId64 " of table command",
                pg->outbox, (int)verb.n, verb.p, command.id);
            break;
        }
        ot_buffer_add(&pg->commands, &command, sizeof(command));
    }
    out->commands = (const struct ot_command *)(const void *)pg->commands.p;
    if (pg->commands.failed)
        job->reply.code = ot_fail_nomem(&job->reply.err);
    return false;
}

void ot_pg_commands(struct ot_pg *pg)
{
    struct ot_pg_job *job =
        ot_pg_job(pg, OT_REPLY_COMMANDS, "cannot read commands");

    job->heard = heard_commands;
    ot_pg_begin(pg, job, OT_PG_READ);
    ot_pg_say(&job->script, TAG_COMMANDS,
              "SELECT id, verb, argument FROM \"%s\".command "
              "WHERE subscription = $1 ORDER BY id LIMIT 10000",
              pg->outbox);
    ot_pg_text_param(&job->script, ot_slice_of(pg->subscription));
    ot_pg_commit(job);
    ot_pg_link_ask(&pg->links[OT_PG_WRITES], job);
}

/* --- prune --------------------------------------------------------------- */

static bool heard_pruned(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                         PGresult *r)
{
    struct ot_prune_reply *out = &job->reply.prune;

    (void)tag;
    if (PQntuples(r) != 1) {
        ot_pg_garbled(job);
        return false;
    }
    out->deleted = (uint32_t)ot_pg_get_i64(r, 0, 0);
    pg->low = ot_pg_get_i64(r, 0, 1);
    out->more = ot_pg_get_bool(r, 0, 2);
    return false;
}

void ot_pg_prune(struct ot_pg *pg, const struct ot_prune_request *request)
{
    struct ot_pg_job *job = ot_pg_job(pg, OT_REPLY_PRUNE, "cannot prune");
    int64_t now_us = ot_now_us();

    if (pg->low_from_us == 0 || now_us - pg->low_from_us > AGAIN_US) {
        pg->low = 0;
        pg->low_from_us = now_us;
    }
    job->heard = heard_pruned;
    ot_pg_begin(pg, job, OT_PG_WRITE);
    ot_pg_say_begin(&job->script, TAG_PRUNED);
    ot_pg_prune_sql(&job->script.text, pg->outbox, request->limit, false);
    ot_pg_said(&job->script);
    ot_pg_i64_param(&job->script, pg->low);
    ot_pg_i64_param(&job->script, request->older_than_us);
    ot_pg_commit(job);
    ot_pg_link_ask(&pg->links[OT_PG_WRITES], job);
}
