/* lane.c - one lane per key that has something in memory or held.
 *
 * In a lane, items stand in read order. Those that are out (queued, offered,
 * in flight) are a prefix: an ordered sink gets them pipelined, any other one
 * by one. When one comes back without success, those behind it that did not
 * leave yet are called back, and nothing is sent until the last of those that
 * did has come back; then the lane starts again from its front. [INV-3]
 *
 * While nothing has come back and no key is held, every event that was admitted
 * to an ordered sink is out, those of each key in read order: the window says
 * all that lanes would say. So in this calm there are none, which saves a
 * sixth of the instructions of an event. The first that needs a lane ends the
 * calm and has them all made; it returns when the last lane is free. */
#include "engine/internal.h"

uint64_t ot_lane_key(const struct ot_engine *e, const struct ot_event *event)
{
    if (event->key.p == NULL || e->opt.ordering == OT_ORDER_NONE)
        return 0;
    uint64_t key = ot_hash(event->key);
    return key != 0 ? key : 1;
}

static uint32_t lane_new(struct ot_engine *e, uint64_t key)
{
    uint32_t id = e->free_lane;
    if (id == OT_NIL) {
        if (OT_GROW(e->lanes, e->lanes_size, e->nlanes + 1) != 0) {
            e->nomem = true;
            return OT_NIL;
        }
        id = (uint32_t)e->nlanes;
    }
    if (ot_index_put(&e->by_key, key, id) != 0) {
        e->nomem = true;
        return OT_NIL;
    }
    if (id == e->nlanes)
        e->nlanes++;
    else
        e->free_lane = e->lanes[id].next;
    e->lanes[id] = (struct ot_lane){.key = key,
                                    .used = true,
                                    .first = OT_NIL,
                                    .last = OT_NIL,
                                    .next = OT_NIL,
                                    .held_first = OT_NIL,
                                    .held_last = OT_NIL};
    return id;
}

uint32_t ot_lane_of(struct ot_engine *e, uint64_t key)
{
    ot_lane_all(e);
    uint32_t id = ot_index_find(&e->by_key, key);
    return id != OT_NIL ? id : lane_new(e, key);
}

static void lane_free(struct ot_engine *e, uint32_t id)
{
    ot_index_del(&e->by_key, e->lanes[id].key);
    e->lanes[id].used = false;
    e->lanes[id].next = e->free_lane;
    e->free_lane = id;
}

void ot_lane_forget(struct ot_engine *e)
{
    e->nlanes = 0;
    e->free_lane = OT_NIL;
    ot_index_clear(&e->by_key);
}

/* --- the ready queue ------------------------------------------------------ */

void ot_ready_push(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    item->state = OT_ITEM_QUEUED;
    item->next = OT_NIL;
    item->prev = e->ready.last;
    if (e->ready.last == OT_NIL)
        e->ready.first = id;
    else
        ot_item(e, e->ready.last)->next = id;
    e->ready.last = id;
}

void ot_ready_push_first(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    item->state = OT_ITEM_QUEUED;
    item->prev = OT_NIL;
    item->next = e->ready.first;
    if (e->ready.first == OT_NIL)
        e->ready.last = id;
    else
        ot_item(e, e->ready.first)->prev = id;
    e->ready.first = id;
}

void ot_ready_remove(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    if (item->prev == OT_NIL)
        e->ready.first = item->next;
    else
        ot_item(e, item->prev)->next = item->next;
    if (item->next == OT_NIL)
        e->ready.last = item->prev;
    else
        ot_item(e, item->next)->prev = item->prev;
    item->prev = item->next = OT_NIL;
}

/* --- items in a lane ------------------------------------------------------ */

void ot_lane_join(struct ot_engine *e, uint32_t id, uint32_t item_id)
{
    struct ot_lane *lane = ot_lane(e, id);
    struct ot_item *item = ot_item(e, item_id);
    item->lane = id;
    item->lane_next = OT_NIL;
    item->lane_prev = lane->last;
    if (lane->last == OT_NIL)
        lane->first = item_id;
    else
        ot_item(e, lane->last)->lane_next = item_id;
    lane->last = item_id;
    if (lane->next == OT_NIL)
        lane->next = item_id;
}

