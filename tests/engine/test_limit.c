/* test_limit.c - topics with a limit of their own: the rate, the order, and
 * that other topics go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

#define SLACK_MS 100 /* what may come at once */

static struct ot_engine_options limited(int64_t events_per_s)
{
    struct ot_engine_options opt = w_options();
    opt.topic_limits[0] =
        (struct ot_topic_limit){ot_slice_of("slow"), events_per_s, 0};
    opt.ntopic_limits = 1;
    return opt;
}

static int64_t add_to(struct world *w, const char *topic, const char *key)
{
    int tx = w_begin(w);
    int64_t seq = w_draw(w, tx, key);
    struct w_event *event = w_event(w, seq);
    strcpy(event->topic, topic);
    event->e.topic = ot_slice_of(event->topic);
    w_insert(w, seq);
    w_commit(w, tx);
    return seq;
}

static bool is_slow(const struct w_event *event)
{
    return strcmp(event->topic, "slow") == 0;
}

/* How many were sent so far, retries and copies included. */
static unsigned sent(const struct world *w)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->nevents; i++)
        if (is_slow(w->events[i]))
            n += w->events[i]->sent;
    return n;
}

static unsigned delivered(const struct world *w, const char *topic)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->nevents; i++)
        n += strcmp(w->events[i]->topic, topic) == 0 && w->events[i]->ok > 0;
    return n;
}

/* Counts the events of the topic every so often, and looks at every window. */
struct meter {
    unsigned at[4000];
    int n;
};
#define TICK_MS 5

static void measure(struct world *w, struct meter *meter, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += TICK_MS) {
        w_pass(w, TICK_MS * W_MS);
        assert_in_range(meter->n, 0, 3999);
        meter->at[meter->n++] = sent(w);
    }
}

static void check_rate(const struct meter *meter, unsigned per_s)
{
    for (int i = 0; i < meter->n; i++)
        for (int k = i + 1; k < meter->n; k++) {
            unsigned passed_ms = (unsigned)(k - i) * TICK_MS;
            unsigned most = per_s * (passed_ms + SLACK_MS) / 1000 + 1;
            if (meter->at[k] - meter->at[i] > most)
                fail_msg("%u events in %u ms, %u are allowed",
                         meter->at[k] - meter->at[i], passed_ms, most);
        }
}

static void settle(struct world *w, int64_t us)
{
    w_pass(w, us);
    w_check_all(w);
    assert_int_equal(w->nheld, 0);
    assert_true(ot_engine_empty(w->engine));
}

/* --- the rate --------------------------------------------------------------- */

static void test_rate(void **state)
{
    (void)state;
    static const int64_t rates[] = {1, 7, 100, 1000};
    for (size_t r = 0; r < OT_COUNT(rates); r++) {
        struct ot_engine_options opt = limited(rates[r]);
        static struct meter meter;
        struct world w;
        w_open(&w, &opt);
        meter.n = 0;
        int n = rates[r] > 100 ? 1000 : 3 * (int)rates[r] + 5;
        for (int i = 0; i < n; i++)
            add_to(&w, "slow", i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : NULL);
        measure(&w, &meter, 3000);
        check_rate(&meter, (unsigned)rates[r]);
        /* nor much less than it may */
        unsigned least = (unsigned)(rates[r] * 28 / 10);
        assert_in_range(delivered(&w, "slow"),
                        least < (unsigned)n ? least : (unsigned)n, n);
        settle(&w, 60 * W_S);
        w_close(&w);
    }
}

static void test_rate_in_bytes(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(0);
    opt.topic_limits[0].bytes_per_s = 68 * 50; /* an event is counted with 67 */
    static struct meter meter;
    struct world w;
    w_open(&w, &opt);
    meter.n = 0;
    for (int i = 0; i < 200; i++)
        add_to(&w, "slow", NULL);
    measure(&w, &meter, 3000);
    check_rate(&meter, 52);
    assert_in_range(delivered(&w, "slow"), 130, 170);
    settle(&w, 10 * W_S);
    w_close(&w);
}

