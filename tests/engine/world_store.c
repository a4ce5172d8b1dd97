/* world_store.c - the store of the world: what the engine asks for, answered
 * from memory. */
#include "world_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct w_rows {
    struct ot_rows rows;
    struct ot_event events[];
};

static void tell(struct world *w, const struct ot_reply *reply)
{
    ot_engine_told(w->engine, reply, w->now_us);
}

static struct ot_reply reply_of(enum ot_reply_kind kind)
{
    struct ot_reply reply;
    memset(&reply, 0, sizeof(reply));
    reply.kind = kind;
    return reply;
}

void w_refuse(struct world *w, enum ot_reply_kind kind, int code)
{
    struct ot_reply reply = reply_of(kind);
    assert_true(w->asked[kind]);
    w->asked[kind] = false;
    reply.code = code;
    ot_fail(&reply.err, code, "as the test wants it");
    if (kind == OT_REPLY_READ) {
        free(w->holders);
        w->holders = NULL;
        w->locked = false;
    }
    if (kind == OT_REPLY_WRITE) {
        reply.write.number = w->write.number;
        reply.write.fate = OT_FATE_UNKNOWN;
    }
    tell(w, &reply);
}

static void answer_lease(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_LEASE);
    bool expired = w->owner == 0 || w_db_now(w) >= w->expires_us;
    if (w->lease.take
            ? expired || w->owner == w->me
            : !expired && w->owner == w->me && w->fence == w->lease.fence) {
        if (w->lease.take)
            w->fence =
                (w->fence > w->lease.fence ? w->fence : w->lease.fence) + 1;
        w->owner = w->me;
        w->expires_us = w_db_now(w) + w->lease.ttl_us;
        reply.lease.granted = true;
        reply.lease.fence = w->fence;
    } else {
        reply.lease.free_in_us = w->expires_us - w_db_now(w);
        strcpy(reply.lease.owner, "another");
    }
    tell(w, &reply);
}

static void answer_load(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_CURSOR);
    reply.cursor = (struct ot_cursor_reply){
        .fence = w->owner == w->me ? w->fence : 0,
        .lease_left_us = w->expires_us - w_db_now(w),
        .position = w->position,
        .gaps = w->gaps,
        .ngaps = w->ngaps,
        .held = w->held,
        .nheld = w->nheld,
        .paused = w->paused,
        .incarnation = w->incarnation,
        .last_seq = w->last_seq,
        .flush_lsn = w->flush_lsn,
        .db_now_us = w_db_now(w),
    };
    tell(w, &reply);
}

static void free_rows(struct ot_rows *rows)
{
    free(rows);
}

static struct ot_rows *rows_new(size_t most)
{
    struct w_rows *rows =
        calloc(1, sizeof(*rows) + most * sizeof(struct ot_event));
    rows->rows.refs = 1;
    rows->rows.free = free_rows;
    rows->rows.events = rows->events;
    return &rows->rows;
}

static void rows_add(struct ot_rows *rows, const struct w_event *event)
{
    rows->events[rows->n++] = event->e;
    rows->bytes += ot_event_bytes(&event->e);
}

void w_locks(struct world *w)
{
    w->holders = calloc((size_t)w->ntxs + 1, sizeof(*w->holders));
    w->nholders = 0;
    for (int i = w->ntxs - 1; i >= 0; i--)
        if (w->txs[i].locks)
            w->holders[w->nholders++] =
                (struct ot_holder){.lock = w->txs[i].lock,
                                   .xid = w->txs[i].xid,
                                   .prepared = w->txs[i].state == W_PREPARED};
    w->locked = true;
}

static bool asked_for(const struct ot_read_request *read, int64_t seq)
{
    if (seq > read->position)
        return true;
    for (size_t i = 0; i < read->ngaps; i++)
        if (read->gaps[i].first <= seq && seq <= read->gaps[i].last)
            return true;
    return false;
}

