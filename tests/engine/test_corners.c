/* test_corners.c - corners that the simulator led to, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

/* --- the end --------------------------------------------------------------- */

static void test_the_lease_runs_out_while_it_is_released(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.lease_ttl_us = 300 * W_MS;
    w_open(&w, &opt);
    w_run(&w);
    w.keep[OT_REPLY_RELEASE] = true;
    ot_engine_stop(w.engine, w.now_us, w.now_us + W_S);
    w_pass(&w, 500 * W_MS); /* fails if the engine does not wait */
    assert_true(w.asked[OT_REPLY_RELEASE]);
    w_answer(&w, OT_REPLY_RELEASE);
    w_run(&w);
    assert_true(w.done);
    w_close(&w);
}

static void test_a_cursor_that_comes_after_the_release_is_void(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.keep[OT_REPLY_CURSOR] = w.keep[OT_REPLY_RELEASE] = true;
    w_run(&w);
    ot_engine_stop(w.engine, w.now_us, w.now_us + W_S);
    w_pass(&w, 2 * W_S); /* it is waited for, but not beyond the limit */
    assert_true(w.asked[OT_REPLY_RELEASE]);
    w_answer(&w, OT_REPLY_CURSOR);
    w_run(&w);
    assert_int_equal(w.count[OT_REPLY_RELEASE], 1);
    assert_int_equal(w.count[OT_REPLY_READ], 0);
    w_answer(&w, OT_REPLY_RELEASE);
    w_run(&w);
    assert_true(w.done);
    w_close(&w);
}

static void test_the_lease_is_kept_while_the_sink_has_orphans(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.lease_ttl_us = 300 * W_MS;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_add(&w, "a");
    w_pass(&w, 20 * W_MS);
    assert_int_equal(w.nflight, 1);
    w.keep[OT_REPLY_READ] = true;
    w_pass(&w, 60 * W_MS);
    w_crash_server(&w);
    w.keep[OT_REPLY_READ] = false;
    w_pass(&w, 150 * W_MS); /* the lease again, and then it waits */
    assert_int_equal(w.nflight, 1);
    ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 10 * W_S);
    w_pass(&w, W_S);
    assert_int_equal(w.abandons, 0);
    w_complete_all(&w, OT_OK);
    w_run(&w);
    assert_true(w.done);
    assert_int_equal(w.owner, 0);
    w_close(&w);
}

/* --- what was held ---------------------------------------------------------- */

static void test_a_held_event_is_not_read_and_sent_again(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.retry_min_us = 2 * W_S;
    opt.lease_ttl_us = 300 * W_MS;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_add(&w, "a");
    w_add(&w, NULL);
    w_pass(&w, 20 * W_MS);
    w_complete(&w, 2, OT_RETRY);
    w_pass(&w, 100 * W_MS);
    assert_non_null(w_held(&w, 2));
    assert_int_equal(w.position, 0);
    w_crash_relay(&w);
    w.now_us += 3 * W_S;
    w_start_engine(&w);
    w.keep[OT_REPLY_READ] = true;
    w.sink = W_SINK_OK;
    w_pass(&w, 50 * W_MS); /* it is due, and delivered, before the read */
    assert_null(w_held(&w, 2));
    assert_int_equal(w_event(&w, 2)->sent, 2);
    w.keep[OT_REPLY_READ] = false;
    w_answer(&w, OT_REPLY_READ);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, 2)->sent, 2);
    assert_int_equal(w.position, 2);
    w_check_all(&w);
    w_close(&w);
}

static void test_a_blocked_event_is_not_redriven_past_its_key(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.ordering = OT_ORDER_STRICT;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    for (int i = 0; i < 4; i++)
        w_add(&w, "a");
    w_pass(&w, 20 * W_MS);
    w_complete(&w, 1, OT_MISCONFIGURED);
    w_pass(&w, 3 * W_S);
    assert_true(w_in_flight(&w, 1)); /* it probes */
    assert_int_equal(w_held(&w, 2)->state, OT_HELD_BLOCKED);
    w_command(&w, OT_REDRIVE, 2);
    w.keep[OT_REPLY_COMMANDS] = true;
    w_pass(&w, 200 * W_MS);
    w_answer(&w, OT_REPLY_COMMANDS);
    w_complete(&w, 1, OT_OK);
    w.keep[OT_REPLY_COMMANDS] = false;
    w.sink = W_SINK_OK;
    w_pass(&w, 10 * W_S); /* the world looks at the order */
    assert_int_equal(w.nheld, 0);
    w_check_all(&w);
    w_close(&w);
}