/* An event larger than a second's worth goes, and those after it pay for it. */
static void test_one_that_is_larger_than_the_limit(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(0);
    opt.topic_limits[0].bytes_per_s = 10;
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 3; i++)
        add_to(&w, "slow", "k");
    w_pass(&w, W_S);
    assert_int_equal(delivered(&w, "slow"), 1);
    w_pass(&w, 6500 * W_MS);
    assert_int_equal(delivered(&w, "slow"), 2);
    settle(&w, 10 * W_S);
    w_close(&w);
}

/* A restart does not let more through than a new limit does. */
static void test_survives_a_crash(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(10);
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 60; i++)
        add_to(&w, "slow", i % 2 ? "a" : NULL);
    w_pass(&w, 2 * W_S);
    assert_true(w.nheld > 20);
    w_crash_relay(&w);
    w.now_us += 20 * W_S; /* until the lease is free */
    w_start_engine(&w);
    settle(&w, 20 * W_S);
    w_close(&w);
}

/* --- other topics ------------------------------------------------------------- */

static void test_others_go_on(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(5);
    static struct meter meter;
    struct world w;
    w_open(&w, &opt);
    meter.n = 0;
    for (int i = 0; i < 150; i++) {
        add_to(&w, "slow", i % 2 ? "a" : NULL);
        for (int k = 0; k < 5; k++)
            add_to(&w, "fast", k % 2 ? "b" : NULL);
    }
    measure(&w, &meter, 3000);
    assert_int_equal(delivered(&w, "fast"), 750);
    assert_in_range(delivered(&w, "slow"), 14, 16);
    check_rate(&meter, 5);
    assert_int_equal(w.position, w.last_seq); /* nothing keeps the window */
    settle(&w, 40 * W_S);
    w_close(&w);
}

/* A window that is full of events that may go soon would stop the others. */
static void test_short_waits_do_not_fill_the_window(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(20);
    opt.window_events = 20;
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 10; i++)
        add_to(&w, "slow", NULL);
    for (int i = 0; i < 400; i++)
        add_to(&w, "fast", NULL);
    w_pass(&w, 300 * W_MS);
    assert_int_equal(delivered(&w, "fast"), 400);
    assert_true(delivered(&w, "slow") < 10);
    settle(&w, 2 * W_S);
    w_close(&w);
}

static void test_short_waits_stay_in_memory(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(100);
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 40; i++)
        add_to(&w, "slow", i % 2 ? "a" : "b");
    while (delivered(&w, "slow") < 40) {
        w_pass(&w, TICK_MS * W_MS);
        assert_int_equal(w.nheld, 0);
        assert_true(w.now_us < 3 * W_S);
    }
    settle(&w, W_S);
    w_close(&w);
}

static void test_held_is_bounded(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(1);
    opt.held_max = 10;
    opt.window_events = 20;
    struct world w;
    char detail[200];
    w_open(&w, &opt);
    for (int i = 0; i < 100; i++)
        add_to(&w, "slow", NULL);
    w_pass(&w, 3 * W_S);
    assert_in_range(w.nheld, 8, 30); /* a window over the cap at most */
    enum ot_stall stall = ot_engine_stall(w.engine, w.now_us, detail);
    assert_true(stall == OT_STALL_LIMIT || stall == OT_STALL_HELD_FULL);
    settle(&w, 120 * W_S);
    w_close(&w);
}

/* --- order -------------------------------------------------------------------- */

/* A key has events in both topics: those of the other topic wait with it. */
static void one_key_in_two_topics(const struct ot_engine_options *opt)
{
    struct world w;
    w_open(&w, opt);
    for (int i = 0; i < 60; i++)
        add_to(&w, i % 4 == 1 ? "slow" : "fast", i % 3 ? "a" : "b");
    w_pass(&w, 20 * W_MS);
    assert_true(delivered(&w, "fast") < 45);
    settle(&w, 30 * W_S); /* the world checks the order at every step */
    uint64_t last[2] = {0, 0};
    for (size_t i = 0; i < w.nevents; i++) {
        int key = w.events[i]->key[0] - 'a';
        assert_true(w.events[i]->order > last[key]);
        last[key] = w.events[i]->order;
    }
    w_close(&w);
}

