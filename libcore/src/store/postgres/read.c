/* read.c - the poll: locks and events in one round trip, and what its answer
 * says. */
#include "store/postgres/pg.h"

/* Beside its payload, an event counts so much. */
#define EVENT_BYTES 64

enum { TAG_LOCKS = 1, TAG_ROWS, TAG_FETCH };

/* --- the statement ------------------------------------------------------- */

/* The first row is about the server: all of it in one value, because a value
 * costs less than a column. The insert LSN is taken first, after the snapshot
 * of the statement, which sees no commit behind it; the flush LSN later. The
 * sequence is read after the snapshot as well. On a standby it is NULL.
 *
 * In the same statement, because another one would have another snapshot, and
 * as a row of a UNION ALL, because columns beside every event cost more. */
static void say_facts(struct ot_buffer *out,
                      const struct ot_pg_read_shape *shape)
{
    ot_buffer_printf(
        out,
        "SELECT NULL::int8 AS seq, NULL::uuid AS id, NULL::text AS topic, "
        "NULL::text AS key, NULL::text AS type, NULL::json AS headers, "
        "CASE WHEN NOT pg_is_in_recovery() THEN "
        "pg_lsn_send(pg_current_wal_insert_lsn()) || "
        "timestamptz_send(pg_postmaster_start_time()) || "
        "timestamptz_send(coalesce((pg_stat_get_wal()).stats_reset, 'epoch'))"
        " || int8send((pg_control_system()).system_identifier) || "
        "int8send(" OT_PG_LAST_SEQ ")"
        " || timestamptz_send(clock_timestamp()) || "
        "boolsend(EXISTS (SELECT FROM \"%s\".command WHERE subscription = $2))"
        " || pg_lsn_send(pg_current_wal_flush_lsn()) || int4send(%s) || "
        "pg_snapshot_send(pg_current_snapshot()) END AS payload, "
        "NULL::timestamptz AS created_at, NULL::timestamptz AS deliver_at%s",
        shape->outbox, shape->outbox, shape->outbox,
        shape->budget > 0 ? "(SELECT count(*)::int4 FROM found)" : "0",
        shape->filter ? ", false AS filtered" : "");
}

/* The columns of one look at the log. A filter hides no row, it only leaves
 * the columns out. */
static void say_columns(struct ot_buffer *out,
                        const struct ot_pg_read_shape *shape)
{
    ot_buffer_puts(out, "SELECT " OT_PG_COLUMNS);
    if (shape->filter)
        ot_buffer_printf(
            out,
            ", NOT (topic = ANY ($%d) OR topic LIKE ANY ($%d)) AS filtered",
            shape->gaps ? 5 : 3, shape->gaps ? 6 : 4);
    ot_buffer_printf(out, " FROM \"%s\".event", shape->outbox);
}

/* Gaps and tail in one statement: seen in two snapshots, a transaction that
 * wrote 1 and 3 and another that wrote 2 could be delivered as 3, 1. The
 * inner ORDER BY … LIMIT keeps each range on the index. The outer one goes
 * through the ranges, which do not overlap, in their order and ends where it
 * has enough: late events in thousands of ranges, as a bulk insert leaves them,
 * are read once, not by each read again. */
static void say_rows(struct ot_buffer *out,
                     const struct ot_pg_read_shape *shape)
{
    unsigned n = shape->limit;

    if (shape->gaps) {
        ot_buffer_puts(out, "SELECT * FROM ((SELECT e.* FROM (SELECT * FROM "
                            "unnest($3::int8[], $4::int8[]) r(a, b) "
                            "ORDER BY a) r CROSS JOIN LATERAL (");
        say_columns(out, shape);
        ot_buffer_printf(
            out,
            " WHERE seq >= r.a AND seq <= r.b ORDER BY seq "
            "LIMIT %u) e ORDER BY r.a, e.seq LIMIT %u) UNION ALL (",
            n, n);
    }
    say_columns(out, shape);
    ot_buffer_printf(out, " WHERE seq > $1 ORDER BY seq LIMIT %u", n);
    if (shape->gaps)
        ot_buffer_printf(out, ")) u ORDER BY seq LIMIT %u", n);
}

