/* world.c - the world around one engine. */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define WALL INT64_C(1790000000000000)

struct w_rows {
    struct ot_rows rows;
    struct ot_event events[];
};

struct ot_engine_options w_options(void)
{
    struct ot_engine_options opt;
    ot_engine_defaults(&opt);
    opt.batch_events = 10;
    opt.window_events = 100;
    opt.seed = 1;
    return opt;
}

int64_t w_db_now(const struct world *w)
{
    return w->wall_us + w->now_us;
}

static void *more(void *p, size_t n, size_t each)
{
    if ((n & (n - 1)) != 0)
        return p;
    p = realloc(p, (n == 0 ? 1 : 2 * n) * each);
    assert_non_null(p);
    return p;
}

void w_start_engine(struct world *w)
{
    assert_int_equal(ot_engine_new(&w->engine, &w->opt, NULL), 0);
    w->done = false;
    w->me++;
}

void w_open(struct world *w, const struct ot_engine_options *opt)
{
    memset(w, 0, sizeof(*w));
    w->opt = opt != NULL ? *opt : w_options();
    w->wall_us = WALL;
    w->now_us = W_S;
    w->checks = true;
    w->next_lock = w->next_xid = 100;
    w->capacity = SIZE_MAX;
    w->tell_abandon = true;
    w->incarnation = (struct ot_incarnation){1, 1, 7};
    w_start_engine(w);
}

static void drop_requests(struct world *w)
{
    free((void *)w->read.gaps);
    free((void *)w->fetch.seqs);
    free((void *)w->write.gaps_put);
    free((void *)w->write.gaps_del);
    for (size_t i = 0; i < w->write.nheld_put; i++)
        free((char *)w->write.held_put[i].error);
    free((void *)w->write.held_put);
    free((void *)w->write.held_del);
    free((void *)w->write.commands_done);
    memset(&w->read, 0, sizeof(w->read));
    memset(&w->fetch, 0, sizeof(w->fetch));
    memset(&w->write, 0, sizeof(w->write));
    memset(w->asked, 0, sizeof(w->asked));
    free(w->holders);
    w->holders = NULL;
    w->locked = false;
}

void w_close(struct world *w)
{
    ot_engine_free(w->engine);
    drop_requests(w);
    for (size_t i = 0; i < w->nevents; i++)
        free(w->events[i]);
    for (size_t i = 0; i < w->nheld; i++)
        free((char *)w->held[i].error);
    free(w->events);
    free(w->by_seq);
    free(w->txs);
    free(w->gaps);
    free(w->held);
    free(w->commands);
    free(w->flight);
}

/* The process dies: what it asked for may still arrive, nothing comes back. */
void w_crash_relay(struct world *w)
{
    ot_engine_free(w->engine);
    w->engine = NULL;
    drop_requests(w);
    for (size_t i = 0; i < w->nflight; i++)
        w->flight[i].event->in_flight--;
    w->nflight = 0;
}

/* --- writers ---------------------------------------------------------------- */

int w_begin(struct world *w)
{
    w->txs = more(w->txs, (size_t)w->ntxs, sizeof(*w->txs));
    w->txs[w->ntxs] = (struct w_tx){.locks = true, .lock = ++w->next_lock};
    return w->ntxs++;
}

struct w_event *w_event(struct world *w, int64_t seq)
{
    assert_true(seq > 0 && (size_t)seq < w->by_seq_size);
    return w->by_seq[seq];
}

int64_t w_draw(struct world *w, int tx, const char *key)
{
    struct w_event *event = calloc(1, sizeof(*event));
    event->tx = tx;
    event->e.seq = ++w->last_seq;
    for (int i = 0; i < 8; i++)
        event->e.id.b[i] = (uint8_t)((w->nevents + 1) >> (8 * i));
    strcpy(event->topic, "t");
    if (key != NULL) {
        snprintf(event->key, sizeof(event->key), "%s", key);
        event->e.key = ot_slice_of(event->key);
    }
    event->e.topic = ot_slice_of(event->topic);
    event->e.payload = ot_slice_of("{}");
    event->e.created_us = w_db_now(w);
    w->events = more(w->events, w->nevents, sizeof(*w->events));
    w->events[w->nevents++] = event;
    while ((size_t)w->last_seq >= w->by_seq_size) {
        size_t n = w->by_seq_size == 0 ? 64 : w->by_seq_size * 2;
        w->by_seq = realloc(w->by_seq, n * sizeof(*w->by_seq));
        for (size_t i = w->by_seq_size; i < n; i++)
            w->by_seq[i] = NULL;
        w->by_seq_size = n;
    }
    w->by_seq[w->last_seq] = event;
    return w->last_seq;
}

