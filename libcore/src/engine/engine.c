/* engine.c - phases of a relay's life, and which wish comes first. */
#include "engine/internal.h"

/* After the hard deadline, and again for the release: end all the same. With
 * the usual 8 s it stays below the 10 s after which supervisors kill. */
#define GRACE_US INT64_C(700000)
/* For a database that is asked for the lease while the relay stops. */
#define ANSWER_US INT64_C(3000000)

void ot_engine_defaults(struct ot_engine_options *opt)
{
    *opt = (struct ot_engine_options){
        .ordering = OT_ORDER_KEY,
        .on_reject = OT_POLICY_AUTO,
        .sink_ordered = true,
        .batch_events = 5000,
        .batch_bytes = 8 << 20,
        .window_events = 20000,
        .window_bytes = 64 << 20,
        .held_max = 100000,
        .lease_ttl_us = 15000000,
        .poll_min_us = 2000,
        .poll_max_us = 50000,
        .cursor_us = 50000,
        .retry_min_us = 100000,
        .retry_max_us = 300000000,
        .retry_max_age_us = INT64_C(86400000000),
        .block_retry_us = 600000000,
        .probe_min_us = 1000000,
        .probe_max_us = 60000000,
        .breaker_min_us = 1000000,
        .breaker_max_us = 60000000,
        .leave_out_seqs = 256,
    };
}

static int prepare(struct ot_engine *e)
{
    const struct ot_engine_options *opt = &e->opt;
    e->lease.ttl_us = opt->lease_ttl_us;
    e->breaker.min_us = opt->breaker_min_us;
    e->breaker.max_us = opt->breaker_max_us;
    e->limiter.events_per_s = opt->limit_events_per_s;
    e->limiter.bytes_per_s = opt->limit_bytes_per_s;
    e->retry =
        (struct ot_retry){opt->retry_min_us, opt->retry_max_us,
                          opt->retry_max_age_us, opt->retry_max_attempts};
    e->fetch_max = opt->batch_events < 500 ? opt->batch_events : 500;
    e->free_item = e->free_lane = e->free_entry = OT_NIL;
    e->ready.first = e->ready.last = OT_NIL;
    e->fetch.first = e->fetch.last = OT_NIL;
    e->set_paused = -1;
    e->sends = ot_alloc_zero(opt->batch_events, sizeof(*e->sends));
    e->offered = ot_alloc_zero(opt->batch_events, sizeof(*e->offered));
    if (e->sends == NULL || e->offered == NULL)
        return OUTTRAY_E_NOMEM;
    return ot_limit_prepare(e);
}

int ot_engine_new(struct ot_engine **out, const struct ot_engine_options *opt,
                  const struct ot_log *log)
{
    *out = NULL;
    struct ot_engine *e = ot_alloc_zero(1, sizeof(*e));
    if (e == NULL)
        return OUTTRAY_E_NOMEM;
    e->opt = *opt;
    e->log = log;
    if (e->opt.batch_events == 0)
        e->opt.batch_events = 1;
    if (e->opt.window_events < e->opt.batch_events)
        e->opt.window_events = e->opt.batch_events;
    ot_rng_seed(&e->rng, opt->seed);
    if (prepare(e) != 0) {
        ot_engine_free(e);
        return OUTTRAY_E_NOMEM;
    }
    *out = e;
    return 0;
}

static void free_arrays(struct ot_engine *e)
{
    void *all[] = {e->items,        e->ring,         e->backoff.v,
                   e->lanes,        e->by_key.cells, e->entries,
                   e->by_seq.cells, e->let_go.cells, e->held_due.v,
                   e->fetch_seqs,   e->topics,       e->sends,
                   e->offered,      e->suspects,     e->unsaved,
                   e->dels,         e->dels_writing, e->done,
                   e->done_writing, e->puts,         e->late_seqs,
                   e->skipped};
    for (size_t i = 0; i < OT_COUNT(all); i++)
        ot_free(all[i]);
}

