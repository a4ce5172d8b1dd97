/* window.c - events that were read and are not settled, in read order.
 *
 * Every item holds one reference to its batch, so that a batch stays pinned
 * until its last event is settled; limits count pinned batches. [INV-8] */
#include "engine/internal.h"

static int ring_room(struct ot_engine *e, uint64_t n)
{
    uint64_t want = e->tail - e->head + n;
    if (want <= e->ring_size)
        return 0;
    size_t size = e->ring_size == 0 ? 64 : e->ring_size;
    while (size < want)
        size *= 2;
    uint32_t *ring = ot_alloc(size * sizeof(*ring));
    if (ring == NULL)
        return OUTTRAY_E_NOMEM;
    for (uint64_t i = e->head; i < e->tail; i++)
        ring[i & (size - 1)] = e->ring[i & (e->ring_size - 1)];
    ot_free(e->ring);
    e->ring = ring;
    e->ring_size = size;
    return 0;
}

int ot_window_room(struct ot_engine *e, uint32_t n)
{
    size_t want = (size_t)e->in_memory + n;
    if (ring_room(e, n) != 0 || OT_GROW(e->items, e->items_size, want) != 0)
        return OUTTRAY_E_NOMEM;
    return 0;
}

size_t ot_window_bytes_left(const struct ot_engine *e, enum ot_reply_kind other)
{
    size_t used = e->pinned_bytes;
    if (e->asked[other].under_way)
        used += other == OT_REPLY_READ ? e->read_bytes : e->fetch_bytes;
    return used < e->opt.window_bytes ? e->opt.window_bytes - used : 0;
}

static inline struct ot_item *new_item(struct ot_engine *e,
                                       struct ot_rows *rows,
                                       const struct ot_event *event,
                                       uint32_t *new_id)
{
    uint32_t id = e->free_item;
    if (id != OT_NIL) {
        e->free_item = e->items[id].next;
        ot_prefetch_item(e, e->free_item);
    } else {
        id = (uint32_t)e->nitems++;
        e->items[id].gen = 0;
    }
    struct ot_item *item = ot_item(e, id);
    /* All but gen, member by member: as one value the compiler would clear the
     * item in a loop first, 16 of what were 57 instructions. */
    item->event = event;
    item->rows = rows;
    item->lsn = 0;
    item->ring = OT_NO_RING;
    item->lane = item->lane_prev = item->lane_next = OT_NIL;
    item->prev = item->next = OT_NIL;
    item->held = OT_NIL;
    item->late = item->careful = item->maybe_duplicate = item->orphan = false;
    item->at_us = item->delay_us = item->retried_us = 0;
    item->first_error_us = item->last_error_us = 0;
    item->topic = 0;
    item->attempts = item->unknowns = 0;
    item->order = ++e->order;
    e->in_memory++;
    *new_id = id;
    return item;
}

uint32_t ot_window_item(struct ot_engine *e, struct ot_rows *rows,
                        const struct ot_event *event)
{
    uint32_t id;
    new_item(e, rows, event, &id)->state = OT_ITEM_READY;
    return id;
}

void ot_window_append(struct ot_engine *e, struct ot_rows *rows,
                      const struct ot_event *event, uint64_t lsn, bool late)
{
    uint32_t id;
    struct ot_item *item = new_item(e, rows, event, &id);
    item->state = OT_ITEM_READ;
    item->lsn = lsn;
    item->ring = e->tail;
    e->ring[e->tail++ & (e->ring_size - 1)] = id;
    if (late) {
        item->late = true;
        e->late++;
        e->stats.late++;
    }
}

static inline void release(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    struct ot_rows *rows = item->rows;
    if (--rows->refs == 0) {
        e->pinned -= rows->n;
        e->pinned_bytes -= rows->bytes;
        rows->free(rows);
    }
    item->rows = NULL;
    item->event = NULL;
    item->state = OT_ITEM_FREE;
    item->next = e->free_item;
    e->free_item = id;
    e->in_memory--;
}

void ot_window_release(struct ot_engine *e, uint32_t id)
{
    release(e, id);
}

/* Out of the ring: settled, or held in the database. (inline: its call would
 * take a quarter as long as it does.) */