void w_insert(struct world *w, int64_t seq)
{
    struct w_event *event = w_event(w, seq);
    event->inserted = true;
    if (w->txs[event->tx].xid == 0)
        w->txs[event->tx].xid = ++w->next_xid;
}

int64_t w_put(struct world *w, int tx, const char *key)
{
    int64_t seq = w_draw(w, tx, key);
    w_insert(w, seq);
    return seq;
}

void w_visible(struct world *w, int tx)
{
    w->txs[tx].state = W_COMMITTED;
    w->txs[tx].lsn = ++w->lsn;
    w->txs[tx].order = ++w->commits;
}

void w_release(struct world *w, int tx)
{
    w->txs[tx].locks = false;
}

void w_commit(struct world *w, int tx)
{
    w_visible(w, tx);
    w_release(w, tx);
    w->flush_lsn = w->lsn;
}

void w_rollback(struct world *w, int tx)
{
    w->txs[tx].state = W_ABORTED;
    w_release(w, tx);
}

void w_prepare(struct world *w, int tx)
{
    w->txs[tx].state = W_PREPARED;
    w->flush_lsn = ++w->lsn;
}

int64_t w_add(struct world *w, const char *key)
{
    int tx = w_begin(w);
    int64_t seq = w_put(w, tx, key);
    w_commit(w, tx);
    return seq;
}

static bool visible(const struct world *w, const struct w_event *event)
{
    return event != NULL && event->inserted && !event->gone &&
           w->txs[event->tx].state == W_COMMITTED;
}

void w_crash_server(struct world *w)
{
    int64_t last = w->position;
    for (int i = 0; i < w->ntxs; i++) {
        struct w_tx *tx = &w->txs[i];
        if (tx->state == W_ACTIVE ||
            (tx->state == W_COMMITTED && tx->lsn > w->flush_lsn))
            tx->state = W_ABORTED;
        tx->locks = tx->state == W_PREPARED;
        tx->lock = ++w->next_lock; /* also of a prepared one */
    }
    for (size_t i = 0; i < w->nevents; i++) {
        struct w_event *event = w->events[i];
        if (w->txs[event->tx].state == W_ABORTED)
            event->gone = true;
        else if (event->e.seq > last)
            last = event->e.seq;
    }
    w->last_seq = last; /* seqs of what was lost are drawn again */
    w->incarnation.stats_reset_us++;
    for (int kind = 0; kind < W_KINDS; kind++)
        if (w->asked[kind])
            w_refuse(w, (enum ot_reply_kind)kind, OUTTRAY_E_STORE_UNAVAILABLE);
}

void w_command(struct world *w, enum ot_verb verb, int64_t seq)
{
    w->commands = more(w->commands, w->ncommands, sizeof(*w->commands));
    w->commands[w->ncommands++] =
        (struct ot_command){.id = ++w->next_command, .verb = verb, .seq = seq};
}

const struct ot_held *w_held(const struct world *w, int64_t seq)
{
    for (size_t i = 0; i < w->nheld; i++)
        if (w->held[i].seq == seq)
            return &w->held[i];
    return NULL;
}

bool w_has_gap(const struct world *w, int64_t seq)
{
    for (size_t i = 0; i < w->ngaps; i++)
        if (w->gaps[i].first <= seq && seq <= w->gaps[i].last)
            return true;
    return false;
}

