/* capture.c - replies that bring position, gaps and rows. */
#include "engine/internal.h"

/* --- asking ---------------------------------------------------------------- */

static bool has_room(const struct ot_engine *e)
{
    return ot_window_left(e) > 0 && ot_window_bytes_left(e, OT_REPLY_FETCH) > 0;
}

bool ot_capture_full(const struct ot_engine *e)
{
    return !has_room(e);
}

/* What was held at the load waits for the read to pass it: that must go on. */
static bool held_full(const struct ot_engine *e)
{
    uint32_t most = e->opt.held_max;
    if (e->gaps_unread)
        most = (e->held_loaded > most ? e->held_loaded : most) +
               e->opt.window_events;
    return e->held >= most && e->unread == 0;
}

static bool limited(const struct ot_engine *e)
{
    return ot_limiter_at(&e->limiter) > e->now_us;
}

static bool may_read(const struct ot_engine *e)
{
    return !e->paused && !e->stopping && !e->opt.apply_only && has_room(e) &&
           !held_full(e);
}

bool ot_capture_blind(const struct ot_engine *e)
{
    return !e->stopping && !e->opt.apply_only && !may_read(e);
}

bool ot_capture_due(struct ot_engine *e)
{
    return may_read(e) && e->now_us >= e->next_read_us && !limited(e);
}

int64_t ot_capture_next(const struct ot_engine *e)
{
    if (!may_read(e))
        return OT_NEVER;
    int64_t limit_us = ot_limiter_at(&e->limiter);
    return limit_us > e->next_read_us ? limit_us : e->next_read_us;
}

bool ot_capture_ask(struct ot_engine *e, struct ot_read_request *out)
{
    if (ot_gaps_ask(&e->gaps, e->opt.leave_out_seqs, e->read_position) != 0) {
        e->nomem = true;
        return false;
    }
    uint32_t room = ot_window_left(e);
    size_t bytes = ot_window_bytes_left(e, OT_REPLY_FETCH);
    if (e->fetch.first != OT_NIL) /* room for held events that are due */
        bytes -= bytes / 4;
    uint32_t limit = room < e->opt.batch_events ? room : e->opt.batch_events;
    *out = (struct ot_read_request){
        .position = e->gaps.from,
        .gaps = e->gaps.asked,
        .ngaps = e->gaps.nasked,
        .with_locks = e->gaps.n > 0,
        .limit = ot_limiter_events(&e->limiter, limit),
        .budget = bytes < e->opt.batch_bytes ? bytes : e->opt.batch_bytes,
    };
    e->read_bytes = out->budget;
    return true;
}

/* --- a read ----------------------------------------------------------------- */

static bool ascending(const struct ot_rows *rows)
{
    for (uint32_t i = 1; i < rows->n; i++)
        if (rows->events[i].seq <= rows->events[i - 1].seq)
            return false;
    return true;
}

static bool asked(const struct ot_engine *e, const struct ot_event *event)
{
    if (ot_gaps_asked(&e->gaps, event->seq))
        return true;
    ot_log(e->log, OT_ERROR, "engine",
           "event %lld came back although it was not asked for",
           (long long)event->seq);
    return false;
}

static void add_row(struct ot_engine *e, struct ot_rows *rows,
                    const struct ot_event *event, uint64_t lsn,
                    int64_t position)
{
    bool late = event->seq <= position;
    e->stats.read++;
    if (!event->filtered)
        ot_window_append(e, rows, event, lsn, late);
    else if (late) /* settled on reading */
        e->stats.late++;
}

static void add_rows(struct ot_engine *e, const struct ot_read_reply *read,
                     int64_t position)
{
    struct ot_rows *rows = read->rows;
    bool open = e->admit < e->tail;
    /* All of it lies behind the gaps, as it does most of the time. */
    bool tail = rows->n > 0 && rows->events[0].seq > e->gaps.from;
    uint64_t before = e->tail;
    for (uint32_t i = 0; i < rows->n; i++)
        if (tail || asked(e, &rows->events[i]))
            add_row(e, rows, &rows->events[i], read->lsn, position);
    ot_rows_ref(rows, (uint32_t)(e->tail - before)); /* one an item */
    e->pinned += rows->n;
    e->pinned_bytes += rows->bytes;
    if (!open)
        e->barrier_us = e->now_us;
    if (rows->n > 0)
        e->dirty = true; /* if only by a filtered row or a new gap */
}