static void test_a_skipped_event_stays_skipped_after_a_crash(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    w_add(&w, "a");
    w_add(&w, "b");
    w_pass(&w, 20 * W_MS);
    w_complete(&w, 2, OT_REJECTED);
    w_pass(&w, 200 * W_MS);
    assert_int_equal(w_held(&w, 2)->state, OT_HELD_DEAD);
    w_command(&w, OT_SKIP, 2);
    w_pass(&w, 500 * W_MS);
    assert_int_equal(w.ncommands, 0);
    assert_int_equal(w.position, 0); /* 1 is not settled: 2 is read again */
    assert_int_equal(w_held(&w, 2)->state, OT_HELD_SKIPPED);
    assert_int_equal(w_stats(&w).held[OT_HELD_DEAD], 0);
    w_command(&w, OT_REDRIVE, 2); /* too late */
    w_pass(&w, 500 * W_MS);
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    w.sink = W_SINK_OK;
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, 2)->sent, 1);
    assert_int_equal(w_event(&w, 1)->ok, 1);
    assert_int_equal(w.position, 2);
    assert_int_equal(w.nheld, 0);
    assert_true(ot_engine_empty(w.engine));
    w_close(&w);
}

/* The same where the position is past it, and its seq is written as a gap. */
static void test_a_late_row_stays_skipped_after_a_crash(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int slow = w_begin(&w);
    int64_t seq = w_draw(&w, slow, "a");
    w_add(&w, "b");
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w.position, 2);
    w.sink = W_SINK_WAIT;
    w_insert(&w, seq);
    w_commit(&w, slow);
    w_pass(&w, 100 * W_MS);
    w_complete(&w, seq, OT_REJECTED);
    w_pass(&w, 200 * W_MS);
    w.keep[OT_REPLY_WRITE] = true;
    w_command(&w, OT_REDRIVE, seq);
    w_command(&w, OT_SKIP, seq);
    w_pass(&w, 200 * W_MS);
    w.keep[OT_REPLY_WRITE] = false;
    if (w.asked[OT_REPLY_WRITE])
        w_answer(&w, OT_REPLY_WRITE);
    w_pass(&w, 500 * W_MS);
    assert_int_equal(w.nheld, 0);
    assert_false(w_has_gap(&w, seq));
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, seq)->sent, 1);
    w_close(&w);
}

static void test_what_may_be_there_is_marked_after_a_load(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.retry_min_us = 2 * W_S;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 20 * W_MS);
    w_complete_with(&w, seq,
                    (struct ot_completion){.outcome = OT_RETRY,
                                           .maybe_persisted = true});
    w_pass(&w, 200 * W_MS);
    assert_true(w_held(&w, seq)->maybe_duplicate);
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    w.keep[OT_REPLY_FETCH] = true;
    w_pass(&w, W_S);
    w_answer(&w, OT_REPLY_FETCH);
    union ot_wish_args args;
    assert_int_equal(ot_engine_next(w.engine, w.now_us, &args), OT_DO_SUBMIT);
    assert_true(args.submit.sends[0].maybe_duplicate);
    ot_engine_submitted(w.engine, 0, w.now_us);
    w_close(&w);
}

/* As in a failover to a machine whose clock is wrong. */
static void test_no_pause_grows_by_a_clock_that_is_set_back(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.retry_min_us = opt.retry_max_us = 2 * W_S;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    int64_t seq = w_add(&w, "a");
    for (unsigned tries = 1; tries < 4; tries++) {
        w_pass(&w, 20 * W_MS);
        assert_int_equal(w_event(&w, seq)->sent, tries);
        w_complete(&w, seq, OT_RETRY);
        w_pass(&w, 200 * W_MS);
        w.wall_us -= 3600 * W_S;
        if (tries == 2) {
            w_crash_relay(&w);
            w.owner = 0;
            w_start_engine(&w);
        }
        w_pass(&w, 1500 * W_MS);
        assert_int_equal(w_event(&w, seq)->sent, tries);
        w_pass(&w, 500 * W_MS);
    }
    w_complete(&w, seq, OT_OK);
    w_check_all(&w);
    w_close(&w);
}

/* What was read since the last write is sent again after a crash: a window at
 * most, be it that one event is never answered, or a write. */