static size_t snapshot(const struct world *w, struct ot_snapshot *out,
                       uint64_t *xip)
{
    size_t n = 0;
    out->xmax = 1;
    for (int i = 0; i < w->ntxs; i++) {
        const struct w_tx *tx = &w->txs[i];
        bool open = tx->state == W_ACTIVE || tx->state == W_PREPARED;
        if (tx->xid != 0 && !open && tx->xid >= out->xmax)
            out->xmax = tx->xid + 1;
    }
    out->xmin = out->xmax;
    for (uint64_t xid = 1; xid < out->xmax; xid++)
        for (int i = 0; i < w->ntxs && xid > 100; i++)
            if (w->txs[i].xid == xid && (w->txs[i].state == W_ACTIVE ||
                                         w->txs[i].state == W_PREPARED)) {
                if (n == 0)
                    out->xmin = xid;
                xip[n++] = xid;
            }
    out->xip = xip;
    out->nxip = n;
    return n;
}

static void read_rows(const struct world *w, struct ot_rows *rows, bool *cut)
{
    size_t bytes = 0;
    int64_t from =
        w->read.ngaps > 0 ? w->read.gaps[0].first : w->read.position + 1;
    for (int64_t seq = from; seq <= w->last_seq && !*cut; seq++) {
        const struct w_event *event = w->by_seq[seq];
        if (!asked_for(&w->read, seq) || !w_can_see(w, event))
            continue;
        rows_add(rows, event);
        bytes += event->e.payload.n;
        *cut = rows->n == w->read.limit || bytes >= w->read.budget;
    }
}

static void answer_read(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_READ);
    if (w->read.with_locks && !w->locked)
        w_locks(w);
    bool cut = false;
    struct ot_rows *rows = rows_new(w->read.limit);
    read_rows(w, rows, &cut);
    uint64_t *xip = NULL;
    if (w->read.with_locks)
        xip = calloc((size_t)w->ntxs + 1, sizeof(*xip));
    reply.read = (struct ot_read_reply){
        .rows = rows,
        .cut = cut,
        .has_locks = w->read.with_locks,
        .holders = w->holders,
        .nholders = w->nholders,
        .incarnation = w->incarnation,
        .last_seq = w->last_seq,
        .lsn = w->lsn,
        .flush_lsn = w->flush_lsn,
        .db_now_us = w_db_now(w),
        .has_commands = w->ncommands > 0,
    };
    if (w->read.with_locks)
        snapshot(w, &reply.read.snapshot, xip);
    tell(w, &reply);
    free(xip);
    free(w->holders);
    w->holders = NULL;
    w->locked = false;
    free((void *)w->read.gaps);
    w->read.gaps = NULL;
}

static void answer_fetch(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_FETCH);
    struct ot_rows *rows = rows_new(w->fetch.n);
    size_t bytes = 0, i = 0;
    for (; i < w->fetch.n; i++) {
        const struct w_event *event = w_event(w, w->fetch.seqs[i]);
        if (!w_can_see(w, event))
            continue;
        bytes += 64 + event->e.payload.n;
        if (rows->n > 0 && bytes > w->fetch.budget)
            break;
        rows_add(rows, event);
    }
    reply.fetch = (struct ot_fetch_reply){rows, i};
    tell(w, &reply);
    free((void *)w->fetch.seqs);
    w->fetch.seqs = NULL;
}

/* [INV-1] [INV-5] What the cursor passes is published, held, or was never
 * committed and never will be. */
static void check_cursor(struct world *w)
{
    for (int64_t seq = 1; seq <= w->position; seq++) {
        struct w_event *event = w->by_seq[seq];
        if (event == NULL || w_has_gap(w, seq))
            continue;
        enum w_state state = w->txs[event->tx].state;
        if (state == W_ACTIVE || state == W_PREPARED)
            fail_msg("the cursor passed %lld, which is not committed yet",
                     (long long)seq);
        if (w_can_see(w, event) && event->ok == 0 && !event->e.filtered &&
            !event->skipped && w_held(w, seq) == NULL)
            fail_msg("the cursor passed %lld, which was not published",
                     (long long)seq);
    }
}