static const char cased[] =
    "seq, CASE WHEN NOT filtered THEN id END, "
    "CASE WHEN NOT filtered THEN topic END, "
    "CASE WHEN NOT filtered THEN key END, "
    "CASE WHEN NOT filtered THEN type END, "
    "CASE WHEN NOT filtered THEN headers END, "
    "CASE WHEN NOT filtered THEN payload END, "
    "CASE WHEN NOT filtered THEN created_at END, "
    "CASE WHEN NOT filtered THEN deliver_at END, filtered";

/* A payload that is too large ends one byte behind the limit, which says so:
 * that costs less than a column. Its length is known without reading it. */
static const char limited[] =
    "seq, id, topic, key, type, headers, CASE WHEN octet_length(payload) <= "
    "%zu THEN payload ELSE substr(payload, 1, %zu) END AS payload, "
    "created_at, deliver_at%s";

void ot_pg_read_sql(struct ot_buffer *out, const struct ot_pg_read_shape *shape)
{
    const char *counted = shape->filter
                              ? "64 + CASE WHEN filtered THEN 0 ELSE "
                                "coalesce(octet_length(payload), 0) END"
                              : "64 + coalesce(octet_length(payload), 0)";

    if (shape->budget > 0) { /* a running sum; its rows hold no payload yet */
        ot_buffer_puts(out, "WITH found AS MATERIALIZED (");
        say_rows(out, shape);
        ot_buffer_puts(out, ") ");
    }
    say_facts(out, shape);
    ot_buffer_printf(out, " UNION ALL SELECT %s FROM (",
                     shape->filter ? cased : OT_PG_COLUMNS);
    if (shape->budget == 0) {
        ot_buffer_puts(out, "SELECT ");
        ot_buffer_printf(out, limited, shape->most, shape->most + 1,
                         shape->filter ? ", filtered" : "");
        ot_buffer_puts(out, " FROM (");
        say_rows(out, shape);
        ot_buffer_puts(out, ") e) e");
        return;
    }
    ot_buffer_printf(out,
                     "SELECT *, %s AS own, sum(%s) OVER (ORDER BY seq ROWS "
                     "UNBOUNDED PRECEDING) AS upto FROM found) e "
                     "WHERE upto <= %zu OR upto = own",
                     counted, counted, shape->budget);
}

/* L_k. Read from shared memory at one moment, not from the snapshot; so a
 * transaction that is missing here has ended (or not begun), and everything
 * it wrote is seen by the read behind it. Each with its transaction ids: one
 * lock for itself and for each savepoint that wrote.
 *
 * A session with seqs in its cache holds no lock while it has them. Whoever
 * drew one that this read's snapshot knows to be missing did so after the
 * sequence was changed: so it is looked at here, before gaps are given up. */
static void say_locks(struct ot_pg *pg, struct ot_pg_script *script)
{
    ot_pg_say(
        script, TAG_LOCKS,
        "WITH l AS MATERIALIZED (SELECT locktype, database, relation, "
        "virtualtransaction AS v, transactionid AS x, pid, mode "
        "FROM pg_locks WHERE granted AND locktype IN ('relation', "
        "'transactionid')) "
        "SELECT h.v, h.pid IS NULL, t.x FROM (SELECT DISTINCT v, pid FROM l "
        "WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' "
        "AND relation = '\"%s\".event'::regclass AND database = (SELECT oid "
        "FROM pg_database WHERE datname = current_database())) h "
        "LEFT JOIN l t ON t.v = h.v AND t.locktype = 'transactionid' "
        "AND t.mode = 'ExclusiveLock' UNION ALL SELECT NULL, NULL, NULL "
        "FROM pg_sequence WHERE seqrelid = '\"%s\".event_seq_seq'::regclass "
        "AND (seqcache <> 1 OR seqincrement <> 1 OR seqcycle) ORDER BY 1",
        pg->outbox, pg->outbox);
}

