/* test_report.c - what an outage costs in lines of the log, in virtual time,
 * and what is written down for whoever looks at the database meanwhile. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>

#include "relay/report_text.h"
#include "world.h"

#define MINUTES(n) ((n)*60 * W_S)

struct told {
    struct world w;
    struct ot_log log;
    struct ot_driver driver;
    struct ot_report report;
    struct ot_report_text text;
    unsigned lines, changes;
    char last[512];
};

static void count_line(void *ctx, enum ot_level level, const char *facility,
                       const char *text)
{
    struct told *t = ctx;

    assert_true(level >= OT_INFO);
    assert_string_equal(facility, "relay");
    t->lines++;
    snprintf(t->last, sizeof(t->last), "%s", text);
}

static void open_told(struct told *t)
{
    struct outtray_conf *conf = outtray_conf_new();
    struct outtray_error err;

    memset(t, 0, sizeof(*t));
    w_open(&t->w, NULL);
    t->log = (struct ot_log){OT_INFO, count_line, t};
    ot_driver_init(&t->driver, t->w.engine, NULL, NULL);
    ot_report_init(&t->report, &t->log);
    t->report.since_us = t->w.now_us; /* virtual */
    if (outtray_conf_set(conf, "sink.url", "kafka://u:secret@here:1", &err) !=
        0)
        fail_msg("%s", err.text);
    ot_report_text_init(&t->text, conf);
    outtray_conf_free(conf);
}

static void pass(struct told *t, int64_t us)
{
    int64_t end_us = t->w.now_us + us;

    while (t->w.now_us < end_us) {
        w_pass(&t->w, 50 * W_MS);
        t->changes += ot_report_turn(&t->report, &t->driver, t->w.now_us);
    }
}

static const char *text(struct told *t)
{
    return ot_report_text(&t->text, &t->report, &t->driver, t->w.now_us);
}

static void test_all_is_well(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    for (int i = 0; i < 100; i++) {
        w_add(&t.w, "a");
        pass(&t, 100 * W_MS);
    }
    assert_int_equal(t.lines, 0);
    assert_int_equal(t.changes, 0);
    assert_non_null(strstr(text(&t), "{\"reason\":\"none\","));
    assert_non_null(strstr(text(&t), "\"delivered\":100,"));
    assert_null(strstr(text(&t), "secret"));
    w_close(&t.w);
}

static void test_a_database_that_is_away(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    pass(&t, W_S);
    t.w.down = true;
    pass(&t, MINUTES(10));
    assert_int_equal(t.lines, 1);
    t.w.down = false;
    pass(&t, MINUTES(1));
    assert_int_equal(t.lines, 2);
    assert_non_null(strstr(t.last, "store is over after 10 min"));
    w_close(&t.w);
}

/* It comes back every few seconds, for less than a second. */
static void test_a_database_that_comes_and_goes(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    pass(&t, W_S);
    for (int64_t end_us = t.w.now_us + MINUTES(10); t.w.now_us < end_us;) {
        t.w.down = true;
        pass(&t, 2 * W_S);
        t.w.down = false;
        pass(&t, 6 * W_S);
    }
    assert_in_range(t.lines, 3, 60);
    /* Once it stays, that is said, and the next trouble at once again. */
    pass(&t, MINUTES(2));
    assert_non_null(strstr(t.last, "store is over"));
    pass(&t, MINUTES(6));
    unsigned before = t.lines;
    t.w.down = true;
    pass(&t, 100 * W_MS);
    pass(&t, 20 * W_S);
    assert_int_equal(t.lines, before + 1);
    w_close(&t.w);
}

static void test_a_sink_that_comes_and_goes(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    t.w.sink = W_SINK_WAIT;
    for (int64_t end_us = t.w.now_us + MINUTES(10); t.w.now_us < end_us;) {
        w_add(&t.w, "a");
        pass(&t, 200 * W_MS);
        w_complete_all(&t.w, OT_UNAVAILABLE);
        pass(&t, 1200 * W_MS);
        w_complete_all(&t.w, OT_OK);
        pass(&t, 100 * W_MS);
    }
    assert_in_range(t.lines, 3, 60);
    w_close(&t.w);
}

static void test_a_slow_sink_is_named(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    pass(&t, W_S);
    t.w.sink = W_SINK_WAIT;
    w_add(&t.w, "a");
    pass(&t, 2 * W_S);
    assert_non_null(strstr(text(&t), "\"reason\":\"none\""));
    pass(&t, 4 * W_S);
    assert_non_null(strstr(text(&t), "\"reason\":\"sink\""));
    assert_non_null(strstr(text(&t), "1 event is with the sink"));
    /* It answers, slowly, again and again: one trouble. */
    for (int i = 0; i < 20; i++) {
        w_add(&t.w, "a");
        w_complete_all(&t.w, OT_OK);
        pass(&t, 5 * W_S);
    }
    assert_int_equal(t.lines, 1);
    assert_int_equal(t.changes, 1);
    w_complete_all(&t.w, OT_OK);
    pass(&t, 5 * W_S);
    assert_int_equal(t.lines, 2);
    assert_int_equal(t.changes, 2);
    assert_non_null(strstr(text(&t), "\"reason\":\"none\""));
    w_close(&t.w);
}