static void less_out(struct ot_lane *lane)
{
    if (--lane->out == 0)
        lane->alone = false;
}

static bool is_queued(const struct ot_item *item)
{
    return item->state == OT_ITEM_QUEUED || item->state == OT_ITEM_LIMITED;
}

static bool is_out(const struct ot_item *item)
{
    return is_queued(item) || item->state == OT_ITEM_OFFERED ||
           item->state == OT_ITEM_FLIGHT;
}

void ot_lane_all(struct ot_engine *e)
{
    if (!e->calm)
        return;
    e->calm = false;
    for (uint64_t i = e->head; i < e->admit && !e->nomem; i++) {
        uint32_t item_id = e->ring[i & (e->ring_size - 1)];
        if (item_id == OT_NIL || !is_out(ot_item(e, item_id)))
            continue;
        uint64_t key = ot_lane_key(e, ot_item(e, item_id)->event);
        uint32_t id = key != 0 ? ot_lane_of(e, key) : OT_NIL;
        if (id == OT_NIL)
            continue;
        ot_lane_join(e, id, item_id);
        ot_lane(e, id)->next = OT_NIL;
        ot_lane(e, id)->out++;
    }
}

static void unqueue(struct ot_engine *e, uint32_t item_id)
{
    if (ot_item(e, item_id)->state == OT_ITEM_LIMITED)
        ot_limit_leave(e, item_id);
    else
        ot_ready_remove(e, item_id);
}

static void unlink_item(struct ot_engine *e, struct ot_lane *lane,
                        uint32_t item_id)
{
    struct ot_item *item = ot_item(e, item_id);
    bool linked = item->lane_prev != OT_NIL || lane->first == item_id;
    if (!linked)
        return;
    if (lane->next == item_id)
        lane->next = item->lane_next;
    if (item->lane_prev == OT_NIL)
        lane->first = item->lane_next;
    else
        ot_item(e, item->lane_prev)->lane_next = item->lane_next;
    if (item->lane_next == OT_NIL)
        lane->last = item->lane_prev;
    else
        ot_item(e, item->lane_next)->lane_prev = item->lane_prev;
    item->lane_prev = item->lane_next = OT_NIL;
}

/* item->lane stays: an item that leaves to be held still belongs to its key.
 */
void ot_lane_leave(struct ot_engine *e, uint32_t item_id)
{
    struct ot_item *item = ot_item(e, item_id);
    if (is_queued(item)) {
        unqueue(e, item_id);
        if (item->lane != OT_NIL)
            less_out(ot_lane(e, item->lane));
    }
    if (item->lane != OT_NIL)
        unlink_item(e, ot_lane(e, item->lane), item_id);
}

void ot_lane_done(struct ot_engine *e, uint32_t item_id)
{
    struct ot_lane *lane = ot_lane(e, ot_item(e, item_id)->lane);
    less_out(lane);
    unlink_item(e, lane, item_id);
}

void ot_lane_back(struct ot_engine *e, uint32_t item_id)
{
    struct ot_item *item = ot_item(e, item_id);
    item->state = OT_ITEM_READY;
    if (item->lane != OT_NIL)
        less_out(ot_lane(e, item->lane));
}

static void call_back(struct ot_engine *e, struct ot_lane *lane, uint32_t from)
{
    for (uint32_t i = from; i != OT_NIL; i = ot_item(e, i)->lane_next) {
        struct ot_item *item = ot_item(e, i);
        if (is_queued(item)) {
            unqueue(e, i);
            item->state = OT_ITEM_READY;
            less_out(lane);
        }
    }
}

