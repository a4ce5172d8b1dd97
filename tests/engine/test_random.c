/* test_random.c - short random lives of writers, database, relay and sink.
 *
 * Each schedule is one seed. OUTTRAY_SEED=n runs one of them alone and prints
 * what it does; OUTTRAY_SCHEDULES=n sets how many are tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

#define KEYS     3
#define MOST_TX  4
#define MOST_SEQ 14

struct life {
    struct world w;
    struct ot_rng rng;
    bool talk;
    int open[MOST_TX]; /* transactions under way, -1 none */
    int key[MOST_TX];
    int64_t drawn[MOST_TX]; /* drawn and not inserted, 0 none */
    int ending[64];         /* committed, locks still there */
    int nending;
    struct ot_write_request zombie; /* a write that may land late */
    bool has_zombie;
    bool faults;
    int crashes;
};

#define SAY(life, ...)           \
    do {                         \
        if ((life)->talk)        \
            printf(__VA_ARGS__); \
    } while (0)

static int64_t below(struct life *l, int64_t n)
{
    return ot_rng_between(&l->rng, 0, n - 1);
}

static bool one_in(struct life *l, int64_t n)
{
    return below(l, n) == 0;
}

/* --- writers: a key is locked before its seq is drawn -------------------------- */

static const char *key_name(int key)
{
    static const char *const names[] = {"a", "b", "c"};
    return key < KEYS ? names[key] : NULL;
}

static bool key_is_locked(const struct life *l, int key)
{
    for (int i = 0; i < MOST_TX; i++)
        if (l->open[i] >= 0 && l->key[i] == key && key < KEYS)
            return true;
    return false;
}

static void end_tx(struct life *l, int i, bool commit)
{
    struct world *w = &l->w;
    int tx = l->open[i];
    if (l->drawn[i] != 0 && commit)
        w_insert(w, l->drawn[i]);
    l->open[i] = -1;
    if (!commit) {
        SAY(l, "rollback %d\n", tx);
        w_rollback(w, tx);
        return;
    }
    SAY(l, "commit %d\n", tx);
    w_visible(w, tx);
    if (one_in(l, 2))
        w->flush_lsn = w->lsn;
    if (one_in(l, 2) || l->nending == 64)
        w_release(w, tx);
    else
        l->ending[l->nending++] = tx;
}

static void write_step(struct life *l)
{
    struct world *w = &l->w;
    int i = (int)below(l, MOST_TX);
    if (l->open[i] < 0) {
        int key = (int)below(l, KEYS + 1);
        if (w->last_seq >= MOST_SEQ || key_is_locked(l, key))
            return;
        l->open[i] = w_begin(w);
        l->key[i] = key;
        l->drawn[i] = 0;
        SAY(l, "begin %d key %d\n", l->open[i], key);
        return;
    }
    int tx = l->open[i];
    if (w->txs[tx].state == W_PREPARED) {
        if (one_in(l, 3))
            end_tx(l, i, one_in(l, 2));
        return;
    }
    if (l->drawn[i] != 0) {
        SAY(l, "insert %lld\n", (long long)l->drawn[i]);
        w_insert(w, l->drawn[i]);
        l->drawn[i] = 0;
    } else if (one_in(l, 2) && w->last_seq < MOST_SEQ) {
        l->drawn[i] = w_draw(w, tx, key_name(l->key[i]));
        if (one_in(l, 12))
            w_event(w, l->drawn[i])->e.deliver_us =
                w_db_now(w) + below(l, 3 * W_S);
        if (one_in(l, 12))
            w_event(w, l->drawn[i])->e.filtered = true;
        SAY(l, "draw %lld by %d\n", (long long)l->drawn[i], tx);
    } else if (one_in(l, 6) && w->txs[tx].xid != 0) {
        SAY(l, "prepare %d\n", tx);
        w_prepare(w, tx);
    } else {
        end_tx(l, i, !one_in(l, 4));
    }
}

static void release_step(struct life *l)
{
    if (l->nending == 0)
        return;
    int k = (int)below(l, l->nending);
    w_release(&l->w, l->ending[k]);
    l->ending[k] = l->ending[--l->nending];
}

/* --- the store ------------------------------------------------------------------ */

