/* test_delivery.c - outcomes, order within keys, held events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

static void open_waiting(struct world *w, const struct ot_engine_options *opt)
{
    w_open(w, opt);
    w->sink = W_SINK_WAIT;
    w_pass(w, W_S);
}

static enum ot_held_state held_state(const struct world *w, int64_t seq)
{
    const struct ot_held *held = w_held(w, seq);
    assert_non_null(held);
    return held->state;
}

static void settle_all(struct world *w)
{
    w->sink = W_SINK_OK;
    w_complete_all(w, OT_OK);
    w_pass(w, 20 * W_S);
    w_check_all(w);
}

/* --- order -------------------------------------------------------------------- */

static void test_key_mode_is_pipelined(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    for (int i = 0; i < 5; i++)
        w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w.nflight, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(w.flight[i].event->e.seq, i + 1);
    settle_all(&w);
    w_close(&w);
}

static void one_of_a_key(const struct ot_engine_options *opt)
{
    struct world w;
    open_waiting(&w, opt);
    int64_t a1 = w_add(&w, "a"), a2 = w_add(&w, "a"), b = w_add(&w, "b");
    int64_t none1 = w_add(&w, NULL), none2 = w_add(&w, NULL);
    w_pass(&w, 100 * W_MS);
    assert_true(w_in_flight(&w, a1) && !w_in_flight(&w, a2));
    assert_true(w_in_flight(&w, b));
    assert_true(w_in_flight(&w, none1) && w_in_flight(&w, none2));
    w_complete(&w, a1, OT_OK);
    w_run(&w);
    assert_true(w_in_flight(&w, a2));
    settle_all(&w);
    w_close(&w);
}

static void test_strict_sends_one_of_a_key(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.ordering = OT_ORDER_STRICT;
    one_of_a_key(&opt);
}

static void test_unordered_sink_gets_one_of_a_key(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.sink_ordered = false;
    one_of_a_key(&opt);
}

static void test_no_ordering_no_lanes(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.ordering = OT_ORDER_NONE;
    opt.sink_ordered = false;
    struct world w;
    open_waiting(&w, &opt);
    for (int i = 0; i < 5; i++)
        w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w.nflight, 5);
    settle_all(&w);
    w_close(&w);
}

/* After a failure the tail of the key comes home before anything is sent. */
static void test_key_drains_before_a_retry(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t a1 = w_add(&w, "a"), a2 = w_add(&w, "a"), a3 = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    int64_t a4 = w_add(&w, "a");
    w_complete(&w, a1, OT_RETRY);
    w_pass(&w, 500 * W_MS);
    assert_false(w_in_flight(&w, a1) || w_in_flight(&w, a4));
    w_complete(&w, a2, OT_OK);
    w_complete(&w, a3, OT_RETRY);
    w_pass(&w, 500 * W_MS);
    assert_true(w_in_flight(&w, a1)); /* alone */
    assert_int_equal(w.nflight, 1);
    w_complete(&w, a1, OT_OK);
    w_pass(&w, 500 * W_MS);
    assert_true(w_in_flight(&w, a3) && !w_in_flight(&w, a4));
    w_complete(&w, a3, OT_OK);
    w_run(&w);
    assert_true(w_in_flight(&w, a4));
    settle_all(&w);
    w_close(&w);
}

/* --- retry ---------------------------------------------------------------------- */

static void test_short_backoff_stays_in_memory(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, seq, OT_RETRY);
    w_pass(&w, 50 * W_MS);
    assert_null(w_held(&w, seq));
    assert_false(w_in_flight(&w, seq));
    w_pass(&w, 100 * W_MS);
    assert_true(w_in_flight(&w, seq));
    settle_all(&w);
    w_close(&w);
}