/* Call back what is queued, let what is in flight come home. */
void ot_lane_trouble(struct ot_engine *e, uint32_t id)
{
    struct ot_lane *lane = ot_lane(e, id);
    lane->draining = true;
    call_back(e, lane, lane->first);
}

/* The item waits for its topic, and those behind it for the item. */
void ot_lane_limited(struct ot_engine *e, uint32_t item_id)
{
    const struct ot_item *item = ot_item(e, item_id);
    ot_lane_all(e);
    if (item->lane == OT_NIL)
        return;
    struct ot_lane *lane = ot_lane(e, item->lane);
    call_back(e, lane, item->lane_next);
    lane->next = item->lane_next;
    lane->limited = true;
}

/* It was offered and goes back: one behind it that waits for its topic may not
 * go before it when its time has come, and asks again. */
void ot_lane_untaken(struct ot_engine *e, uint32_t item_id)
{
    const struct ot_item *item = ot_item(e, item_id);
    if (!ot_lane(e, item->lane)->limited)
        return;
    uint32_t id = item->lane_next;
    while (ot_item(e, id)->state != OT_ITEM_LIMITED)
        id = ot_item(e, id)->lane_next;
    ot_limit_leave(e, id);
    ot_ready_push_first(e, id);
}

static void pump(struct ot_engine *e, struct ot_lane *lane)
{
    if (lane->draining) {
        if (lane->out > 0)
            return;
        lane->draining = false;
        lane->next = lane->first;
    }
    if (lane->limited)
        return;
    while (lane->next != OT_NIL) {
        struct ot_item *item = ot_item(e, lane->next);
        if (item->state != OT_ITEM_READY)
            return;
        if (lane->out > 0 && (lane->alone || item->careful || !ot_pipelined(e)))
            return;
        uint32_t id = lane->next;
        lane->next = item->lane_next;
        lane->alone = item->careful;
        lane->out++;
        ot_ready_push(e, id);
    }
}

/* Send what may go; when nothing is in memory, see what is held. */
void ot_lane_go(struct ot_engine *e, uint32_t id)
{
    struct ot_lane *lane = ot_lane(e, id);
    if (!lane->used)
        return;
    pump(e, lane);
    if (lane->first != OT_NIL)
        return;
    if (lane->held_first == OT_NIL)
        lane_free(e, id);
    else
        ot_drain_lane(e, id);
}

void ot_lane_admit(struct ot_engine *e, uint32_t id, uint32_t item_id)
{
    struct ot_lane *lane = ot_lane(e, id);
    bool follows = lane->next == OT_NIL && !lane->draining && !lane->limited &&
                   (lane->out == 0 || (ot_pipelined(e) && !lane->alone));
    ot_lane_join(e, id, item_id);
    if (!follows) {
        ot_lane_go(e, id);
        return;
    }
    lane->next = OT_NIL;
    lane->alone = false;
    lane->out++;
    ot_ready_push(e, item_id);
}

/* The key is held from here on: what is in memory and not in flight waits
 * behind what is held. [INV-6] */
void ot_lane_close(struct ot_engine *e, uint32_t id)
{
    struct ot_lane *lane = ot_lane(e, id);
    for (uint32_t i = lane->held_first; i != OT_NIL;
         i = ot_entry(e, i)->lane_next)
        ot_drain_unqueue(e, i);
    uint32_t next;
    for (uint32_t i = lane->first; i != OT_NIL; i = next) {
        struct ot_item *item = ot_item(e, i);
        next = item->lane_next;
        if (item->state == OT_ITEM_FLIGHT || item->state == OT_ITEM_OFFERED)
            continue;
        if (item->held != OT_NIL)
            ot_drain_unload(e, i);
        else if (item->state == OT_ITEM_BACKOFF && item->attempts > 0)
            ot_held_keep(e, i, OT_HELD_RETRYING, true,
                         ot_db_now(e) + (item->at_us - e->now_us), NULL);
        else
            ot_held_keep(e, i, OT_HELD_BLOCKED, false, 0, NULL);
    }
}