/* --- asking -------------------------------------------------------------- */

static void filter_params(struct ot_pg *pg, struct ot_pg_script *script)
{
    struct ot_buffer pattern = {0};

    ot_pg_array_begin(script, OT_PG_TEXT_ARRAY);
    for (size_t i = 0; i < pg->filter.n; i++)
        if (!pg->filter.terms[i].prefix)
            ot_pg_array_text(script, pg->filter.terms[i].text);
    ot_pg_array_end(script);
    ot_pg_array_begin(script, OT_PG_TEXT_ARRAY);
    for (size_t i = 0; i < pg->filter.n; i++) {
        struct ot_slice text = pg->filter.terms[i].text;

        if (!pg->filter.terms[i].prefix)
            continue;
        ot_buffer_clear(&pattern);
        for (size_t c = 0; c < text.n; c++) {
            if (text.p[c] == '%' || text.p[c] == '_' || text.p[c] == '\\')
                ot_buffer_putc(&pattern, '\\');
            ot_buffer_putc(&pattern, text.p[c]);
        }
        ot_buffer_putc(&pattern, '%');
        script->bytes.failed |= pattern.failed;
        if (!pattern.failed)
            ot_pg_array_text(script, ot_slice(pattern.p, pattern.n));
    }
    ot_pg_array_end(script);
    ot_buffer_free(&pattern);
}

static void gap_params(const struct ot_read_request *request,
                       struct ot_pg_script *script)
{
    ot_pg_array_begin(script, OT_PG_INT8_ARRAY);
    for (size_t i = 0; i < request->ngaps; i++)
        ot_pg_array_i64(script, request->gaps[i].first);
    ot_pg_array_end(script);
    ot_pg_array_begin(script, OT_PG_INT8_ARRAY);
    for (size_t i = 0; i < request->ngaps; i++)
        ot_pg_array_i64(script, request->gaps[i].last);
    ot_pg_array_end(script);
}

static bool heard(struct ot_pg *, struct ot_pg_job *, int tag, PGresult *);
static void done(struct ot_pg *, struct ot_pg_job *);

/* Counting costs half of the read again: only where it may matter. Where it
 * does not, no payload is larger than its share, or its rest is left out:
 * however large the next events are, the answer keeps to the budget. */
static void choose_shape(struct ot_pg *pg, struct ot_pg_read_shape *shape)
{
    size_t share = pg->read.budget / (pg->read.limit + 1);

    pg->budgeted = pg->largest == 0 || pg->largest > share;
    pg->most = share - (share < EVENT_BYTES ? share : EVENT_BYTES);
    shape->budget = pg->budgeted ? pg->read.budget + 1 : 0;
    shape->most = pg->most;
}

static bool same_shape(const struct ot_pg_read_shape *a,
                       const struct ot_pg_read_shape *b)
{
    return a->limit == b->limit && a->gaps == b->gaps &&
           a->filter == b->filter && a->budget == b->budget &&
           a->most == b->most;
}

/* Most reads are as the one before: to print the statement for each took a
 * twelfth of the relay's time at 500 events a second. */
static void say_read(struct ot_pg *pg, struct ot_pg_script *script,
                     const struct ot_pg_read_shape *shape)
{
    struct ot_buffer *sql = &pg->read_sql;

    if (sql->n == 0 || !same_shape(shape, &pg->read_shape)) {
        ot_buffer_clear(sql);
        ot_pg_read_sql(sql, shape);
        pg->read_shape = *shape;
    }
    ot_pg_say_begin(script, TAG_ROWS);
    if (sql->failed)
        script->text.failed = true;
    else
        ot_buffer_add(&script->text, sql->p, sql->n);
    ot_pg_said(script);
    if (sql->failed)
        ot_buffer_free(sql); /* it is made anew */
}

