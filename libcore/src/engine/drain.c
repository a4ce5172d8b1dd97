/* drain.c - held events that are sent again.
 *
 * What is due is queued, fetched by seq in bounded portions, and takes its
 * place in the lane of its key like an event that was just read. */
#include "engine/internal.h"

static void enqueue(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->queued || entry->fetching || entry->item != OT_NIL)
        return;
    entry->queued = true;
    entry->next = OT_NIL;
    entry->prev = e->fetch.last;
    if (e->fetch.last == OT_NIL)
        e->fetch.first = id;
    else
        ot_entry(e, e->fetch.last)->next = id;
    e->fetch.last = id;
}

/* In front of all others. */
static void enqueue_again(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    entry->fetching = false;
    entry->queued = true;
    entry->prev = OT_NIL;
    entry->next = e->fetch.first;
    if (e->fetch.first == OT_NIL)
        e->fetch.last = id;
    else
        ot_entry(e, e->fetch.first)->prev = id;
    e->fetch.first = id;
}

static void dequeue(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->prev == OT_NIL)
        e->fetch.first = entry->next;
    else
        ot_entry(e, entry->prev)->next = entry->next;
    if (entry->next == OT_NIL)
        e->fetch.last = entry->prev;
    else
        ot_entry(e, entry->next)->prev = entry->prev;
    entry->prev = entry->next = OT_NIL;
    entry->queued = false;
}

void ot_drain_unqueue(struct ot_engine *e, uint32_t id)
{
    if (ot_entry(e, id)->queued)
        dequeue(e, id);
    ot_entry(e, id)->fetching = false;
    ot_limit_return(e, id);
}

bool ot_drain_eligible(const struct ot_engine *e, const struct ot_entry *entry)
{
    if (entry->lane != OT_NIL &&
        (entry->unread || (e->gaps_unread && entry->h.seq > e->unread_after)))
        return false;
    switch (entry->h.state) {
    case OT_HELD_BLOCKED:
        return true;
    case OT_HELD_RETRYING:
    case OT_HELD_SCHEDULED:
        return entry->due;
    case OT_HELD_WAITING:
        return entry->probe || (!ot_topic_blocked(e, entry->h.topic) &&
                                !ot_limit_holds(e, entry));
    case OT_HELD_DEAD:
    case OT_HELD_SKIPPED:
        break;
    }
    return false;
}

/* Nothing of the key is in memory: the first that is held may go when it is
 * due, and those that only waited for it right behind. */
void ot_drain_lane(struct ot_engine *e, uint32_t id)
{
    struct ot_lane *lane = ot_lane(e, id);
    uint32_t next = lane->held_first;
    bool first = true;
    for (uint32_t n = 0; next != OT_NIL && n < e->fetch_max; n++) {
        struct ot_entry *entry = ot_entry(e, next);
        if (entry->item != OT_NIL || !ot_drain_eligible(e, entry))
            return;
        if (!first &&
            (entry->h.state != OT_HELD_BLOCKED || !ot_limit_follows(e, next)))
            return;
        enqueue(e, next);
        if (entry->h.state != OT_HELD_BLOCKED)
            return;
        first = false;
        next = entry->lane_next;
    }
}

/* The time of an entry has come. */
void ot_drain_ready(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->lane == OT_NIL && entry->h.key != 0) {
        uint32_t lane = ot_index_find(&e->by_key, entry->h.key);
        if (lane != OT_NIL && ot_lane(e, lane)->held_first != OT_NIL)
            ot_held_link(e, id, entry->h.state == OT_HELD_SCHEDULED);
    }
    if (entry->lane == OT_NIL)
        enqueue(e, id);
    else
        ot_lane_go(e, entry->lane);
}

void ot_drain_due(struct ot_engine *e)
{
    struct ot_due due;
    int64_t now_us = ot_db_now(e);
    while (ot_heap_pop(&e->held_due, now_us, &due)) {
        if (due.id >= e->nentries)
            continue;
        struct ot_entry *entry = ot_entry(e, due.id);
        if (!entry->used || entry->h.next_us != due.at_us || entry->due ||
            (entry->h.state != OT_HELD_RETRYING &&
             entry->h.state != OT_HELD_SCHEDULED))
            continue;
        entry->due = true;
        if (entry->item == OT_NIL)
            ot_drain_ready(e, due.id);
        /* else: not written yet; ot_save_told looks at it again */
    }
}

static bool wants_rows(const struct ot_engine *e)
{
    return e->fetch.first != OT_NIL && e->fetched < e->fetch_max &&
           ot_submit_allowed(e) && ot_window_bytes_left(e, OT_REPLY_READ) > 0 &&
           e->ndels + e->ndels_writing < e->opt.window_events &&
           !e->asked[OT_REPLY_FETCH].under_way;
}

static int64_t breaker_until(const struct ot_engine *e)
{
    return e->breaker.state == OT_BREAKER_OPEN ? e->breaker.until_us : 0;
}

int64_t ot_drain_next(const struct ot_engine *e)
{
    int64_t at_us = ot_heap_next(&e->held_due);
    if (at_us != OT_NEVER)
        at_us += e->db_at_us - e->db_us;
    if (wants_rows(e) && breaker_until(e) < at_us)
        at_us = breaker_until(e);
    return at_us;
}

