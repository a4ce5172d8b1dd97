/* Events that the program takes from the relay itself. */
#include "fixture.h"

static int set_up_script(void **state)
{
    set_up(state);
    set(*state, "sink.url", "script:");
    set(*state, "retry.min_ms", "1");
    set(*state, "retry.max_ms", "5");
    return 0;
}

static int number(const struct outtray_batch *batch, size_t i)
{
    return atoi(outtray_batch_event(batch, i)->event.payload.p);
}

/* The next batch, or NULL once the relay has stopped. */
static struct outtray_batch *next_batch(struct fixture *fixture,
                                        struct outtray_relay *relay,
                                        const struct outtray_batch_limits *l)
{
    const int64_t until_us = ot_now_us() + PATIENCE_US;
    struct outtray_batch *batch;
    int rc = 1;

    while (rc == 1 && ot_now_us() < until_us) {
        if (outtray_relay_take(relay, l, &batch, &fixture->err) == 1)
            return batch;
        rc = outtray_relay_step(relay, 1000, &fixture->err);
    }
    if (rc != 0)
        fail_msg("no batch: %d %s\n%s", rc, fixture->err.text, fixture->log);
    return NULL;
}

static void gives_all_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    struct outtray_batch *batch;
    struct outtray_relay_stats stats;
    int next = 1;

    enqueue(fixture, 1, 5000);
    outtray_relay_until_empty(relay);
    while ((batch = next_batch(fixture, relay, NULL)) != NULL) {
        assert_true(outtray_batch_size(batch) <= 500);
        for (size_t i; outtray_batch_next(batch, &i);)
            assert_int_equal(number(batch, i), next++);
        outtray_batch_settle(batch, 0, outtray_batch_size(batch),
                             OUTTRAY_OUTCOME_OK, 0, NULL);
        outtray_batch_close(batch);
    }
    assert_int_equal(next, 5001);
    outtray_relay_stats(relay, &stats);
    assert_int_equal(stats.position, 5000);
    outtray_relay_close(relay);
}

/* What the program says of the odd ones, until it says ok. */
static void fails_now_and_then(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    struct outtray_batch *batch;
    int *last = calloc(7, sizeof(*last)), tries[1001] = {0}, done = 0;

    set(fixture, "relay.batch_events", "100");
    relay = open_relay(fixture);
    enqueue_keys(fixture, 1, 1000, 7);
    outtray_relay_until_empty(relay);
    while ((batch = next_batch(fixture, relay, NULL)) != NULL) {
        for (size_t i; outtray_batch_next(batch, &i);) {
            int n = number(batch, i);
            bool fail = n % 31 == 0 && tries[n] < 2;
            assert_int_equal(outtray_batch_event(batch, i)->attempts, tries[n]);
            tries[n]++;
            if (!fail) {
                assert_true(n > last[n % 7]); /* [INV-3] */
                last[n % 7] = n;
                done++;
            }
            assert_int_equal(outtray_batch_settle(batch, i, 1,
                                                  fail ? OUTTRAY_OUTCOME_RETRY
                                                       : OUTTRAY_OUTCOME_OK,
                                                  0, "not today"),
                             1);
        }
        outtray_batch_close(batch);
    }
    assert_int_equal(done, 1000);
    free(last);
    outtray_relay_close(relay);
}

static void rejects(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    struct outtray_relay_stats stats;
    struct outtray_batch *batch;
    int ok = 0;

    enqueue_keys(fixture, 1, 20, 20);
    outtray_relay_until_empty(relay);
    while ((batch = next_batch(fixture, relay, NULL)) != NULL) {
        for (size_t i; outtray_batch_next(batch, &i); ok++)
            outtray_batch_settle(batch, i, 1,
                                 number(batch, i) == 7
                                     ? OUTTRAY_OUTCOME_REJECTED
                                     : OUTTRAY_OUTCOME_OK,
                                 0, "seven is not wanted");
        outtray_batch_close(batch);
    }
    assert_int_equal(ok, 20);
    outtray_relay_stats(relay, &stats);
    assert_int_equal(stats.delivered, 19);
    assert_int_equal(stats.dead, 1);
    assert_non_null(strstr(fixture->log, "seven is not wanted"));
    outtray_relay_close(relay);
}

