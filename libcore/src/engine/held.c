/* held.c - events taken out of the stream, and the keys they hold.
 *
 * Entries that hold their key, and those that wait behind one, are linked in
 * the lane of the key, by seq. A change of an entry is in memory at once and
 * in the database with the next write; until then its event stays pinned. */
#include "engine/internal.h"

#define ERROR_TEXT 500 /* bytes of an error that are kept */

uint32_t ot_held_find(const struct ot_engine *e, int64_t seq)
{
    return ot_index_find(&e->by_seq, (uint64_t)seq);
}

static uint32_t entry_new(struct ot_engine *e, int64_t seq)
{
    uint32_t id = e->free_entry;
    if (id == OT_NIL) {
        if (OT_GROW(e->entries, e->entries_size, e->nentries + 1) != 0) {
            e->nomem = true;
            return OT_NIL;
        }
        id = (uint32_t)e->nentries;
    }
    if (ot_index_put(&e->by_seq, (uint64_t)seq, id) != 0) {
        e->nomem = true;
        return OT_NIL;
    }
    if (id == e->nentries)
        e->nentries++;
    else
        e->free_entry = e->entries[id].next;
    e->entries[id] = (struct ot_entry){.h.seq = seq,
                                       .item = OT_NIL,
                                       .lane = OT_NIL,
                                       .lane_prev = OT_NIL,
                                       .lane_next = OT_NIL,
                                       .prev = OT_NIL,
                                       .next = OT_NIL,
                                       .used = true};
    e->held++;
    return id;
}

static void drop_error(struct ot_entry *entry)
{
    ot_free((char *)entry->h.error);
    entry->h.error = NULL;
}

void ot_held_error(struct ot_engine *e, uint32_t id, const char *text)
{
    struct ot_entry *entry = ot_entry(e, id);
    drop_error(entry);
    if (text == NULL)
        return;
    size_t n = strlen(text);
    char *copy = ot_strndup(text, n < ERROR_TEXT ? n : ERROR_TEXT);
    if (copy != NULL) /* without it if there is no memory */
        ot_utf8_mend(copy, n > ERROR_TEXT);
    entry->h.error = copy;
}

/* --- in the lane ---------------------------------------------------------- */

/* Before all of higher seq, wherever one of lower seq was put at the end. */
static uint32_t place(const struct ot_engine *e, const struct ot_lane *lane,
                      int64_t seq)
{
    uint32_t after = lane->held_last;
    for (uint32_t i = lane->held_last; i != OT_NIL;
         i = e->entries[i].lane_prev) {
        if (e->entries[i].at_end && e->entries[i].h.seq < seq)
            continue;
        if (e->entries[i].h.seq < seq)
            break;
        after = e->entries[i].lane_prev;
    }
    return after;
}

void ot_held_link(struct ot_engine *e, uint32_t id, bool at_end)
{
    struct ot_entry *entry = ot_entry(e, id);
    uint32_t lane_id = ot_lane_of(e, entry->h.key);
    if (lane_id == OT_NIL)
        return;
    struct ot_lane *lane = ot_lane(e, lane_id);
    uint32_t after = at_end ? lane->held_last : place(e, lane, entry->h.seq);
    uint32_t before =
        after == OT_NIL ? lane->held_first : ot_entry(e, after)->lane_next;
    entry->at_end = at_end;
    entry->lane = lane_id;
    entry->lane_prev = after;
    entry->lane_next = before;
    if (after == OT_NIL)
        lane->held_first = id;
    else
        ot_entry(e, after)->lane_next = id;
    if (before == OT_NIL)
        lane->held_last = id;
    else
        ot_entry(e, before)->lane_prev = id;
    if (!entry->loaded)
        lane->unloaded++;
}

void ot_held_unlink(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->lane == OT_NIL)
        return;
    struct ot_lane *lane = ot_lane(e, entry->lane);
    if (entry->lane_prev == OT_NIL)
        lane->held_first = entry->lane_next;
    else
        ot_entry(e, entry->lane_prev)->lane_next = entry->lane_next;
    if (entry->lane_next == OT_NIL)
        lane->held_last = entry->lane_prev;
    else
        ot_entry(e, entry->lane_next)->lane_prev = entry->lane_prev;
    if (!entry->loaded)
        lane->unloaded--;
    entry->lane = entry->lane_prev = entry->lane_next = OT_NIL;
}