void ot_pg_read(struct ot_pg *pg, const struct ot_read_request *request)
{
    struct ot_pg_job *job = ot_pg_job(pg, OT_REPLY_READ, "cannot read the log");
    struct ot_pg_script *script = &job->script;
    struct ot_pg_read_shape shape = {
        .outbox = pg->outbox,
        .limit = request->limit,
        .gaps = request->ngaps > 0,
        .filter = pg->filter.n > 0,
    };

    pg->read = *request;
    pg->read.gaps = NULL;
    choose_shape(pg, &shape);
    job->heard = heard;
    job->done = done;
    ot_pg_look(pg, job);
    if (request->with_locks)
        say_locks(pg, script);
    say_read(pg, script, &shape);
    ot_pg_i64_param(script, request->position);
    ot_pg_text_param(script, ot_slice_of(pg->subscription));
    if (shape.gaps)
        gap_params(request, script);
    if (shape.filter)
        filter_params(pg, script);
    ot_pg_looked(pg, job);
    ot_pg_link_ask(&pg->links[OT_PG_READS], job);
}

/* --- the answer ---------------------------------------------------------- */

/* Offsets in the value of say_facts. */
enum {
    AT_LSN = 0,
    AT_STARTED = 8,
    AT_RESET = 16,
    AT_SYSTEM = 24,
    AT_SEQ = 32,
    AT_NOW = 40,
    AT_COMMANDS = 48,
    AT_FLUSH = 49,
    AT_FOUND = 57,
    AT_NXIP = 61,
    AT_XMIN = 65,
    AT_XMAX = 73,
    AT_XIP = 81,
};

static bool hear_facts(struct ot_pg *pg, struct ot_read_reply *out,
                       struct ot_slice facts)
{
    const char *p = facts.p;
    uint32_t nxip;

    if (facts.n < AT_XIP)
        return false;
    out->lsn = (uint64_t)ot_pg_i64(p + AT_LSN);
    out->incarnation.started_us = ot_pg_time(p + AT_STARTED);
    out->incarnation.stats_reset_us = ot_pg_time(p + AT_RESET);
    out->incarnation.system = (uint64_t)ot_pg_i64(p + AT_SYSTEM);
    out->last_seq = ot_pg_i64(p + AT_SEQ);
    out->db_now_us = ot_pg_time(p + AT_NOW);
    out->has_commands = p[AT_COMMANDS] != 0;
    out->flush_lsn = (uint64_t)ot_pg_i64(p + AT_FLUSH);
    pg->candidates = ot_pg_u32(p + AT_FOUND);
    nxip = ot_pg_u32(p + AT_NXIP);
    out->snapshot.xmin = (uint64_t)ot_pg_i64(p + AT_XMIN);
    out->snapshot.xmax = (uint64_t)ot_pg_i64(p + AT_XMAX);
    if (facts.n != AT_XIP + (size_t)nxip * 8)
        return false;
    ot_buffer_clear(&pg->xip);
    for (uint32_t i = 0; i < nxip; i++) {
        uint64_t xid = (uint64_t)ot_pg_i64(p + AT_XIP + (size_t)i * 8);

        ot_buffer_add(&pg->xip, &xid, sizeof(xid));
    }
    out->snapshot.xip = (const uint64_t *)(const void *)pg->xip.p;
    out->snapshot.nxip = nxip;
    return true;
}

/* "3/4711": backend and number. Of a prepared transaction after a restart the
 * backend is -1. */
static bool parse_virtual(struct ot_slice text, uint64_t *out)
{
    const char *p = text.p, *end = text.p + text.n;
    bool negative = p < end && *p == '-';
    uint64_t parts[2] = {0, 0};
    int part = 0;

    for (p += negative; p < end; p++) {
        if (*p == '/' && part == 0)
            part = 1;
        else if (*p >= '0' && *p <= '9')
            parts[part] = parts[part] * 10 + (uint64_t)(*p - '0');
        else
            return false;
    }
    if (negative)
        parts[0] = (uint64_t) - (int64_t)parts[0];
    *out = parts[0] << 32 | (parts[1] & UINT32_MAX);
    return part == 1;
}