inline void ot_window_settle(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    if (item->ring != OT_NO_RING) {
        uint64_t mask = e->ring_size - 1, head = item->ring;
        e->ring[head & mask] = OT_NIL;
        if (head == e->head) {
            while (++head < e->tail && e->ring[head & mask] == OT_NIL)
                ;
            e->head = head;
            if (e->admit < head)
                e->admit = head;
        }
        if (item->late)
            e->late--;
        e->settled++;
        e->dirty = true;
    } else {
        e->fetched--;
    }
    release(e, id);
}

static void admit(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    item->state = OT_ITEM_READY;
    if (e->held + e->let_go.n > 0 && ot_held_knows(e, id))
        return;
    if (item->event->deliver_us != 0 &&
        item->event->deliver_us > ot_db_now(e)) {
        ot_held_keep(e, id, OT_HELD_SCHEDULED, false, item->event->deliver_us,
                     NULL);
        return;
    }
    uint64_t key = e->calm ? 0 : ot_lane_key(e, item->event);
    if (key == 0) {
        ot_ready_push(e, id);
        return;
    }
    uint32_t lane = ot_lane_of(e, key);
    if (lane == OT_NIL)
        return;
    if (ot_lane(e, lane)->unloaded > 0) {
        /* Its key is held: wait behind what is held. [INV-6] */
        item->lane = lane;
        ot_held_keep(e, id, OT_HELD_BLOCKED, false, 0, NULL);
    } else {
        ot_lane_admit(e, lane, id);
    }
}

/* Limits count what is pinned [INV-8], and what would be sent again after a
 * crash: a window at most, however long one event or one write takes. */
uint32_t ot_window_left(const struct ot_engine *e)
{
    uint64_t since = e->tail - e->written;
    uint64_t used = since > e->pinned ? since : e->pinned;
    return used < e->opt.window_events ? e->opt.window_events - (uint32_t)used
                                       : 0;
}

/* The window is full, and the oldest event in it waits for its next try or for
 * the limit of its topic: it may wait in the database as well. */
void ot_window_relieve(struct ot_engine *e)
{
    if (e->head == e->tail)
        return;
    uint32_t id = e->ring[e->head & (e->ring_size - 1)];
    const struct ot_item *item = ot_item(e, id);
    if (item->state == OT_ITEM_LIMITED && ot_capture_full(e))
        ot_limit_hold_all(e);
    if (e->tail - e->written < e->opt.window_events)
        return;
    if (item->state == OT_ITEM_BACKOFF && item->held == OT_NIL)
        ot_hold(e, id, OT_HELD_RETRYING, true,
                ot_db_now(e) + (item->at_us - e->now_us), NULL);
}

/* The durability barrier: only what is flushed may be published. [INV-2] */
void ot_window_admit(struct ot_engine *e)
{
    uint64_t before = e->admit;
    if (e->by_key.n == 0)
        e->calm = ot_pipelined(e);
    const uint32_t *ring = e->ring; /* nothing is added to it meanwhile */
    uint64_t mask = e->ring_size - 1;
    while (e->admit < e->tail && !e->nomem) {
        uint32_t id = ring[e->admit & mask];
        if (id != OT_NIL && ot_item(e, id)->lsn > e->flush_lsn)
            break;
        e->admit++;
        if (id != OT_NIL)
            admit(e, id);
    }
    if (e->admit != before)
        e->barrier_us = e->now_us;
    if (e->gaps_unread && e->admit >= e->unread_place)
        ot_held_gaps_read(e);
}

/* Whatever is in the sink stays there, in order; only its completion is
 * waited for. All else is read again. */
void ot_window_forget(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nitems; i++) {
        struct ot_item *item = &e->items[i];
        if (item->state == OT_ITEM_FREE || item->orphan)
            continue;
        item->lane = item->held = OT_NIL;
        item->ring = OT_NO_RING;
        if (item->state == OT_ITEM_FLIGHT) {
            item->orphan = true;
            e->orphans++;
        } else {
            ot_window_release(e, (uint32_t)i);
        }
    }
    e->head = e->admit = e->written = e->writing = e->tail;
    e->ready.first = e->ready.last = OT_NIL;
    e->backoff.n = 0;
    e->late = e->settled = e->fetched = 0;
    e->nsuspects = 0;
    e->noffered = 0;
    e->bisecting = false;
    ot_limit_forget_items(e);
}