static void test_long_backoff_is_held(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.retry_min_us = 5 * W_S;
    struct world w;
    open_waiting(&w, &opt);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    int64_t behind = w_add(&w, "a"), other = w_add(&w, "b");
    w_complete_with(&w, seq,
                    (struct ot_completion){.outcome = OT_RETRY,
                                           .native_code = 42,
                                           .reason = "too busy"});
    w_pass(&w, 200 * W_MS);
    assert_int_equal(held_state(&w, seq), OT_HELD_RETRYING);
    assert_true(w_held(&w, seq)->holds_key);
    assert_int_equal(w_held(&w, seq)->attempts, 1);
    assert_int_equal(w_held(&w, seq)->error_code, 42);
    assert_string_equal(w_held(&w, seq)->error, "too busy");
    assert_int_equal(held_state(&w, behind), OT_HELD_BLOCKED);
    assert_true(w_in_flight(&w, other));
    w_complete(&w, other, OT_OK);
    w_pass(&w, 200 * W_MS);
    assert_int_equal(w.position, 3); /* the window moved on */
    assert_int_equal(w_stats(&w).window, 0);
    w_pass(&w, 5 * W_S);
    assert_true(w_in_flight(&w, seq) && !w_in_flight(&w, behind));
    int64_t newer = w_add(&w, "a");
    settle_all(&w);
    assert_true(w_event(&w, seq)->order < w_event(&w, behind)->order);
    assert_true(w_event(&w, behind)->order < w_event(&w, newer)->order);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

static void test_held_survives_a_crash(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.retry_min_us = 20 * W_S;
    struct world w;
    open_waiting(&w, &opt);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, seq, OT_RETRY);
    int64_t behind = w_add(&w, "a");
    w_pass(&w, 200 * W_MS);
    w_crash_relay(&w);
    w_start_engine(&w);
    w_pass(&w, 16 * W_S);
    int64_t newer = w_add(&w, "a");
    w_pass(&w, 2 * W_S);
    assert_int_equal(held_state(&w, newer), OT_HELD_BLOCKED);
    assert_int_equal(w.nflight, 0);
    w_pass(&w, 5 * W_S);
    assert_true(w_in_flight(&w, seq));
    settle_all(&w);
    assert_true(w_event(&w, seq)->order < w_event(&w, behind)->order);
    assert_true(w_event(&w, behind)->order < w_event(&w, newer)->order);
    w_close(&w);
}

static void test_gives_up_by_count(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.retry_max_attempts = 3;
    struct world w;
    open_waiting(&w, &opt);
    int64_t seq = w_add(&w, NULL);
    for (int i = 0; i < 3; i++) {
        w_pass(&w, 20 * W_S);
        w_complete(&w, seq, OT_RETRY);
    }
    w_pass(&w, W_S);
    assert_int_equal(held_state(&w, seq), OT_HELD_DEAD);
    assert_false(w_held(&w, seq)->holds_key);
    assert_int_equal(w_held(&w, seq)->attempts, 3);
    assert_true(ot_engine_empty(w.engine));
    w_close(&w);
}

/* Only its own backoff counts; an outage between does not. [INV-9] */
static void test_gives_up_by_own_age(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.retry_max_age_us = 300 * W_MS;
    opt.breaker_min_us = opt.breaker_max_us = W_S;
    struct world w;
    open_waiting(&w, &opt);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, seq, OT_RETRY);
    for (int i = 0; i < 60; i++) {
        w_pass(&w, 2 * W_S);
        w_complete(&w, seq, OT_UNAVAILABLE);
    }
    assert_null(w_held(&w, seq));
    for (int i = 0; i < 10 && w_held(&w, seq) == NULL; i++) {
        w_pass(&w, 2 * W_S);
        if (w_in_flight(&w, seq))
            w_complete(&w, seq, OT_RETRY);
        w_pass(&w, 100 * W_MS);
    }
    w_pass(&w, 2 * W_S);
    assert_int_equal(held_state(&w, seq), OT_HELD_DEAD);
    w_close(&w);
}

/* --- rejected --------------------------------------------------------------------- */