static void test_a_window_at_most_is_sent_again(void **state)
{
    (void)state;
    for (int write = 0; write < 2; write++) {
        struct world w;
        struct ot_engine_options opt = w_options();
        opt.window_events = 20;
        opt.batch_events = 5;
        w_open(&w, &opt);
        w.sink = write ? W_SINK_OK : W_SINK_WAIT;
        w.keep[OT_REPLY_WRITE] = write;
        for (int i = 0; i < 100; i++)
            w_add(&w, NULL);
        for (int i = 0; i < 30; i++) {
            w_pass(&w, 10 * W_MS);
            for (size_t k = w.nflight; k-- > 0;)
                if (w.flight[k].event->e.seq != 3)
                    w_complete(&w, w.flight[k].event->e.seq, OT_OK);
        }
        assert_int_equal(w.published, write ? 20 : 21);
        assert_in_range(w_stats(&w).read, 20, 22);
        if (write) {
            w.keep[OT_REPLY_WRITE] = false;
            w_answer(&w, OT_REPLY_WRITE);
        }
        w.sink = W_SINK_OK;
        if (!write)
            w_complete(&w, 3, OT_OK);
        w_pass(&w, 2 * W_S);
        assert_int_equal(w.position, 100);
        w_check_all(&w);
        w_close(&w);
    }
}

/* Such a window would wait for the next try of its oldest event. */
static void test_a_full_window_does_not_wait_for_one_event(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.window_events = 20;
    opt.batch_events = 5;
    opt.retry_min_us = opt.retry_max_us = 900 * W_MS;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_add(&w, NULL);
    w_pass(&w, 10 * W_MS);
    w_complete(&w, 1, OT_RETRY);
    w.sink = W_SINK_OK;
    for (int i = 0; i < 100; i++)
        w_add(&w, NULL);
    w_pass(&w, 500 * W_MS);
    assert_int_equal(w.published, 100);
    assert_int_equal(w_held(&w, 1)->attempts, 1);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, 1)->ok, 1);
    w_check_all(&w);
    w_close(&w);
}

/* What waited for its key at the load may have others before it that are not
 * held: they were with the sink, and are read again. */
static void test_what_was_held_waits_until_it_is_read_again(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.batch_events = 3;
    opt.held_max = 2; /* and that must not keep it from being read */
    opt.retry_min_us = 2 * W_S;
    opt.lease_ttl_us = 300 * W_MS;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    int tx = w_begin(&w);
    for (int i = 0; i < 4; i++)
        w_put(&w, tx, "a");
    w_commit(&w, tx);
    w_pass(&w, 20 * W_MS);
    assert_int_equal(w.nflight, 4);
    w_complete(&w, 1, OT_RETRY);
    w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    assert_non_null(w_held(&w, 5));
    assert_null(w_held(&w, 2));
    w_crash_relay(&w);
    w.now_us += 3 * W_S;
    w_start_engine(&w);
    w.keep[OT_REPLY_READ] = w.keep[OT_REPLY_FETCH] = true;
    w.sink = W_SINK_OK;
    w_pass(&w, 50 * W_MS);
    assert_true(w.asked[OT_REPLY_READ]); /* although no more may be held */
    w.keep[OT_REPLY_FETCH] = false;
    w_answer(&w, OT_REPLY_FETCH);
    w_pass(&w, 50 * W_MS);
    assert_int_equal(w_event(&w, 1)->ok, 1);
    assert_int_equal(w_event(&w, 5)->sent, 0);
    w.keep[OT_REPLY_READ] = false;
    w_answer(&w, OT_REPLY_READ);
    w_pass(&w, W_S);
    w_check_all(&w);
    for (int64_t seq = 2; seq <= 5; seq++)
        assert_true(w_event(&w, seq)->order > w_event(&w, seq - 1)->order);
    w_close(&w);
}

/* An event that was due out of turn waits behind what is held of its key; what
 * is held later still takes its place by seq. */
static void test_out_of_turn_is_not_in_the_way(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int tx = w_begin(&w);
    w_put(&w, tx, "a");
    w_event(&w, 1)->e.deliver_us = w_db_now(&w) + 50 * W_MS;
    for (int i = 0; i < 3; i++)
        w_put(&w, tx, "a");
    w_commit(&w, tx);
    w_pass(&w, 20 * W_MS);
    assert_int_equal(w.nflight, 3);
    w.capacity = 3;
    w.keep[OT_REPLY_FETCH] = true;
    w_pass(&w, 100 * W_MS); /* the first is due, and on its way */
    w_add(&w, "a");
    w_pass(&w, 10 * W_MS);
    w.keep[OT_REPLY_FETCH] = false;
    w_answer(&w, OT_REPLY_FETCH);
    struct ot_completion later = {.outcome = OT_RETRY,
                                  .retry_after_us = 2 * W_S};
    w_complete_with(&w, 2, later);
    w_complete(&w, 3, OT_OK);
    w_complete_with(&w, 4, later);
    w.sink = W_SINK_OK;
    w.capacity = SIZE_MAX;
    w_complete_all(&w, OT_OK);
    w_pass(&w, 20 * W_S);
    w_check_all(&w);
    assert_int_equal(w_event(&w, 5)->ok, 1);
    assert_true(w_event(&w, 4)->order < w_event(&w, 5)->order);
    w_close(&w);
}

/* --- the sink ----------------------------------------------------------------- */