static void test_key_keeps_its_order(void **state)
{
    (void)state;
    static const int64_t rates[] = {1, 10, 50};
    for (size_t i = 0; i < OT_COUNT(rates); i++) {
        struct ot_engine_options opt = limited(rates[i]);
        one_key_in_two_topics(&opt);
        opt.ordering = OT_ORDER_STRICT;
        one_key_in_two_topics(&opt);
        opt.ordering = OT_ORDER_KEY;
        opt.sink_ordered = false;
        one_key_in_two_topics(&opt);
    }
}

/* In its lane one waits for its topic, and one before it fails. */
static void test_an_earlier_one_fails(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(2);
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_pass(&w, W_S);
    int64_t other = add_to(&w, "slow", NULL);
    int64_t first = add_to(&w, "fast", "a"), waits = add_to(&w, "slow", "a");
    int64_t last = add_to(&w, "fast", "a");
    w_pass(&w, 50 * W_MS);
    assert_true(w_in_flight(&w, other) && w_in_flight(&w, first));
    assert_false(w_in_flight(&w, waits));
    w_complete_with(&w, first,
                    (struct ot_completion){.outcome = OT_RETRY,
                                           .retry_after_us = 900 * W_MS});
    w_pass(&w, 700 * W_MS);
    assert_false(w_in_flight(&w, waits)); /* its time has come, not its turn */
    w.sink = W_SINK_OK;
    w_complete_all(&w, OT_OK);
    w_pass(&w, 2 * W_S);
    assert_true(w_event(&w, first)->order < w_event(&w, waits)->order);
    assert_true(w_event(&w, waits)->order < w_event(&w, last)->order);
    settle(&w, W_S);
    w_close(&w);
}

/* The sink takes one of three that may go; a fourth waits for its topic, and
 * its time comes first. */
static void test_the_sink_takes_a_part(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(20);
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w.capacity = 1;
    w_pass(&w, W_S);
    int tx = w_begin(&w);
    for (int i = 0; i < 4; i++) {
        int64_t seq = w_draw(&w, tx, "a");
        w_event(&w, seq)->e.topic = ot_slice_of("slow");
        w_insert(&w, seq);
    }
    w_commit(&w, tx);
    w_pass(&w, 60 * W_MS);
    assert_int_equal(w.nflight, 1);
    w_pass(&w, 200 * W_MS);
    w.capacity = SIZE_MAX;
    w.sink = W_SINK_OK;
    w_complete_all(&w, OT_OK);
    settle(&w, 2 * W_S); /* the world checks the order */
    w_close(&w);
}

/* The limit has let an event go when an earlier one of its key is given up on:
 * it waits for that, is not forgotten, and does not keep other keys back. */
static void test_called_back_after_its_release(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(1);
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_pass(&w, W_S);
    for (int i = 0; i < 3; i++)
        add_to(&w, "slow", NULL);
    int64_t first = add_to(&w, "fast", "a"), waits = add_to(&w, "slow", "a");
    int64_t other = add_to(&w, "slow", "b");
    for (int i = 0; i < 60; i++) {
        w_pass(&w, 100 * W_MS);
        for (size_t k = w.nflight; k-- > 0;)
            if (w.flight[k].event->e.seq != first)
                w_complete(&w, w.flight[k].event->e.seq, OT_OK);
    }
    assert_true(w_in_flight(&w, first));
    assert_int_equal(w_event(&w, waits)->sent, 0);
    assert_int_equal(w_held(&w, waits)->state, OT_HELD_WAITING);
    w_complete(&w, first, OT_REJECTED);
    w.sink = W_SINK_OK;
    w_pass(&w, 5 * W_S);
    assert_int_equal(w_held(&w, first)->state, OT_HELD_DEAD);
    assert_int_equal(w_held(&w, waits)->state, OT_HELD_BLOCKED);
    assert_int_equal(w_event(&w, other)->ok, 1);
    w_command(&w, OT_REDRIVE, first);
    settle(&w, 10 * W_S);
    assert_true(w_event(&w, first)->order < w_event(&w, waits)->order);
    w_close(&w);
}