static void test_park_holds_the_key(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t bad = w_add(&w, "a"), behind = w_add(&w, "b");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, behind, OT_OK);
    w_complete(&w, bad, OT_REJECTED);
    behind = w_add(&w, "a");
    w_pass(&w, 200 * W_MS);
    assert_int_equal(held_state(&w, bad), OT_HELD_DEAD);
    assert_true(w_held(&w, bad)->holds_key);
    assert_int_equal(held_state(&w, behind), OT_HELD_BLOCKED);
    assert_true(ot_engine_empty(w.engine)); /* nothing that waiting helps */
    w_command(&w, OT_SKIP, bad);
    settle_all(&w);
    assert_int_equal(w_event(&w, bad)->ok, 0);
    assert_int_equal(w_event(&w, behind)->ok, 1);
    assert_int_equal(w.nheld, 0);
    assert_int_equal(w.ncommands, 0);
    w_close(&w);
}

static void test_redrive_sends_again(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    int64_t behind = w_add(&w, "a");
    w_pass(&w, 200 * W_MS);
    w_command(&w, OT_REDRIVE, bad);
    w_command(&w, OT_REDRIVE, 77777777); /* not held: consumed */
    w.commands[1].seq = behind + 1000;
    w_pass(&w, 500 * W_MS);
    assert_true(w_in_flight(&w, bad));
    assert_int_equal(w.ncommands, 0);
    assert_int_equal(w_held(&w, bad)->attempts, 0);
    settle_all(&w);
    assert_true(w_event(&w, bad)->order < w_event(&w, behind)->order);
    w_close(&w);
}

static void test_not_empty_while_a_redrive_waits(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    w_pass(&w, 200 * W_MS);
    assert_true(ot_engine_empty(w.engine));
    w_crash_relay(&w);
    w_command(&w, OT_REDRIVE, bad);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    /* Never between its start and the send: a relay that runs until it is
     * empty would leave what it was asked for. */
    for (int i = 0; i < 1000 && !w_in_flight(&w, bad); i++) {
        assert_false(ot_engine_empty(w.engine));
        if (w_step(&w) == OT_WAIT)
            w_pass(&w, W_MS);
    }
    assert_true(w_in_flight(&w, bad));
    w_complete(&w, bad, OT_OK);
    w_pass(&w, 200 * W_MS);
    assert_true(ot_engine_empty(w.engine));
    w_close(&w);
}

static void test_dead_letter_lets_the_key_go(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.on_reject = OT_DEAD_LETTER;
    struct world w;
    open_waiting(&w, &opt);
    int64_t bad = w_add(&w, "a"), next = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    settle_all(&w);
    assert_int_equal(held_state(&w, bad), OT_HELD_DEAD);
    assert_false(w_held(&w, bad)->holds_key);
    assert_int_equal(w_event(&w, next)->ok, 1);
    w_close(&w);
}

static void test_block_tries_for_ever(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.on_reject = OT_BLOCK;
    struct world w;
    open_waiting(&w, &opt);
    int64_t bad = w_add(&w, "a");
    for (int i = 0; i < 3; i++) {
        w_pass(&w, 601 * W_S);
        w_complete(&w, bad, OT_REJECTED);
    }
    w_pass(&w, W_S);
    assert_int_equal(held_state(&w, bad), OT_HELD_RETRYING);
    w_pass(&w, 601 * W_S);
    settle_all(&w);
    w_close(&w);
}

/* One poison event among a batch that was rejected as a whole. */
static void test_bisects(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    struct world w;
    open_waiting(&w, &opt);
    for (int i = 0; i < 10; i++)
        w_add(&w, i % 2 ? "a" : "b");
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w.nflight, 10);
    const int64_t poison = 6;
    unsigned rounds = 0;
    for (; w_held(&w, poison) == NULL && rounds < 100; rounds++) {
        bool hit = w_in_flight(&w, poison);
        while (w.nflight > 0) {
            struct ot_completion c = {.outcome = hit ? OT_REJECTED : OT_OK,
                                      .scope = OT_ITS_BATCH};
            w_complete_with(&w, w.flight[0].event->e.seq, c);
        }
        w_pass(&w, 100 * W_MS);
    }
    assert_int_equal(held_state(&w, poison), OT_HELD_DEAD);
    assert_int_equal(w_held(&w, poison)->attempts, 1);
    assert_true(rounds < 12);
    w_command(&w, OT_SKIP, poison);
    settle_all(&w);
    for (int64_t seq = 1; seq < 10; seq += 2)
        assert_int_equal(w_event(&w, seq)->ok, 1); /* the other key */
    w_close(&w);
}

