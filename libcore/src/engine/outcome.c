/* outcome.c - what the sink says about an event, and what follows from it. */
#include "engine/internal.h"

static void back_to_lane(struct ot_engine *e, uint32_t id, int64_t pause_us);

/* Are all held events before this fetched one out or gone too? */
static bool in_turn(struct ot_engine *e, uint32_t entry_id)
{
    for (uint32_t i = ot_entry(e, entry_id)->lane_prev; i != OT_NIL;
         i = ot_entry(e, i)->lane_prev)
        if (!ot_entry(e, i)->loaded)
            return false;
    return true;
}

/* Its key became held while it was in flight. */
static bool must_be_held(struct ot_engine *e, const struct ot_item *item)
{
    if (item->lane == OT_NIL || ot_lane(e, item->lane)->unloaded == 0)
        return false;
    if (item->held == OT_NIL || ot_entry(e, item->held)->lane == OT_NIL)
        return true;
    return !in_turn(e, item->held);
}

static void ok(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    uint32_t lane = item->lane, held = item->held;
    uint64_t topic = e->ntopics > 0 ? ot_topic_of(e, id) : 0;
    item->held = OT_NIL;
    ot_lane_leave(e, id);
    ot_window_settle(e, id);
    if (held != OT_NIL) {
        ot_entry(e, held)->item = OT_NIL;
        ot_held_loaded(e, held, false);
        uint32_t own = ot_entry(e, held)->lane;
        ot_held_remove(e, held);
        if (own != OT_NIL)
            lane = OT_NIL; /* was looked after there */
    }
    if (lane != OT_NIL)
        ot_lane_settled(e, lane);
    if (topic != 0)
        ot_topic_open(e, topic);
}

/* Nothing that happened before matters, and nothing follows but the next of
 * its key. */
static bool is_plain(const struct ot_engine *e, const struct ot_item *item,
                     const struct ot_completion *c)
{
    return c->outcome == OT_OK && c->retry_after_us == 0 &&
           item->held == OT_NIL && item->ring != OT_NO_RING && /* no orphan */
           e->ntopics == 0 && !e->bisecting;
}

static void plain(struct ot_engine *e, uint32_t id)
{
    uint32_t lane = ot_item(e, id)->lane;
    e->stats.ok++;
    if (e->breaker.state != OT_BREAKER_CLOSED || e->breaker.ramp > 0)
        ot_breaker_up(&e->breaker, e->opt.window_events);
    if (lane == OT_NIL) {
        ot_window_settle(e, id);
        return;
    }
    ot_lane_done(e, id);
    ot_window_settle(e, id);
    ot_lane_settled(e, lane);
}

static enum ot_policy policy(const struct ot_engine *e, bool has_key)
{
    if (e->opt.on_reject != OT_POLICY_AUTO)
        return e->opt.on_reject;
    return has_key ? OT_PARK : OT_DEAD_LETTER;
}

static void dead(struct ot_engine *e, uint32_t id, bool holds_key,
                 const struct ot_completion *why)
{
    ot_log(e->log, OT_WARN, "engine", "event %lld is dead after %u %s%s%s",
           (long long)ot_item(e, id)->event->seq, ot_item(e, id)->attempts,
           ot_item(e, id)->attempts == 1 ? "attempt" : "attempts",
           why->reason != NULL ? ": " : "",
           why->reason != NULL ? why->reason : "");
    e->stats.dead++;
    ot_hold(e, id, OT_HELD_DEAD, holds_key, 0, why);
}

static void give_up(struct ot_engine *e, uint32_t id,
                    const struct ot_completion *why)
{
    bool has_key = ot_lane_key(e, ot_item(e, id)->event) != 0;
    dead(e, id, policy(e, has_key) != OT_DEAD_LETTER, why);
}

static void failed(struct ot_engine *e, struct ot_item *item)
{
    int64_t now_us = ot_db_now(e);
    item->attempts++;
    item->careful = true;
    if (item->first_error_us == 0)
        item->first_error_us = now_us;
    item->last_error_us = now_us;
}

