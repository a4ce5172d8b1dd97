/* The relay from end to end: an outbox in a SQLite file to a file of lines. */
#include "fixture.h"

static void run_until_empty(struct fixture *fixture)
{
    struct outtray_relay *relay = open_relay(fixture);
    const int64_t until_us = ot_now_us() + PATIENCE_US;
    int rc = 1;

    outtray_relay_until_empty(relay);
    while (rc == 1 && ot_now_us() < until_us)
        rc = outtray_relay_step(relay, 1000, &fixture->err);
    if (rc != 0)
        fail_msg("not empty: %d %s\n%s", rc, fixture->err.text, fixture->log);
    outtray_relay_close(relay);
}

/* The payloads in the file, in order; returns how many. */
static int delivered(const struct fixture *fixture, int *out, int max)
{
    FILE *file = fopen(fixture->out, "r");
    char line[512], *at;
    int n = 0;

    if (file == NULL)
        return 0;
    while (n < max && fgets(line, sizeof(line), file) != NULL) {
        at = strstr(line, "\"payload\":");
        assert_non_null(at);
        at = strpbrk(at + strlen("\"payload\":"), "0123456789");
        out[n++] = atoi(at);
    }
    fclose(file);
    return n;
}

static void expect_delivered(const struct fixture *fixture, int last)
{
    int *got = calloc(100000, sizeof(*got));

    assert_int_equal(delivered(fixture, got, 100000), last);
    for (int i = 0; i < last; i++)
        assert_int_equal(got[i], i + 1);
    free(got);
}

static void delivers_all_in_order(void **state)
{
    struct fixture *fixture = *state;

    enqueue(fixture, 1, 5000);
    run_until_empty(fixture);
    expect_delivered(fixture, 5000);
}

static void goes_on_where_it_stopped(void **state)
{
    struct fixture *fixture = *state;

    enqueue(fixture, 1, 10);
    run_until_empty(fixture);
    enqueue(fixture, 11, 20);
    run_until_empty(fixture);
    expect_delivered(fixture, 20);
}

static void an_empty_outbox_ends_at_once(void **state)
{
    struct fixture *fixture = *state;
    const int64_t begun_us = ot_now_us();

    run_until_empty(fixture);
    assert_in_range(ot_now_us() - begun_us, 0, 10000000);
    expect_delivered(fixture, 0);
}

static void steps_inside_another_loop(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    struct outtray_relay_stats stats = {0};
    const int64_t until_us = ot_now_us() + PATIENCE_US;
    struct pollfd poll_fd = {.fd = outtray_relay_fd(relay), .events = POLLIN};
    int steps = 0;

    enqueue(fixture, 1, 100);
    while (stats.delivered < 100 && ot_now_us() < until_us) {
        poll(&poll_fd, 1, outtray_relay_timeout_ms(relay));
        assert_int_equal(outtray_relay_step(relay, 0, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
        steps++;
    }
    assert_int_equal(stats.delivered, 100);
    assert_true(stats.fence > 0);
    /* It waits for its fd and its time; it does not spin. */
    assert_in_range(steps, 1, 2000);
    outtray_relay_stop(relay);
    while (outtray_relay_step(relay, 1000, &fixture->err) == 1)
        continue;
    outtray_relay_close(relay);
    expect_delivered(fixture, 100);
}

static void *stop_soon(void *relay)
{
    usleep(100000);
    outtray_relay_stop(relay);
    return NULL;
}

static void another_thread_stops_it(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    const int64_t begun_us = ot_now_us();
    pthread_t thread;

    enqueue(fixture, 1, 3);
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, relay), 0);
    assert_int_equal(outtray_relay_run(relay, &fixture->err), 0);
    pthread_join(thread, NULL);
    assert_in_range(ot_now_us() - begun_us, 90000, 30000000);
    outtray_relay_close(relay);
    expect_delivered(fixture, 3);
}

/* The lease is handed over by a clean stop: the next one need not wait. */
static void hands_the_lease_over(void **state)
{
    struct fixture *fixture = *state;
    const int64_t begun_us = ot_now_us();

    set(fixture, "relay.lease_ttl_ms", "60s");
    enqueue(fixture, 1, 3);
    run_until_empty(fixture);
    enqueue(fixture, 4, 6);
    run_until_empty(fixture);
    assert_in_range(ot_now_us() - begun_us, 0, 30000000);
    expect_delivered(fixture, 6);
}