void ot_held_loaded(struct ot_engine *e, uint32_t id, bool loaded)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->loaded == loaded)
        return;
    entry->loaded = loaded;
    if (entry->lane == OT_NIL)
        return;
    if (loaded)
        ot_lane(e, entry->lane)->unloaded--;
    else
        ot_lane(e, entry->lane)->unloaded++;
}

/* --- states --------------------------------------------------------------- */

void ot_held_set(struct ot_engine *e, uint32_t id, enum ot_held_state state,
                 bool holds_key, int64_t next_us)
{
    struct ot_entry *entry = ot_entry(e, id);
    ot_limit_unlist(e, id);
    entry->h.state = state;
    entry->h.holds_key = holds_key && entry->h.key != 0;
    entry->h.next_us = next_us;
    entry->due = false;
    entry->probe = false;
    bool waits = entry->h.key != 0 && (holds_key || state == OT_HELD_BLOCKED);
    if (waits && entry->lane == OT_NIL)
        ot_held_link(e, id, false);
    else if (!waits)
        ot_held_unlink(e, id);
    if ((state == OT_HELD_RETRYING || state == OT_HELD_SCHEDULED) &&
        ot_heap_push(&e->held_due, next_us, id) != 0)
        e->nomem = true;
    if (state == OT_HELD_WAITING)
        ot_limit_list(e, id);
}

void ot_held_save(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    e->dirty = true;
    if (entry->unsaved)
        return;
    if (OT_GROW(e->unsaved, e->unsaved_size, e->nunsaved + 1) != 0) {
        e->nomem = true;
        return;
    }
    entry->unsaved = true;
    e->unsaved[e->nunsaved++] = id;
}

/* What the item went through becomes its entry's; out of its lane's items. */
void ot_held_keep(struct ot_engine *e, uint32_t item_id,
                  enum ot_held_state state, bool holds_key, int64_t next_us,
                  const struct ot_completion *why)
{
    ot_lane_leave(e, item_id);
    struct ot_item *item = ot_item(e, item_id);
    item->state = OT_ITEM_HOLDING;
    uint32_t id = item->held;
    if (id == OT_NIL) {
        id = entry_new(e, item->event->seq);
        if (id == OT_NIL)
            return;
        ot_entry(e, id)->h.key = ot_lane_key(e, item->event);
        ot_entry(e, id)->h.topic = ot_topic_of(e, item_id);
        item->held = id;
    }
    struct ot_entry *entry = ot_entry(e, id);
    entry->h.attempts = item->attempts;
    entry->h.retried_us = item->retried_us;
    entry->h.first_error_us = item->first_error_us;
    entry->h.last_error_us = item->last_error_us;
    entry->h.maybe_duplicate = item->maybe_duplicate;
    if (why != NULL) {
        entry->h.error_code = why->native_code;
        ot_held_error(e, id, why->reason);
    }
    ot_held_loaded(e, id, false);
    ot_held_set(e, id, state, holds_key, next_us);
    if (item->ring == OT_NO_RING) {
        entry->item = OT_NIL;
        ot_window_settle(e, item_id);
    } else {
        entry->item = item_id;
    }
    ot_held_save(e, id);
}

/* The same, and its key is held from now on: nothing later may go. [INV-6] */
void ot_hold(struct ot_engine *e, uint32_t item_id, enum ot_held_state state,
             bool holds_key, int64_t next_us, const struct ot_completion *why)
{
    ot_lane_all(e);
    uint32_t lane = ot_item(e, item_id)->lane;
    ot_held_keep(e, item_id, state, holds_key, next_us, why);
    if (lane == OT_NIL || e->nomem)
        return;
    if (ot_lane(e, lane)->unloaded > 0)
        ot_lane_close(e, lane);
    ot_lane_go(e, lane);
}

