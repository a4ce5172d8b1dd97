/* test_capture.c - reading, the barrier, what the cursor says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

static void test_late_row_arrives(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int slow = w_begin(&w);
    int64_t late = w_put(&w, slow, "a");
    int64_t quick = w_add(&w, "b");
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, quick)->ok, 1);
    assert_int_equal(w.position, quick);
    assert_true(w_has_gap(&w, late));
    assert_false(ot_engine_empty(w.engine));
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail), OT_STALL_GAP);
    w_commit(&w, slow);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, late)->ok, 1);
    assert_int_equal(w_stats(&w).late, 1);
    assert_int_equal(w.ngaps, 0);
    w_check_all(&w);
    w_close(&w);
}

static void test_rolled_back_gap_closes(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int tx = w_begin(&w);
    w_put(&w, tx, "a");
    w_add(&w, "b");
    w_pass(&w, W_S);
    assert_int_equal(w.ngaps, 1);
    w_rollback(&w, tx);
    w_pass(&w, W_S);
    assert_int_equal(w.ngaps, 0);
    assert_true(ot_engine_empty(w.engine));
    w_close(&w);
}

/* Locks are read, then the writer commits, then the snapshot is taken: the row
 * is there. Locks after the snapshot would lose it. */
static void test_commit_between_locks_and_read(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int slow = w_begin(&w);
    int64_t late = w_put(&w, slow, "a");
    w_add(&w, "b");
    w_pass(&w, 20 * W_MS);
    w.keep[OT_REPLY_READ] = true;
    w_pass(&w, 100 * W_MS);
    w_locks(&w);
    w_commit(&w, slow);
    w_answer(&w, OT_REPLY_READ);
    w.keep[OT_REPLY_READ] = false;
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, late)->ok, 1);
    w_close(&w);
}

/* The written position stays behind the first unsettled tail row; an unsettled
 * late row is written as a gap. */
static void test_unsettled_late_row_is_a_gap(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int slow = w_begin(&w);
    int64_t late = w_put(&w, slow, "a");
    w_add(&w, "b");
    w_pass(&w, W_S);
    w.sink = W_SINK_WAIT;
    w_commit(&w, slow);
    w_pass(&w, W_S);
    assert_true(w_in_flight(&w, late));
    int64_t next = w_add(&w, "c");
    w_pass(&w, W_S);
    w_complete(&w, next, OT_OK);
    w_pass(&w, W_S);
    assert_int_equal(w.position, next);
    assert_true(w_has_gap(&w, late));
    w_crash_relay(&w);
    w_start_engine(&w);
    w.sink = W_SINK_OK;
    w_pass(&w, 30 * W_S);
    assert_int_equal(w_event(&w, late)->ok, 1);
    assert_int_equal(w.ngaps, 0);
    w_close(&w);
}

static void test_position_waits_for_the_tail(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int64_t first = w_add(&w, "a");
    for (int i = 0; i < 5; i++)
        w_add(&w, "b");
    w_pass(&w, W_S);
    for (int64_t seq = first + 1; seq <= w.last_seq; seq++)
        w_complete(&w, seq, OT_OK);
    w_pass(&w, W_S);
    assert_int_equal(w.position, first - 1);
    w_complete(&w, first, OT_OK);
    w_pass(&w, W_S);
    assert_int_equal(w.position, w.last_seq);
    w_close(&w);
}

static void test_filtered_rows_pass(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    for (int i = 0; i < 4; i++)
        w_event(&w, w_add(&w, "a"))->e.filtered = i % 2 == 0;
    w_pass(&w, W_S);
    assert_int_equal(w_stats(&w).ok, 2);
    assert_int_equal(w.position, 4);
    w_check_all(&w);
    w_close(&w);
}

/* --- durability [INV-2] ------------------------------------------------------- */

static int64_t add_async(struct world *w)
{
    int tx = w_begin(w);
    int64_t seq = w_put(w, tx, "a");
    w_visible(w, tx);
    w_release(w, tx);
    return seq;
}