static const struct ot_completion with_its_batch = {.outcome = OT_REJECTED,
                                                    .scope = OT_ITS_BATCH};
static const struct ot_completion sink_is_away = {.outcome = OT_UNAVAILABLE,
                                                  .scope = OT_THE_SINK};

static void test_a_limit_holds_while_a_batch_is_halved(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.limit_events_per_s = 20;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    for (int i = 0; i < 3; i++)
        w_add(&w, NULL);
    w_pass(&w, 20 * W_MS);
    assert_int_equal(w.nflight, 3); /* as many as may come at once */
    for (int64_t seq = 1; seq <= 3; seq++)
        w_complete_with(&w, seq, with_its_batch);
    w_run(&w);
    assert_int_equal(w.nflight, 0);
    w_pass(&w, W_S);
    assert_int_equal(w.nflight, 1);
    w_close(&w);
}

static void test_halves_wait_for_each_other_in_an_outage(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int tx = w_begin(&w);
    for (int i = 0; i < 4; i++)
        w_put(&w, tx, NULL);
    w_commit(&w, tx);
    w_pass(&w, 20 * W_MS);
    for (int64_t seq = 1; seq <= 4; seq++)
        w_complete_with(&w, seq, with_its_batch);
    w_run(&w);
    assert_int_equal(w.nflight, 2);
    w_complete_with(&w, 1, sink_is_away);
    w_pass(&w, 5 * W_S); /* fails if the engine does not wait */
    w.sink = W_SINK_OK;
    w_complete_all(&w, OT_OK);
    w_pass(&w, 5 * W_S);
    w_check_all(&w);
    w_close(&w);
}

/* The lease runs out while an event is with the sink; the sink is told, and
 * gives it back. */
static void lose_lease(struct world *w)
{
    w->tell_abandon = false;
    w->keep[OT_REPLY_LEASE] = true;
    w_pass(w, 400 * W_MS);
    assert_int_equal(w->abandons, 1);
    w_complete_with(w, 1, sink_is_away);
    w_answer(w, OT_REPLY_LEASE);
    w->keep[OT_REPLY_LEASE] = false;
    w->tell_abandon = true;
}

static void test_giving_up_does_not_open_the_breaker(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.lease_ttl_us = 300 * W_MS;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_add(&w, "a");
    w_pass(&w, 20 * W_MS);
    lose_lease(&w);
    assert_false(w_stats(&w).breaker_open);
    w.sink = W_SINK_OK;
    w_pass(&w, W_S);
    w_check_all(&w);
    w_close(&w);
}

static void test_a_probe_that_is_given_up_is_sent_again(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.lease_ttl_us = 300 * W_MS;
    opt.breaker_min_us = opt.breaker_max_us = 100 * W_MS;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_add(&w, "a");
    w_pass(&w, 20 * W_MS);
    w_complete_with(&w, 1, sink_is_away);
    w_pass(&w, 150 * W_MS);
    assert_true(w_stats(&w).breaker_open);
    assert_int_equal(w.nflight, 1); /* it probes */
    lose_lease(&w);
    w.sink = W_SINK_OK;
    w_pass(&w, W_S);
    assert_false(w_stats(&w).breaker_open);
    w_check_all(&w);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_lease_runs_out_while_it_is_released),
        cmocka_unit_test(test_a_cursor_that_comes_after_the_release_is_void),
        cmocka_unit_test(test_the_lease_is_kept_while_the_sink_has_orphans),
        cmocka_unit_test(test_a_held_event_is_not_read_and_sent_again),
        cmocka_unit_test(test_a_blocked_event_is_not_redriven_past_its_key),
        cmocka_unit_test(test_a_skipped_event_stays_skipped_after_a_crash),
        cmocka_unit_test(test_a_late_row_stays_skipped_after_a_crash),
        cmocka_unit_test(test_what_may_be_there_is_marked_after_a_load),
        cmocka_unit_test(test_no_pause_grows_by_a_clock_that_is_set_back),
        cmocka_unit_test(test_a_window_at_most_is_sent_again),
        cmocka_unit_test(test_a_full_window_does_not_wait_for_one_event),
        cmocka_unit_test(test_what_was_held_waits_until_it_is_read_again),
        cmocka_unit_test(test_out_of_turn_is_not_in_the_way),
        cmocka_unit_test(test_a_limit_holds_while_a_batch_is_halved),
        cmocka_unit_test(test_halves_wait_for_each_other_in_an_outage),
        cmocka_unit_test(test_giving_up_does_not_open_the_breaker),
        cmocka_unit_test(test_a_probe_that_is_given_up_is_sent_again),
    };
    return cmocka_run_group_tests_name("corners", tests, NULL, NULL);
}
