/* wish.c - which wish comes first in each phase of a relay's life, and until when
 * there is none. */
#include "engine/internal.h"

/* After the hard deadline, and again for the release: end all the same. With
 * the usual 8 s it stays below the 10 s after which supervisors kill. */
#define GRACE_US INT64_C(700000)
/* For a database that is asked for the lease, or for the cursor under it, while
 * the relay stops. */
#define ANSWER_US INT64_C(3000000)

/* --- the lease ------------------------------------------------------------- */

static bool wants_lease(const struct ot_engine *e)
{
    if (e->phase != OT_PHASE_LEASE || e->stopping ||
        e->asked[OT_REPLY_LEASE].under_way)
        return false;
    /* What is in flight was sent under a lease: keep that or end it first. */
    return e->in_flight == 0 || e->lease.fence != 0;
}

static bool wants_renewal(const struct ot_engine *e)
{
    return e->lease.fence != 0 && e->phase != OT_PHASE_LEASE &&
           e->phase < OT_PHASE_RELEASE && !e->asked[OT_REPLY_LEASE].under_way;
}

/* --- wishes ---------------------------------------------------------------- */

static void ask(struct ot_engine *e, enum ot_reply_kind kind)
{
    e->asked[kind] = (struct ot_asked){true, e->epoch, e->now_us};
}

static bool can_ask(const struct ot_engine *e, enum ot_reply_kind kind)
{
    return !e->asked[kind].under_way;
}

static enum ot_wish ask_lease(struct ot_engine *e, bool take,
                              union ot_wish_args *out)
{
    e->taking = take;
    out->lease = (struct ot_lease_request){.take = take,
                                           .fence = take ? e->lease.last_fence
                                                         : e->lease.fence,
                                           .ttl_us = e->lease.ttl_us};
    ask(e, OT_REPLY_LEASE);
    return OT_DO_LEASE;
}

static enum ot_wish next_lease(struct ot_engine *e, union ot_wish_args *out)
{
    if (wants_lease(e) && e->now_us >= e->lease.ask_us)
        return ask_lease(e, true, out);
    if (wants_renewal(e) && e->now_us >= e->lease.renew_us)
        return ask_lease(e, false, out);
    return OT_WAIT;
}

static enum ot_wish next_write(struct ot_engine *e, union ot_wish_args *out)
{
    if (!can_ask(e, OT_REPLY_WRITE) || !ot_save_ask(e, &out->write))
        return OT_WAIT;
    ask(e, OT_REPLY_WRITE);
    return OT_DO_WRITE;
}

static bool wants_commands(const struct ot_engine *e)
{
    if (!can_ask(e, OT_REPLY_COMMANDS) || e->ndone > 0 || e->ndone_writing > 0)
        return false;
    return e->want_commands ||
           (ot_capture_blind(e) && e->now_us >= e->commands_us);
}

static bool wants_read(struct ot_engine *e, union ot_wish_args *out)
{
    if (!can_ask(e, OT_REPLY_READ) || !ot_capture_due(e) ||
        !ot_capture_ask(e, &out->read))
        return false;
    ask(e, OT_REPLY_READ);
    return true;
}

static enum ot_wish next_store(struct ot_engine *e, union ot_wish_args *out)
{
    enum ot_wish wish = next_write(e, out);
    if (wish != OT_WAIT)
        return wish;
    if (wants_read(e, out))
        return OT_DO_READ;
    if (can_ask(e, OT_REPLY_FETCH) && ot_drain_ask(e, &out->fetch)) {
        ask(e, OT_REPLY_FETCH);
        return OT_DO_FETCH;
    }
    if (wants_commands(e)) {
        ask(e, OT_REPLY_COMMANDS);
        return OT_DO_COMMANDS;
    }
    return OT_WAIT;
}

static void timers(struct ot_engine *e)
{
    ot_submit_due(e);
    ot_window_relieve(e);
    if (!e->stopping && !e->opt.apply_only) {
        ot_drain_due(e);
        ot_topic_due(e);
    }
}

