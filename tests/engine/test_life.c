/* test_life.c - lease, failures, stop, commands of a relay's life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

/* --- lease [INV-11] -------------------------------------------------------------- */

static void test_renews(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, 60 * W_S);
    assert_int_equal(w.fence, 1);
    assert_in_range(w.count[OT_REPLY_LEASE], 12, 14);
    w_close(&w);
}

static void test_waits_for_another_relay(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.owner = 77;
    w.fence = 5;
    w.expires_us = w_db_now(&w) + 10 * W_S;
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 9 * W_S);
    assert_int_equal(w_event(&w, seq)->sent, 0);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LEASE);
    assert_in_range(w.count[OT_REPLY_LEASE], 7, 12);
    w_pass(&w, 2 * W_S);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    assert_int_equal(w.fence, 6);
    w_close(&w);
}

/* It was away first, and that is no reason any more. */
static void test_names_the_other_relay_after_an_error(void **state)
{
    (void)state;
    struct world w;
    char detail[200];
    w_open(&w, NULL);
    w.owner = 77;
    w.fence = 5;
    w.expires_us = w_db_now(&w) + 10 * W_S;
    w.fail[OT_REPLY_LEASE] = OUTTRAY_E_STORE_UNAVAILABLE;
    w_run(&w);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_STORE);
    w_pass(&w, W_S);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LEASE);
    assert_int_equal(ot_engine_error(w.engine)->code, 0);
    w_close(&w);
}

/* Who has the lease is no longer known, and not what it waits for. */
static void test_names_a_silent_database_without_the_lease(void **state)
{
    (void)state;
    struct world w;
    char detail[200];
    w_open(&w, NULL);
    w.owner = 77;
    w.fence = 5;
    w.expires_us = w_db_now(&w) + 60 * W_S;
    w_pass(&w, 3 * W_S);
    w.keep[OT_REPLY_LEASE] = true;
    w_pass(&w, 1500 * W_MS);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LEASE);
    w_pass(&w, 2 * W_S);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_STORE);
    assert_non_null(strstr(detail, "waiting for the database"));
    w.keep[OT_REPLY_LEASE] = false;
    w_answer(&w, OT_REPLY_LEASE);
    w_pass(&w, W_S);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LEASE);
    w_close(&w);
}

/* The database does not answer: at the deadline all is given up, and nothing is
 * sent until the lease is taken again under a new fence. */
static void test_lease_runs_out(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int64_t seq = w_add(&w, "a");
    w_pass(&w, W_S);
    assert_true(w_in_flight(&w, seq));
    w.keep[OT_REPLY_LEASE] = w.keep[OT_REPLY_READ] = true;
    w_pass(&w, 12 * W_S);
    assert_int_equal(w.abandons, 0);
    w_pass(&w, 2 * W_S);
    assert_int_equal(w.abandons, 1);
    assert_int_equal(w.nflight, 0);
    w_pass(&w, 5 * W_S);
    w.keep[OT_REPLY_LEASE] = w.keep[OT_REPLY_READ] = false;
    w_refuse(&w, OT_REPLY_LEASE, OUTTRAY_E_STORE_UNAVAILABLE);
    w_refuse(&w, OT_REPLY_READ, OUTTRAY_E_STORE_UNAVAILABLE);
    w.sink = W_SINK_OK;
    w_pass(&w, W_S);
    assert_int_equal(w.fence, 2);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_close(&w);
}

static void test_lost_lease_abandons(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int64_t seq = w_add(&w, "a");
    w_pass(&w, W_S);
    w.owner = 77; /* stolen */
    w.fence++;
    w.expires_us = w_db_now(&w) + 15 * W_S;
    w_pass(&w, 6 * W_S); /* the renewal tells */
    assert_int_equal(w.abandons, 1);
    assert_int_equal(w_stats(&w).fence, 0);
    w.sink = W_SINK_OK;
    w_pass(&w, 15 * W_S);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_close(&w);
}

static void test_refused_write_loses_the_lease(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w.fence = 40; /* a failover took the database back and forth */
    w.expires_us = w_db_now(&w);
    int64_t seq = w_add(&w, "a");
    w.checks = false; /* it is sent before the write tells */
    w_pass(&w, W_S);
    w.checks = true;
    assert_int_equal(w_stats(&w).fence, 41);
    w_pass(&w, W_S);
    assert_int_equal(w.position, seq);
    w_close(&w);
}

/* A late grant must not revive anything. */
static void test_late_grant_counts_from_sending(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.keep[OT_REPLY_LEASE] = true;
    w_add(&w, "a");
    w_run(&w);
    w_answer(&w, OT_REPLY_LEASE);
    w_pass(&w, 5100 * W_MS);
    assert_true(w.asked[OT_REPLY_LEASE]); /* renewal, unanswered */
    w_pass(&w, 9 * W_S);
    assert_int_equal(w_stats(&w).fence, 0);
    w_answer(&w, OT_REPLY_LEASE); /* after the deadline: void */
    assert_int_equal(w_stats(&w).fence, 0);
    w.keep[OT_REPLY_LEASE] = false;
    w_pass(&w, W_S);
    assert_int_equal(w_stats(&w).fence, 2);
    w_close(&w);
}