/* --- nothing is used up ---------------------------------------------------------- */

static void test_uses_no_attempts(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(1);
    opt.retry_max_attempts = 1;
    opt.retry_max_age_us = W_S;
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 20; i++)
        add_to(&w, "slow", i % 2 ? "a" : NULL);
    w_pass(&w, 5 * W_S);
    for (size_t i = 0; i < w.nheld; i++) {
        assert_int_equal(w.held[i].attempts, 0);
        assert_int_equal(w.held[i].retried_us, 0);
        if (w.held[i].state == OT_HELD_WAITING)
            assert_string_equal(w.held[i].error, OT_LIMIT_REASON);
    }
    settle(&w, 30 * W_S);
    assert_int_equal(w_stats(&w).dead, 0);
    w_close(&w);
}

/* A stop does not wait for a limit, and sends nothing twice. */
static void test_stop(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(10);
    struct world w;
    w_open(&w, &opt);
    for (int i = 0; i < 8; i++)
        add_to(&w, "slow", NULL);
    for (int i = 0; i < 50; i++)
        add_to(&w, "fast", NULL);
    w_pass(&w, 100 * W_MS);
    assert_int_equal(delivered(&w, "fast"), 50);
    ot_engine_stop(w.engine, w.now_us + 5 * W_S, w.now_us + 8 * W_S);
    w_pass(&w, 100 * W_MS);
    assert_true(w.done);
    w_crash_relay(&w);
    w_start_engine(&w);
    settle(&w, 5 * W_S);
    for (size_t i = 0; i < w.nevents; i++)
        assert_int_equal(w.events[i]->sent, 1);
    w_close(&w);
}

/* A batch is rejected as a whole: what was paid for is sent again without
 * asking the limit, so that the poison is found however low that is. */
static void test_poison_under_a_limit(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(40);
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    int64_t seqs[4];
    w_pass(&w, W_S);
    for (int i = 0; i < 4; i++)
        seqs[i] = add_to(&w, "slow", NULL);
    w_pass(&w, 50 * W_MS);
    assert_int_equal(w.nflight, 4);
    for (int round = 0; round < 6 && w.nflight > 0; round++) {
        bool bad = w_in_flight(&w, seqs[2]);
        struct ot_completion c = {.outcome = bad ? OT_REJECTED : OT_OK,
                                  .scope = bad ? OT_ITS_BATCH : OT_THIS_EVENT};
        while (w.nflight > 0)
            w_complete_with(&w, w.flight[0].event->e.seq, c);
        w_run(&w);
    }
    w_event(&w, seqs[2])->let_go = true;
    w.sink = W_SINK_OK;
    w_pass(&w, 5 * W_S);
    assert_int_equal(w_held(&w, seqs[2])->state, OT_HELD_DEAD);
    assert_int_equal(delivered(&w, "slow"), 3);
    w_close(&w);
}

/* --- the broker's pause ------------------------------------------------------------ */

static void test_broker_slows_one_topic_down(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    struct world w;
    char detail[200];
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_pass(&w, W_S);
    int64_t first = add_to(&w, "slow", NULL);
    w_pass(&w, 50 * W_MS);
    w_complete_with(&w, first,
                    (struct ot_completion){.outcome = OT_OK,
                                           .scope = OT_ITS_TOPIC,
                                           .retry_after_us = 5 * W_S});
    w.sink = W_SINK_OK;
    for (int i = 0; i < 30; i++) {
        add_to(&w, "slow", i % 2 ? "a" : NULL);
        add_to(&w, "fast", i % 2 ? "b" : NULL);
    }
    w_pass(&w, 4 * W_S);
    assert_int_equal(delivered(&w, "fast"), 30);
    assert_int_equal(delivered(&w, "slow"), 1);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LIMIT);
    assert_non_null(strstr(detail, "the broker lets"));
    assert_non_null(strstr(detail, "topic slow"));
    w_pass(&w, 1500 * W_MS);
    assert_int_equal(delivered(&w, "slow"), 31);
    settle(&w, W_S);
    w_close(&w);
}

