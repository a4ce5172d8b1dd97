/* limit.c - topics that are at their limit: their events wait, those of other
 * topics go on.
 *
 * An event that may go soon waits in memory, out of the way of the ready queue;
 * those behind it in its lane wait with it, and lanes treat it as queued. One
 * that would wait long, or that keeps the window from moving, is held; of what
 * is held no more is fetched than the limit lets go. */
#include "engine/internal.h"

#include <stdio.h>

#define RELEASE_US INT64_C(500000) /* so much of the limit is fetched ahead */
#define SECOND_US  INT64_C(1000000)

static const struct ot_completion held_by_limit = {.reason = OT_LIMIT_REASON};

/* --- which they are --------------------------------------------------------- */

static struct ot_limit *find(const struct ot_engine *e, uint64_t hash)
{
    uint32_t i = e->nlimits > 0 ? ot_index_find(&e->by_topic, hash) : OT_NIL;
    return i != OT_NIL ? &e->limits[i] : NULL;
}

static struct ot_limit *of_item(struct ot_engine *e, uint32_t id)
{
    return e->nlimits > 0 ? find(e, ot_topic_of(e, id)) : NULL;
}

static struct ot_limit *add(struct ot_engine *e, struct ot_slice topic)
{
    uint64_t hash = ot_hash(topic);
    if (OT_GROW(e->limits, e->limits_size, e->nlimits + 1) != 0 ||
        ot_index_put(&e->by_topic, hash, (uint32_t)e->nlimits) != 0)
        return NULL;
    struct ot_limit *limit = &e->limits[e->nlimits++];
    *limit = (struct ot_limit){.hash = hash, .waiting = {OT_NIL, OT_NIL}};
    snprintf(limit->name, sizeof(limit->name), "%.*s",
             topic.n < sizeof(limit->name) ? (int)topic.n
                                           : (int)sizeof(limit->name) - 1,
             topic.p);
    return limit;
}

int ot_limit_prepare(struct ot_engine *e)
{
    for (uint32_t i = 0; i < e->opt.ntopic_limits; i++) {
        const struct ot_topic_limit *own = &e->opt.topic_limits[i];
        struct ot_limit *limit = find(e, ot_hash(own->topic));
        if (limit == NULL && (limit = add(e, own->topic)) == NULL)
            return OUTTRAY_E_NOMEM;
        limit->limiter.events_per_s = own->events_per_s;
        limit->limiter.bytes_per_s = own->bytes_per_s;
    }
    return 0;
}

void ot_limit_free(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nlimits; i++)
        ot_free(e->limits[i].held.v);
    ot_free(e->by_topic.cells);
    ot_free(e->limits);
}

/* A pause that a broker asked for is over, and nobody waits. */
static bool is_over(const struct ot_engine *e, const struct ot_limit *limit)
{
    return !ot_limiter_limits(&limit->limiter) &&
           limit->limiter.not_before_us <= e->now_us && limit->nwaiting == 0 &&
           limit->held.n == 0 && limit->released == 0;
}

static void drop(struct ot_engine *e, size_t i)
{
    struct ot_limit *limit = &e->limits[i], *last = &e->limits[--e->nlimits];
    ot_free(limit->held.v);
    ot_index_del(&e->by_topic, limit->hash);
    if (last == limit)
        return;
    *limit = *last;
    ot_index_del(&e->by_topic, limit->hash);
    if (ot_index_put(&e->by_topic, limit->hash, (uint32_t)i) != 0)
        e->nomem = true;
}

void ot_limit_push(struct ot_engine *e, uint32_t id, int64_t until_us)
{
    struct ot_limit *limit = find(e, ot_topic_of(e, id));
    if (limit == NULL) {
        limit = add(e, ot_item(e, id)->event->topic);
        if (limit == NULL) {
            e->nomem = true;
            return;
        }
        for (size_t i = 0; i < e->nentries; i++)
            if (e->entries[i].used && e->entries[i].h.topic == limit->hash &&
                e->entries[i].h.state == OT_HELD_WAITING)
                ot_limit_list(e, (uint32_t)i);
    }
    ot_limiter_push(&limit->limiter, until_us);
}

/* --- in memory --------------------------------------------------------------- */

static void wait_for(struct ot_engine *e, struct ot_limit *limit, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    ot_ready_remove(e, id);
    item->state = OT_ITEM_LIMITED;
    item->next = OT_NIL;
    item->prev = limit->waiting.last;
    if (limit->waiting.last == OT_NIL)
        limit->waiting.first = id;
    else
        ot_item(e, limit->waiting.last)->next = id;
    limit->waiting.last = id;
    limit->nwaiting++;
    limit->waiting_bytes += (int64_t)ot_event_bytes(item->event);
    ot_lane_limited(e, id);
}