static const char *const kinds[] = {"lease", "load",     "read",    "fetch",
                                    "write", "commands", "release", "prune"};

/* The connection breaks: the write was done, is lost, or arrives later. */
static void break_one(struct life *l, enum ot_reply_kind kind)
{
    struct world *w = &l->w;
    SAY(l, "break %s\n", kinds[kind]);
    if (kind == OT_REPLY_WRITE) {
        if (one_in(l, 3))
            w_apply_write(w, &w->write);
        else if (one_in(l, 2) && !l->has_zombie) {
            l->zombie = w->write;
            memset(&w->write, 0, sizeof(w->write));
            l->has_zombie = true;
        }
    }
    w_refuse(w, kind, OUTTRAY_E_STORE_UNAVAILABLE);
}

static void free_zombie(struct life *l)
{
    struct ot_write_request *z = &l->zombie;
    if (!l->has_zombie)
        return;
    for (size_t i = 0; i < z->nheld_put; i++)
        free((char *)z->held_put[i].error);
    free((void *)z->gaps_put);
    free((void *)z->gaps_del);
    free((void *)z->held_put);
    free((void *)z->held_del);
    free((void *)z->commands_done);
    l->has_zombie = false;
}

static void land_zombie(struct life *l)
{
    if (!l->has_zombie)
        return;
    bool done = w_apply_write(&l->w, &l->zombie);
    SAY(l, "late write: %s\n", done ? "done" : "refused");
    free_zombie(l);
}

static void answer_step(struct life *l)
{
    struct world *w = &l->w;
    int kind = (int)below(l, W_KINDS);
    for (int i = 0; i < W_KINDS && !w->asked[kind]; i++)
        kind = (kind + 1) % W_KINDS;
    if (!w->asked[kind])
        return;
    if (l->faults && one_in(l, 40)) {
        break_one(l, (enum ot_reply_kind)kind);
        return;
    }
    if (kind == OT_REPLY_READ && w->read.with_locks && !w->locked) {
        SAY(l, "locks\n");
        w_locks(w);
        return;
    }
    SAY(l, "answer %s\n", kinds[kind]);
    w_answer(w, (enum ot_reply_kind)kind);
}

/* --- the sink -------------------------------------------------------------------- */

/* An ordered sink answers for a key in the order of submission. */
static size_t choose_flight(struct life *l)
{
    const struct world *w = &l->w;
    size_t i = (size_t)below(l, (int64_t)w->nflight);
    if (!w->opt.sink_ordered)
        return i;
    for (size_t k = 0; k < i; k++)
        if (strcmp(w->flight[k].event->key, w->flight[i].event->key) == 0)
            return k;
    return i;
}

static struct ot_completion choose_outcome(struct life *l)
{
    struct ot_completion c = {.outcome = OT_OK};
    if (!l->faults || !one_in(l, 4))
        return c;
    static const enum ot_outcome outcomes[] = {OT_RETRY,         OT_REJECTED,
                                               OT_MISCONFIGURED, OT_UNAVAILABLE,
                                               OT_UNKNOWN,       OT_UNKNOWN};
    c.outcome = outcomes[below(l, 6)];
    c.reason = "chance";
    if (c.outcome == OT_REJECTED && one_in(l, 2))
        c.scope = OT_ITS_BATCH;
    if (one_in(l, 10))
        c.retry_after_us = below(l, 2 * W_S);
    if (c.retry_after_us > 0 && one_in(l, 2))
        c.scope = OT_THE_SINK;
    return c;
}

static void sink_step(struct life *l)
{
    struct world *w = &l->w;
    if (w->nflight == 0) {
        ot_engine_room(w->engine);
        return;
    }
    if (l->faults && one_in(l, 20)) {
        SAY(l, "outage\n");
        w_complete_all(w, one_in(l, 2) ? OT_UNAVAILABLE : OT_UNKNOWN);
        return;
    }
    int64_t seq = w->flight[choose_flight(l)].event->e.seq;
    struct ot_completion c = choose_outcome(l);
    SAY(l, "complete %lld: %s\n", (long long)seq, ot_outcome_name(c.outcome));
    w_complete_with(w, seq, c);
}

/* --- trouble ----------------------------------------------------------------------- */

