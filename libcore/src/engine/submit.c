/* submit.c - what is handed to the sink, and when. */
#include "engine/internal.h"

bool ot_submit_allowed(const struct ot_engine *e)
{
    return e->phase == OT_PHASE_RUN && e->lease.fence != 0 &&
           e->now_us < e->lease.deadline_us && !e->paused && !e->sink_full &&
           e->noffered == 0 && !(e->stopping && e->now_us >= e->soft_us);
}

static bool topic_waits(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    if (e->ntopics == 0 || !ot_topic_blocked(e, ot_topic_of(e, id)))
        return false;
    return item->held == OT_NIL || !ot_entry(e, item->held)->probe;
}

static inline void offer(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    item->state = OT_ITEM_OFFERED;
    item->gen++;
    e->sends[e->noffered] = (struct ot_send){
        .event = item->event,
        .ticket = (uint64_t)item->gen << 32 | id,
        .fence = e->lease.fence,
        .attempts = item->attempts,
        .maybe_duplicate = item->maybe_duplicate,
    };
    e->offered[e->noffered++] = id;
}

/* The next that may go: one that waited for its topic, or the first that is
 * ready. */
static uint32_t next_ready(struct ot_engine *e)
{
    uint32_t id = e->nlimits > 0 ? ot_limit_first(e) : OT_NIL;
    return id != OT_NIL ? id : e->ready.first;
}

static void leave_queue(struct ot_engine *e, uint32_t id)
{
    uint32_t lane = ot_item(e, id)->lane;
    if (ot_item(e, id)->state != OT_ITEM_LIMITED) {
        ot_ready_remove(e, id);
        offer(e, id);
        return;
    }
    ot_limit_leave(e, id);
    offer(e, id);
    if (lane != OT_NIL)
        ot_lane_go(e, lane); /* those that waited for it */
}

/* From the front, and what is left of the queue gets a new front once. */
static void offer_all(struct ot_engine *e, uint32_t room)
{
    uint32_t id = e->ready.first;
    while (e->noffered < room && id != OT_NIL) {
        struct ot_item *item = ot_item(e, id);
        uint32_t next = item->next;
        item->prev = item->next = OT_NIL;
        offer(e, id);
        id = next;
    }
    e->ready.first = id;
    if (id == OT_NIL)
        e->ready.last = OT_NIL;
    else
        ot_item(e, id)->prev = OT_NIL;
}

static void offer_ready(struct ot_engine *e, uint32_t room)
{
    struct ot_limiter limiter = e->limiter; /* what is not taken is free */
    bool limits = ot_limiter_limits(&limiter);
    uint32_t id;
    ot_limit_plan(e);
    e->limited_until_us = ot_limiter_at(&limiter);
    if (!limits && e->limited_until_us <= e->now_us && e->nlimits == 0 &&
        e->ntopics == 0)
        offer_all(e, room);
    while (e->noffered < room && (id = next_ready(e)) != OT_NIL && !e->nomem) {
        if (topic_waits(e, id)) {
            ot_hold(e, id, OT_HELD_WAITING, true, 0, NULL);
            continue;
        }
        if (e->nlimits > 0 && ot_limit_stops(e, id))
            continue;
        if (limits)
            e->limited_until_us = ot_limiter_at(&limiter);
        if (e->limited_until_us > e->now_us)
            return;
        if (limits)
            ot_limiter_take(&limiter, ot_event_bytes(ot_item(e, id)->event),
                            e->now_us);
        leave_queue(e, id);
    }
}

static void offer_suspects(struct ot_engine *e, uint32_t room)
{
    e->limited_until_us = ot_limiter_at(&e->limiter);
    if (e->limited_until_us > e->now_us)
        return;
    uint32_t most = ot_bisect_offer(e, room);
    for (uint32_t i = 0; i < most; i++)
        offer(e, e->offered[i]); /* the same place */
}

bool ot_submit_ask(struct ot_engine *e, const struct ot_send **sends, size_t *n)
{
    bool bisecting = e->nsuspects > 0;
    if (!ot_submit_allowed(e) || (bisecting && e->in_flight > 0) ||
        (!bisecting && e->ready.first == OT_NIL && !ot_limit_ready(e)))
        return false;
    uint32_t room = ot_breaker_room(&e->breaker, e->in_flight, e->now_us);
    if (room > e->opt.batch_events)
        room = e->opt.batch_events;
    if (room == 0)
        return false;
    if (bisecting)
        offer_suspects(e, room);
    if (e->noffered == 0 && e->nsuspects == 0)
        offer_ready(e, room);
    *sends = e->sends;
    *n = e->noffered;
    return e->noffered > 0;
}

static void untaken(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    if (item->lane != OT_NIL && e->bisecting)
        ot_lane(e, item->lane)->out--;
    if (e->bisecting) {
        item->state = OT_ITEM_SUSPECT;
        return;
    }
    if (item->lane != OT_NIL)
        ot_lane_untaken(e, id);
    ot_ready_push_first(e, id);
}

void ot_submit_taken(struct ot_engine *e, size_t n)
{
    if (n > e->noffered)
        n = e->noffered;
    if (n < e->noffered)
        e->sink_full = true;
    bool limits = ot_limiter_limits(&e->limiter);
    if (n > 0)
        ot_breaker_sent(&e->breaker);
    for (size_t i = 0; i < n; i++) {
        struct ot_item *item = ot_item(e, e->offered[i]);
        item->state = OT_ITEM_FLIGHT;
        item->at_us = e->now_us;
    }
    for (size_t i = 0; limits && i < n; i++)
        ot_limiter_take(&e->limiter,
                        ot_event_bytes(ot_item(e, e->offered[i])->event),
                        e->now_us);
    for (size_t i = 0; e->nlimits > 0 && i < n; i++)
        ot_limit_take(e, e->offered[i]);
    e->in_flight += (uint32_t)n;
    e->stats.submitted += n;
    for (size_t i = e->noffered; i > n; i--)
        untaken(e, e->offered[i - 1]);
    e->noffered = 0;
}

void ot_submit_due(struct ot_engine *e)
{
    struct ot_due due;
    while (ot_heap_pop(&e->backoff, e->now_us, &due)) {
        struct ot_item *item = ot_item(e, due.id);
        if (item->state != OT_ITEM_BACKOFF || item->at_us != due.at_us)
            continue;
        item->state = OT_ITEM_READY;
        if (item->lane == OT_NIL)
            ot_ready_push(e, due.id);
        else
            ot_lane_go(e, item->lane);
    }
}

/* Something could be sent but for the time. */
int64_t ot_submit_next(const struct ot_engine *e)
{
    int64_t at_us = ot_heap_next(&e->backoff);
    int64_t limit_us = ot_limit_next_item(e), send_us = OT_NEVER;
    if (!ot_submit_allowed(e) || (e->nsuspects > 0 && e->in_flight > 0))
        return at_us;
    bool ready =
        e->ready.first != OT_NIL || e->nsuspects > 0 || limit_us <= e->now_us;
    if (e->breaker.state == OT_BREAKER_OPEN)
        send_us = ready || limit_us < e->breaker.until_us ? e->breaker.until_us
                                                          : limit_us;
    else if (ready && e->limited_until_us > e->now_us)
        send_us = e->limited_until_us;
    else if (limit_us > e->now_us)
        send_us = limit_us;
    return send_us < at_us ? send_us : at_us;
}
