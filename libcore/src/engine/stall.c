/* stall.c - why nothing is moving, and numbers. */
#include "engine/internal.h"

#include <stdio.h>

const char *ot_stall_name(enum ot_stall stall)
{
    switch (stall) {
    case OT_STALL_NONE:
        return "none";
    case OT_STALL_STOPPED:
        return "stopped";
    case OT_STALL_STORE:
        return "store";
    case OT_STALL_REFUSED:
        return "refused";
    case OT_STALL_LEASE:
        return "lease";
    case OT_STALL_PAUSED:
        return "paused";
    case OT_STALL_BREAKER:
        return "breaker";
    case OT_STALL_SINK:
        return "sink";
    case OT_STALL_LIMIT:
        return "limit";
    case OT_STALL_BARRIER:
        return "barrier";
    case OT_STALL_HELD_FULL:
        return "held_full";
    case OT_STALL_GAP:
        return "gap";
    }
    return "?";
}

/* A request that the database has not answered for so long is news. */
#define SILENT_US INT64_C(2000000)

static bool store_silent(const struct ot_engine *e, int64_t now_us,
                         char *detail, size_t size)
{
    int64_t since_us = now_us;
    for (size_t i = 0; i < OT_COUNT(e->asked); i++)
        if (e->asked[i].under_way && e->asked[i].sent_us < since_us)
            since_us = e->asked[i].sent_us;
    if (now_us - since_us < SILENT_US)
        return false;
    char lasted[32];
    snprintf(detail, size, "the database has not answered for %s",
             ot_duration_text(now_us - since_us, lasted));
    return true;
}

static enum ot_stall before_running(const struct ot_engine *e, int64_t now_us,
                                    char *detail, size_t size)
{
    if (e->error.code != 0 && e->error.code != OUTTRAY_E_LEASE_HELD) {
        snprintf(detail, size, "%.199s", e->error.text);
        return e->refused ? OT_STALL_REFUSED : OT_STALL_STORE;
    }
    if (e->in_flight > 0) {
        snprintf(detail, size,
                 "the cursor is loaded again once the sink gave back %u events",
                 e->in_flight);
        return OT_STALL_SINK;
    }
    /* Who owned it when the database answered last is no news meanwhile. */
    if (e->owner[0] != '\0' && !store_silent(e, now_us, detail, size)) {
        snprintf(detail, size, "relay %s owns the subscription", e->owner);
        return OT_STALL_LEASE;
    }
    snprintf(detail, size,
             "waiting for the database; `outtray status` may say for what");
    return OT_STALL_STORE;
}

/* Since when the sink has the first that it has: in read order, which is that
 * of sending but for what was tried again. */
static int64_t flight_since(const struct ot_engine *e, int64_t now_us)
{
    for (uint64_t i = e->head; i < e->tail; i++) {
        uint32_t id = e->ring[i & (e->ring_size - 1)];
        if (id != OT_NIL && e->items[id].state == OT_ITEM_FLIGHT)
            return e->items[id].at_us;
    }
    for (size_t i = 0; i < e->nitems; i++)
        if (e->items[i].state == OT_ITEM_FLIGHT)
            return e->items[i].at_us;
    return now_us;
}

static bool sink_slow(const struct ot_engine *e, int64_t now_us, char *detail,
                      size_t size)
{
    int64_t since_us = e->in_flight > 0 ? flight_since(e, now_us) : now_us;
    char lasted[32];
    if (e->in_flight == 0 || (!e->slow && now_us - since_us < OT_SLOW_US))
        return false;
    snprintf(detail, size, "%u %s with the sink, the first for %s%s",
             e->in_flight, e->in_flight == 1 ? "event is" : "events are",
             ot_duration_text(now_us - since_us, lasted),
             ot_capture_full(e) ? "; the window is full" : "");
    return true;
}

static enum ot_stall sending(const struct ot_engine *e, int64_t now_us,
                             char *detail, size_t size)
{
    bool wants = e->ready.first != OT_NIL || e->nsuspects > 0 ||
                 e->fetch.first != OT_NIL || !e->read_all ||
                 now_us >= e->next_read_us; /* nobody knows what is there */
    if (e->breaker.state != OT_BREAKER_CLOSED) {
        char left[32];
        int64_t us =
            e->breaker.until_us > now_us ? e->breaker.until_us - now_us : 0;
        snprintf(detail, size, "the sink is unavailable, next try in %s",
                 ot_duration_text(us, left));
        return OT_STALL_BREAKER;
    }
    if (sink_slow(e, now_us, detail, size))
        return OT_STALL_SINK;
    int64_t limit_us = ot_limiter_at(&e->limiter);
    if (wants && limit_us > now_us) {
        char left[32];
        bool own = limit_us > e->limiter.not_before_us;
        snprintf(detail, size, "%s lets the next event go in %s",
                 own ? "the rate limit" : "the broker",
                 ot_duration_text(limit_us - now_us, left));
        return OT_STALL_LIMIT;
    }
    if (e->in_flight == 0 && e->ready.first == OT_NIL && e->nsuspects == 0 &&
        ot_limit_stall(e, now_us, detail, size))
        return OT_STALL_LIMIT;
    if (e->admit < e->tail) {
        snprintf(detail, size, "waiting for the database to flush");
        return OT_STALL_BARRIER;
    }
    return OT_STALL_NONE;
}

