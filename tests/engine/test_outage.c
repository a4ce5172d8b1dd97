/* test_outage.c - thirty days without a broker, or without a database, in
 * virtual time and with the default settings: what the tables of outages in
 * README.md and docs/reliability.md say of this program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "conf/conf.h"
#include "engine/world.h"
#include "relay/options.h"

#define HOUR   (3600 * W_S)
#define DAY    (24 * HOUR)
#define OUTAGE (30 * DAY)

enum { BACKLOG = 25000 }; /* more than a window */

static const struct ot_completion away = {.outcome = OT_UNAVAILABLE,
                                          .scope = OT_THE_SINK};
static const struct ot_completion refused = {.outcome = OT_MISCONFIGURED,
                                             .scope = OT_ITS_TOPIC};

static struct ot_engine_options defaults(void)
{
    struct outtray_conf *conf = outtray_conf_new();
    struct ot_engine_options opt;
    struct outtray_error err;

    if (conf == NULL ||
        ot_relay_options(conf, OT_STORE_GAPS, OT_SINK_ORDERED, &opt, &err) != 0)
        fail_msg("the defaults cannot be read");
    outtray_conf_free(conf);
    opt.seed = 1;
    return opt;
}

static void open_world(struct world *w, int events)
{
    static const char *const keys[] = {"a", "b", "c", NULL};
    struct ot_engine_options opt = defaults();

    w_open(w, &opt);
    w->checks = false; /* they look at every event at every step */
    w->sink = W_SINK_WAIT;
    for (int i = 0; i < events; i++)
        w_add(w, keys[i % 4]);
    w_pass(w, W_S);
}

/* What is asked several times a second, and has nothing to do with it, stays
 * without an answer meanwhile: thirty days are many seconds. */
static void begin_outage(struct world *w)
{
    w->keep[OT_REPLY_COMMANDS] = w->keep[OT_REPLY_READ] = true;
}

static void end_outage(struct world *w)
{
    static const enum ot_reply_kind kinds[] = {OT_REPLY_COMMANDS,
                                               OT_REPLY_READ};

    for (size_t i = 0; i < OT_COUNT(kinds); i++) {
        w->keep[kinds[i]] = false;
        if (w->asked[kinds[i]])
            w_answer(w, kinds[i]);
    }
    w->sink = W_SINK_OK;
}

static void answer_all(struct world *w, struct ot_completion c)
{
    while (w->nflight > 0)
        w_complete_with(w, w->flight[w->nflight - 1].event->e.seq, c);
}

/* Memory and rows that the outage may take, at any moment of it. */
static void check_bounds(const struct world *w)
{
    struct ot_engine_stats stats = w_stats(w);

    assert_true(stats.window <= w->opt.window_events);
    assert_true(stats.window_bytes <= w->opt.window_bytes);
    assert_true(w->nheld <= w->opt.held_max);
    assert_int_equal(stats.dead, 0);
}

/* Everything arrived, in order, without a failure of its own. */
static void check_all(struct world *w)
{
    w_check_all(w);
    assert_int_equal(w->nheld, 0);
    for (size_t i = 0; i < w->nevents; i++) {
        assert_int_equal(w->events[i]->failures, 0);
        assert_int_equal(w->events[i]->ok, 1);
        if (i >= 4 && w->events[i]->e.key.p != NULL)
            assert_true(w->events[i]->order > w->events[i - 4]->order);
    }
}

/* Each try is answered: nobody there. Events are enqueued all the while. */
static void the_broker_is_away(void **state)
{
    struct world w;
    unsigned tries = 0;

    (void)state;
    open_world(&w, BACKLOG);
    begin_outage(&w);
    answer_all(&w, away);
    for (int64_t end_us = w.now_us + OUTAGE; w.now_us < end_us;) {
        w_pass(&w, 60 * W_S);
        assert_true(w.nflight <= 1); /* a probe */
        tries += w.nflight > 0;
        answer_all(&w, away);
        check_bounds(&w);
        assert_int_equal(w.nheld, 0);
    }
    assert_true(tries > 30 * 24 * 30); /* it never stops asking */
    for (int i = 0; i < 400; i++)
        w_add(&w, (const char *[]){"a", "b", "c", NULL}[i % 4]);
    end_outage(&w);
    w_pass(&w, 5 * 60 * W_S);
    check_all(&w);
    w_close(&w);
}