static void takes_over_from_a_dead_relay(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    struct outtray_relay_stats stats = {0};

    set(fixture, "relay.lease_ttl_ms", "1s");
    enqueue(fixture, 1, 3);
    relay = open_relay(fixture);
    while (stats.delivered < 3) {
        assert_int_equal(outtray_relay_step(relay, 1000, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
    }
    /* Closed without a stop: as if it had died, with its lease. */
    outtray_relay_close(relay);
    enqueue(fixture, 4, 6);
    run_until_empty(fixture);
    assert_non_null(strstr(fixture->log, "lease"));
}

static void refuses_an_outbox_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay;
    int rc = 1;

    set(fixture, "store.outbox", "other");
    relay = open_relay(fixture);
    while (rc == 1)
        rc = outtray_relay_step(relay, 1000, &fixture->err);
    assert_int_equal(rc, OUTTRAY_E_STORE_NO_SCHEMA);
    assert_non_null(strstr(fixture->err.text, "outtray init"));
    outtray_relay_close(relay);
}

static void a_forked_child_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        int rc = outtray_relay_step(relay, 0, NULL);

        outtray_relay_close(relay);
        _exit(rc == OUTTRAY_E_FORKED ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    outtray_relay_close(relay);
}

static void operators_are_heard_without_a_relay(void **state)
{
    struct fixture *fixture = *state;
    const struct ot_admin_ops *ops = fixture->admin->ops;
    struct outtray_relay *relay;
    struct outtray_relay_stats stats = {0};

    enqueue(fixture, 1, 3);
    assert_int_equal(ops->command(fixture->admin, "main", OT_PAUSE, NULL, 0,
                                  &fixture->err),
                     0);
    if (ot_relay_apply(fixture->conf, 5000, NULL, &fixture->err) != 0)
        fail_msg("%s", fixture->err.text);
    relay = open_relay(fixture);
    for (int i = 0; i < 20; i++)
        assert_int_equal(outtray_relay_step(relay, 20, &fixture->err), 1);
    outtray_relay_stats(relay, &stats);
    assert_int_equal(stats.delivered, 0);
    assert_string_equal(stats.stall, "paused");
    outtray_relay_stop(relay);
    assert_int_equal(outtray_relay_run(relay, &fixture->err), 0);
    outtray_relay_close(relay);

    assert_int_equal(ops->command(fixture->admin, "main", OT_RESUME, NULL, 0,
                                  &fixture->err),
                     0);
    assert_int_equal(ot_relay_apply(fixture->conf, 5000, NULL, &fixture->err),
                     0);
    run_until_empty(fixture);
    expect_delivered(fixture, 3);
}

static void the_owner_hears_operators_itself(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *relay = open_relay(fixture);
    struct outtray_relay_stats stats = {0};

    while (stats.fence == 0) {
        assert_int_equal(outtray_relay_step(relay, 100, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
    }
    assert_int_equal(fixture->admin->ops->command(fixture->admin, "main",
                                                  OT_PAUSE, NULL, 0,
                                                  &fixture->err),
                     0);
    assert_int_equal(ot_relay_apply(fixture->conf, 5000, NULL, &fixture->err),
                     OUTTRAY_E_LEASE_HELD);
    while (strcmp(stats.stall, "paused") != 0) {
        assert_int_equal(outtray_relay_step(relay, 100, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
    }
    outtray_relay_close(relay);
}

static void delivered_events_are_pruned(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay_stats stats = {0};
    const int64_t until_us = ot_now_us() + PATIENCE_US;
    struct outtray_relay *relay;

    set(fixture, "prune.retention_ms", "0");
    set(fixture, "prune.batch", "10");
    set(fixture, "prune.pause_ms", "1");
    enqueue(fixture, 1, 95);
    relay = open_relay(fixture);
    while (stats.pruned < 95 && ot_now_us() < until_us) {
        assert_int_equal(outtray_relay_step(relay, 100, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
    }
    assert_int_equal(stats.pruned, 95);
    assert_int_equal(stats.delivered, 95);
    outtray_relay_close(relay);
}

static void step_until(struct outtray_relay *relay, struct fixture *fixture,
                       bool owner)
{
    struct outtray_relay_stats stats;
    const int64_t until_us = ot_now_us() + PATIENCE_US;

    for (;;) {
        assert_int_equal(outtray_relay_step(relay, 100, &fixture->err), 1);
        outtray_relay_stats(relay, &stats);
        if ((stats.fence != 0) == owner)
            return;
        assert_true(ot_now_us() < until_us);
    }
}

/* Pruning falls due while the lease is another relay's: nothing to wake up
 * for. */
static void whoever_lost_the_lease_sleeps(void **state)
{
    struct fixture *fixture = *state;
    struct outtray_relay *loser, *owner;
    int64_t until_us;
    int steps = 0;

    set(fixture, "relay.lease_ttl_ms", "2s");
    set(fixture, "prune.retention_ms", "0"); /* looks each second */
    loser = open_relay(fixture);
    step_until(loser, fixture, true);
    set(fixture, "relay.lease_ttl_ms", "60s");
    owner = open_relay(fixture);
    step_until(owner, fixture, true);
    step_until(loser, fixture, false);
    usleep(1100000);
    until_us = ot_now_us() + 500000;
    for (; ot_now_us() < until_us; steps++)
        assert_int_equal(outtray_relay_step(loser, 100, &fixture->err), 1);
    assert_in_range(steps, 1, 100);
    outtray_relay_close(loser);
    outtray_relay_close(owner);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(delivers_all_in_order),
        TEST(goes_on_where_it_stopped),
        TEST(an_empty_outbox_ends_at_once),
        TEST(steps_inside_another_loop),
        TEST(another_thread_stops_it),
        TEST(hands_the_lease_over),
        TEST(takes_over_from_a_dead_relay),
        TEST(refuses_an_outbox_that_is_not_there),
        TEST(a_forked_child_is_refused),
        TEST(operators_are_heard_without_a_relay),
        TEST(the_owner_hears_operators_itself),
        TEST(delivered_events_are_pruned),
        TEST(whoever_lost_the_lease_sleeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