static void rejected(struct ot_engine *e, uint32_t id,
                     const struct ot_completion *why)
{
    struct ot_item *item = ot_item(e, id);
    if (why->scope == OT_ITS_BATCH && !ot_bisect_blames(e)) {
        if (must_be_held(e, item))
            back_to_lane(e, id, 0);
        else
            ot_bisect_suspect(e, id);
        return;
    }
    failed(e, item);
    bool has_key = ot_lane_key(e, item->event) != 0;
    switch (policy(e, has_key)) {
    case OT_BLOCK:
        ot_hold(e, id, OT_HELD_RETRYING, has_key,
                ot_db_now(e) + e->opt.block_retry_us, why);
        break;
    case OT_DEAD_LETTER:
        dead(e, id, false, why);
        break;
    case OT_PARK:
    case OT_POLICY_AUTO:
        dead(e, id, has_key, why);
        break;
    }
}

/* Long waits, and those that keep half a window from moving, are held in the
 * database. */
static bool stays_in_memory(struct ot_engine *e, const struct ot_item *item,
                            int64_t delay_us)
{
    return item->ring != OT_NO_RING && delay_us <= OT_IN_MEMORY &&
           e->tail - item->ring < e->opt.window_events / 2 &&
           e->pinned_bytes < e->opt.window_bytes / 2 && !must_be_held(e, item);
}

static void backoff(struct ot_engine *e, uint32_t id, int64_t delay_us)
{
    struct ot_item *item = ot_item(e, id);
    item->state = OT_ITEM_BACKOFF;
    item->at_us = e->now_us + delay_us;
    if (ot_heap_push(&e->backoff, item->at_us, id) != 0)
        e->nomem = true;
}

static void retry(struct ot_engine *e, uint32_t id,
                  const struct ot_completion *why)
{
    struct ot_item *item = ot_item(e, id);
    failed(e, item);
    if (ot_retry_exhausted(&e->retry, item->attempts, item->retried_us)) {
        give_up(e, id, why);
        return;
    }
    int64_t delay =
        ot_retry_delay(&e->retry, &e->rng, item->delay_us, why->retry_after_us);
    item->delay_us = delay;
    item->retried_us += delay;
    if (stays_in_memory(e, item, delay))
        backoff(e, id, delay);
    else
        ot_hold(e, id, OT_HELD_RETRYING, true, ot_db_now(e) + delay, why);
}

/* Nothing of its own went wrong: again, in its place. */
static void back_to_lane(struct ot_engine *e, uint32_t id, int64_t pause_us)
{
    struct ot_item *item = ot_item(e, id);
    if (must_be_held(e, item)) {
        if (item->held == OT_NIL)
            ot_hold(e, id, OT_HELD_BLOCKED, false, 0, NULL);
        else
            ot_drain_unload(e, id);
        return;
    }
    if (pause_us > 0)
        backoff(e, id, pause_us);
    else if (item->lane == OT_NIL)
        ot_ready_push(e, id);
}

static void waits(struct ot_engine *e, uint32_t id,
                  const struct ot_completion *why)
{
    struct ot_item *item = ot_item(e, id);
    bool probed = item->held != OT_NIL && ot_entry(e, item->held)->probe;
    uint64_t topic = ot_topic_of(e, id);
    if (!ot_topic_blocked(e, topic))
        ot_log(e->log, OT_WARN, "engine",
               "topic %.*s is refused, its events wait%s%s",
               (int)item->event->topic.n, item->event->topic.p,
               why->reason != NULL ? ": " : "",
               why->reason != NULL ? why->reason : "");
    ot_topic_refused(e, topic, probed, why->retry_after_us);
    item->last_error_us = ot_db_now(e);
    if (item->first_error_us == 0)
        item->first_error_us = item->last_error_us;
    ot_hold(e, id, OT_HELD_WAITING, true, 0, why);
}

static void unavailable(struct ot_engine *e, uint32_t id,
                        const struct ot_completion *why)
{
    if (why->scope == OT_ITS_TOPIC)
        waits(e, id, why);
    else
        back_to_lane(e, id, 0);
}

static void unknown(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    int64_t pause_us = 0;
    item->maybe_duplicate = true;
    if (item->unknowns++ > 0) {
        uint32_t shift = item->unknowns < 10 ? item->unknowns : 10;
        pause_us = e->opt.retry_min_us << shift;
        if (pause_us > OT_IN_MEMORY)
            pause_us = OT_IN_MEMORY;
    }
    back_to_lane(e, id, pause_us);
}

static void count(struct ot_engine *e, enum ot_outcome outcome)
{
    switch (outcome) {
    case OT_OK:
        e->stats.ok++;
        break;
    case OT_RETRY:
        e->stats.retry++;
        break;
    case OT_REJECTED:
        e->stats.rejected++;
        break;
    case OT_MISCONFIGURED:
        e->stats.misconfigured++;
        break;
    case OT_UNAVAILABLE:
        e->stats.unavailable++;
        break;
    case OT_UNKNOWN:
        e->stats.unknown++;
        break;
    }
}