/* Nothing is lost with a program that goes away in the middle, and nothing is
 * given out after a stop. */
static void stops_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_batch_limits ten = {.max_events = 10};
    struct outtray_relay *relay;
    struct outtray_batch *batch, *none;
    struct outtray_relay_stats stats;
    int64_t begun_us;
    int rc;

    set(fixture, "relay.stop_soft_ms", "60s");
    set(fixture, "relay.stop_hard_ms", "80s");
    relay = open_relay(fixture);
    enqueue(fixture, 1, 1000);
    batch = next_batch(fixture, relay, &ten);
    assert_int_equal(outtray_batch_size(batch), 10);
    outtray_batch_settle(batch, 0, 4, OUTTRAY_OUTCOME_OK, 0, NULL);
    outtray_relay_stop(relay);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(outtray_relay_step(relay, 10, &fixture->err), 1);
        assert_int_equal(outtray_relay_take(relay, &ten, &none, &fixture->err),
                         0);
        assert_null(none);
    }
    outtray_batch_settle(batch, 4, 2, OUTTRAY_OUTCOME_OK, 0, NULL);
    outtray_batch_close(batch);
    begun_us = ot_now_us();
    while ((rc = outtray_relay_step(relay, 1000, &fixture->err)) == 1)
        continue;
    assert_int_equal(rc, 0);
    assert_true(ot_now_us() - begun_us < 30000000); /* not the deadlines */
    outtray_relay_stats(relay, &stats);
    assert_int_equal(stats.position, 6);
    outtray_relay_close(relay);

    relay = open_relay(fixture);
    batch = next_batch(fixture, relay, &ten);
    assert_int_equal(number(batch, 0), 7);
    outtray_relay_close(relay);
    outtray_batch_close(batch);
}

static void outlives_its_relay(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    struct outtray_batch *batch;
    size_t i;

    enqueue(fixture, 1, 10);
    batch = next_batch(fixture, relay, NULL);
    outtray_relay_close(relay);
    assert_int_equal(number(batch, 9), 10);
    assert_true(outtray_batch_lost(batch));
    assert_false(outtray_batch_next(batch, &i));
    assert_int_equal(
        outtray_batch_settle(batch, 0, 10, OUTTRAY_OUTCOME_OK, 0, NULL), 0);
    outtray_batch_close(batch);
}

/* A settlement from another thread wakes the loop of the relay. */
static void *settle_later(void *arg)
{
    struct outtray_batch *batch = arg;

    usleep(50000);
    outtray_batch_settle(batch, 0, outtray_batch_size(batch),
                         OUTTRAY_OUTCOME_OK, 0, NULL);
    outtray_batch_close(batch);
    return NULL;
}

static void is_woken_by_a_settlement(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    struct outtray_relay_stats stats = {0};
    const int64_t until_us = ot_now_us() + PATIENCE_US;
    struct outtray_batch *batch;
    pthread_t thread;
    int rc = 1;

    set(fixture, "relay.poll_min_ms", "1h");
    set(fixture, "relay.poll_max_ms", "1h");
    relay = open_relay(fixture);
    enqueue(fixture, 1, 3);
    batch = next_batch(fixture, relay, NULL);
    assert_false(outtray_relay_ready(relay));
    assert_int_equal(pthread_create(&thread, NULL, settle_later, batch), 0);
    while (stats.delivered < 3 && rc == 1 && ot_now_us() < until_us) {
        struct pollfd look = {outtray_relay_fd(relay), POLLIN, 0};
        poll(&look, 1, outtray_relay_timeout_ms(relay));
        rc = outtray_relay_step(relay, 0, &fixture->err);
        outtray_relay_stats(relay, &stats);
    }
    assert_int_equal(stats.delivered, 3);
    pthread_join(thread, NULL);
    outtray_relay_close(relay);
}