/* Between reads that only wait for a flush, which takes as long as several of
 * them: as long as the last one took, so that half of them are left. */
static int64_t barrier_pause(const struct ot_engine *e)
{
    int64_t us = e->now_us - e->asked[OT_REPLY_READ].sent_us;
    if (us < OT_BARRIER_MIN)
        us = OT_BARRIER_MIN;
    return us < e->poll_us ? us : e->poll_us;
}

static void set_pace(struct ot_engine *e, const struct ot_read_reply *read)
{
    uint32_t n = read->rows->n;
    /* The next reply may lift it. */
    bool barrier = e->admit < e->tail && !e->opt.barrier_by_write &&
                   e->now_us < e->barrier_us + OT_BARRIER_US;
    e->read_all = !read->cut && n == 0;
    if (n > 0) {
        e->poll_us = e->opt.poll_min_us;
    } else if (!barrier) { /* its reads have a pace of their own */
        /* Slowly: after a pause the first event waits for the poll at its end,
         * so at most a quarter as long as the pause was. */
        e->poll_us += e->poll_us / 4;
        if (e->poll_us > e->opt.poll_max_us)
            e->poll_us = e->opt.poll_max_us;
    }
    if (ot_gaps_open(&e->gaps, e->read_position) && e->poll_us > OT_GAP_POLL_US)
        e->poll_us = OT_GAP_POLL_US;
    if (read->cut)
        e->next_read_us = e->now_us;
    else
        e->next_read_us = e->now_us + (barrier ? barrier_pause(e) : e->poll_us);
}

/* Whoever was needed has a reference of its own by now. */
static void let_rows_go(struct ot_engine *e, struct ot_rows *rows, bool counted)
{
    if (counted && rows->refs == 1) {
        e->pinned -= rows->n;
        e->pinned_bytes -= rows->bytes;
    }
    ot_rows_unref(rows);
}

static int64_t covered(const struct ot_read_reply *read)
{
    const struct ot_rows *rows = read->rows;
    if (!read->cut)
        return INT64_MAX;
    return rows->n > 0 ? rows->events[rows->n - 1].seq : 0;
}

/* Are its rows counted as pinned? */
static bool take(struct ot_engine *e, const struct ot_read_reply *read)
{
    int64_t position = e->read_position;
    bool gaps = ot_gaps_open(&e->gaps, position);
    if (!ascending(read->rows)) {
        struct outtray_error err = {0};
        ot_fail(&err, OUTTRAY_E_INTERNAL, "rows of a read are not in order");
        ot_engine_fail(e, err.code, &err);
        return false;
    }
    if (ot_window_room(e, read->rows->n) != 0 ||
        ot_gaps_take(&e->gaps, read, &e->read_position) != 0) {
        e->nomem = true;
        return false;
    }
    if (gaps && read->has_locks)
        e->dirty = true; /* some may have died */
    add_rows(e, read, position);
    if (e->gaps_unread && covered(read) > e->unread_next) {
        e->unread_next = covered(read);
        e->unread_place = e->tail;
    }
    ot_window_admit(e);
    set_pace(e, read);
    return true;
}

void ot_capture_read(struct ot_engine *e, const struct ot_reply *reply)
{
    const struct ot_read_reply *read = &reply->read;
    bool counted = false;
    e->stats.reads++;
    ot_engine_clock(e, read->db_now_us);
    e->want_commands |=
        read->has_commands && e->ndone == 0 && e->ndone_writing == 0;
    e->stats.last_seq = read->last_seq;
    if (!ot_incarnation_equal(&read->incarnation, &e->incarnation)) {
        ot_log(e->log, OT_WARN, "engine",
               "the database was restarted: the cursor is loaded again");
        ot_engine_reset(e, 0);
    } else if (read->last_seq < e->gaps.ahead) {
        ot_log(e->log, OT_WARN, "engine",
               "the log ends at %lld, before the cursor at %lld",
               (long long)read->last_seq, (long long)e->gaps.ahead);
        ot_engine_reset(e, 0); /* the load decides */
    } else {
        if (read->flush_lsn > e->flush_lsn)
            e->flush_lsn = read->flush_lsn;
        if (ot_gaps_stand(&e->gaps, &read->snapshot))
            counted = take(e, read);
        else
            e->next_read_us = e->now_us;
        ot_window_admit(e);
    }
    let_rows_go(e, read->rows, counted);
}