/* --- destination -------------------------------------------------------------------- */

static void test_misconfigured_topic_waits(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t bad[3], good;
    for (int i = 0; i < 3; i++) {
        bad[i] = w_add(&w, i == 0 ? "a" : NULL);
        struct w_event *event = w_event(&w, bad[i]);
        strcpy(event->topic, "nowhere");
        event->e.topic = ot_slice_of(event->topic);
    }
    good = w_add(&w, "b");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, good, OT_OK);
    for (int i = 0; i < 3; i++)
        w_complete(&w, bad[i], OT_MISCONFIGURED);
    w_pass(&w, 200 * W_MS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(held_state(&w, bad[i]), OT_HELD_WAITING);
        assert_int_equal(w_held(&w, bad[i])->attempts, 0);
    }
    unsigned sent = w_event(&w, bad[0])->sent;
    for (int i = 0; i < 100; i++) {
        w_pass(&w, 2 * W_S);
        assert_true(w.nflight <= 1); /* one probe */
        w_complete_all(&w, OT_MISCONFIGURED);
    }
    sent = w_event(&w, bad[0])->sent - sent; /* the oldest */
    assert_in_range(sent, 5, 12);            /* slower and slower */
    w.sink = W_SINK_OK;
    w_pass(&w, 61 * W_S);
    w_check_all(&w);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

/* --- outage ------------------------------------------------------------------------- */

static void test_outage_keeps_order_and_attempts(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    for (int i = 0; i < 10; i++)
        w_add(&w, i % 2 ? "a" : "b");
    w_pass(&w, 100 * W_MS);
    w_complete_all(&w, OT_UNAVAILABLE);
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w.nflight, 0);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_BREAKER);
    for (int i = 0; i < 50; i++) {
        w_pass(&w, 10 * W_S);
        assert_true(w.nflight <= 1); /* a probe */
        w_complete_all(&w, OT_UNAVAILABLE);
    }
    assert_int_equal(w.nheld, 0);
    w.sink = W_SINK_OK;
    w_pass(&w, 61 * W_S);
    w_check_all(&w);
    for (size_t i = 0; i < w.nevents; i++) {
        assert_int_equal(w.events[i]->failures, 0);
        if (i >= 2)
            assert_true(w.events[i]->order > w.events[i - 2]->order);
    }
    w_close(&w);
}

static void test_unknown_is_flagged(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, seq, OT_UNKNOWN);
    union ot_wish_args args;
    assert_int_equal(ot_engine_next(w.engine, w.now_us, &args), OT_DO_SUBMIT);
    assert_true(args.submit.sends[0].maybe_duplicate);
    assert_int_equal(args.submit.sends[0].attempts, 0);
    ot_engine_submitted(w.engine, 0, w.now_us); /* no room */
    assert_int_equal(ot_engine_next(w.engine, w.now_us, &args), OT_WAIT);
    ot_engine_room(w.engine);
    settle_all(&w);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_close(&w);
}

static void test_back_pressure(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    w.capacity = 3;
    for (int i = 0; i < 10; i++)
        w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w.nflight, 3);
    int64_t next = 1;
    while (w.nflight > 0) {
        assert_int_equal(w.flight[0].event->e.seq, next);
        w_complete(&w, next++, OT_OK);
        w_run(&w);
    }
    assert_int_equal(next, 11);
    settle_all(&w);
    w_close(&w);
}

/* --- schedule, limits ----------------------------------------------------------------- */

static void test_scheduled(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int64_t later = w_add(&w, "a");
    w_event(&w, later)->e.deliver_us = w_db_now(&w) + 10 * W_S;
    int64_t now = w_add(&w, "a");
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, now)->ok, 1); /* it does not hold its key */
    assert_int_equal(held_state(&w, later), OT_HELD_SCHEDULED);
    assert_true(ot_engine_empty(w.engine));
    assert_int_equal(w.position, 2);
    w_pass(&w, 8500 * W_MS);
    assert_int_equal(w_event(&w, later)->ok, 0);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, later)->ok, 1);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