/* A loop around the relay is not kept busy by a batch that nobody takes. */
static void waits_for_the_program(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    int64_t until_us;
    int turns = 0;

    set(fixture, "relay.poll_min_ms", "1h");
    set(fixture, "relay.poll_max_ms", "1h");
    relay = open_relay(fixture);
    enqueue(fixture, 1, 3);
    while (!outtray_relay_ready(relay))
        assert_int_equal(outtray_relay_step(relay, 1000, &fixture->err), 1);
    until_us = ot_now_us() + 300000;
    while (ot_now_us() < until_us) {
        struct pollfd look = {outtray_relay_fd(relay), POLLIN, 0};
        int ms = outtray_relay_timeout_ms(relay);
        poll(&look, 1, ms < 0 || ms > 100 ? 100 : ms);
        assert_int_equal(outtray_relay_step(relay, 0, &fixture->err), 1);
        turns++;
    }
    assert_true(turns < 100);
    outtray_relay_close(relay);
}

/* A lease that is lost takes the batch with it; its key stays with the program
 * until the batch is closed. */
static void loses_its_lease(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    struct outtray_batch *batch, *again = NULL;
    struct outtray_relay_stats stats = {0};
    size_t i;

    set(fixture, "relay.lease_ttl_ms", "1s");
    relay = open_relay(fixture);
    enqueue(fixture, 1, 3);
    batch = next_batch(fixture, relay, NULL);
    assert_int_equal(outtray_batch_size(batch), 3);
    assert_false(outtray_batch_lost(batch));
    usleep(1500000); /* the program sleeps for longer than its lease */
    while (stats.window != 3 || stats.in_flight != 3 ||
           strstr(fixture->log, "not renewed in time") == NULL) {
        assert_int_equal(outtray_relay_step(relay, 100, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
    }
    assert_true(outtray_batch_lost(batch));
    assert_false(outtray_batch_next(batch, &i));
    assert_int_equal(
        outtray_batch_settle(batch, 0, 2, OUTTRAY_OUTCOME_OK, 0, NULL), 0);
    assert_int_equal(outtray_relay_take(relay, NULL, &again, &fixture->err), 0);
    outtray_batch_close(batch);
    again = next_batch(fixture, relay, NULL);
    assert_int_equal(outtray_batch_size(again), 3);
    outtray_batch_close(again);
    outtray_relay_close(relay);
}

static void needs_the_script_sink(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    struct outtray_batch *batch;

    set(fixture, "sink.url", "null:");
    relay = open_relay(fixture);
    assert_int_equal(outtray_relay_take(relay, NULL, &batch, &fixture->err),
                     OUTTRAY_E_MISUSE);
    assert_null(batch);
    assert_false(outtray_relay_scripted(relay));
    assert_non_null(strstr(fixture->err.text, "script:"));
    assert_false(outtray_relay_ready(relay));
    outtray_relay_close(relay);
}

static void refuses_a_forked_child(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    struct outtray_batch *batch, *other;
    struct outtray_error err;
    pid_t child;
    int status;
    size_t i;

    enqueue(fixture, 1, 3);
    batch = next_batch(fixture, relay, NULL);
    child = fork();
    if (child == 0) {
        bool good =
            outtray_relay_take(relay, NULL, &other, &err) == OUTTRAY_E_FORKED &&
            !outtray_relay_ready(relay) && !outtray_batch_next(batch, &i) &&
            outtray_batch_settle(batch, 0, 3, OUTTRAY_OUTCOME_OK, 0, NULL) == 0;
        outtray_batch_close(batch);
        outtray_relay_close(relay);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(
        outtray_batch_settle(batch, 0, 3, OUTTRAY_OUTCOME_OK, 0, NULL), 3);
    outtray_batch_close(batch);
    outtray_relay_close(relay);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, set_up_script, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_all_in_order),
        TEST(fails_now_and_then),
        TEST(rejects),
        TEST(stops_in_the_middle),
        TEST(outlives_its_relay),
        TEST(is_woken_by_a_settlement),
        TEST(waits_for_the_program),
        TEST(loses_its_lease),
        TEST(needs_the_script_sink),
        TEST(refuses_a_forked_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