static void test_barrier_waits_then_writes(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w.keep[OT_REPLY_WRITE] = true;
    int64_t seq = add_async(&w);
    unsigned reads = w.count[OT_REPLY_READ];
    w_pass(&w, 60 * W_MS); /* an idle poll, and more than 5 ms */
    assert_int_equal(w_event(&w, seq)->sent, 0);
    assert_true(w.count[OT_REPLY_READ] > reads + 5); /* soon */
    assert_true(w.asked[OT_REPLY_WRITE] && w.write.durable);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_BARRIER);
    w_answer(&w, OT_REPLY_WRITE);
    w_run(&w);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_close(&w);
}

static void test_barrier_opens_by_a_read(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w.keep[OT_REPLY_READ] = true;
    int64_t seq = add_async(&w);
    w_pass(&w, 60 * W_MS);
    w_answer(&w, OT_REPLY_READ);
    w_pass(&w, w.opt.poll_min_us);
    assert_true(w.asked[OT_REPLY_READ]); /* again, soon */
    w.flush_lsn = w.lsn;
    w_answer(&w, OT_REPLY_READ);
    w_run(&w);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_close(&w);
}

static void test_barrier_by_write(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.barrier_by_write = true;
    struct world w;
    w_open(&w, &opt);
    w_pass(&w, W_S);
    int64_t from = w.now_us;
    int64_t seq = add_async(&w);
    while (w_event(&w, seq)->ok == 0 && w.now_us < from + W_S)
        w_pass(&w, W_MS);
    assert_true(w.now_us <= from + 51 * W_MS);
    assert_true(w.write.durable || w.position == seq);
    w_close(&w);
}

/* What a crash took back is never published, and its seq may come again. */
static void test_no_ghosts(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w.keep[OT_REPLY_WRITE] = true;
    int64_t seq = add_async(&w);
    w_pass(&w, 52 * W_MS);
    struct w_event *ghost = w_event(&w, seq);
    w_crash_server(&w);
    w.keep[OT_REPLY_WRITE] = false;
    assert_int_equal(w_add(&w, "a"), seq); /* drawn again */
    w_pass(&w, 5 * W_S);
    assert_int_equal(ghost->sent, 0);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_check_all(&w);
    w_close(&w);
}

/* A write in the next life of the server must change nothing. */
static void test_write_is_for_one_life(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_add(&w, "a");
    w_pass(&w, W_S);
    w.keep[OT_REPLY_WRITE] = true;
    w_add(&w, "a");
    w_pass(&w, W_S);
    struct ot_write_request write = w.write;
    w.incarnation.stats_reset_us++;
    assert_false(w_apply_write(&w, &write));
    w_answer(&w, OT_REPLY_WRITE);
    w.keep[OT_REPLY_WRITE] = false;
    w_pass(&w, W_S);
    assert_int_equal(w.position, 2);
    w_close(&w);
}

/* --- new life, log behind the cursor -------------------------------------------- */

/* A prepared writer comes back under another lock: its gap must not die. */
static void test_prepared_survives_a_restart(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    int tx = w_begin(&w);
    int64_t late = w_put(&w, tx, "a");
    w_add(&w, "b");
    w_pass(&w, W_S);
    w_prepare(&w, tx);
    w_pass(&w, W_S);
    w_crash_server(&w);
    w_pass(&w, 5 * W_S);
    assert_true(w_has_gap(&w, late));
    w_commit(&w, tx);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, late)->ok, 1);
    w_close(&w);
}