static void forget_aborted(struct life *l)
{
    for (int i = 0; i < MOST_TX; i++)
        if (l->open[i] >= 0 && l->w.txs[l->open[i]].state != W_PREPARED)
            l->open[i] = -1;
        else
            l->drawn[i] = 0;
    l->nending = 0;
}

static void trouble_step(struct life *l)
{
    struct world *w = &l->w;
    if (!l->faults || l->crashes >= 2 || !one_in(l, 4))
        return;
    l->crashes++;
    if (one_in(l, 2)) {
        SAY(l, "server crash\n");
        land_zombie(l);
        if (w->asked[OT_REPLY_WRITE])
            break_one(l, OT_REPLY_WRITE);
        free_zombie(l);
        w_crash_server(w);
        forget_aborted(l);
        return;
    }
    SAY(l, "relay crash\n");
    free_zombie(l);
    for (size_t i = 0; i < w->nflight; i++)
        if (one_in(l, 2) && w->flight[i].event->ok++ == 0)
            w->flight[i].event->order = ++w->published;
    w->tainted_all = w->tainted_all || w->nflight > 0;
    w_crash_relay(w);
    w_start_engine(w);
}

static void operator_step(struct life *l)
{
    struct world *w = &l->w;
    if (!l->faults || w->ncommands > 2)
        return;
    if (w->nheld > 0 && !one_in(l, 3)) {
        int64_t seq = w->held[below(l, (int64_t)w->nheld)].seq;
        w_command(w, one_in(l, 3) ? OT_SKIP : OT_REDRIVE, seq);
        /* a dead one sent again comes after later ones of its key */
        w->tainted_all = true;
    } else {
        w_command(w, one_in(l, 2) ? OT_PAUSE : OT_RESUME, 0);
    }
    SAY(l, "command\n");
}

static void time_step(struct life *l)
{
    struct world *w = &l->w;
    if (one_in(l, 2) && w->wait_until_us != OT_NEVER &&
        w->wait_until_us > w->now_us)
        w->now_us = w->wait_until_us;
    else
        w->now_us += below(l, one_in(l, 30) ? 6 * W_S : 20 * W_MS);
}

static void wish_step(struct life *l)
{
    enum ot_wish wish = w_step(&l->w);
    SAY(l, "wish %d\n", (int)wish);
}

static void step(struct life *l)
{
    int64_t dice = below(l, 100);
    if (dice < 22)
        write_step(l);
    else if (dice < 26)
        release_step(l);
    else if (dice < 52)
        wish_step(l);
    else if (dice < 78)
        answer_step(l);
    else if (dice < 91)
        sink_step(l);
    else if (dice < 96)
        time_step(l);
    else if (dice < 97)
        l->w.flush_lsn = l->w.lsn;
    else if (dice < 98)
        trouble_step(l);
    else if (dice < 99)
        operator_step(l);
    else
        land_zombie(l);
}

/* --- a life -------------------------------------------------------------------------- */

static struct ot_engine_options choose_options(struct life *l)
{
    struct ot_engine_options opt = w_options();
    opt.ordering = (enum ot_ordering)below(l, 3);
    opt.on_reject = (enum ot_policy)below(l, 4);
    opt.sink_ordered = one_in(l, 2);
    opt.barrier_by_write = one_in(l, 4);
    opt.batch_events = 1 + (uint32_t)below(l, 4);
    opt.window_events = opt.batch_events + (uint32_t)below(l, 8);
    opt.leave_out_seqs = below(l, 2);
    opt.retry_max_us = 2 * W_S;
    opt.block_retry_us = W_S;
    opt.probe_max_us = 2 * W_S;
    opt.breaker_max_us = 2 * W_S;
    opt.lease_ttl_us = 3 * W_S;
    if (one_in(l, 4))
        opt.retry_max_attempts = 2;
    if (one_in(l, 6))
        opt.held_max = 2;
    if (one_in(l, 6))
        opt.limit_events_per_s = 20;
    opt.seed = (uint64_t)below(l, 1 << 30);
    return opt;
}