/* A fetched event that did not leave yet goes back to being held only. */
void ot_drain_unload(struct ot_engine *e, uint32_t item_id)
{
    uint32_t id = ot_item(e, item_id)->held;
    struct ot_entry *entry = ot_entry(e, id);
    ot_lane_leave(e, item_id);
    if (ot_item(e, item_id)->maybe_duplicate && !entry->h.maybe_duplicate) {
        entry->h.maybe_duplicate = true;
        ot_held_save(e, id);
    }
    entry->item = OT_NIL;
    ot_held_loaded(e, id, false);
    ot_limit_return(e, id);
    if (entry->lane == OT_NIL && entry->h.key != 0)
        ot_held_link(e, id, true);
    ot_window_settle(e, item_id);
}

/* --- fetching -------------------------------------------------------------- */

bool ot_drain_ask(struct ot_engine *e, struct ot_fetch_request *out)
{
    if (!wants_rows(e) || breaker_until(e) > e->now_us)
        return false;
    uint32_t most = e->fetch_max - e->fetched;
    if (OT_GROW(e->fetch_seqs, e->fetch_size, most) != 0) {
        e->nomem = true;
        return false;
    }
    e->nfetch = 0;
    while (e->nfetch < most && e->fetch.first != OT_NIL) {
        uint32_t id = e->fetch.first;
        dequeue(e, id);
        if (!ot_drain_eligible(e, ot_entry(e, id))) {
            ot_limit_return(e, id); /* its destination refuses again */
            continue;
        }
        ot_entry(e, id)->fetching = true;
        e->fetch_seqs[e->nfetch++] = ot_entry(e, id)->h.seq;
    }
    size_t bytes = ot_window_bytes_left(e, OT_REPLY_READ);
    out->seqs = e->fetch_seqs;
    out->n = e->nfetch;
    out->budget = bytes < e->opt.batch_bytes ? bytes : e->opt.batch_bytes;
    e->fetch_bytes = out->budget;
    return e->nfetch > 0;
}

static void deliver(struct ot_engine *e, uint32_t id, struct ot_rows *rows,
                    const struct ot_event *event)
{
    struct ot_entry *entry = ot_entry(e, id);
    entry->fetching = false;
    uint32_t item_id = ot_window_item(e, rows, event);
    struct ot_item *item = ot_item(e, item_id);
    ot_rows_ref(rows, 1);
    e->fetched++;
    item->held = id;
    item->attempts = entry->h.attempts;
    item->retried_us = entry->h.retried_us;
    item->first_error_us = entry->h.first_error_us;
    item->last_error_us = entry->h.last_error_us;
    item->maybe_duplicate = entry->h.maybe_duplicate;
    if (entry->h.state == OT_HELD_RETRYING && entry->h.last_error_us > 0 &&
        entry->h.next_us > entry->h.last_error_us)
        item->delay_us = entry->h.next_us - entry->h.last_error_us;
    item->careful = entry->h.state == OT_HELD_RETRYING || entry->probe;
    if (entry->h.topic == 0) /* of a replay, which began as a mere seq */
        entry->h.topic = ot_topic_of(e, item_id);
    entry->item = item_id;
    ot_held_loaded(e, id, true);
    if (event->filtered) {
        ot_held_remove(e, id);
        return;
    }
    if (entry->h.key == 0) {
        ot_ready_push(e, item_id);
        return;
    }
    uint32_t lane = ot_lane_of(e, entry->h.key);
    if (lane == OT_NIL)
        return;
    ot_lane_join(e, lane, item_id);
    /* It was alone, and its key became held while it was fetched. */
    if (entry->lane == OT_NIL && ot_lane(e, lane)->unloaded > 0)
        ot_drain_unload(e, item_id);
    ot_lane_go(e, lane);
}

/* Somebody deleted the row: nothing can be delivered, and nobody may think
 * that it was. */
static void missing(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    uint32_t lane = entry->lane;
    entry->fetching = false;
    ot_log(e->log, OT_ERROR, "engine",
           "held event %lld has no row in the log any more; it is dead now",
           (long long)entry->h.seq);
    ot_held_error(e, id, "the row of this event is not in the log any more");
    ot_held_set(e, id, OT_HELD_DEAD, false, 0);
    ot_held_save(e, id);
    e->stats.dead++;
    if (lane != OT_NIL)
        ot_lane_go(e, lane);
}

void ot_drain_fetched(struct ot_engine *e, const struct ot_reply *reply)
{
    struct ot_rows *rows = reply->fetch.rows;
    if (ot_window_room(e, rows->n) != 0) {
        e->nomem = true;
        ot_rows_unref(rows);
        return;
    }
    e->pinned += rows->n;
    e->pinned_bytes += rows->bytes;
    for (uint32_t i = 0; i < rows->n && !e->nomem; i++) {
        uint32_t id = ot_held_find(e, rows->events[i].seq);
        if (id != OT_NIL && ot_entry(e, id)->fetching)
            deliver(e, id, rows, &rows->events[i]);
    }
    /* From the end: what the budget cut keeps its place and its order. */
    for (size_t i = e->nfetch; i-- > 0 && !e->nomem;) {
        uint32_t id = ot_held_find(e, e->fetch_seqs[i]);
        if (id == OT_NIL || !ot_entry(e, id)->fetching)
            continue;
        if (i >= reply->fetch.n)
            enqueue_again(e, id);
        else
            missing(e, id);
    }
    e->nfetch = 0;
    if (rows->refs == 1) {
        e->pinned -= rows->n;
        e->pinned_bytes -= rows->bytes;
    }
    ot_rows_unref(rows);
}