/* Locks know the lower half of a transaction id. It was given out before the
 * snapshot's xmax or shortly after, never half a circle away. */
static uint64_t whole_xid(uint32_t xid, uint64_t xmax)
{
    return xmax + (uint64_t)(int64_t)(int32_t)(xid - (uint32_t)xmax);
}

/* Not ordered any more? Its row is the last. */
static bool drawn_ahead(const PGresult *locks)
{
    int n = PQntuples(locks);

    return n > 0 && ot_pg_null(locks, n - 1, 0);
}

static bool hear_locks(struct ot_pg *pg, struct ot_read_reply *out)
{
    struct ot_holder *last = NULL;
    int n = PQntuples(pg->locks);

    ot_buffer_clear(&pg->holders);
    for (int i = 0; i < n; i++) {
        struct ot_holder holder = {.prepared = ot_pg_get_bool(pg->locks, i, 1)};

        if (!parse_virtual(ot_pg_get_slice(pg->locks, i, 0), &holder.lock))
            return false;
        if (!ot_pg_null(pg->locks, i, 2))
            holder.xid = whole_xid((uint32_t)ot_pg_get_i32(pg->locks, i, 2),
                                   out->snapshot.xmax);
        if (last != NULL && last->lock == holder.lock) {
            if (holder.xid != 0 && (last->xid == 0 || holder.xid < last->xid))
                last->xid = holder.xid;
            last->prepared |= holder.prepared;
            continue;
        }
        ot_buffer_add(&pg->holders, &holder, sizeof(holder));
        if (pg->holders.failed)
            return true;
        out->nholders++;
        last = (struct ot_holder *)(void *)pg->holders.p + out->nholders - 1;
    }
    out->holders = (const struct ot_holder *)(const void *)pg->holders.p;
    out->has_locks = true;
    return true;
}

/* What the next read may expect of a payload. */
static void learn_size(struct ot_pg *pg, size_t largest)
{
    pg->largest -= pg->largest / 16;
    if (pg->largest < EVENT_BYTES + largest)
        pg->largest = EVENT_BYTES + largest;
}

/* A payload that is larger than was expected: the rows before it are taken,
 * and the next read, which counts, begins with it. */
static void stop_at_large(struct ot_pg *pg, struct ot_read_reply *out)
{
    for (uint32_t i = 0; i < out->rows->n; i++)
        if (out->rows->events[i].payload.n > pg->most) {
            ot_pg_rows_cut(out->rows, i);
            out->cut = true;
            pg->largest = 0; /* not known any more */
        }
}

static void hear_rows(struct ot_pg *pg, struct ot_pg_job *job, PGresult *result)
{
    struct ot_read_reply *out = &job->reply.read;
    struct ot_slice facts = ot_slice(NULL, 0);
    size_t largest;
    bool good = PQntuples(result) > 0 && ot_pg_null(result, 0, 0);

    if (good)
        facts = ot_pg_get_slice(result, 0, 6);
    if (good && facts.p == NULL) {
        job->reply.code = ot_fail(
            &job->reply.err, OUTTRAY_E_STORE_STANDBY,
            "cannot read the log: %s is a standby; connect to the primary "
            "(store.url takes several hosts)",
            PQhost(job->link->conn));
        PQclear(result);
        return;
    }
    if (pg->locks != NULL && drawn_ahead(pg->locks)) {
        job->reply.code = ot_pg_fail_identity(pg, &job->reply.err);
        PQclear(result);
        return;
    }
    if (good && !ot_pg_rows_fit(result)) {
        job->reply.code = ot_pg_fail_altered(pg, &job->reply.err);
        PQclear(result);
        return;
    }
    good = good && hear_facts(pg, out, facts);
    if (good && pg->locks != NULL)
        good = hear_locks(pg, out);
    if (!good) {
        ot_pg_garbled(job);
        PQclear(result);
        return;
    }
    out->rows = ot_pg_rows(result, 1, pg->filter.n > 0, &largest);
    if (out->rows == NULL || pg->xip.failed || pg->holders.failed) {
        job->reply.code = ot_fail_nomem(&job->reply.err);
        return;
    }
    out->cut = out->rows->n == pg->read.limit ||
               (pg->budgeted && out->rows->n < pg->candidates);
    if (out->rows->n == 0)
        return;
    learn_size(pg, largest);
    if (!pg->budgeted && largest > pg->most)
        stop_at_large(pg, out);
}

