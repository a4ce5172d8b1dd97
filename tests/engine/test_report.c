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
    assert_non_null(strstr(text(&t), "1 events are with the sink"));
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
        cmocka_unit_test(test_strange_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