/* --- a load ------------------------------------------------------------------ */

static bool behind(struct ot_engine *e, const struct ot_cursor_reply *cursor)
{
    if (cursor->last_seq >= cursor->position)
        return false;
    struct outtray_error err = {0};
    ot_fail(&err, OUTTRAY_E_STORE_BEHIND,
            "the log ends at %lld but the cursor is at %lld: the database was "
            "restored, failed over or its sequence was set back, and new "
            "events would be skipped; `outtray doctor` tells what is missing "
            "and how to set the sequence above the cursor",
            (long long)cursor->last_seq, (long long)cursor->position);
    ot_engine_fail(e, err.code, &err);
    return true;
}

/* The lease was granted in an answer of its own. A restore or a failover since
 * then has given it back, or to somebody else; nobody but the load tells.
 * [INV-11] */
static bool owned(struct ot_engine *e, const struct ot_cursor_reply *cursor)
{
    if (cursor->fence != e->lease.fence || cursor->lease_left_us <= 0) {
        ot_log(e->log, OT_WARN, "engine",
               "the database does not know the lease that it granted: it is "
               "taken again");
        ot_engine_lost(e, OT_FAILED_MIN);
        return false;
    }
    ot_lease_seen(&e->lease, cursor->lease_left_us,
                  e->asked[OT_REPLY_CURSOR].sent_us);
    return true;
}

/* A connection that comes and goes writes no line each time. */
static enum ot_level resumed(struct ot_engine *e)
{
    if (e->resumed_us != 0 && e->now_us - e->resumed_us < OT_RESUMED_US)
        return OT_DEBUG;
    e->resumed_us = e->now_us;
    return OT_INFO;
}

void ot_capture_load(struct ot_engine *e, const struct ot_reply *reply)
{
    const struct ot_cursor_reply *cursor = &reply->cursor;
    ot_engine_clock(e, cursor->db_now_us);
    e->stats.last_seq = cursor->last_seq;
    e->incarnation = cursor->incarnation;
    e->flush_lsn = cursor->flush_lsn;
    if (behind(e, cursor) || !owned(e, cursor))
        return;
    if (ot_cursor_load(&e->cursor, cursor->position, cursor->gaps,
                       cursor->ngaps) != 0 ||
        ot_gaps_load(&e->gaps, cursor->gaps, cursor->ngaps, cursor->position) !=
            0) {
        e->nomem = true;
        return;
    }
    e->read_position = cursor->position;
    e->paused = cursor->paused;
    e->gaps_unread = e->gaps.n > 0;
    if (e->gaps_unread) {
        e->unread_after = e->unread_next = e->gaps.v[0].first - 1;
        e->unread_last = e->gaps.v[e->gaps.n - 1].last;
        e->unread_place = OT_NO_RING;
    }
    e->held_loaded = (uint32_t)cursor->nheld;
    ot_held_load(e, cursor->held, cursor->nheld);
    ot_error_clear(&e->error);
    e->refused = false;
    e->failed_us = 0;
    e->phase = OT_PHASE_RUN;
    e->poll_us = e->opt.poll_min_us;
    e->next_read_us = e->now_us;
    e->read_all = false;
    e->want_commands = e->opt.apply_only;
    e->commands_us = e->now_us;
    e->write_us = e->now_us;
    e->dirty = true;
    ot_log(e->log, resumed(e), "engine",
           "relaying from %lld under fence %lld, %zu gaps, %zu held",
           (long long)cursor->position, (long long)e->lease.fence,
           cursor->ngaps, cursor->nheld);
}