static void put_held(struct world *w, const struct ot_held *held)
{
    struct w_event *event = w_event(w, held->seq);
    struct ot_held *to = (struct ot_held *)w_held(w, held->seq);
    if (to == NULL) {
        w->held = w_grow(w->held, w->nheld, sizeof(*w->held));
        size_t i = w->nheld++;
        for (; i > 0 && w->held[i - 1].seq > held->seq; i--)
            w->held[i] = w->held[i - 1];
        to = &w->held[i];
    } else {
        free((char *)to->error);
    }
    *to = *held;
    to->key = event->e.key.p != NULL ? ot_hash(event->e.key) : 0;
    to->topic = ot_hash(event->e.topic);
    to->error = held->error != NULL ? strdup(held->error) : NULL;
    event->dead = held->state == OT_HELD_DEAD;
}

static void del_held(struct world *w, int64_t seq)
{
    struct ot_held *held = (struct ot_held *)w_held(w, seq);
    if (held == NULL)
        return;
    free((char *)held->error);
    memmove(held, held + 1,
            (size_t)(&w->held[--w->nheld] - held) * sizeof(*held));
    w_event(w, seq)->dead = false;
}

static void change_gaps(struct world *w, const struct ot_write_request *req)
{
    for (size_t i = 0; i < req->ngaps_del; i++) {
        size_t k = 0;
        while (k < w->ngaps && w->gaps[k].first != req->gaps_del[i])
            k++;
        assert_true(k < w->ngaps); /* only what is there is deleted */
        memmove(&w->gaps[k], &w->gaps[k + 1],
                (--w->ngaps - k) * sizeof(*w->gaps));
    }
    for (size_t i = 0; i < req->ngaps_put; i++) {
        w->gaps = w_grow(w->gaps, w->ngaps, sizeof(*w->gaps));
        size_t k = w->ngaps++;
        for (; k > 0 && w->gaps[k - 1].first > req->gaps_put[i].first; k--)
            w->gaps[k] = w->gaps[k - 1];
        w->gaps[k] = req->gaps_put[i];
        assert_true(k == 0 || w->gaps[k - 1].last < w->gaps[k].first);
    }
}

static void change_commands(struct world *w, const struct ot_write_request *req)
{
    for (size_t i = 0; i < req->ncommands_done; i++)
        for (size_t k = 0; k < w->ncommands; k++)
            if (w->commands[k].id == req->commands_done[i]) {
                memmove(&w->commands[k], &w->commands[k + 1],
                        (--w->ncommands - k) * sizeof(*w->commands));
                break;
            }
}

/* All or nothing, under owner and fence. [INV-4] [INV-11] */
bool w_apply_write(struct world *w, const struct ot_write_request *req)
{
    if (w->owner != w->me || w->fence != req->fence ||
        !ot_incarnation_equal(&req->incarnation, &w->incarnation))
        return false;
    if (req->position < w->position)
        fail_msg("the cursor went back from %lld to %lld",
                 (long long)w->position, (long long)req->position);
    w->position = req->position;
    change_gaps(w, req);
    change_commands(w, req);
    for (size_t i = 0; i < req->nheld_put; i++)
        put_held(w, &req->held_put[i]);
    for (size_t i = 0; i < req->nheld_del; i++)
        del_held(w, req->held_del[i]);
    if (req->set_paused >= 0)
        w->paused = req->set_paused == 1;
    w->flush_lsn = ++w->lsn;
    if (w->checks)
        check_cursor(w);
    return true;
}

static void answer_write(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_WRITE);
    reply.write.number = w->write.number;
    reply.write.fate = w_apply_write(w, &w->write) ? OT_WRITTEN : OT_REFUSED;
    if (w->write.durable)
        reply.write.flush_lsn = w->flush_lsn;
    tell(w, &reply);
}