/* --- failures ---------------------------------------------------------------------- */

static void fails(enum ot_reply_kind kind)
{
    struct world w;
    w_open(&w, NULL);
    w_add(&w, "a");
    w.fail[kind] = OUTTRAY_E_STORE_UNAVAILABLE;
    w_pass(&w, 200 * W_MS);
    for (int i = 0; i < 5; i++)
        w_add(&w, "a");
    w_command(&w, OT_RESUME, 0);
    w_pass(&w, 2 * W_S);
    assert_int_equal(w.fail[kind], 0); /* it was met */
    w_check_all(&w);
    assert_int_equal(w.position, 6);
    assert_int_equal(w.ncommands, 0);
    assert_int_equal(ot_engine_error(w.engine)->code, 0);
    w_close(&w);
}

static void test_every_request_may_fail(void **state)
{
    (void)state;
    fails(OT_REPLY_LEASE);
    fails(OT_REPLY_CURSOR);
    fails(OT_REPLY_READ);
    fails(OT_REPLY_WRITE);
    fails(OT_REPLY_COMMANDS);
}

static void test_database_away(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w.down = true;
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 60 * W_S);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_STORE);
    unsigned asked = w.count[OT_REPLY_LEASE];
    w_pass(&w, 60 * W_S);
    assert_true(w.count[OT_REPLY_LEASE] - asked <= 30);
    w.down = false;
    w_pass(&w, 6 * W_S);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    w_close(&w);
}

static void test_refusal_has_a_name(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.fail[OT_REPLY_CURSOR] = OUTTRAY_E_STORE_STANDBY;
    w_pass(&w, W_S);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_REFUSED);
    w_pass(&w, 6 * W_S);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_NONE);
    w_close(&w);
}

/* What is in flight over a reload is not sent a second time meanwhile. */
static void test_in_flight_over_a_reload(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int64_t a = w_add(&w, "a"), b = w_add(&w, "a");
    w_pass(&w, W_S);
    w.fail[OT_REPLY_READ] = OUTTRAY_E_STORE_UNAVAILABLE;
    w_pass(&w, 30 * W_S);
    assert_int_equal(w.fence, 2); /* taken anew, and kept */
    assert_int_equal(w.abandons, 0);
    assert_int_equal(w.nflight, 2);
    w_complete(&w, a, OT_OK);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, a)->sent, 1);
    w_complete(&w, b, OT_OK);
    w.sink = W_SINK_OK;
    w_pass(&w, W_S);
    assert_int_equal(w.position, b);
    w_close(&w);
}

/* --- stop ----------------------------------------------------------------------------- */

static void test_stops_clean(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    for (int i = 0; i < 5; i++)
        w_add(&w, "a");
    w_pass(&w, W_S);
    ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 8 * W_S);
    w_add(&w, "a"); /* not read any more */
    w_pass(&w, W_S);
    assert_false(w.done);
    w_complete_all(&w, OT_OK);
    w_run(&w);
    assert_true(w.done);
    assert_int_equal(w.position, 5);
    assert_int_equal(w.owner, 0); /* at once for the next */
    assert_int_equal(w_event(&w, 6)->sent, 0);
    w_close(&w);
}

static void test_stop_is_hard_at_last(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int64_t a = w_add(&w, "a"), b = w_add(&w, "b");
    w_pass(&w, W_S);
    ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 8 * W_S);
    w_complete(&w, a, OT_OK);
    w_pass(&w, 7 * W_S);
    assert_int_equal(w.abandons, 0);
    assert_false(w.done);
    w_pass(&w, 2 * W_S);
    assert_int_equal(w.abandons, 1);
    assert_true(w.done);
    assert_int_equal(w.position, b - 1);
    assert_int_equal(w.owner, 0);
    w_close(&w);
}

static void test_stop_with_a_mute_sink_and_database(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    w.tell_abandon = false;
    w_add(&w, "a");
    w_pass(&w, W_S);
    for (int kind = 0; kind < W_KINDS; kind++)
        w.keep[kind] = true;
    ot_engine_stop(w.engine, w.now_us + W_S, w.now_us + 2 * W_S);
    w_pass(&w, 6 * W_S);
    assert_true(w.done);
    w_close(&w);
}

static void test_stop_without_the_lease(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.owner = 77;
    w.expires_us = w_db_now(&w) + 100 * W_S;
    w_pass(&w, W_S);
    ot_engine_stop(w.engine, w.now_us + W_S, w.now_us + 2 * W_S);
    w_run(&w);
    assert_true(w.done);
    assert_int_equal(w.owner, 77);
    w_close(&w);
}