static bool heard(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                  PGresult *result)
{
    if (tag == TAG_LOCKS) {
        pg->locks = result;
        return true;
    }
    hear_rows(pg, job, result);
    return true;
}

static void done(struct ot_pg *pg, struct ot_pg_job *job)
{
    PQclear(pg->locks);
    pg->locks = NULL;
    if (job->reply.code != 0) {
        ot_rows_unref(job->reply.read.rows);
        job->reply.read.rows = NULL;
    }
}

/* --- fetch --------------------------------------------------------------- */

/* Columns behind those of the event. */
enum { FETCH_ORDER = OT_PG_COLUMN_N, FETCH_FOUND };

/* The budget cut it after its last row, or everything was looked at. */
static bool fetched(struct ot_pg *pg, struct ot_pg_job *job, int tag,
                    PGresult *result)
{
    struct ot_fetch_reply *out = &job->reply.fetch;
    int n = PQntuples(result);
    size_t largest;

    (void)tag;
    if (!ot_pg_rows_fit(result)) {
        job->reply.code = ot_pg_fail_altered(pg, &job->reply.err);
        return false;
    }
    out->n = pg->fetch_n;
    if (n > 0 && ot_pg_get_i64(result, 0, FETCH_FOUND) > n)
        out->n = (size_t)ot_pg_get_i64(result, n - 1, FETCH_ORDER);
    out->rows = ot_pg_rows(result, 0, false, &largest);
    if (out->rows == NULL)
        job->reply.code = ot_fail_nomem(&job->reply.err);
    return true;
}

static void fetch_done(struct ot_pg *pg, struct ot_pg_job *job)
{
    (void)pg;
    if (job->reply.code != 0) {
        ot_rows_unref(job->reply.fetch.rows);
        memset(&job->reply.fetch, 0, sizeof(job->reply.fetch));
    }
}

void ot_pg_fetch(struct ot_pg *pg, const struct ot_fetch_request *request)
{
    struct ot_pg_job *job =
        ot_pg_job(pg, OT_REPLY_FETCH, "cannot fetch events of the log");

    pg->fetch_n = request->n;
    job->heard = fetched;
    job->done = fetch_done;
    ot_pg_look(pg, job);
    ot_pg_say(&job->script, TAG_FETCH,
              "WITH found AS MATERIALIZED (SELECT e.*, r.o, %d + "
              "coalesce(octet_length(e.payload), 0) AS own "
              "FROM unnest($1::int8[]) WITH ORDINALITY r(s, o) "
              "CROSS JOIN LATERAL (SELECT " OT_PG_COLUMNS " FROM \"%s\".event "
              "WHERE seq = r.s LIMIT 1) e) "
              "SELECT " OT_PG_COLUMNS ", o, (SELECT count(*) FROM found) "
              "FROM (SELECT *, sum(own) OVER (ORDER BY o ROWS UNBOUNDED "
              "PRECEDING) AS upto FROM found) f "
              "WHERE upto <= $2 OR upto = own ORDER BY o",
              EVENT_BYTES, pg->outbox);
    ot_pg_array_begin(&job->script, OT_PG_INT8_ARRAY);
    for (size_t i = 0; i < request->n; i++)
        ot_pg_array_i64(&job->script, request->seqs[i]);
    ot_pg_array_end(&job->script);
    ot_pg_i64_param(&job->script, (int64_t)request->budget);
    ot_pg_looked(pg, job);
    ot_pg_link_ask(&pg->links[OT_PG_READS], job);
}