static void entry_free(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    drop_error(entry);
    ot_drain_unqueue(e, id);
    ot_limit_unlist(e, id);
    ot_held_unlink(e, id);
    ot_index_del(&e->by_seq, (uint64_t)entry->h.seq);
    e->unread -= entry->unread;
    entry->used = entry->unsaved = entry->writing = false;
    entry->next = e->free_entry;
    e->free_entry = id;
    e->held--;
}

/* An item loses its entry: what waited for the write is settled, what was
 * fetched is forgotten, what is in flight comes home to nobody. */
static void let_go(struct ot_engine *e, uint32_t item_id)
{
    struct ot_item *item = ot_item(e, item_id);
    item->held = OT_NIL;
    if (item->state == OT_ITEM_FLIGHT || item->state == OT_ITEM_OFFERED)
        return;
    ot_lane_leave(e, item_id);
    ot_window_settle(e, item_id);
}

/* An entry that had this item, or none, holds its key no more. */
static void go_on(struct ot_engine *e, uint32_t lane, uint32_t item)
{
    if (item != OT_NIL) {
        if (lane == OT_NIL)
            lane = ot_item(e, item)->lane;
        let_go(e, item);
    }
    if (lane != OT_NIL)
        ot_lane_go(e, lane);
}

void ot_held_remove(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    uint32_t lane = entry->lane, item = entry->item;
    if (OT_GROW(e->dels, e->dels_size, e->ndels + 1) != 0) {
        e->nomem = true;
        return;
    }
    if (entry->unread &&
        ot_index_put(&e->let_go, (uint64_t)entry->h.seq, 0) != 0) {
        e->nomem = true;
        return;
    }
    e->dels[e->ndels++] = entry->h.seq;
    e->dirty = true;
    entry_free(e, id);
    go_on(e, lane, item);
}

/* --- skipped ---------------------------------------------------------------- */

static void list_skipped(struct ot_engine *e, uint32_t id)
{
    if (OT_GROW(e->skipped, e->skipped_size, e->nskipped + 1) != 0)
        e->nomem = true;
    else
        e->skipped[e->nskipped++] = id;
}

/* Settled on request. While the position is not past it, whoever loads the
 * cursor reads the event once more, and knows by this row not to send it. */
void ot_held_skip(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    uint32_t lane = entry->lane, item = entry->item;
    list_skipped(e, id);
    ot_drain_unqueue(e, id);
    ot_held_set(e, id, OT_HELD_SKIPPED, false, 0);
    entry->item = OT_NIL;
    entry->loaded = false;
    ot_held_save(e, id);
    go_on(e, lane, item);
}

/* What is asked for together goes in the order it was asked for, also by
 * whoever loads the cursor: each is due a moment after the one before. */
static int64_t next_again(struct ot_engine *e)
{
    int64_t now_us = ot_db_now(e);
    bool soon = e->again_us >= now_us && e->again_us < now_us + 1000000;
    e->again_us = soon ? e->again_us + 1 : now_us;
    return e->again_us;
}

void ot_held_again(struct ot_engine *e, int64_t seq)
{
    uint32_t id = entry_new(e, seq);
    if (id == OT_NIL)
        return;
    ot_entry(e, id)->h.maybe_duplicate = true;
    ot_held_set(e, id, OT_HELD_RETRYING, false, next_again(e));
    ot_held_error(e, id, "sent again on request");
    ot_held_save(e, id);
}

/* The write that is planned passes some of them: it deletes their rows. They
 * are in no gap: what is held is written as settled. */
void ot_held_passed(struct ot_engine *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->nskipped; i++) {
        uint32_t id = e->skipped[i];
        if (ot_entry(e, id)->h.seq <= e->cursor.next_position)
            ot_held_remove(e, id);
        else
            e->skipped[n++] = id;
    }
    e->nskipped = n;
}

/* --- a clock that is set back ------------------------------------------------ */

/* Times of next tries are in the wall time of the database: no pause grows by
 * what its clock was set back, as in a failover. */