/* It is asked for when the stop comes: what the database grants is given back at
 * once; a database that does not answer keeps nobody. */
static void test_stop_while_the_lease_is_asked_for(void **state)
{
    (void)state;
    struct world w;
    for (int answers = 0; answers < 2; answers++) {
        w_open(&w, NULL);
        w.keep[OT_REPLY_LEASE] = true;
        w_add(&w, "a");
        w_run(&w);
        assert_true(w.asked[OT_REPLY_LEASE]);
        ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 8 * W_S);
        w_pass(&w, W_S);
        assert_false(w.done);
        if (answers)
            w_answer(&w, OT_REPLY_LEASE);
        w_pass(&w, answers ? 0 : 2 * W_S);
        assert_true(w.done);
        assert_int_equal(w.fence, answers); /* it was granted */
        assert_int_equal(w.owner, 0);
        assert_int_equal(w_event(&w, 1)->sent, 0);
        w_close(&w);
    }
}

/* Taken anew, under the next fence: the old one would give nothing back. */
static void test_stop_while_the_lease_is_taken_anew(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w.fail[OT_REPLY_READ] = OUTTRAY_E_STORE_UNAVAILABLE;
    w.keep[OT_REPLY_LEASE] = true;
    w_pass(&w, W_S);
    assert_true(w.asked[OT_REPLY_LEASE]);
    ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 8 * W_S);
    w_run(&w);
    assert_false(w.done);
    w_answer(&w, OT_REPLY_LEASE);
    w_run(&w);
    assert_true(w.done);
    assert_int_equal(w.fence, 2);
    assert_int_equal(w.owner, 0);
    w_close(&w);
}

/* Behind the load it is given back: not before that is answered, for which a
 * slow database has as long as for the lease. */
static void test_stop_while_the_cursor_is_loaded(void **state)
{
    (void)state;
    struct world w;
    for (int answers = 0; answers < 2; answers++) {
        w_open(&w, NULL);
        w.keep[OT_REPLY_CURSOR] = w.keep[OT_REPLY_RELEASE] = true;
        w_add(&w, "a");
        w_run(&w);
        assert_true(w.asked[OT_REPLY_CURSOR]);
        ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 8 * W_S);
        w_pass(&w, 2 * W_S);
        assert_false(w.done);
        assert_false(w.asked[OT_REPLY_RELEASE]);
        if (answers)
            w_answer(&w, OT_REPLY_CURSOR);
        w_pass(&w, answers ? 0 : W_S);
        assert_true(w.asked[OT_REPLY_RELEASE]);
        w_answer(&w, OT_REPLY_RELEASE);
        w_run(&w);
        assert_true(w.done);
        assert_int_equal(w.owner, 0);
        assert_int_equal(w_event(&w, 1)->sent, 0);
        w_close(&w);
    }
}

/* Its own limit is shorter. */
static void test_stop_waits_for_no_lease_beyond_its_limit(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.keep[OT_REPLY_LEASE] = true;
    w_run(&w);
    ot_engine_stop(w.engine, w.now_us, w.now_us + W_S / 5);
    w_pass(&w, W_S);
    assert_true(w.done);
    w_close(&w);
}

/* --- operators -------------------------------------------------------------------------- */

static void test_pause_and_resume(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w_command(&w, OT_PAUSE, 0);
    w_pass(&w, W_S);
    assert_true(w.paused);
    assert_int_equal(w.ncommands, 0);
    int64_t seq = w_add(&w, "a");
    w_pass(&w, 60 * W_S);
    assert_int_equal(w_event(&w, seq)->sent, 0);
    char detail[200];
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_PAUSED);
    w_crash_relay(&w); /* it is remembered */
    w_start_engine(&w);
    w_pass(&w, 20 * W_S);
    assert_int_equal(w_event(&w, seq)->sent, 0);
    w_command(&w, OT_RESUME, 0);
    w_pass(&w, W_S);
    assert_int_equal(w_event(&w, seq)->ok, 1);
    assert_false(w.paused);
    w_close(&w);
}

/* A command is deleted with the write that makes its effect durable. */
static void test_command_survives_a_lost_write(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w_pass(&w, W_S);
    w_command(&w, OT_PAUSE, 0);
    w.fail[OT_REPLY_WRITE] = OUTTRAY_E_STORE_UNAVAILABLE;
    w_pass(&w, 5 * W_S);
    assert_true(w.paused);
    assert_int_equal(w.ncommands, 0);
    w_close(&w);
}