static enum ot_wish next_run(struct ot_engine *e, union ot_wish_args *out)
{
    enum ot_wish wish = next_lease(e, out);
    if (wish != OT_WAIT)
        return wish;
    timers(e);
    /* Before the events of the last read are handed over, which takes as long
     * as the database needs for the next; but a limit wants to know first how
     * many that are. */
    if (!ot_limiter_limits(&e->limiter) && wants_read(e, out))
        return OT_DO_READ;
    if (ot_submit_ask(e, &out->submit.sends, &out->submit.n))
        return OT_DO_SUBMIT;
    if (!e->stopping && !e->opt.apply_only)
        ot_limit_due(e); /* of those, too, that were held just now */
    return next_store(e, out);
}

static enum ot_wish next_load(struct ot_engine *e, union ot_wish_args *out)
{
    if (e->in_flight == 0 && can_ask(e, OT_REPLY_CURSOR)) {
        ask(e, OT_REPLY_CURSOR);
        return OT_DO_LOAD;
    }
    return next_lease(e, out);
}

/* --- the end --------------------------------------------------------------- */

static bool drained(const struct ot_engine *e)
{
    if (e->opt.apply_only && !e->stopping)
        return !e->want_commands && !e->asked[OT_REPLY_COMMANDS].under_way;
    if (!e->stopping)
        return false;
    if (e->now_us >= e->hard_us + GRACE_US)
        return true;
    bool more =
        e->ready.first != OT_NIL || e->nsuspects > 0 || e->admit < e->tail;
    return e->in_flight == 0 && e->noffered == 0 &&
           (!more || e->paused || e->now_us >= e->soft_us);
}

/* What waits in memory for its next try keeps its attempts; what waits for the
 * limit of its topic keeps nothing back that was read after it. */
static void hold_waiting(struct ot_engine *e)
{
    ot_limit_hold_all(e);
    for (size_t i = 0; e->in_memory > 0 && i < e->nitems && !e->nomem; i++) {
        struct ot_item *item = &e->items[i];
        if (item->state == OT_ITEM_BACKOFF && item->held == OT_NIL &&
            item->attempts > 0)
            ot_hold(e, (uint32_t)i, OT_HELD_RETRYING, true,
                    ot_db_now(e) + (item->at_us - e->now_us), NULL);
    }
}

static enum ot_wish next_final(struct ot_engine *e, union ot_wish_args *out)
{
    bool late = e->stopping && e->now_us >= e->hard_us + GRACE_US;
    enum ot_wish wish = next_lease(e, out);
    if (wish == OT_WAIT)
        wish = next_write(e, out);
    if (wish != OT_WAIT)
        return wish;
    if (!can_ask(e, OT_REPLY_WRITE) && !late)
        return OT_WAIT;
    e->phase = OT_PHASE_RELEASE;
    ask(e, OT_REPLY_RELEASE);
    out->release_fence = e->lease.fence;
    return OT_DO_RELEASE;
}

/* Until when a stop waits for the answer to the lease; and to the load, behind
 * which the lease is given back on the same connection. */
static int64_t answer_us(const struct ot_engine *e)
{
    const struct ot_asked *lease = &e->asked[OT_REPLY_LEASE];
    const struct ot_asked *load = &e->asked[OT_REPLY_CURSOR];
    int64_t us = 0;
    if (lease->under_way)
        us = lease->sent_us + ANSWER_US;
    if (load->under_way && e->lease.fence != 0 &&
        load->sent_us + ANSWER_US > us)
        us = load->sent_us + ANSWER_US;
    return us < e->hard_us + GRACE_US ? us : e->hard_us + GRACE_US;
}

/* Stopped without the right to write: give the lease back if we have it, or get
 * it yet, under another fence maybe: the database may be about to grant it to
 * one that is gone by then, and nobody else gets it before it runs out. */
static enum ot_wish next_give_up(struct ot_engine *e, union ot_wish_args *out)
{
    if (e->in_flight > 0 && e->now_us < e->hard_us + GRACE_US)
        return next_lease(e, out);
    if (e->now_us < answer_us(e))
        return next_lease(e, out); /* it may have to be renewed meanwhile */
    if (e->lease.fence == 0 || e->asked[OT_REPLY_RELEASE].under_way) {
        e->phase = OT_PHASE_DONE;
        return OT_DONE;
    }
    e->phase = OT_PHASE_RELEASE;
    ask(e, OT_REPLY_RELEASE);
    out->release_fence = e->lease.fence;
    return OT_DO_RELEASE;
}

