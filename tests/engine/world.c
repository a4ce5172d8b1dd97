/* world.c - the world around one engine. */
#include "world_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define WALL INT64_C(1790000000000000)

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

void *w_grow(void *p, size_t n, size_t each)
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
    w->txs = w_grow(w->txs, (size_t)w->ntxs, sizeof(*w->txs));
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
    w->events = w_grow(w->events, w->nevents, sizeof(*w->events));
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

bool w_can_see(const struct world *w, const struct w_event *event)
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
    w->commands = w_grow(w->commands, w->ncommands, sizeof(*w->commands));
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
    if (!w_can_see(w, event) || w->txs[event->tx].lsn > w->flush_lsn)
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
        w->flight = w_grow(w->flight, w->nflight, sizeof(*w->flight));
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
        if (other == event || !w_can_see(w, other) || other->ok > 0 ||
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
        w_ask(w, OT_REPLY_LEASE, &args);
        break;
    case OT_DO_LOAD:
        w_ask(w, OT_REPLY_CURSOR, &args);
        break;
    case OT_DO_READ:
        w_ask(w, OT_REPLY_READ, &args);
        break;
    case OT_DO_FETCH:
        w_ask(w, OT_REPLY_FETCH, &args);
        break;
    case OT_DO_COMMANDS:
        w_ask(w, OT_REPLY_COMMANDS, &args);
        break;
    case OT_DO_SUBMIT:
        submit(w, args.submit.sends, args.submit.n);
        break;
    case OT_DO_WRITE:
        w_ask(w, OT_REPLY_WRITE, &args);
        break;
    case OT_DO_RELEASE:
        w_ask(w, OT_REPLY_RELEASE, &args);
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
        if (w_can_see(w, event) && event->ok == 0 && !event->skipped &&
            !event->dead && !event->e.filtered)
            fail_msg("event %lld was committed and did not arrive",
                     (long long)event->e.seq);
        if (event->ok > 0 && w->txs[event->tx].state != W_COMMITTED)
            fail_msg("event %lld arrived and was not committed",
                     (long long)event->e.seq);
    }
}