static void feed_sink_state(struct ot_engine *e, const struct ot_completion *c,
                            bool orphan)
{
    bool down = c->outcome == OT_UNAVAILABLE && c->scope != OT_ITS_TOPIC;
    if (c->outcome == OT_UNKNOWN && c->scope == OT_THE_SINK)
        down = true;
    if (orphan && (down || c->outcome == OT_UNKNOWN))
        /* Abandoned, perhaps by ourselves: says nothing about the sink. */
        ot_breaker_unanswered(&e->breaker);
    else if (down)
        ot_breaker_down(&e->breaker, &e->rng, c->retry_after_us, e->now_us);
    else if (c->outcome == OT_UNKNOWN)
        ot_breaker_unanswered(&e->breaker);
    else
        ot_breaker_up(&e->breaker, e->opt.window_events);
    if (c->retry_after_us > 0 && c->scope == OT_THE_SINK)
        ot_limiter_push(&e->limiter, e->now_us + c->retry_after_us);
}

/* The broker slows one topic down. Of one that is away or refused the probe
 * minds it. */
static void feed_topic_limit(struct ot_engine *e, uint32_t id,
                             const struct ot_completion *c)
{
    if (c->retry_after_us > 0 && c->scope == OT_ITS_TOPIC &&
        c->outcome != OT_MISCONFIGURED && c->outcome != OT_UNAVAILABLE)
        ot_limit_push(e, id, e->now_us + c->retry_after_us);
}

static void decide(struct ot_engine *e, uint32_t id,
                   const struct ot_completion *c)
{
    switch (c->outcome) {
    case OT_OK:
        ok(e, id);
        break;
    case OT_RETRY:
        retry(e, id, c);
        break;
    case OT_REJECTED:
        rejected(e, id, c);
        break;
    case OT_MISCONFIGURED:
        waits(e, id, c);
        break;
    case OT_UNAVAILABLE:
        unavailable(e, id, c);
        break;
    case OT_UNKNOWN:
        unknown(e, id);
        break;
    }
}

void ot_outcome_pace(struct ot_engine *e, const struct ot_completion *c)
{
    uint32_t id = (uint32_t)c->ticket;
    if (id < e->nitems && e->items[id].state == OT_ITEM_FLIGHT)
        e->slow = e->now_us - e->items[id].at_us >= OT_SLOW_US;
}

void ot_outcome(struct ot_engine *e, const struct ot_completion *c)
{
    uint32_t id = (uint32_t)c->ticket;
    if (id >= e->nitems || e->items[id].state != OT_ITEM_FLIGHT ||
        e->items[id].gen != (uint32_t)(c->ticket >> 32)) {
        e->stats.unexpected++;
        ot_log(e->log, OT_ERROR, "engine",
               "the sink completed an event that was not in flight");
        return;
    }
    struct ot_item *item = ot_item(e, id);
    e->in_flight--;
    if (is_plain(e, item, c)) {
        plain(e, id);
        return;
    }
    count(e, c->outcome);
    feed_sink_state(e, c, item->orphan);
    feed_topic_limit(e, id, c);
    if (item->orphan) {
        e->orphans--;
        ot_window_release(e, id);
        return;
    }
    ot_lane_all(e);
    uint32_t lane = item->lane;
    ot_lane_back(e, id);
    if (item->ring == OT_NO_RING && item->held == OT_NIL) {
        /* skipped while it was in flight */
        ot_lane_leave(e, id);
        ot_window_settle(e, id);
    } else {
        item->maybe_duplicate |= c->maybe_persisted;
        if (c->outcome != OT_OK && lane != OT_NIL)
            ot_lane_trouble(e, lane);
        bool answered = c->outcome == OT_RETRY || c->outcome == OT_REJECTED;
        uint64_t topic = answered && e->ntopics > 0 ? ot_topic_of(e, id) : 0;
        decide(e, id, c);
        if (topic != 0)
            ot_topic_open(e, topic); /* it answers about single events */
        if (c->outcome == OT_OK)
            lane = OT_NIL; /* done in ok() */
    }
    if (lane != OT_NIL && !e->nomem)
        ot_lane_go(e, lane);
    if (e->in_flight == 0 && e->bisecting)
        ot_bisect_done(e);
}