/* --- the store --------------------------------------------------------------- */

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
            w->fence++;
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
        if (!asked_for(&w->read, seq) || !visible(w, event))
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
    reply.fetch = rows_new(w->fetch.n);
    for (size_t i = 0; i < w->fetch.n; i++) {
        const struct w_event *event = w_event(w, w->fetch.seqs[i]);
        if (visible(w, event))
            rows_add(reply.fetch, event);
    }
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
        if (visible(w, event) && event->ok == 0 && !event->e.filtered &&
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
        w->held = more(w->held, w->nheld, sizeof(*w->held));
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
        w->gaps = more(w->gaps, w->ngaps, sizeof(*w->gaps));
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

static void ask(struct world *w, enum ot_reply_kind kind,
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

/* --- the sink ------------------------------------------------------------------ */

bool w_in_flight(const struct world *w, int64_t seq)
{
    for (size_t i = 0; i < w->nflight; i++)
        if (w->flight[i].event->e.seq == seq)
            return true;
    return false;
}

/* What may be sent: durable, owned, in its turn. [INV-2] [INV-6] [INV-9] */
static void check_send(struct world *w, const struct ot_send *send,
                       struct w_event *event)
{
    if (!visible(w, event) || w->txs[event->tx].lsn > w->flush_lsn)
        fail_msg("event %lld is sent and not durable",
                 (long long)send->event->seq);
    if (event->in_flight > 0)
        fail_msg("event %lld is sent twice at a time",
                 (long long)send->event->seq);
    if (send->attempts > event->failures)
        fail_msg("event %lld has %u attempts and %u failures",
                 (long long)send->event->seq, send->attempts, event->failures);
    if (w->owner != w->me || w->fence != send->fence ||
        w_db_now(w) >= w->expires_us)
        fail_msg("event %lld is sent without the lease",
                 (long long)send->event->seq);
    if (event->e.key.p == NULL || w->opt.ordering == OT_ORDER_NONE)
        return;
    for (size_t i = 0; i < w->nheld; i++) {
        struct w_event *other = w_event(w, w->held[i].seq);
        if (w->held[i].holds_key && w->held[i].seq < event->e.seq &&
            !other->skipped && !other->let_go && other->ok == 0 &&
            strcmp(other->key, event->key) == 0 && other->in_flight == 0)
            fail_msg("event %lld is sent, its key is held by %lld",
                     (long long)event->e.seq, (long long)other->e.seq);
    }
}

static void submit(struct world *w, const struct ot_send *sends, size_t n)
{
    size_t room = w->capacity > w->nflight ? w->capacity - w->nflight : 0;
    size_t took = n < room ? n : room;
    if (n > w->widest)
        w->widest = n;
    assert_true(n > 0 && n <= w->opt.batch_events);
    for (size_t i = 0; i < took; i++) {
        struct w_event *event = w_event(w, sends[i].event->seq);
        assert_memory_equal(&event->e.id, &sends[i].event->id, 16);
        if (w->checks)
            check_send(w, &sends[i], event);
        event->in_flight++;
        event->sent++;
        w->flight = more(w->flight, w->nflight, sizeof(*w->flight));
        w->flight[w->nflight++] = (struct w_flight){sends[i].ticket, event};
    }
    ot_engine_submitted(w->engine, took, w->now_us);
    if (w->sink == W_SINK_OK)
        w_complete_all(w, OT_OK);
}

static bool tainted(const struct world *w, const char *key)
{
    for (size_t i = 0; i < w->ntainted; i++)
        if (strcmp(w->tainted[i], key) == 0)
            return true;
    return w->tainted_all;
}

static bool before(const struct world *w, const struct w_event *a,
                   const struct w_event *b)
{
    if (a->tx == b->tx)
        return a->e.seq < b->e.seq;
    return w->txs[a->tx].order < w->txs[b->tx].order;
}

/* [INV-3] First publications of a key follow the commits. */
static void check_order(struct world *w, const struct w_event *event)
{
    if (event->e.key.p == NULL || w->opt.ordering == OT_ORDER_NONE ||
        tainted(w, event->key))
        return;
    for (size_t i = 0; i < w->nevents; i++) {
        const struct w_event *other = w->events[i];
        if (other == event || !visible(w, other) || other->ok > 0 ||
            other->skipped || other->dead || other->e.filtered ||
            other->e.deliver_us > 0 || event->e.deliver_us > 0 ||
            strcmp(other->key, event->key) != 0)
            continue;
        if (before(w, other, event))
            fail_msg("event %lld is published before %lld of its key",
                     (long long)event->e.seq, (long long)other->e.seq);
    }
}

static void came_back(struct world *w, struct w_event *event,
                      enum ot_outcome outcome)
{
    event->in_flight--;
    if (outcome == OT_RETRY || outcome == OT_REJECTED)
        event->failures++;
    bool dead_letter = w->opt.on_reject == OT_DEAD_LETTER;
    if (dead_letter && (outcome == OT_RETRY || outcome == OT_REJECTED))
        event->let_go = true;
    if (outcome != OT_OK) {
        bool pipelined = w->opt.sink_ordered && w->opt.ordering == OT_ORDER_KEY;
        if ((pipelined || dead_letter) && !tainted(w, event->key) &&
            w->ntainted < 32)
            strcpy(w->tainted[w->ntainted++], event->key);
        return;
    }
    if (event->ok++ == 0) {
        event->order = ++w->published;
        if (w->checks)
            check_order(w, event);
    }
}

static void complete_at(struct world *w, size_t i, struct ot_completion c)
{
    struct w_flight flight = w->flight[i];
    memmove(&w->flight[i], &w->flight[i + 1],
            (--w->nflight - i) * sizeof(*w->flight));
    came_back(w, flight.event, c.outcome);
    c.ticket = flight.ticket;
    ot_engine_completed(w->engine, &c, 1, w->now_us);
}

void w_complete_with(struct world *w, int64_t seq, struct ot_completion c)
{
    for (size_t i = 0; i < w->nflight; i++)
        if (w->flight[i].event->e.seq == seq) {
            complete_at(w, i, c);
            return;
        }
    fail_msg("event %lld is not in flight", (long long)seq);
}

void w_complete(struct world *w, int64_t seq, enum ot_outcome outcome)
{
    w_complete_with(w, seq, (struct ot_completion){.outcome = outcome});
}

void w_complete_all(struct world *w, enum ot_outcome outcome)
{
    while (w->nflight > 0)
        complete_at(w, 0, (struct ot_completion){.outcome = outcome});
}

/* --- the relay ------------------------------------------------------------------ */

struct ot_engine_stats w_stats(const struct world *w)
{
    struct ot_engine_stats stats;
    ot_engine_stats(w->engine, &stats);
    return stats;
}

static void check_step(struct world *w)
{
    struct ot_engine_stats stats = w_stats(w);
    assert_int_equal(stats.unexpected, 0);             /* [INV-7] */
    assert_true(stats.window <= w->opt.window_events); /* [INV-8] */
    assert_int_equal(stats.in_flight, w->nflight);
}

enum ot_wish w_step(struct world *w)
{
    union ot_wish_args args;
    enum ot_wish wish = ot_engine_next(w->engine, w->now_us, &args);
    switch (wish) {
    case OT_WAIT:
        w->wait_until_us = args.wait_until_us;
        break;
    case OT_DO_LEASE:
        ask(w, OT_REPLY_LEASE, &args);
        break;
    case OT_DO_LOAD:
        ask(w, OT_REPLY_CURSOR, &args);
        break;
    case OT_DO_READ:
        ask(w, OT_REPLY_READ, &args);
        break;
    case OT_DO_FETCH:
        ask(w, OT_REPLY_FETCH, &args);
        break;
    case OT_DO_COMMANDS:
        ask(w, OT_REPLY_COMMANDS, &args);
        break;
    case OT_DO_SUBMIT:
        submit(w, args.submit.sends, args.submit.n);
        break;
    case OT_DO_WRITE:
        ask(w, OT_REPLY_WRITE, &args);
        break;
    case OT_DO_RELEASE:
        ask(w, OT_REPLY_RELEASE, &args);
        break;
    case OT_DO_ABANDON:
        w->abandons++;
        if (w->tell_abandon)
            w_complete_all(w, OT_UNKNOWN);
        break;
    case OT_DONE:
        w->done = true;
        break;
    }
    if (w->checks)
        check_step(w);
    return wish;
}

void w_run(struct world *w)
{
    for (int i = 0; i < 100000; i++) {
        enum ot_wish wish = w_step(w);
        if (wish == OT_WAIT || wish == OT_DONE)
            return;
    }
    fail_msg("the engine never waits");
}

void w_pass(struct world *w, int64_t us)
{
    int64_t until = w->now_us + us;
    for (int i = 0; i < 1000000; i++) {
        w_run(w);
        if (w->done || w->wait_until_us >= until) {
            if (until > w->now_us)
                w->now_us = until;
            w_run(w);
            return;
        }
        if (w->wait_until_us <= w->now_us)
            fail_msg("the engine waits for a time that has passed");
        w->now_us = w->wait_until_us;
    }
    fail_msg("time does not pass");
}

void w_check_all(struct world *w)
{
    for (size_t i = 0; i < w->nevents; i++) {
        const struct w_event *event = w->events[i];
        if (visible(w, event) && event->ok == 0 && !event->skipped &&
            !event->dead && !event->e.filtered)
            fail_msg("event %lld was committed and did not arrive",
                     (long long)event->e.seq);
        if (event->ok > 0 && w->txs[event->tx].state != W_COMMITTED)
            fail_msg("event %lld arrived and was not committed",
                     (long long)event->e.seq);
    }
}