static void test_log_behind_the_cursor(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_add(&w, "a");
    w_add(&w, "a");
    w_pass(&w, W_S);
    assert_int_equal(w.position, 2);
    w.last_seq = 1; /* restored from yesterday */
    w_pass(&w, W_S);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_REFUSED);
    assert_int_equal(ot_engine_error(w.engine)->code, OUTTRAY_E_STORE_BEHIND);
    unsigned loads = w.count[OT_REPLY_CURSOR];
    w_pass(&w, 60 * W_S);
    assert_true(w.count[OT_REPLY_CURSOR] - loads < 25); /* slowly */
    w.last_seq = 2; /* somebody set the sequence */
    w_pass(&w, 10 * W_S);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    assert_int_equal(ot_engine_error(w.engine)->code, 0);
    w_close(&w);
}

/* --- pace ------------------------------------------------------------------------ */

static void test_idle_polls_slow_down(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    unsigned reads = w.count[OT_REPLY_READ];
    w_pass(&w, 10 * W_S);
    reads = w.count[OT_REPLY_READ] - reads;
    assert_in_range(reads, 195, 205);
    unsigned writes = w.count[OT_REPLY_WRITE];
    w_pass(&w, 10 * W_S);
    assert_int_equal(w.count[OT_REPLY_WRITE], writes); /* nothing new */
    w_close(&w);
}

static void test_first_event_after_a_pause(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    for (int pause = 5; pause < 200; pause += 7) {
        w_add(&w, "a");
        w_pass(&w, 10 * W_MS + pause * W_MS);
        struct w_event *event = w_event(&w, w_add(&w, "a"));
        int waited = 0;
        for (; event->sent == 0; waited++)
            w_pass(&w, W_MS);
        assert_in_range(waited, 0, 4 + pause / 4);
    }
    w_close(&w);
}

/* A relay at work, and an event that waits for a flush which no write forces. */
static struct w_event *open_in_a_flush(struct world *w)
{
    w_open(w, NULL);
    w_add(w, "a");
    w_pass(w, 10 * W_MS);
    w->keep[OT_REPLY_WRITE] = true;
    return w_event(w, add_async(w));
}

/* While writers are at work, most polls find a flush under way. */
static void test_polls_for_a_barrier_slow_nothing_down(void **state)
{
    (void)state;
    struct world w;
    struct w_event *waits = open_in_a_flush(&w);
    unsigned reads = w.count[OT_REPLY_READ];
    w_pass(&w, 8 * W_MS);
    assert_true(w.count[OT_REPLY_READ] > reads + 5);
    w.flush_lsn = w.lsn;
    w_pass(&w, 5 * W_MS);
    assert_int_equal(waits->ok, 1);
    struct w_event *event = w_event(&w, w_add(&w, "a"));
    int waited = 0;
    for (; event->sent == 0; waited++)
        w_pass(&w, W_MS);
    assert_in_range(waited, 0, 8);
    w_close(&w);
}

/* A read takes 0.2 ms here: 25 would fit into the 5 ms that a flush may last. */
static void test_few_reads_within_a_flush(void **state)
{
    (void)state;
    struct world w;
    struct w_event *waits = open_in_a_flush(&w);
    unsigned reads = w.count[OT_REPLY_READ];
    w_pass(&w, 6 * W_MS); /* 2 ms until it is read, at most */
    assert_in_range(w.count[OT_REPLY_READ] - reads, 8, 15);
    assert_int_equal(waits->sent, 0);
    w.flush_lsn = w.lsn;
    w_pass(&w, W_MS / 2); /* a pause, and a read */
    assert_int_equal(waits->sent, 1);
    w_close(&w);
}

static void test_full_batches_follow_at_once(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    for (int i = 0; i < 95; i++)
        w_add(&w, NULL);
    w_pass(&w, 4 * W_MS); /* ten reads and no pause between them */
    assert_int_equal(w_stats(&w).ok, 95);
    w_close(&w);
}

static void test_full_window_reads_no_more(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.window_events = 25;
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    for (int i = 0; i < 60; i++)
        w_add(&w, NULL);
    w_pass(&w, W_S);
    assert_int_equal(w_stats(&w).window, 25);
    unsigned reads = w.count[OT_REPLY_READ];
    w_pass(&w, W_S);
    assert_int_equal(w.count[OT_REPLY_READ], reads);
    w.sink = W_SINK_OK;
    w_complete_all(&w, OT_OK);
    w_pass(&w, W_S);
    w_check_all(&w);
    w_close(&w);
}

