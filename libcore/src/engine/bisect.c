/* bisect.c - a batch was rejected as a whole: which event is to blame?
 *
 * The suspects are sent again with nothing beside them, in halves, until one
 * stands alone. Innocents lose no attempt. */
#include "engine/internal.h"

void ot_bisect_suspect(struct ot_engine *e, uint32_t id)
{
    if (OT_GROW(e->suspects, e->suspects_size, e->nsuspects + 1) != 0) {
        e->nomem = true;
        return;
    }
    ot_item(e, id)->state = OT_ITEM_SUSPECT;
    e->suspects[e->nsuspects++] = id;
    e->bisect_hit = true;
}

/* Was the rejected event alone? */
bool ot_bisect_blames(const struct ot_engine *e)
{
    return e->bisecting && e->bisect == 1;
}

static bool is_suspect(const struct ot_engine *e, uint32_t id)
{
    return e->items[id].state == OT_ITEM_SUSPECT;
}

static void sort(struct ot_engine *e)
{
    for (size_t i = 1; i < e->nsuspects; i++) {
        uint32_t id = e->suspects[i];
        size_t k = i;
        for (; k > 0 &&
               ot_item(e, e->suspects[k - 1])->order > ot_item(e, id)->order;
             k--)
            e->suspects[k] = e->suspects[k - 1];
        e->suspects[k] = id;
    }
}

/* Drop those that were settled or held meanwhile; put the rest in order, each
 * once (one that was rejected again is listed again). */
static void tidy(struct ot_engine *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->nsuspects; i++)
        if (is_suspect(e, e->suspects[i]))
            e->suspects[n++] = e->suspects[i];
    e->nsuspects = n;
    sort(e);
    n = 0;
    for (size_t i = 0; i < e->nsuspects; i++)
        if (n == 0 || e->suspects[n - 1] != e->suspects[i])
            e->suspects[n++] = e->suspects[i];
    e->nsuspects = n;
}

/* In its lane only what is offered now may stand before it. */
static bool may_go(struct ot_engine *e, uint32_t id)
{
    const struct ot_item *item = ot_item(e, id);
    if (item->lane == OT_NIL || item->lane_prev == OT_NIL)
        return true;
    return ot_pipelined(e) &&
           ot_item(e, item->lane_prev)->state == OT_ITEM_OFFERED;
}

static void acquit(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    item->state = OT_ITEM_READY;
    if (item->lane == OT_NIL)
        ot_ready_push(e, id);
    else
        ot_lane_go(e, item->lane);
}

/* Chooses the next suspects into offered; returns how many. */
uint32_t ot_bisect_offer(struct ot_engine *e, uint32_t room)
{
    tidy(e);
    if (!e->bisecting)
        e->bisect = (uint32_t)e->nsuspects;
    if (!e->bisect_hit)
        e->bisect *= 2;
    else if (e->bisect > 1)
        e->bisect /= 2;
    e->bisecting = e->nsuspects > 0;
    e->bisect_hit = false;
    if (e->bisect > room)
        e->bisect = room;
    struct ot_limiter limiter = e->limiter;
    uint32_t n = 0;
    for (size_t i = 0; i < e->nsuspects && n < e->bisect; i++) {
        uint32_t id = e->suspects[i];
        if (!may_go(e, id))
            continue;
        struct ot_item *item = ot_item(e, id);
        if (n > 0 && ot_limiter_at(&limiter) > e->now_us) {
            e->bisect = n;
            break;
        }
        ot_limiter_take(&limiter, ot_event_bytes(item->event), e->now_us);
        item->state = OT_ITEM_OFFERED;
        if (item->lane != OT_NIL)
            ot_lane(e, item->lane)->out++;
        e->offered[n++] = id;
    }
    if (n == 0) {
        /* All wait behind others of their key: let the lanes decide. */
        for (size_t i = 0; i < e->nsuspects; i++)
            acquit(e, e->suspects[i]);
        e->nsuspects = 0;
        e->bisecting = false;
    }
    return n;
}

void ot_bisect_done(struct ot_engine *e)
{
    tidy(e);
    if (e->nsuspects > 0)
        return;
    e->bisecting = false;
    e->bisect_hit = false;
}