/* Each reason has its name in the report, and one that lasts is told once. */
static void expect(struct told *t, const char *reason, const char *detail)
{
    char want[64];

    snprintf(want, sizeof(want), "{\"reason\":\"%s\"", reason);
    if (strstr(text(t), want) == NULL || strstr(text(t), detail) == NULL)
        fail_msg("%s, %s: %s", reason, detail, text(t));
}

static void test_reasons(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    t.w.owner = 7; /* another relay has the lease */
    t.w.expires_us = w_db_now(&t.w) + 8 * W_S;
    pass(&t, 2 * W_S);
    expect(&t, "lease", "owns the subscription");
    pass(&t, 12 * W_S);
    expect(&t, "none", "");
    w_command(&t.w, OT_PAUSE, 0);
    pass(&t, W_S);
    expect(&t, "paused", "outtray resume");
    w_command(&t.w, OT_RESUME, 0);
    pass(&t, 5 * W_S);
    int tx = w_begin(&t.w);
    w_put(&t.w, tx, "a");
    w_add(&t.w, "b");
    pass(&t, 5 * W_S);
    expect(&t, "gap", "1 gaps from");
    w_commit(&t.w, tx);
    pass(&t, 5 * W_S);
    expect(&t, "none", "");
    t.w.keep[OT_REPLY_READ] = true; /* it is asked, and says nothing */
    pass(&t, 20 * W_S);
    expect(&t, "store", "has not answered for");
    t.w.keep[OT_REPLY_READ] = false;
    w_answer(&t.w, OT_REPLY_READ);
    pass(&t, 5 * W_S);
    t.w.fail[OT_REPLY_READ] = OUTTRAY_E_STORE_BEHIND;
    pass(&t, W_S);
    expect(&t, "refused", "");
    pass(&t, 20 * W_S);
    ot_engine_stop(t.w.engine, t.w.now_us, t.w.now_us);
    pass(&t, W_S);
    assert_int_equal(t.report.stall, OT_STALL_STOPPED);
    w_close(&t.w);
}

static void test_breaker_and_limit(void **state)
{
    struct ot_completion busy = {
        .outcome = OT_RETRY, .scope = OT_THE_SINK, .retry_after_us = 30 * W_S};
    struct told t;

    (void)state;
    open_told(&t);
    t.w.sink = W_SINK_WAIT;
    w_add(&t.w, "a");
    pass(&t, W_S);
    w_complete_all(&t.w, OT_UNAVAILABLE);
    snprintf(t.driver.failure, sizeof(t.driver.failure), "no route");
    pass(&t, 300 * W_MS);
    expect(&t, "breaker", "\"breaker\":\"open\"");
    pass(&t, 5 * W_S); /* the probe is with the sink */
    expect(&t, "breaker", "\"breaker\":\"half-open\"");
    w_complete_all(&t.w, OT_OK);
    pass(&t, 5 * W_S);
    expect(&t, "none", "\"breaker\":\"closed\"");
    int64_t seq = w_add(&t.w, "b");
    w_add(&t.w, "c");
    pass(&t, W_S);
    w_complete_with(&t.w, seq, busy);
    w_complete_all(&t.w, OT_OK);
    w_add(&t.w, "d");
    pass(&t, 5 * W_S);
    expect(&t, "limit", "the broker lets the next event go in");
    w_close(&t.w);
}

/* Nothing of a trouble that is over is left, whatever follows it. */
static void test_what_is_over_is_not_shown(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    int tx = w_begin(&t.w);
    w_put(&t.w, tx, "a");
    w_add(&t.w, "b");
    t.w.down = true;
    pass(&t, 10 * W_S);
    expect(&t, "store", "");
    t.w.down = false;
    for (int i = 0; i < 100 && t.report.stall != OT_STALL_GAP; i++)
        pass(&t, 50 * W_MS);
    assert_int_equal(t.report.stall, OT_STALL_GAP);
    expect(&t, "none", "");
    pass(&t, 3 * W_S);
    expect(&t, "gap", "1 gaps from");
    w_commit(&t.w, tx);
    w_close(&t.w);
}