void ot_engine_free(struct ot_engine *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->nitems; i++)
        if (e->items[i].state != OT_ITEM_FREE)
            ot_window_release(e, (uint32_t)i);
    ot_held_forget(e);
    ot_save_free(e);
    ot_gaps_free(&e->gaps);
    ot_cursor_free(&e->cursor);
    ot_limit_free(e);
    free_arrays(e);
    ot_free(e);
}

void ot_engine_clock(struct ot_engine *e, int64_t db_now_us)
{
    int64_t back_us = e->db_at_us != 0 ? ot_db_now(e) - db_now_us : 0;
    e->db_us = db_now_us;
    e->db_at_us = e->now_us;
    if (back_us > OT_BACK_US)
        ot_held_clock_back(e, back_us);
}

/* Forget all but what the sink has. The lease is taken again, under a new
 * fence, before the cursor is loaded: a write that is still on its way is
 * refused by then. Loading waits for the sink to give back what it has, so
 * that no event is sent twice at a time; what it settles meanwhile is sent
 * again, a duplicate within the window. */
void ot_engine_reset(struct ot_engine *e, int64_t pause_us)
{
    e->epoch++;
    e->stats.resets++;
    ot_window_forget(e);
    ot_lane_forget(e);
    ot_held_forget(e);
    ot_save_forget(e);
    ot_gaps_clear(&e->gaps);
    e->nomem = false;
    e->read_all = false;
    e->want_commands = false;
    if (e->phase != OT_PHASE_DONE)
        e->phase = OT_PHASE_LEASE;
    e->lease.ask_us = e->now_us + pause_us;
}

void ot_engine_fail(struct ot_engine *e, int code,
                    const struct outtray_error *err)
{
    e->error = *err;
    if (e->error.code == 0)
        ot_fail(&e->error, code != 0 ? code : OUTTRAY_E_STORE_UNAVAILABLE,
                "the connection to the database broke");
    e->refused = !outtray_error_retryable(e->error.code) ||
                 e->error.code == OUTTRAY_E_STORE_STANDBY;
    int64_t pause_us = OT_RECHECK_US;
    if (!e->refused) {
        e->failed_us = e->failed_us == 0 ? OT_FAILED_MIN : e->failed_us * 2;
        if (e->failed_us > OT_FAILED_MAX)
            e->failed_us = OT_FAILED_MAX;
        pause_us = ot_rng_between(&e->rng, e->failed_us / 2, e->failed_us);
    }
    /* Once per change of state it is told as a stall. */
    ot_log(e->log, OT_DEBUG, "engine", "%s", e->error.text);
    ot_engine_reset(e, pause_us);
}

/* --- the lease ------------------------------------------------------------- */

void ot_engine_lost(struct ot_engine *e, int64_t pause_us)
{
    ot_lease_forget(&e->lease);
    e->abandon = e->in_flight > 0;
    ot_engine_reset(e, pause_us);
}