void ot_held_clock_back(struct ot_engine *e, int64_t by_us)
{
    e->again_us -= by_us;
    for (size_t i = 0; i < e->nentries && !e->nomem; i++) {
        struct ot_entry *entry = &e->entries[i];
        if (!entry->used || entry->due || entry->h.state != OT_HELD_RETRYING)
            continue;
        entry->h.next_us -= by_us;
        if (ot_heap_push(&e->held_due, entry->h.next_us, (uint32_t)i) != 0)
            e->nomem = true;
    }
}

static int64_t next_try(const struct ot_engine *e, const struct ot_held *held)
{
    int64_t now_us = ot_db_now(e);
    if (held->state != OT_HELD_RETRYING || held->last_error_us <= now_us)
        return held->next_us;
    return now_us + (held->next_us - held->last_error_us);
}

/* --- from the database ---------------------------------------------------- */

static void load_one(struct ot_engine *e, const struct ot_held *held)
{
    uint32_t id = entry_new(e, held->seq);
    if (id == OT_NIL)
        return;
    struct ot_entry *entry = ot_entry(e, id);
    entry->h = *held;
    entry->h.error = NULL;
    if (e->opt.ordering == OT_ORDER_NONE)
        entry->h.key = 0;
    entry->unread =
        held->seq > e->read_position || ot_gaps_contain(&e->gaps, held->seq);
    e->unread += entry->unread;
    ot_held_set(e, id, held->state, held->holds_key, next_try(e, held));
    if (held->state == OT_HELD_WAITING)
        ot_topic_waiting(e, held->topic);
    if (held->state == OT_HELD_SKIPPED)
        list_skipped(e, id);
}

static void read_again(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (!entry->unread)
        return;
    entry->unread = false;
    e->unread--;
    if (entry->lane != OT_NIL)
        ot_lane_go(e, entry->lane);
}

/* Is the event held, or was it at the load and is settled since? Then its item
 * is not needed. The position stays behind what is held when an earlier event
 * is not settled yet, so that rows of held events are read once more; those
 * that wait for their key go on only then, when what was read before them has
 * taken its place. [INV-3] */
bool ot_held_knows(struct ot_engine *e, uint32_t item)
{
    int64_t seq = ot_item(e, item)->event->seq;
    uint32_t id = ot_held_find(e, seq);
    if (id == OT_NIL && ot_index_find(&e->let_go, (uint64_t)seq) == OT_NIL)
        return false;
    ot_window_settle(e, item);
    if (id != OT_NIL)
        read_again(e, id);
    else
        ot_index_del(&e->let_go, (uint64_t)seq);
    return true;
}

static void go_all(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nentries && !e->nomem; i++) {
        const struct ot_entry *entry = &e->entries[i];
        if (entry->used && entry->lane != OT_NIL &&
            ot_lane(e, entry->lane)->held_first == i)
            ot_lane_go(e, entry->lane);
    }
}

void ot_held_gaps_read(struct ot_engine *e)
{
    e->unread_place = OT_NO_RING;
    e->unread_after = e->unread_next;
    e->gaps_unread = e->unread_after < e->unread_last;
    go_all(e);
}

void ot_held_load(struct ot_engine *e, const struct ot_held *held, size_t n)
{
    for (size_t i = 0; i < n && !e->nomem; i++)
        load_one(e, &held[i]);
    go_all(e);
    for (size_t i = 0; i < e->nentries && !e->nomem; i++)
        if (e->entries[i].lane == OT_NIL &&
            e->entries[i].h.state == OT_HELD_BLOCKED)
            ot_drain_ready(e, (uint32_t)i); /* ordering = none since */
}

void ot_held_forget(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nentries; i++)
        if (e->entries[i].used)
            drop_error(&e->entries[i]);
    e->nentries = 0;
    e->free_entry = OT_NIL;
    e->held = e->unread = 0;
    ot_index_clear(&e->by_seq);
    ot_index_clear(&e->let_go);
    e->held_due.n = 0;
    e->fetch.first = e->fetch.last = OT_NIL;
    e->nfetch = 0;
    e->nunsaved = 0;
    e->nskipped = 0;
    e->ndels = 0;
    e->ntopics = 0;
    ot_limit_forget_held(e);
}
