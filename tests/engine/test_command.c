/* test_command.c - what operators ask of the owner: replays, and commands that
 * come twice, too late or for nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

static void open_waiting(struct world *w)
{
    w_open(w, NULL);
    w->sink = W_SINK_WAIT;
    w_pass(w, W_S);
}

static void settle_all(struct world *w)
{
    w->sink = W_SINK_OK;
    w_complete_all(w, OT_OK);
    w_pass(w, 20 * W_S);
    w_check_all(w);
}

/* One that was sent, acknowledged and passed. */
static int64_t delivered(struct world *w, const char *key)
{
    enum w_sink sink = w->sink;
    int64_t seq = w_add(w, key);
    w->sink = W_SINK_OK;
    w_pass(w, 500 * W_MS);
    w->sink = sink;
    assert_int_equal(w_event(w, seq)->ok, 1);
    assert_true(w->position >= seq);
    return seq;
}

/* --- replays ----------------------------------------------------------------- */

/* What was passed goes out again, marked, and stays held over a crash until it
 * is there; what was not passed yet comes by itself. */
static void test_replay_sends_what_was_passed(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w);
    int64_t first = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, first, OT_OK);
    w_pass(&w, 200 * W_MS);
    int64_t second = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_command(&w, OT_REPLAY, first);
    w_command(&w, OT_REPLAY, second); /* in flight */
    w_pass(&w, 500 * W_MS);
    assert_true(w_in_flight(&w, first));
    assert_int_equal(w_held(&w, first)->maybe_duplicate, true);
    assert_null(w_held(&w, second));
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    settle_all(&w);
    assert_int_equal(w_event(&w, first)->ok, 2);
    assert_int_equal(w_event(&w, second)->ok, 1);
    assert_int_equal(w.nheld, 0);
    assert_int_equal(w.ncommands, 0);
    w_close(&w);
}

/* A range goes out in its order, also from whoever takes over. */
static void test_replays_keep_their_order(void **state)
{
    (void)state;
    enum { N = 12 };
    struct world w;
    int64_t seq[N];
    w_open(&w, NULL);
    for (int i = 0; i < N; i++)
        seq[i] = w_add(&w, "a");
    w_pass(&w, 500 * W_MS);
    w.sink = W_SINK_WAIT;
    for (int i = 0; i < N; i++)
        w_command(&w, OT_REPLAY, seq[i]);
    w_pass(&w, 500 * W_MS);
    assert_true(w.nflight > 3);
    for (size_t i = 0; i < w.nflight; i++)
        assert_int_equal(w.flight[i].event->e.seq, seq[i]);
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    for (int i = 0; i < N; i++) {
        w_pass(&w, 200 * W_MS);
        assert_true(w.nflight > 0);
        assert_int_equal(w.flight[0].event->e.seq, seq[i]);
        w_complete(&w, seq[i], OT_OK);
    }
    settle_all(&w);
    for (int i = 0; i < N; i++)
        assert_int_equal(w_event(&w, seq[i])->ok, 2);
    w_close(&w);
}

/* It waits for a topic that is refused, and goes when another was taken. */
static void test_replay_waits_for_its_topic(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int64_t first = w_add(&w, "a");
    w_pass(&w, 500 * W_MS);
    w.sink = W_SINK_WAIT;
    int64_t second = w_add(&w, "b");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, second, OT_MISCONFIGURED);
    w_command(&w, OT_REPLAY, first);
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w_held(&w, first)->state, OT_HELD_WAITING);
    settle_all(&w);
    assert_int_equal(w_event(&w, first)->ok, 2);
    assert_int_equal(w_event(&w, second)->ok, 1);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