static void answer_commands(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_COMMANDS);
    reply.commands.commands = w->commands;
    reply.commands.n = w->ncommands;
    for (size_t i = 0; i < w->ncommands; i++)
        if (w->commands[i].verb == OT_SKIP &&
            w_held(w, w->commands[i].seq) != NULL)
            w_event(w, w->commands[i].seq)->skipped = true;
    tell(w, &reply);
}

static void answer_release(struct world *w)
{
    struct ot_reply reply = reply_of(OT_REPLY_RELEASE);
    if (w->owner == w->me && w->fence == w->release)
        w->owner = 0;
    tell(w, &reply);
}

void w_answer(struct world *w, enum ot_reply_kind kind)
{
    assert_true(w->asked[kind]);
    if (w->down || w->fail[kind] != 0) {
        int code = w->down ? OUTTRAY_E_STORE_UNAVAILABLE : w->fail[kind];
        w->fail[kind] = 0;
        w_refuse(w, kind, code);
        return;
    }
    w->asked[kind] = false;
    void (*const answers[W_KINDS])(struct world *) = {
        [OT_REPLY_LEASE] = answer_lease,
        [OT_REPLY_CURSOR] = answer_load,
        [OT_REPLY_READ] = answer_read,
        [OT_REPLY_FETCH] = answer_fetch,
        [OT_REPLY_WRITE] = answer_write,
        [OT_REPLY_COMMANDS] = answer_commands,
        [OT_REPLY_RELEASE] = answer_release,
    };
    answers[kind](w);
}

/* --- requests are copied as a store does -------------------------------------- */

static void *copy(const void *p, size_t n, size_t each)
{
    if (n == 0)
        return NULL;
    void *to = malloc(n * each);
    memcpy(to, p, n * each);
    return to;
}

static void keep_write(struct world *w, const struct ot_write_request *req)
{
    free((void *)w->write.gaps_put);
    free((void *)w->write.gaps_del);
    for (size_t i = 0; i < w->write.nheld_put; i++)
        free((char *)w->write.held_put[i].error);
    free((void *)w->write.held_put);
    free((void *)w->write.held_del);
    free((void *)w->write.commands_done);
    w->write = *req;
    w->write.gaps_put = copy(req->gaps_put, req->ngaps_put, 16);
    w->write.gaps_del = copy(req->gaps_del, req->ngaps_del, 8);
    w->write.held_put =
        copy(req->held_put, req->nheld_put, sizeof(struct ot_held));
    for (size_t i = 0; i < req->nheld_put; i++)
        if (req->held_put[i].error != NULL)
            ((struct ot_held *)w->write.held_put)[i].error =
                strdup(req->held_put[i].error);
    w->write.held_del = copy(req->held_del, req->nheld_del, 8);
    w->write.commands_done = copy(req->commands_done, req->ncommands_done, 8);
}

void w_ask(struct world *w, enum ot_reply_kind kind,
           const union ot_wish_args *args)
{
    assert_false(w->asked[kind]); /* one of each kind at a time */
    w->asked[kind] = true;
    w->count[kind]++;
    switch (kind) {
    case OT_REPLY_LEASE:
        w->lease = args->lease;
        break;
    case OT_REPLY_READ:
        assert_true(args->read.limit > 0);
        free((void *)w->read.gaps);
        w->read = args->read;
        w->read.gaps = copy(args->read.gaps, args->read.ngaps, 16);
        break;
    case OT_REPLY_FETCH:
        assert_true(args->fetch.n > 0);
        free((void *)w->fetch.seqs);
        w->fetch = args->fetch;
        w->fetch.seqs = copy(args->fetch.seqs, args->fetch.n, 8);
        break;
    case OT_REPLY_WRITE:
        keep_write(w, &args->write);
        break;
    case OT_REPLY_RELEASE:
        w->release = args->release_fence;
        break;
    default:
        break;
    }
    if (w->keep[kind])
        return;
    if (kind == OT_REPLY_READ)
        w->now_us += 200; /* or reading at once would never end */
    w_answer(w, kind);
}
