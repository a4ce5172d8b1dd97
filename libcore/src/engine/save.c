/* save.c - the one write: position, gaps, held rows and commands together,
 * under owner and fence. [INV-4] */
#include "engine/internal.h"

#include <stdlib.h>

static int compare_seq(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What this write makes held counts as settled: it is one transaction. */
static bool unsettled(struct ot_engine *e, uint64_t place)
{
    uint32_t id = e->ring[place & (e->ring_size - 1)];
    return id != OT_NIL && ot_item(e, id)->state != OT_ITEM_HOLDING;
}

/* The smallest unsettled tail seq - 1, or all that was read. [INV-5] */
static int64_t safe_position(struct ot_engine *e)
{
    for (uint64_t i = e->head; i < e->tail; i++) {
        if (!unsettled(e, i))
            continue;
        const struct ot_item *item =
            ot_item(e, e->ring[i & (e->ring_size - 1)]);
        if (!item->late)
            return item->event->seq - 1;
    }
    return e->read_position;
}

static size_t late_rows(struct ot_engine *e)
{
    size_t n = 0;
    if (e->late == 0)
        return 0;
    if (OT_GROW(e->late_seqs, e->late_size, e->late) != 0) {
        e->nomem = true;
        return 0;
    }
    for (uint64_t i = e->head; i < e->tail && n < e->late; i++) {
        if (!unsettled(e, i))
            continue;
        const struct ot_item *item =
            ot_item(e, e->ring[i & (e->ring_size - 1)]);
        if (item->late)
            e->late_seqs[n++] = item->event->seq;
    }
    if (n > 1)
        qsort(e->late_seqs, n, sizeof(*e->late_seqs), compare_seq);
    return n;
}

/* Open gaps and unsettled late rows, cut at the position. */
static int plan(struct ot_engine *e)
{
    size_t nlate = late_rows(e), i = 0, k = 0;
    int code = 0;
    ot_cursor_plan(&e->cursor, safe_position(e));
    while (code == 0 && (i < e->gaps.n || k < nlate)) {
        if (k == nlate ||
            (i < e->gaps.n && e->gaps.v[i].first < e->late_seqs[k])) {
            code = ot_cursor_add(&e->cursor, e->gaps.v[i].first,
                                 e->gaps.v[i].last);
            i++;
        } else {
            code = ot_cursor_add(&e->cursor, e->late_seqs[k], e->late_seqs[k]);
            k++;
        }
    }
    return code != 0 ? code : ot_cursor_difference(&e->cursor);
}

static int gather_puts(struct ot_engine *e)
{
    e->nputs = 0;
    if (OT_GROW(e->puts, e->puts_size, e->nunsaved) != 0)
        return OUTTRAY_E_NOMEM;
    for (size_t i = 0; i < e->nunsaved; i++) {
        struct ot_entry *entry = ot_entry(e, e->unsaved[i]);
        if (!entry->used || !entry->unsaved)
            continue;
        if (entry->item != OT_NIL) /* it was sent again since */
            entry->h.maybe_duplicate |=
                ot_item(e, entry->item)->maybe_duplicate;
        entry->unsaved = false;
        entry->writing = true;
        e->puts[e->nputs++] = entry->h;
        entry->h.error = NULL; /* the put owns it now */
    }
    e->nunsaved = 0;
    return 0;
}

static void free_puts(struct ot_engine *e)
{
    for (size_t i = 0; i < e->nputs; i++)
        ot_free((char *)e->puts[i].error);
    e->nputs = 0;
}

void ot_save_free(struct ot_engine *e)
{
    free_puts(e);
}

static void hand_over(int64_t **v, size_t *n, size_t *size, int64_t **to,
                      size_t *nto, size_t *to_size)
{
    int64_t *p = *to;
    size_t s = *to_size;
    *to = *v;
    *nto = *n;
    *to_size = *size;
    *v = p;
    *n = 0;
    *size = s;
}

static void fill(struct ot_engine *e, struct ot_write_request *out,
                 bool durable)
{
    hand_over(&e->dels, &e->ndels, &e->dels_size, &e->dels_writing,
              &e->ndels_writing, &e->dels_writing_size);
    hand_over(&e->done, &e->ndone, &e->done_size, &e->done_writing,
              &e->ndone_writing, &e->done_writing_size);
    *out = (struct ot_write_request){
        .number = ++e->write_number,
        .fence = e->lease.fence,
        .incarnation = e->incarnation,
        .position = e->cursor.next_position,
        .gaps_put = e->cursor.put.v,
        .ngaps_put = e->cursor.put.n,
        .gaps_del = e->cursor.del,
        .ngaps_del = e->cursor.ndel,
        .held_put = e->puts,
        .nheld_put = e->nputs,
        .held_del = e->dels_writing,
        .nheld_del = e->ndels_writing,
        .commands_done = e->done_writing,
        .ncommands_done = e->ndone_writing,
        .set_paused = e->set_paused,
        .durable = durable,
    };
    e->set_paused = -1;
}

static bool barrier_wants(const struct ot_engine *e)
{
    if (e->admit == e->tail || e->phase != OT_PHASE_RUN)
        return false;
    return e->opt.barrier_by_write ||
           e->now_us >= e->barrier_us + OT_BARRIER_US;
}

static bool time_has_come(const struct ot_engine *e)
{
    return e->write_now || e->now_us >= e->write_us ||
           e->settled >= e->opt.window_events / 2 ||
           e->ndels >= e->opt.window_events / 2;
}

bool ot_save_ask(struct ot_engine *e, struct ot_write_request *out)
{
    bool durable = barrier_wants(e);
    if (!durable && !(e->dirty && time_has_come(e)))
        return false;
    if (plan(e) != 0 || e->nomem) {
        e->nomem = true;
        return false;
    }
    ot_held_passed(e);
    bool something = ot_cursor_differs(&e->cursor) || e->nunsaved > 0 ||
                     e->ndels > 0 || e->ndone > 0 || e->set_paused >= 0;
    e->dirty = e->write_now = false;
    e->settled = 0;
    e->writing = e->head;
    if (!something && !durable) {
        e->written = e->head;
        return false;
    }
    if (gather_puts(e) != 0) {
        e->nomem = true;
        return false;
    }
    fill(e, out, durable);
    e->write_us = e->now_us + e->opt.cursor_us;
    return true;
}

int64_t ot_save_next(const struct ot_engine *e)
{
    int64_t at_us = e->dirty ? e->write_us : OT_NEVER;
    if (e->admit != e->tail && at_us > e->barrier_us + OT_BARRIER_US)
        at_us = e->barrier_us + OT_BARRIER_US;
    return at_us;
}

bool ot_save_pending(const struct ot_engine *e)
{
    return e->dirty || e->nunsaved > 0 || e->ndels > 0 || e->ndone > 0 ||
           e->set_paused >= 0 || e->asked[OT_REPLY_WRITE].under_way;
}

/* Sooner than the usual pause. */
void ot_save_soon(struct ot_engine *e)
{
    e->dirty = e->write_now = true;
}

/* The entry is in the database: its event need not stay in memory, and it may
 * be fetched from now on. */
static void entry_written(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    entry->writing = false;
    if (entry->item == OT_NIL ||
        ot_item(e, entry->item)->state != OT_ITEM_HOLDING)
        return;
    ot_window_settle(e, entry->item);
    entry->item = OT_NIL;
    if (entry->lane != OT_NIL)
        ot_lane_go(e, entry->lane);
    else if (ot_drain_eligible(e, entry))
        ot_drain_ready(e, id);
}

void ot_save_told(struct ot_engine *e, const struct ot_reply *reply)
{
    bool stale = e->asked[OT_REPLY_WRITE].epoch != e->epoch;
    e->ndels_writing = e->ndone_writing = 0;
    if (stale || reply->write.fate != OT_WRITTEN) {
        free_puts(e);
        if (stale)
            return;
        if (reply->write.fate == OT_REFUSED) {
            ot_log(e->log, OT_WARN, "engine",
                   "the cursor write was refused: the lease is lost");
            ot_engine_lost(e, 0);
        } else {
            ot_engine_fail(e, reply->code, &reply->err);
        }
        return;
    }
    e->stats.writes++;
    ot_cursor_written(&e->cursor);
    e->written = e->writing;
    for (size_t i = 0; i < e->nputs && !e->nomem; i++) {
        uint32_t id = ot_held_find(e, e->puts[i].seq);
        if (id != OT_NIL && ot_entry(e, id)->writing)
            entry_written(e, id);
    }
    free_puts(e);
    if (reply->write.flush_lsn > e->flush_lsn) {
        e->flush_lsn = reply->write.flush_lsn;
        ot_window_admit(e);
    }
}

/* What a write under way uses stays until its reply. */
void ot_save_forget(struct ot_engine *e)
{
    e->nunsaved = 0;
    e->ndels = e->ndone = 0;
    e->set_paused = -1;
    e->dirty = e->write_now = false;
    e->settled = 0;
}