void ot_limit_leave(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    /* Who waits for a limit has one. */
    uint32_t i = ot_index_find(&e->by_topic, ot_topic_of(e, id));
    struct ot_limit *limit = &e->limits[i];
    if (item->prev == OT_NIL)
        limit->waiting.first = item->next;
    else
        ot_item(e, item->prev)->next = item->next;
    if (item->next == OT_NIL)
        limit->waiting.last = item->prev;
    else
        ot_item(e, item->next)->prev = item->prev;
    item->prev = item->next = OT_NIL;
    limit->nwaiting--;
    limit->waiting_bytes -= (int64_t)ot_event_bytes(item->event);
    if (item->lane != OT_NIL)
        ot_lane(e, item->lane)->limited = false;
}

static int64_t turn_us(int64_t amount, int64_t per_s)
{
    return per_s > 0 ? amount * SECOND_US / per_s : 0;
}

/* Behind those that wait already. */
static int64_t wait_us(const struct ot_engine *e, const struct ot_limit *limit)
{
    int64_t events_us = turn_us(limit->nwaiting, limit->limiter.events_per_s);
    int64_t bytes_us =
        turn_us(limit->waiting_bytes, limit->limiter.bytes_per_s);
    return ot_limiter_at(&limit->plan) - e->now_us +
           (events_us > bytes_us ? events_us : bytes_us);
}

/* Those that wait in the database, and are not on their way, come before what
 * is read after them. */
static bool older_are_held(struct ot_engine *e, struct ot_limit *limit)
{
    while (limit->held.n > 0) {
        struct ot_due oldest = limit->held.v[0];
        if (oldest.id < e->nentries && ot_entry(e, oldest.id)->used &&
            ot_entry(e, oldest.id)->listed &&
            ot_entry(e, oldest.id)->h.seq == oldest.at_us)
            return true;
        (void)ot_heap_pop(&limit->held, OT_NEVER, &oldest);
    }
    return false;
}

static bool fits_the_window(const struct ot_engine *e,
                            const struct ot_item *item)
{
    return item->ring == OT_NO_RING ||
           (e->tail - item->ring < e->opt.window_events / 2 &&
            e->pinned_bytes < e->opt.window_bytes / 2);
}

bool ot_limit_stops(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    struct ot_limit *limit = of_item(e, id);
    if (limit == NULL)
        return false;
    bool behind = item->state != OT_ITEM_LIMITED && item->ring != OT_NO_RING &&
                  older_are_held(e, limit);
    if (!behind && ot_limiter_at(&limit->plan) <= e->now_us) {
        ot_limiter_take(&limit->plan, ot_event_bytes(item->event), e->now_us);
        return false;
    }
    if (behind || wait_us(e, limit) > OT_IN_MEMORY || !fits_the_window(e, item))
        ot_hold(e, id, OT_HELD_WAITING, true, 0, &held_by_limit);
    else
        wait_for(e, limit, id);
    return true;
}

void ot_limit_plan(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nlimits; i++)
        e->limits[i].plan = e->limits[i].limiter;
}

uint32_t ot_limit_first(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nlimits; i++)
        if (e->limits[i].nwaiting > 0 &&
            ot_limiter_at(&e->limits[i].plan) <= e->now_us)
            return e->limits[i].waiting.first;
    return OT_NIL;
}

int64_t ot_limit_next_item(const struct ot_engine *e)
{
    int64_t at_us = OT_NEVER;
    for (size_t i = 0; i < e->nlimits; i++)
        if (e->limits[i].nwaiting > 0 &&
            ot_limiter_at(&e->limits[i].limiter) < at_us)
            at_us = ot_limiter_at(&e->limits[i].limiter);
    return at_us;
}

bool ot_limit_ready(const struct ot_engine *e)
{
    return e->nlimits > 0 && ot_limit_next_item(e) <= e->now_us;
}

void ot_limit_hold_all(struct ot_engine *e)
{
    for (size_t i = 0; e->nlimits > 0 && i < e->nitems && !e->nomem; i++) {
        const struct ot_item *item = &e->items[i];
        if (item->state == OT_ITEM_LIMITED && item->ring != OT_NO_RING)
            ot_hold(e, (uint32_t)i, OT_HELD_WAITING, true, 0, &held_by_limit);
    }
}

void ot_limit_forget_items(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nlimits; i++) {
        e->limits[i].waiting.first = e->limits[i].waiting.last = OT_NIL;
        e->limits[i].nwaiting = 0;
        e->limits[i].waiting_bytes = 0;
    }
}

/* --- held ---------------------------------------------------------------------- */

static void release(struct ot_limit *limit, struct ot_entry *entry)
{
    if (!entry->released)
        limit->released++;
    entry->released = true;
}

static void take_back(struct ot_engine *e, struct ot_entry *entry)
{
    if (!entry->released)
        return;
    struct ot_limit *limit = find(e, entry->h.topic);
    entry->released = false;
    if (limit != NULL)
        limit->released--;
}

void ot_limit_list(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    struct ot_limit *limit = find(e, entry->h.topic);
    if (limit == NULL || entry->listed || entry->released)
        return;
    if (ot_heap_push(&limit->held, entry->h.seq, id) != 0)
        e->nomem = true;
    else
        entry->listed = true;
}

void ot_limit_unlist(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    take_back(e, entry);
    entry->listed = false;
}

