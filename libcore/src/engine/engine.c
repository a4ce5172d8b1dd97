/* engine.c - an engine from birth to death, and what the world tells it. */
#include "engine/internal.h"

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
    for (size_t i = 0; e->in_memory > 0 && i < e->nitems; i++)
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

bool ot_engine_completed(struct ot_engine *e, const struct ot_completion *c,
                         size_t n, int64_t now_us)
{
    if (now_us > e->now_us)
        e->now_us = now_us;
    uint64_t ok = e->stats.ok;
    if (n == 0)
        return true;
    e->sink_full = false;
    ot_outcome_pace(e, &c[n - 1]);
    for (size_t i = 0; i < n; i++) {
        if (i + OT_AHEAD < n)
            ot_prefetch_item(e, (uint32_t)c[i + OT_AHEAD].ticket);
        ot_outcome(e, &c[i]);
    }
    return e->stats.ok - ok == n;
}

void ot_engine_stop(struct ot_engine *e, int64_t soft_us, int64_t hard_us)
{
    e->stopping = true;
    e->soft_us = soft_us;
    e->hard_us = hard_us > soft_us ? hard_us : soft_us;
}