static void test_window_bytes(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.window_bytes = 1000;
    opt.batch_events = 5;
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    for (int i = 0; i < 60; i++)
        w_add(&w, NULL);
    w_pass(&w, W_S);
    struct ot_engine_stats stats = w_stats(&w);
    assert_in_range(stats.window_bytes, 1000, 1400);
    w.sink = W_SINK_OK;
    w_complete_all(&w, OT_OK);
    w_pass(&w, W_S);
    w_check_all(&w);
    assert_int_equal(w_stats(&w).window_bytes, 0);
    w_close(&w);
}

/* What the budget cuts off a fetch keeps its order, and is not taken for
 * deleted. */
static void test_fetches_within_the_budget(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.batch_bytes = 200; /* room for two or three */
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 20; i++)
        w_event(&w, w_add(&w, i % 2 == 0 ? "k" : NULL))->e.deliver_us =
            w_db_now(&w) + 5 * W_S;
    w_pass(&w, W_S);
    assert_int_equal(w_stats(&w).held[OT_HELD_SCHEDULED], 20);
    w_pass(&w, 10 * W_S);
    assert_in_range(w.count[OT_REPLY_FETCH], 20 / 3, 20);
    assert_int_equal(w_stats(&w).ok, 20);
    assert_int_equal(w_stats(&w).dead, 0);
    w_check_all(&w);
    w_close(&w);
}

/* A store that does not keep its contract is told so, and asked anew. */
static void test_rows_out_of_order_are_refused(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.keep[OT_REPLY_READ] = true;
    w_pass(&w, W_S);
    assert_true(w.asked[OT_REPLY_READ]);
    struct ot_event *one = &w_event(&w, w_add(&w, "a"))->e;
    struct ot_event *two = &w_event(&w, w_add(&w, "a"))->e;
    int64_t first = one->seq, second = two->seq;
    one->seq = second;
    two->seq = first;
    w_answer(&w, OT_REPLY_READ);
    assert_int_equal(ot_engine_error(w.engine)->code, OUTTRAY_E_INTERNAL);
    one->seq = first;
    two->seq = second;
    w.keep[OT_REPLY_READ] = false;
    w_pass(&w, 20 * W_S);
    assert_int_equal(w_stats(&w).ok, 2);
    w_check_all(&w);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_row_arrives),
        cmocka_unit_test(test_rolled_back_gap_closes),
        cmocka_unit_test(test_commit_between_locks_and_read),
        cmocka_unit_test(test_unsettled_late_row_is_a_gap),
        cmocka_unit_test(test_position_waits_for_the_tail),
        cmocka_unit_test(test_filtered_rows_pass),
        cmocka_unit_test(test_barrier_waits_then_writes),
        cmocka_unit_test(test_barrier_opens_by_a_read),
        cmocka_unit_test(test_barrier_by_write),
        cmocka_unit_test(test_no_ghosts),
        cmocka_unit_test(test_write_is_for_one_life),
        cmocka_unit_test(test_prepared_survives_a_restart),
        cmocka_unit_test(test_log_behind_the_cursor),
        cmocka_unit_test(test_idle_polls_slow_down),
        cmocka_unit_test(test_first_event_after_a_pause),
        cmocka_unit_test(test_polls_for_a_barrier_slow_nothing_down),
        cmocka_unit_test(test_few_reads_within_a_flush),
        cmocka_unit_test(test_full_batches_follow_at_once),
        cmocka_unit_test(test_full_window_reads_no_more),
        cmocka_unit_test(test_window_bytes),
        cmocka_unit_test(test_fetches_within_the_budget),
        cmocka_unit_test(test_rows_out_of_order_are_refused),
    };
    return cmocka_run_group_tests_name("capture", tests, NULL, NULL);
}