/* The client of the broker says nothing for thirty days, as that of Kafka does
 * which keeps what it has until somebody takes it. */
static void the_broker_is_silent(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, BACKLOG);
    assert_int_equal(w.nflight, w.opt.window_events);
    begin_outage(&w);
    for (int64_t end_us = w.now_us + OUTAGE; w.now_us < end_us;) {
        w_pass(&w, 10 * 60 * W_S);
        check_bounds(&w);
        assert_int_equal(w.nheld, 0);
    }
    end_outage(&w);
    answer_all(&w, (struct ot_completion){.outcome = OT_OK});
    w_pass(&w, 60 * W_S);
    w_check_all(&w);
    for (size_t i = 0; i < w.nevents; i++)
        assert_int_equal(w.events[i]->sent, 1);
    w_close(&w);
}

/* A topic that the broker does not know, or a right that is missing. */
static void the_destination_is_refused(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 500);
    begin_outage(&w);
    answer_all(&w, refused);
    for (int64_t end_us = w.now_us + OUTAGE; w.now_us < end_us;) {
        w_pass(&w, 60 * W_S);
        answer_all(&w, refused);
        check_bounds(&w);
    }
    assert_int_equal(w.nheld, 500);
    for (size_t i = 0; i < w.nheld; i++) {
        assert_int_equal(w.held[i].attempts, 0);
        assert_true(w.held[i].state == OT_HELD_WAITING ||
                    w.held[i].state == OT_HELD_BLOCKED);
    }
    end_outage(&w);
    w_pass(&w, 5 * 60 * W_S);
    check_all(&w);
    w_close(&w);
}

static void the_database_is_away(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 500);
    w.sink = W_SINK_OK;
    answer_all(&w, (struct ot_completion){.outcome = OT_OK});
    w.down = true;
    for (int64_t end_us = w.now_us + OUTAGE; w.now_us < end_us;) {
        w_pass(&w, HOUR);
        check_bounds(&w);
    }
    w.down = false;
    w_add(&w, "a");
    w_pass(&w, 60 * W_S);
    w_check_all(&w);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

static const struct ot_held *first_held(const struct world *w)
{
    assert_int_equal(w->nheld, 1);
    return &w->held[0];
}

/* Only what the broker says against the event itself counts, and only the time
 * that it waited because of that: a day of it, not the thirty of an outage in
 * between. Then it is kept as dead, and sent again on request. */
static void only_own_failures_give_up(void **state)
{
    struct world w;
    int64_t own_us = 0;
    unsigned tries = 0;
    bool outage_was = false;

    (void)state;
    open_world(&w, 1);
    begin_outage(&w);
    while (w.nheld == 0 || first_held(&w)->state != OT_HELD_DEAD) {
        if (w.nflight > 0) {
            answer_all(&w, (struct ot_completion){.outcome = OT_RETRY});
            tries++;
        }
        w_pass(&w, W_S);
        own_us += W_S;
        if (!outage_was && own_us > 12 * HOUR && w.nflight > 0) {
            outage_was = true;
            for (int64_t end_us = w.now_us + OUTAGE; w.now_us < end_us;) {
                answer_all(&w, away);
                w_pass(&w, 60 * W_S);
            }
            assert_int_equal(w_stats(&w).dead, 0);
        }
        assert_true(own_us < 30 * HOUR);
    }
    assert_true(outage_was);
    assert_true(own_us > 20 * HOUR);
    assert_true(tries > 200); /* at most 5 min apart */
    assert_int_equal(first_held(&w)->attempts, tries);
    assert_true(first_held(&w)->retried_us >= w.opt.retry_max_age_us);
    end_outage(&w);
    w_command(&w, OT_REDRIVE, 1);
    w_pass(&w, 60 * W_S);
    assert_int_equal(w.events[0]->ok, 1);
    assert_int_equal(w.nheld, 0);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_broker_is_away),
        cmocka_unit_test(the_broker_is_silent),
        cmocka_unit_test(the_destination_is_refused),
        cmocka_unit_test(the_database_is_away),
        cmocka_unit_test(only_own_failures_give_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