/* Each has a name of its own; what there is not has none. */
static void test_names_of_stalls(void **state)
{
    (void)state;
    for (int i = 0; i <= OT_STALL_GAP; i++) {
        assert_true(strlen(ot_stall_name((enum ot_stall)i)) > 2);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(ot_stall_name((enum ot_stall)i),
                                    ot_stall_name((enum ot_stall)k));
    }
    assert_string_equal(ot_stall_name((enum ot_stall)(OT_STALL_GAP + 1)), "?");
}

/* After a restart of the database nothing goes on before the sink gave back
 * what it has; and a held event that it keeps is named as any other. */
static void test_what_the_sink_keeps_is_named(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    t.w.sink = W_SINK_WAIT;
    int64_t bad = w_add(&t.w, "a");
    pass(&t, W_S);
    w_crash_server(&t.w);
    pass(&t, 5 * W_S);
    expect(&t, "sink", "loaded again once the sink gave back 1 events");
    w_complete(&t.w, bad, OT_OK); /* to nobody: it is sent again */
    pass(&t, 5 * W_S);
    w_complete(&t.w, bad, OT_REJECTED);
    pass(&t, 5 * W_S);
    expect(&t, "none", "");
    w_command(&t.w, OT_REDRIVE, bad);
    pass(&t, 20 * W_S);
    assert_true(w_in_flight(&t.w, bad));
    expect(&t, "sink", "1 event is with the sink, the first for 1");
    w_complete(&t.w, bad, OT_OK);
    pass(&t, 5 * W_S);
    expect(&t, "none", "");
    w_check_all(&t.w);
    w_close(&t.w);
}

/* A limit of its own is another reason than a pause that the broker asks. */
static void test_a_limit_and_a_full_store_of_held_events(void **state)
{
    struct ot_engine_options opt = w_options();
    struct told t;
    char detail[200];

    (void)state;
    open_told(&t);
    w_close(&t.w);
    opt.limit_events_per_s = 1;
    opt.held_max = 2;
    w_open(&t.w, &opt);
    for (int i = 0; i < 5; i++)
        w_add(&t.w, NULL);
    w_pass(&t.w, 1500 * W_MS);
    assert_int_equal(ot_engine_stall(t.w.engine, t.w.now_us, detail),
                     OT_STALL_LIMIT);
    assert_non_null(strstr(detail, "the rate limit lets the next event go"));
    w_pass(&t.w, 20 * W_S);
    t.w.sink = W_SINK_WAIT;
    int64_t bad[2] = {w_add(&t.w, "a"), w_add(&t.w, "b")};
    w_pass(&t.w, 5 * W_S);
    w_complete(&t.w, bad[0], OT_REJECTED);
    w_complete(&t.w, bad[1], OT_REJECTED);
    w_pass(&t.w, 5 * W_S);
    assert_int_equal(ot_engine_stall(t.w.engine, t.w.now_us, detail),
                     OT_STALL_HELD_FULL);
    assert_string_equal(detail, "2 events are held, the limit is 2");
    w_command(&t.w, OT_SKIP, bad[0]);
    w_pass(&t.w, 5 * W_S);
    assert_int_equal(ot_engine_stall(t.w.engine, t.w.now_us, detail),
                     OT_STALL_NONE);
    w_close(&t.w);
}

/* Whatever a broker says, it is JSON, and not too long for its column. */
static void test_strange_words(void **state)
{
    struct told t;

    (void)state;
    open_told(&t);
    memset(t.driver.failure, '"', sizeof(t.driver.failure) - 1);
    memcpy(t.driver.failure, "a\x01\xff\\\"\n\xc3", 7);
    memset(t.text.sink, '\\', sizeof(t.text.sink) - 1);
    memset(t.text.host, '\xf0', sizeof(t.text.host) - 1);
    memset(t.report.detail, '"', sizeof(t.report.detail) - 1);
    assert_true(strlen(text(&t)) < OT_REPORT_SIZE - 1);
    assert_non_null(strstr(text(&t), "\"failure\":\"a ? ' ?'''"));
    assert_int_equal(text(&t)[strlen(text(&t)) - 1], '}');
    assert_null(strpbrk(text(&t), "\\\xf0\n"));
    w_close(&t.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_well),
        cmocka_unit_test(test_a_database_that_is_away),
        cmocka_unit_test(test_a_database_that_comes_and_goes),
        cmocka_unit_test(test_a_sink_that_comes_and_goes),
        cmocka_unit_test(test_a_slow_sink_is_named),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_breaker_and_limit),
        cmocka_unit_test(test_what_is_over_is_not_shown),
        cmocka_unit_test(test_names_of_stalls),
        cmocka_unit_test(test_what_the_sink_keeps_is_named),
        cmocka_unit_test(test_a_limit_and_a_full_store_of_held_events),
        cmocka_unit_test(test_strange_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