static enum ot_wish next_in_phase(struct ot_engine *e, union ot_wish_args *out)
{
    switch (e->phase) {
    case OT_PHASE_LEASE:
        return e->stopping ? next_give_up(e, out) : next_lease(e, out);
    case OT_PHASE_LOAD:
        return e->stopping ? next_give_up(e, out) : next_load(e, out);
    case OT_PHASE_RUN:
        if (!drained(e))
            return next_run(e, out);
        hold_waiting(e);
        e->phase = OT_PHASE_FINAL;
        ot_save_soon(e);
        return next_final(e, out);
    case OT_PHASE_FINAL:
        return next_final(e, out);
    case OT_PHASE_RELEASE:
        if (e->now_us < e->asked[OT_REPLY_RELEASE].sent_us + GRACE_US)
            return OT_WAIT;
        e->phase = OT_PHASE_DONE;
        return OT_DONE;
    case OT_PHASE_DONE:
        break;
    }
    return OT_DONE;
}

static void soon(int64_t *at_us, int64_t other_us)
{
    if (other_us < *at_us)
        *at_us = other_us;
}

static int64_t wait_run(const struct ot_engine *e)
{
    int64_t at_us = ot_submit_next(e);
    if (can_ask(e, OT_REPLY_WRITE))
        soon(&at_us, ot_save_next(e));
    if (e->opt.apply_only)
        return at_us;
    if (can_ask(e, OT_REPLY_READ))
        soon(&at_us, ot_capture_next(e));
    if (!e->stopping) {
        soon(&at_us, ot_drain_next(e));
        soon(&at_us, ot_topic_next(e));
        soon(&at_us, ot_limit_next_entry(e));
    }
    if (ot_capture_blind(e) && can_ask(e, OT_REPLY_COMMANDS) && e->ndone == 0 &&
        e->ndone_writing == 0)
        soon(&at_us, e->commands_us);
    return at_us;
}

static int64_t stop_next(const struct ot_engine *e)
{
    const int64_t times[] = {e->soft_us, e->hard_us, e->hard_us + GRACE_US};
    for (size_t i = 0; i < OT_COUNT(times); i++)
        if (e->now_us < times[i])
            return times[i];
    return OT_NEVER;
}

static int64_t wait_until(const struct ot_engine *e)
{
    int64_t at_us = OT_NEVER;
    if (wants_lease(e))
        soon(&at_us, e->lease.ask_us);
    if (e->lease.fence != 0 && e->phase < OT_PHASE_RELEASE)
        soon(&at_us, e->lease.deadline_us);
    if (wants_renewal(e))
        soon(&at_us, e->lease.renew_us);
    if (e->phase == OT_PHASE_RUN)
        soon(&at_us, wait_run(e));
    if (e->phase == OT_PHASE_RELEASE)
        soon(&at_us, e->asked[OT_REPLY_RELEASE].sent_us + GRACE_US);
    if (e->stopping)
        soon(&at_us, stop_next(e));
    if (e->stopping && e->phase <= OT_PHASE_LOAD && e->now_us < answer_us(e))
        soon(&at_us, answer_us(e));
    return at_us;
}

static void check_time(struct ot_engine *e)
{
    if (e->nomem) {
        struct outtray_error err = {0};
        ot_fail_nomem(&err);
        ot_engine_fail(e, err.code, &err);
    }
    if (e->phase < OT_PHASE_RELEASE && ot_lease_expired(&e->lease, e->now_us)) {
        ot_log(e->log, OT_WARN, "engine",
               "the lease was not renewed in time: stopped sending");
        ot_engine_lost(e, 0);
    }
    if (e->stopping && e->now_us >= e->hard_us && !e->abandoned) {
        e->abandoned = true;
        e->abandon = e->in_flight > 0;
    }
}

enum ot_wish ot_engine_next(struct ot_engine *e, int64_t now_us,
                            union ot_wish_args *out)
{
    if (now_us > e->now_us)
        e->now_us = now_us;
    memset(out, 0, sizeof(*out));
    check_time(e);
    if (e->abandon) {
        e->abandon = false;
        if (e->in_flight > 0)
            return OT_DO_ABANDON;
    }
    enum ot_wish wish = next_in_phase(e, out);
    if (wish == OT_WAIT && e->nomem) { /* what failed is tried again later */
        check_time(e);
        wish = next_in_phase(e, out);
    }
    if (wish == OT_WAIT)
        out->wait_until_us = wait_until(e);
    return wish;
}