static void tell_state(struct world *w)
{
    char detail[200];
    struct ot_engine_stats stats = w_stats(w);
    enum ot_stall stall = ot_engine_stall(w->engine, w->now_us, detail);
    printf("at %lld us, waits until %lld, stall %s (%s)\n",
           (long long)w->now_us, (long long)w->wait_until_us,
           ot_stall_name(stall), detail);
    printf("position %lld of %lld, window %u, in flight %u, gaps %u, fence "
           "%lld, error %s\n",
           (long long)stats.position, (long long)stats.last_seq, stats.window,
           stats.in_flight, stats.gaps, (long long)stats.fence,
           ot_engine_error(w->engine)->text);
    for (size_t i = 0; i < w->nheld; i++)
        printf("held %lld: %s, key %s, holds %d, next in %lld us\n",
               (long long)w->held[i].seq, ot_held_state_name(w->held[i].state),
               w_event(w, w->held[i].seq)->key, w->held[i].holds_key,
               (long long)(w->held[i].next_us - w_db_now(w)));
}

/* All faults end: everything must arrive, every gap must close. */
static void settle(struct life *l)
{
    struct world *w = &l->w;
    l->faults = false;
    for (int i = 0; i < MOST_TX; i++)
        if (l->open[i] >= 0)
            end_tx(l, i, !one_in(l, 4));
    while (l->nending > 0)
        release_step(l);
    w->flush_lsn = w->lsn;
    land_zombie(l);
    memset(w->keep, 0, sizeof(w->keep));
    for (int kind = 0; kind < W_KINDS; kind++)
        if (w->asked[kind])
            w_answer(w, (enum ot_reply_kind)kind);
    w->sink = W_SINK_OK;
    w->capacity = SIZE_MAX;
    ot_engine_room(w->engine);
    w_complete_all(w, OT_OK);
    w_command(w, OT_RESUME, 0);
    for (int round = 0; round < 20; round++) {
        w_pass(w, 10 * W_S);
        bool dead = false;
        for (size_t i = 0; i < w->nheld; i++)
            if (w->held[i].state == OT_HELD_DEAD) {
                w_command(w, OT_REDRIVE, w->held[i].seq);
                dead = true;
            }
        w->tainted_all = w->tainted_all || dead;
        if (!dead && ot_engine_empty(w->engine))
            break;
    }
    if (l->talk)
        tell_state(w);
    w_check_all(w);
    assert_int_equal(w->ngaps, 0);
    assert_int_equal(w->nheld, 0);
    assert_true(ot_engine_empty(w->engine));
    if (l->talk)
        printf("done: %zu events\n", w->nevents);
}

static void live(uint64_t seed, bool talk)
{
    struct life l;
    memset(&l, 0, sizeof(l));
    ot_rng_seed(&l.rng, seed);
    struct ot_engine_options opt = choose_options(&l);
    w_open(&l.w, &opt);
    l.talk = talk;
    l.faults = !one_in(&l, 3);
    for (int i = 0; i < MOST_TX; i++)
        l.open[i] = -1;
    for (int kind = 0; kind < W_KINDS; kind++)
        l.w.keep[kind] = true;
    l.w.sink = W_SINK_WAIT;
    l.w.tell_abandon = true;
    l.w.capacity = one_in(&l, 4) ? 2 : SIZE_MAX;
    int64_t steps = 100 + below(&l, 500);
    for (int64_t i = 0; i < steps; i++)
        step(&l);
    settle(&l);
    free_zombie(&l);
    w_close(&l.w);
}

static uint64_t last_seed;

/* After a failed assertion: which life was it? */
static int tell_seed(void **state)
{
    (void)state;
    if (last_seed != UINT64_MAX)
        print_message("the seed was %llu\n", (unsigned long long)last_seed);
    return 0;
}

static void test_lives(void **state)
{
    (void)state;
    const char *one = getenv("OUTTRAY_SEED");
    const char *many = getenv("OUTTRAY_SCHEDULES");
    uint64_t n = many != NULL ? strtoull(many, NULL, 10) : 3000;
    if (one != NULL) {
        setvbuf(stdout, NULL, _IONBF, 0);
        live(strtoull(one, NULL, 10), true);
        last_seed = UINT64_MAX;
        return;
    }
    for (uint64_t seed = 1; seed <= n; seed++) {
        last_seed = seed;
        live(seed, false);
    }
    last_seed = UINT64_MAX;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_lives, tell_seed),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