/* It does not go after all. */
void ot_limit_return(struct ot_engine *e, uint32_t id)
{
    take_back(e, ot_entry(e, id));
    if (ot_entry(e, id)->h.state == OT_HELD_WAITING)
        ot_limit_list(e, id);
}

bool ot_limit_holds(const struct ot_engine *e, const struct ot_entry *entry)
{
    return !entry->released && find(e, entry->h.topic) != NULL;
}

/* How many events at once, so that they go within RELEASE_US. */
static uint32_t portion(const struct ot_engine *e, const struct ot_limit *limit)
{
    const struct ot_limiter *l = &limit->limiter;
    int64_t most = e->fetch_max / 4, n;
    n = l->events_per_s * RELEASE_US / SECOND_US;
    if (l->events_per_s > 0 && n < most)
        most = n;
    n = limit->mean_bytes > 0
            ? l->bytes_per_s / limit->mean_bytes * RELEASE_US / SECOND_US
            : 1;
    if (l->bytes_per_s > 0 && n < most)
        most = n;
    return most > 1 ? (uint32_t)most : 1;
}

static bool has_room(const struct ot_engine *e, const struct ot_limit *limit)
{
    if (ot_topic_blocked(e, limit->hash)) /* the probe goes alone */
        return false;
    return limit->released + limit->nwaiting < portion(e, limit);
}

/* Those that waited for their key come in portions, too. */
bool ot_limit_follows(struct ot_engine *e, uint32_t id)
{
    struct ot_limit *limit = find(e, ot_entry(e, id)->h.topic);
    if (limit == NULL)
        return true;
    if (!has_room(e, limit))
        return false;
    release(limit, ot_entry(e, id));
    return true;
}

static void release_oldest(struct ot_engine *e, struct ot_limit *limit)
{
    struct ot_due due;
    (void)ot_heap_pop(&limit->held, OT_NEVER, &due);
    struct ot_entry *entry = ot_entry(e, due.id);
    entry->listed = false;
    if (entry->lane != OT_NIL &&
        ot_lane(e, entry->lane)->held_first != due.id) {
        /* Its key is held by an earlier one: it goes behind that. */
        ot_held_set(e, due.id, OT_HELD_BLOCKED, false, 0);
        ot_held_save(e, due.id);
        return;
    }
    release(limit, entry);
    if (entry->item == OT_NIL)
        ot_drain_ready(e, due.id);
    /* else: not written yet; ot_save_told looks at it again */
}

void ot_limit_due(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nlimits && !e->nomem;) {
        struct ot_limit *limit = &e->limits[i];
        while (ot_limiter_at(&limit->limiter) <= e->now_us &&
               has_room(e, limit) && older_are_held(e, limit) && !e->nomem)
            release_oldest(e, limit);
        if (is_over(e, limit))
            drop(e, i);
        else
            i++;
    }
}

int64_t ot_limit_next_entry(const struct ot_engine *e)
{
    int64_t at_us = OT_NEVER;
    for (size_t i = 0; i < e->nlimits; i++) {
        const struct ot_limit *limit = &e->limits[i];
        if (limit->held.n > 0 && has_room(e, limit) &&
            ot_limiter_at(&limit->limiter) < at_us)
            at_us = ot_limiter_at(&limit->limiter);
    }
    return at_us;
}

void ot_limit_forget_held(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nlimits; i++) {
        e->limits[i].held.n = 0;
        e->limits[i].released = 0;
    }
}

/* --- sent ---------------------------------------------------------------------- */

void ot_limit_take(struct ot_engine *e, uint32_t id)
{
    struct ot_item *item = ot_item(e, id);
    struct ot_limit *limit = of_item(e, id);
    if (limit == NULL)
        return;
    int64_t bytes = (int64_t)ot_event_bytes(item->event);
    ot_limiter_take(&limit->limiter, (size_t)bytes, e->now_us);
    limit->mean_bytes +=
        limit->mean_bytes == 0 ? bytes : (bytes - limit->mean_bytes) / 8;
    if (item->held != OT_NIL)
        take_back(e, ot_entry(e, item->held));
}

/* --- for people ---------------------------------------------------------------- */

bool ot_limit_stall(const struct ot_engine *e, int64_t now_us, char *detail,
                    size_t size)
{
    const struct ot_limit *next = NULL;
    for (size_t i = 0; i < e->nlimits; i++) {
        const struct ot_limit *limit = &e->limits[i];
        if ((limit->nwaiting > 0 || limit->held.n > 0) &&
            ot_limiter_at(&limit->limiter) > now_us &&
            (next == NULL ||
             ot_limiter_at(&limit->limiter) < ot_limiter_at(&next->limiter)))
            next = limit;
    }
    if (next == NULL)
        return false;
    char left[32];
    int64_t at_us = ot_limiter_at(&next->limiter);
    bool own = at_us > next->limiter.not_before_us;
    snprintf(detail, size, "%s lets the next event of topic %s go in %s",
             own ? "the rate limit" : "the broker", next->name,
             ot_duration_text(at_us - now_us, left));
    return true;
}