static void test_limit(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.limit_events_per_s = 20;
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 100; i++)
        w_add(&w, NULL);
    w_pass(&w, 2 * W_S);
    assert_in_range(w_stats(&w).ok, 35, 45);
    assert_true(w_stats(&w).window < 30); /* not read before its time */
    w_pass(&w, 4 * W_S);
    w_check_all(&w);
    w_close(&w);
}

static void test_broker_asks_for_a_pause(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete_with(&w, seq,
                    (struct ot_completion){.outcome = OT_RETRY,
                                           .scope = OT_THE_SINK,
                                           .retry_after_us = 3 * W_S});
    int64_t other = w_add(&w, "b");
    w_pass(&w, 2900 * W_MS);
    assert_int_equal(w.nflight, 0);
    w_pass(&w, W_S);
    assert_true(w_in_flight(&w, other) && w_in_flight(&w, seq));
    settle_all(&w);
    w_close(&w);
}

static void test_held_full_stops_reading(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.held_max = 4;
    struct world w;
    open_waiting(&w, &opt);
    int64_t bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    for (int i = 0; i < 40; i++)
        w_add(&w, "a");
    w_pass(&w, 5 * W_S);
    assert_in_range(w.nheld, 4, 14); /* one batch over the cap at most */
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_HELD_FULL);
    w_command(&w, OT_SKIP, bad); /* found without a read */
    settle_all(&w);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

/* A key with much behind it drains in bounded portions. */
static void test_drains_a_long_queue(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    for (int i = 0; i < 200; i++)
        w_add(&w, "a");
    w_pass(&w, 5 * W_S);
    assert_int_equal(w.nheld, 201);
    w_command(&w, OT_REDRIVE, bad);
    w.sink = W_SINK_OK;
    w_pass(&w, 2 * W_S);
    w_check_all(&w);
    for (size_t i = 1; i < w.nevents; i++)
        assert_true(w.events[i]->order > w.events[i - 1]->order);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

static void test_missing_row_is_dead(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w, NULL);
    int64_t bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    int64_t behind = w_add(&w, "a");
    w_pass(&w, 200 * W_MS);
    w_event(&w, bad)->gone = true;
    w_event(&w, bad)->let_go = true; /* its key goes on */
    w_command(&w, OT_REDRIVE, bad);
    settle_all(&w);
    assert_int_equal(held_state(&w, bad), OT_HELD_DEAD);
    assert_int_equal(w_event(&w, behind)->ok, 1);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_mode_is_pipelined),
        cmocka_unit_test(test_strict_sends_one_of_a_key),
        cmocka_unit_test(test_unordered_sink_gets_one_of_a_key),
        cmocka_unit_test(test_no_ordering_no_lanes),
        cmocka_unit_test(test_key_drains_before_a_retry),
        cmocka_unit_test(test_short_backoff_stays_in_memory),
        cmocka_unit_test(test_long_backoff_is_held),
        cmocka_unit_test(test_held_survives_a_crash),
        cmocka_unit_test(test_gives_up_by_count),
        cmocka_unit_test(test_gives_up_by_own_age),
        cmocka_unit_test(test_park_holds_the_key),
        cmocka_unit_test(test_redrive_sends_again),
        cmocka_unit_test(test_not_empty_while_a_redrive_waits),
        cmocka_unit_test(test_dead_letter_lets_the_key_go),
        cmocka_unit_test(test_block_tries_for_ever),
        cmocka_unit_test(test_bisects),
        cmocka_unit_test(test_misconfigured_topic_waits),
        cmocka_unit_test(test_outage_keeps_order_and_attempts),
        cmocka_unit_test(test_unknown_is_flagged),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_scheduled),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_broker_asks_for_a_pause),
        cmocka_unit_test(test_held_full_stops_reading),
        cmocka_unit_test(test_drains_a_long_queue),
        cmocka_unit_test(test_missing_row_is_dead),
    };
    return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