/* What waits for a refused topic waits for the pause of that topic as well. */
static void test_pause_of_a_refused_topic(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.probe_min_us = opt.probe_max_us = W_S;
    struct world w;
    w_open(&w, &opt);
    w.sink = W_SINK_WAIT;
    w_pass(&w, W_S);
    int64_t a = add_to(&w, "slow", NULL), b = add_to(&w, "slow", NULL);
    w_pass(&w, 50 * W_MS);
    w_complete_with(&w, a,
                    (struct ot_completion){.outcome = OT_MISCONFIGURED,
                                           .scope = OT_ITS_TOPIC});
    w_pass(&w, 100 * W_MS);
    assert_int_equal(w_held(&w, a)->state, OT_HELD_WAITING);
    w_complete_with(&w, b,
                    (struct ot_completion){.outcome = OT_OK,
                                           .scope = OT_ITS_TOPIC,
                                           .retry_after_us = 3 * W_S});
    w_pass(&w, 2 * W_S);
    assert_int_equal(w.nflight, 0);
    w.sink = W_SINK_OK;
    settle(&w, 3 * W_S);
    w_close(&w);
}

static void test_stall_names_the_topic(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(1);
    struct world w;
    char detail[200];
    w_open(&w, &opt);
    for (int i = 0; i < 5; i++)
        add_to(&w, "slow", NULL);
    w_pass(&w, 100 * W_MS);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LIMIT);
    assert_non_null(strstr(detail, "the rate limit lets"));
    assert_non_null(strstr(detail, "topic slow"));
    settle(&w, 10 * W_S);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_NONE);
    w_close(&w);
}

/* A name is cut where there is no room for more of it. */
static void test_stall_is_utf8(void **state)
{
    (void)state;
    struct ot_engine_options opt = limited(1);
    struct world w;
    char topic[101] = "", detail[200];
    for (int i = 0; i < 50; i++)
        strcat(topic, "\xc3\xa4");
    opt.topic_limits[0].topic = ot_slice_of(topic);
    w_open(&w, &opt);
    for (int i = 0; i < 5; i++) {
        int tx = w_begin(&w);
        int64_t seq = w_draw(&w, tx, NULL);
        w_event(&w, seq)->e.topic = ot_slice_of(topic);
        w_insert(&w, seq);
        w_commit(&w, tx);
    }
    w_pass(&w, 100 * W_MS);
    assert_int_equal(ot_engine_stall(w.engine, w.now_us, detail),
                     OT_STALL_LIMIT);
    assert_non_null(strstr(detail, "topic \xc3\xa4"));
    assert_true(ot_utf8_valid(ot_slice_of(detail), NULL));
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_in_bytes),
        cmocka_unit_test(test_one_that_is_larger_than_the_limit),
        cmocka_unit_test(test_survives_a_crash),
        cmocka_unit_test(test_others_go_on),
        cmocka_unit_test(test_short_waits_do_not_fill_the_window),
        cmocka_unit_test(test_short_waits_stay_in_memory),
        cmocka_unit_test(test_held_is_bounded),
        cmocka_unit_test(test_key_keeps_its_order),
        cmocka_unit_test(test_an_earlier_one_fails),
        cmocka_unit_test(test_the_sink_takes_a_part),
        cmocka_unit_test(test_called_back_after_its_release),
        cmocka_unit_test(test_uses_no_attempts),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_poison_under_a_limit),
        cmocka_unit_test(test_broker_slows_one_topic_down),
        cmocka_unit_test(test_pause_of_a_refused_topic),
        cmocka_unit_test(test_stall_names_the_topic),
        cmocka_unit_test(test_stall_is_utf8),
    };
    return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