static void test_apply_only(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.sink = W_SINK_WAIT;
    int64_t seq = w_add(&w, "a");
    w_pass(&w, W_S);
    w_complete(&w, seq, OT_REJECTED);
    w_pass(&w, W_S);
    assert_int_equal(w_held(&w, seq)->state, OT_HELD_DEAD);
    w_crash_relay(&w);
    w.opt.apply_only = true;
    w_command(&w, OT_REDRIVE, seq);
    w_command(&w, OT_PAUSE, 0);
    w_start_engine(&w);
    w_pass(&w, W_S);
    assert_true(w.done); /* the crashed one's lease is in the way */
    assert_int_equal(ot_engine_error(w.engine)->code, OUTTRAY_E_LEASE_HELD);
    assert_int_equal(w.ncommands, 2);
    w_crash_relay(&w);
    w.now_us += 20 * W_S;
    w_start_engine(&w);
    w_pass(&w, W_S);
    assert_true(w.done);
    assert_int_equal(ot_engine_error(w.engine)->code, 0);
    assert_int_equal(w.ncommands, 0);
    assert_int_equal(w_held(&w, seq)->state, OT_HELD_RETRYING);
    assert_true(w.paused);
    assert_int_equal(w.owner, 0);
    assert_int_equal(w_event(&w, seq)->sent, 1);
    w_close(&w);
}

/* Between the grant and the load the database becomes an older self. */
static void test_a_restore_before_the_load_is_noticed(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    w.keep[OT_REPLY_CURSOR] = true;
    w_add(&w, "a");
    w_run(&w);
    assert_true(w.asked[OT_REPLY_CURSOR]);
    w.owner = w.me + 1; /* as the backup has it */
    w.fence = 0;
    w.expires_us = w_db_now(&w) + 3 * W_S;
    w.keep[OT_REPLY_CURSOR] = false;
    w_answer(&w, OT_REPLY_CURSOR);
    w_pass(&w, 2 * W_S);
    assert_int_equal(w_event(&w, 1)->sent, 0);
    w_pass(&w, 3 * W_S);
    assert_int_equal(w_event(&w, 1)->sent, 1);
    assert_int_equal(w.fence, 2); /* above the one that was granted before */
    w_check_all(&w);
    w_close(&w);
}

/* The same, but the lease is still ours, for less long than we think. */
static void test_the_load_tells_how_long_the_lease_lasts(void **state)
{
    (void)state;
    struct world w;
    struct ot_engine_options opt = w_options();
    opt.lease_ttl_us = 10 * W_S;
    w_open(&w, &opt);
    w.keep[OT_REPLY_CURSOR] = true;
    w.sink = W_SINK_WAIT;
    w_run(&w);
    w.expires_us = w_db_now(&w) + 2 * W_S;
    w.keep[OT_REPLY_CURSOR] = false;
    w.keep[OT_REPLY_LEASE] = true;
    w_answer(&w, OT_REPLY_CURSOR);
    w_pass(&w, 20 * W_MS);
    assert_true(w.asked[OT_REPLY_LEASE]); /* renews it at once */
    w_pass(&w, 1500 * W_MS);
    w_add(&w, "a");
    w_pass(&w, W_S);
    assert_int_equal(w.nflight, 0);
    w.keep[OT_REPLY_LEASE] = false;
    w_answer(&w, OT_REPLY_LEASE);
    w.sink = W_SINK_OK;
    w_pass(&w, 2 * W_S);
    w_check_all(&w);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renews),
        cmocka_unit_test(test_waits_for_another_relay),
        cmocka_unit_test(test_names_the_other_relay_after_an_error),
        cmocka_unit_test(test_names_a_silent_database_without_the_lease),
        cmocka_unit_test(test_lease_runs_out),
        cmocka_unit_test(test_lost_lease_abandons),
        cmocka_unit_test(test_refused_write_loses_the_lease),
        cmocka_unit_test(test_late_grant_counts_from_sending),
        cmocka_unit_test(test_every_request_may_fail),
        cmocka_unit_test(test_database_away),
        cmocka_unit_test(test_refusal_has_a_name),
        cmocka_unit_test(test_in_flight_over_a_reload),
        cmocka_unit_test(test_stops_clean),
        cmocka_unit_test(test_stop_is_hard_at_last),
        cmocka_unit_test(test_stop_with_a_mute_sink_and_database),
        cmocka_unit_test(test_stop_without_the_lease),
        cmocka_unit_test(test_stop_while_the_lease_is_asked_for),
        cmocka_unit_test(test_stop_while_the_lease_is_taken_anew),
        cmocka_unit_test(test_stop_while_the_cursor_is_loaded),
        cmocka_unit_test(test_stop_waits_for_no_lease_beyond_its_limit),
        cmocka_unit_test(test_a_restore_before_the_load_is_noticed),
        cmocka_unit_test(test_the_load_tells_how_long_the_lease_lasts),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_command_survives_a_lost_write),
        cmocka_unit_test(test_apply_only),
    };
    return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}