/* Below the position. What is above it has never been passed. */
static uint32_t open_gaps(const struct ot_engine *e)
{
    size_t n = e->gaps.n;
    while (n > 0 && e->gaps.v[n - 1].first > e->read_position)
        n--;
    return (uint32_t)n;
}

static enum ot_stall stalled(const struct ot_engine *e, int64_t now_us,
                             char *detail, size_t size)
{
    if (e->phase == OT_PHASE_DONE || e->stopping)
        return OT_STALL_STOPPED;
    if (e->phase == OT_PHASE_LEASE || e->phase == OT_PHASE_LOAD)
        return before_running(e, now_us, detail, size);
    if (store_silent(e, now_us, detail, size))
        return OT_STALL_STORE;
    if (e->paused) {
        snprintf(detail, size, "`outtray resume` lets it go on");
        return OT_STALL_PAUSED;
    }
    enum ot_stall stall = sending(e, now_us, detail, size);
    if (stall != OT_STALL_NONE)
        return stall;
    if (e->held >= e->opt.held_max) {
        snprintf(detail, size, "%u events are held, the limit is %u", e->held,
                 e->opt.held_max);
        return OT_STALL_HELD_FULL;
    }
    if (ot_gaps_open(&e->gaps, e->read_position) && e->head == e->tail) {
        snprintf(detail, size,
                 "%u gaps from %lld on: open transactions hold them",
                 open_gaps(e), (long long)e->gaps.v[0].first);
        return OT_STALL_GAP;
    }
    return OT_STALL_NONE;
}

enum ot_stall ot_engine_stall(const struct ot_engine *e, int64_t now_us,
                              char detail[200])
{
    detail[0] = '\0';
    enum ot_stall stall = stalled(e, now_us, detail, 200);
    ot_utf8_mend(detail, true); /* what it quotes may have been cut */
    return stall;
}

const struct outtray_error *ot_engine_error(const struct ot_engine *e)
{
    return &e->error;
}

static const char *breaker_name(enum ot_breaker_state state)
{
    switch (state) {
    case OT_BREAKER_CLOSED:
        return "closed";
    case OT_BREAKER_OPEN:
        return "open";
    case OT_BREAKER_HALF:
        return "half-open";
    }
    return "?";
}

int64_t ot_engine_fence(const struct ot_engine *e)
{
    return e->lease.fence;
}

void ot_engine_stats(const struct ot_engine *e, struct ot_engine_stats *out)
{
    *out = e->stats;
    out->position = e->cursor.position;
    out->read_position = e->read_position;
    out->fence = e->lease.fence;
    out->window = (uint32_t)(e->in_memory - e->fetched);
    out->window_bytes = e->pinned_bytes;
    out->in_flight = e->in_flight;
    out->gaps = open_gaps(e);
    memset(out->held, 0, sizeof(out->held));
    for (size_t i = 0; i < e->nentries; i++)
        if (e->entries[i].used && e->entries[i].h.state < OT_HELD_COUNTED)
            out->held[e->entries[i].h.state]++;
    out->paused = e->paused;
    out->breaker_open = e->breaker.state != OT_BREAKER_CLOSED;
    out->breaker = breaker_name(e->breaker.state);
}

/* Can it be delivered by waiting a little? Not what is dead, scheduled, or
 * behind a dead one of its key. */
static bool deliverable(const struct ot_engine *e, const struct ot_entry *entry)
{
    if (entry->h.state == OT_HELD_SKIPPED)
        return false;
    if (entry->h.state == OT_HELD_DEAD || entry->h.state == OT_HELD_SCHEDULED)
        return entry->loaded || entry->due;
    if (entry->lane == OT_NIL)
        return true;
    const struct ot_entry *first =
        &e->entries[e->lanes[entry->lane].held_first];
    return first->h.state != OT_HELD_DEAD;
}

bool ot_engine_empty(const struct ot_engine *e)
{
    if (e->phase != OT_PHASE_RUN || !e->read_all ||
        ot_gaps_open(&e->gaps, e->read_position) || e->in_memory > 0 ||
        ot_save_pending(e))
        return false;
    /* A command may make a dead event deliverable. */
    if (e->want_commands || e->asked[OT_REPLY_COMMANDS].under_way)
        return false;
    for (size_t i = 0; i < e->nentries; i++)
        if (e->entries[i].used && deliverable(e, &e->entries[i]))
            return false;
    return true;
}