static void lease_told(struct ot_engine *e, const struct ot_lease_reply *reply)
{
    if (reply->granted) {
        ot_lease_granted(&e->lease, reply->fence,
                         e->asked[OT_REPLY_LEASE].sent_us);
        e->owner[0] = '\0';
        if (e->taking && e->phase == OT_PHASE_LEASE)
            e->phase = OT_PHASE_LOAD;
        return;
    }
    memcpy(e->owner, reply->owner, sizeof(e->owner));
    /* The database answers again: what it failed with is not the reason now. */
    ot_error_clear(&e->error);
    e->refused = false;
    e->failed_us = 0;
    if (e->lease.fence != 0 || !e->taking) {
        ot_log(e->log, OT_WARN, "engine", "the lease went to %s%s",
               e->owner[0] != '\0' ? "relay " : "nobody", e->owner);
        ot_engine_lost(e, 0);
    }
    ot_lease_taken(&e->lease, &e->rng, reply->free_in_us, e->now_us);
    if (e->opt.apply_only) {
        ot_fail(&e->error, OUTTRAY_E_LEASE_HELD,
                "relay %s owns the subscription: it applies commands itself",
                e->owner);
        e->phase = OT_PHASE_DONE;
    }
}

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
    for (size_t i = 0; i < e->nitems && !e->nomem; i++) {
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

/* Until when the answer to a lease that was asked for is waited for. */
static int64_t answer_us(const struct ot_engine *e)
{
    int64_t us = e->asked[OT_REPLY_LEASE].sent_us + ANSWER_US;
    return us < e->hard_us + GRACE_US ? us : e->hard_us + GRACE_US;
}

/* Stopped without the right to write: give the lease back if we have it, or get
 * it yet, under another fence maybe: the database may be about to grant it to
 * one that is gone by then, and nobody else gets it before it runs out. */
static enum ot_wish next_give_up(struct ot_engine *e, union ot_wish_args *out)
{
    if (e->in_flight > 0 && e->now_us < e->hard_us + GRACE_US)
        return next_lease(e, out);
    if (e->asked[OT_REPLY_LEASE].under_way && e->now_us < answer_us(e))
        return OT_WAIT;
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
    if (e->stopping && e->phase <= OT_PHASE_LOAD &&
        e->asked[OT_REPLY_LEASE].under_way && e->now_us < answer_us(e))
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

/* --- what the world tells -------------------------------------------------- */

static void void_reply(const struct ot_reply *reply)
{
    if (reply->code != 0)
        return;
    if (reply->kind == OT_REPLY_READ)
        ot_rows_unref(reply->read.rows);
    else if (reply->kind == OT_REPLY_FETCH)
        ot_rows_unref(reply->fetch.rows);
}

static void dispatch(struct ot_engine *e, const struct ot_reply *reply)
{
    switch (reply->kind) {
    case OT_REPLY_LEASE:
        lease_told(e, &reply->lease);
        break;
    case OT_REPLY_CURSOR:
        ot_capture_load(e, reply);
        break;
    case OT_REPLY_READ:
        ot_capture_read(e, reply);
        break;
    case OT_REPLY_FETCH:
        ot_drain_fetched(e, reply);
        break;
    case OT_REPLY_COMMANDS:
        ot_command_told(e, reply);
        break;
    case OT_REPLY_WRITE:
    case OT_REPLY_RELEASE:
    case OT_REPLY_PRUNE:
        break;
    }
}

void ot_engine_told(struct ot_engine *e, const struct ot_reply *reply,
                    int64_t now_us)
{
    if (now_us > e->now_us)
        e->now_us = now_us;
    struct ot_asked *asked = &e->asked[reply->kind];
    asked->under_way = false;
    if (reply->kind == OT_REPLY_WRITE) {
        ot_save_told(e, reply);
    } else if (reply->kind == OT_REPLY_RELEASE) {
        ot_lease_forget(&e->lease);
        if (e->phase == OT_PHASE_RELEASE)
            e->phase = OT_PHASE_DONE;
    } else if (asked->epoch != e->epoch || e->nomem ||
               e->phase >= OT_PHASE_RELEASE) {
        void_reply(reply);
    } else if (reply->code != 0) {
        ot_engine_fail(e, reply->code, &reply->err);
    } else {
        dispatch(e, reply);
    }
}

void ot_engine_submitted(struct ot_engine *e, size_t n, int64_t now_us)
{
    if (now_us > e->now_us)
        e->now_us = now_us;
    ot_submit_taken(e, n);
}

void ot_engine_news(struct ot_engine *e)
{
    ot_lease_hurry(&e->lease);
}

void ot_engine_room(struct ot_engine *e)
{
    e->sink_full = false;
}

void ot_engine_completed(struct ot_engine *e, const struct ot_completion *c,
                         size_t n, int64_t now_us)
{
    if (now_us > e->now_us)
        e->now_us = now_us;
    if (n > 0)
        e->sink_full = false;
    for (size_t i = 0; i < n; i++) {
        if (i + OT_AHEAD < n)
            ot_prefetch_item(e, (uint32_t)c[i + OT_AHEAD].ticket);
        ot_outcome(e, &c[i]);
    }
}

void ot_engine_stop(struct ot_engine *e, int64_t soft_us, int64_t hard_us)
{
    e->stopping = true;
    e->soft_us = soft_us;
    e->hard_us = hard_us > soft_us ? hard_us : soft_us;
}