/* What is held, came late out of a gap and is not settled, or never was. */
static void test_replay_of_what_was_not_delivered(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w);
    int tx = w_begin(&w);
    int64_t late = w_put(&w, tx, "late");
    int64_t bad = w_add(&w, "bad");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    w_pass(&w, 500 * W_MS);
    assert_true(w_has_gap(&w, late));
    w_command(&w, OT_REPLAY, late);
    w_pass(&w, 500 * W_MS);
    w_commit(&w, tx);
    w_pass(&w, 500 * W_MS);
    assert_true(w_in_flight(&w, late));
    w_command(&w, OT_REPLAY, late);
    w_command(&w, OT_REPLAY, bad);
    w_command(&w, OT_REPLAY, bad);
    w.commands[2].seq = 0; /* as a row of 0 would be */
    w_pass(&w, 500 * W_MS);
    assert_int_equal(w.ncommands, 0);
    assert_null(w_held(&w, late));
    assert_int_equal(w_held(&w, bad)->state, OT_HELD_DEAD);
    settle_all(&w);
    assert_int_equal(w_event(&w, late)->sent, 1);
    assert_int_equal(w_event(&w, bad)->sent, 1);
    w_close(&w);
}

/* --- commands ---------------------------------------------------------------- */

/* Its row goes with the write that makes its effect durable: who only applies
 * commands reads it once more before, and knows it. */
static void test_a_command_is_carried_out_once(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int64_t first = delivered(&w, "a"), other = delivered(&w, "b");
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w.opt.apply_only = true;
    w_command(&w, OT_REPLAY, first);
    w_command(&w, OT_PAUSE, 0);
    w_command(&w, OT_REPLAY, other);
    w_command(&w, OT_RESUME, 0);
    unsigned asked = w.count[OT_REPLY_COMMANDS];
    w_start_engine(&w);
    w_pass(&w, 5 * W_S);
    assert_true(w.done);
    assert_true(w.count[OT_REPLY_COMMANDS] > asked + 1);
    assert_int_equal(w.ncommands, 0);
    assert_int_equal(w.nheld, 2);
    assert_false(w.paused);
    w_crash_relay(&w);
    w.done = w.opt.apply_only = false;
    w_start_engine(&w);
    settle_all(&w);
    assert_int_equal(w_event(&w, first)->ok, 2);
    assert_int_equal(w_event(&w, other)->ok, 2);
    w_close(&w);
}

/* One that is on its way, or waits behind another of its key, is left alone. */
static void test_redrive_of_what_cannot_go_sooner(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w);
    int64_t bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    int64_t behind = w_add(&w, "a");
    w_pass(&w, 500 * W_MS);
    assert_int_equal(w_held(&w, behind)->state, OT_HELD_BLOCKED);
    w_command(&w, OT_REDRIVE, behind);
    w_command(&w, OT_REDRIVE, bad);
    w_pass(&w, 500 * W_MS);
    assert_true(w_in_flight(&w, bad) && !w_in_flight(&w, behind));
    w_command(&w, OT_REDRIVE, bad);
    w_pass(&w, 500 * W_MS);
    assert_int_equal(w_event(&w, bad)->sent, 2);
    assert_int_equal(w.ncommands, 0);
    settle_all(&w);
    assert_int_equal(w_event(&w, bad)->ok, 1);
    assert_int_equal(w_event(&w, behind)->ok, 1);
    w_close(&w);
}

/* A second skip, and a redrive of what was skipped, find nothing. */
static void test_what_was_skipped_is_left_alone(void **state)
{
    (void)state;
    struct world w;
    open_waiting(&w);
    int64_t first = w_add(&w, NULL), bad = w_add(&w, "a");
    w_pass(&w, 100 * W_MS);
    w_complete(&w, bad, OT_REJECTED);
    w_pass(&w, 500 * W_MS);
    w_command(&w, OT_SKIP, bad);
    w_command(&w, OT_SKIP, bad);
    w_command(&w, OT_REDRIVE, bad);
    w_pass(&w, 500 * W_MS); /* the first keeps the position, and so its row */
    assert_int_equal(w_held(&w, bad)->state, OT_HELD_SKIPPED);
    assert_int_equal(w.ncommands, 0);
    settle_all(&w);
    assert_int_equal(w_event(&w, first)->ok, 1);
    assert_int_equal(w_event(&w, bad)->sent, 1);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay_sends_what_was_passed),
        cmocka_unit_test(test_replays_keep_their_order),
        cmocka_unit_test(test_replay_waits_for_its_topic),
        cmocka_unit_test(test_replay_of_what_was_not_delivered),
        cmocka_unit_test(test_a_command_is_carried_out_once),
        cmocka_unit_test(test_redrive_of_what_cannot_go_sooner),
        cmocka_unit_test(test_what_was_skipped_is_left_alone),
    };
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
