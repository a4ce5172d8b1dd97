/* The sink whose events the program takes: the battery, and what is its own. */
#include "battery.h"

#include <pthread.h>

#include "sink/builtin.h"
#include "sink/script/script.h"

/* --- the battery: a program that takes whenever the loop turns ------------- */

static struct ot_sink_ops served;
static long *numbers;
static size_t nnumbers;

static void deliver(struct outtray_batch *b)
{
    for (size_t i; outtray_batch_next(b, &i);) {
        const struct outtray_batch_event *e = outtray_batch_event(b, i);
        /* One by one would copy 20 GB for the 70,000 events of a test: under
         * a sanitizer every realloc makes a new block. */
        if ((nnumbers & (nnumbers - 1)) == 0) {
            size_t room = nnumbers > 0 ? nnumbers * 2 : 1;
            numbers = realloc(numbers, room * sizeof(*numbers));
            assert_non_null(numbers);
        }
        numbers[nnumbers++] =
            e->event.payload.p != NULL ? atol(e->event.payload.p) : 0;
        assert_int_equal(
            outtray_batch_settle(b, i, 1, OUTTRAY_OUTCOME_OK, 0, NULL), 1);
    }
    outtray_batch_close(b);
}

static int64_t serve(struct ot_sink *sink, int64_t now_us)
{
    struct outtray_batch *b;
    struct outtray_error err;
    struct outtray_batch_limits limits = {.max_events = 300};
    ot_sink_script.service(sink, now_us);
    while (ot_script_take(sink, &limits, &b, &err) == 1)
        deliver(b);
    return ot_sink_script.service(sink, now_us);
}

static void open_served(struct rig *r)
{
    rig_open(r, "script:", NULL);
    served = *r->sink->ops;
    served.service = serve;
    r->sink->ops = &served;
}

static void clear_served(void)
{
    free(numbers);
    numbers = NULL;
    nnumbers = 0;
}

static struct arrived read_served(size_t expected)
{
    struct arrived a = {calloc(expected + 1, sizeof(long)), nnumbers};
    for (size_t i = 0; i < nnumbers && i < expected; i++)
        a.at[i] = numbers[i];
    return a;
}

/* --- helpers ---------------------------------------------------------------- */

static struct rig *open_script(void)
{
    static struct rig r;
    rig_open(&r, "script:", NULL);
    return &r;
}

static void add(struct rig *r, const char *key, const char *payload)
{
    rig_event(r, "orders", key, payload);
}

static struct outtray_batch *take(struct rig *r, size_t max_events)
{
    struct outtray_batch_limits limits = {.max_events = max_events};
    struct outtray_batch *b;
    struct outtray_error err;
    int rc = ot_script_take(r->sink, &limits, &b, &err);
    assert_true(rc == (b != NULL ? 1 : 0));
    return b;
}

/* The payloads of a batch, one after the other. */
static void expect(const struct outtray_batch *b, const char *payloads)
{
    char got[200] = "";
    assert_non_null(b);
    for (size_t i = 0; i < outtray_batch_size(b); i++)
        strcat(got, outtray_batch_event(b, i)->event.payload.p);
    assert_string_equal(got, payloads);
}

static void settle_all(struct outtray_batch *b)
{
    outtray_batch_settle(b, 0, SIZE_MAX, OUTTRAY_OUTCOME_OK, 0, NULL);
    outtray_batch_close(b);
}

/* --- what is in a batch ----------------------------------------------------- */

static void an_event_is_whole(void **state)
{
    (void)state;
    struct rig *r = open_script();
    struct ot_event *e = rig_event(r, "orders", "k\xc3\xa9", NULL);
    e->seq = 42;
    e->type = rig_text("order.created");
    e->headers = rig_text("{\"a\": \"b\"}");
    e->payload = rig_slice("\0\xff", 2);
    e->created_us = 1764000000123456;
    rig_event(r, "orders", NULL, NULL);
    rig_submit_flagged(r, 2, true);
    struct outtray_batch *b = take(r, 0);
    assert_int_equal(outtray_batch_size(b), 2);
    const struct outtray_batch_event *got = outtray_batch_event(b, 0);
    assert_string_equal(got->event.topic.p, "orders");
    assert_string_equal(got->event.key.p, "k\xc3\xa9");
    assert_string_equal(got->event.type.p, "order.created");
    assert_string_equal(got->event.headers.p, "{\"a\": \"b\"}");
    assert_int_equal(got->event.payload.n, 2);
    assert_memory_equal(got->event.payload.p, "\0\xff", 3);
    assert_string_equal(got->event.id.p,
                        "00000000-0000-0000-0000-000000000001");
    assert_int_equal(got->event.id.n, 36);
    assert_string_equal(got->order.p, "7.42");
    assert_int_equal(got->order.n, 4);
    assert_int_equal(got->created_us, 1764000000123456);
    assert_true(got->maybe_duplicate);
    assert_int_equal(got->attempts, 0);
    got = outtray_batch_event(b, 1);
    assert_null(got->event.key.p);
    assert_null(got->event.payload.p);
    assert_null(outtray_batch_event(b, 2));
    settle_all(b);
    rig_run(r, 1, 1000);
    rig_close(r);
}

static void limits_bound_it(void **state)
{
    (void)state;
    static const char zeros[1000];
    struct rig *r = open_script();
    struct outtray_error err;
    struct outtray_batch *b;
    struct outtray_batch_limits large = {.max_bytes = 200};
    for (const char *p = "abcdefg"; *p != '\0'; p++)
        add(r, NULL, (char[]){*p, '\0'});
    rig_event(r, "orders", NULL, NULL)->payload =
        rig_slice(zeros, sizeof(zeros));
    rig_submit(r, 8);
    expect(b = take(r, 3), "abc");
    settle_all(b);
    assert_int_equal(ot_script_take(r->sink, &large, &b, &err), 1);
    expect(b, "de"); /* 71 bytes each */
    settle_all(b);
    settle_all(take(r, 2));
    assert_int_equal(ot_script_take(r->sink, &large, &b, &err), 1);
    assert_int_equal(outtray_batch_size(b), 1); /* one may be larger */
    settle_all(b);
    assert_null(take(r, 1));
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_OK], 8);
    rig_close(r);
}

/* It waits to fill up, and the loop knows for how long. */
static void it_lingers(void **state)
{
    (void)state;
    struct rig *r = open_script();
    struct outtray_batch_limits limits = {.max_events = 3, .linger_ms = 1500};
    struct outtray_batch *b;
    struct outtray_error err;
    assert_int_equal(ot_script_take(r->sink, &limits, &b, &err), 0);
    add(r, NULL, "a");
    add(r, NULL, "b");
    int64_t now_us = ot_now_us();
    rig_submit(r, 2);
    assert_int_equal(ot_script_take(r->sink, &limits, &b, &err), 0);
    assert_false(ot_script_ready(r->sink));
    int64_t next_us = r->sink->ops->service(r->sink, now_us);
    assert_in_range(next_us, now_us + 1500000, ot_now_us() + 1500000);
    while (ot_now_us() < next_us)
        usleep(1000);
    assert_true(ot_script_ready(r->sink));
    assert_true(r->sink->ops->service(r->sink, ot_now_us()) == OT_NEVER);
    assert_int_equal(ot_script_take(r->sink, &limits, &b, &err), 1);
    expect(b, "ab");
    settle_all(b);
    rig_run(r, 1, 1000);
    for (int i = 0; i < 3; i++)
        add(r, NULL, "c");
    rig_submit(r, 3); /* full: at once */
    assert_int_equal(ot_script_take(r->sink, &limits, &b, &err), 1);
    settle_all(b);
    rig_run(r, 1, 1000);
    rig_close(r);
}

/* --- order ------------------------------------------------------------------ */

static void a_key_is_in_one_batch(void **state)
{
    (void)state;
    struct rig *r = open_script();
    add(r, "A", "1");
    add(r, "B", "2");
    add(r, "A", "3");
    add(r, "C", "4");
    add(r, "B", "5");
    add(r, NULL, "6");
    add(r, "A", "7");
    rig_submit(r, 7);
    struct outtray_batch *one = take(r, 2), *two, *three;
    expect(one, "12");
    expect(two = take(r, 0), "46"); /* neither A nor B */
    assert_null(take(r, 0));
    assert_false(ot_script_ready(r->sink));
    outtray_batch_settle(one, 1, 1, OUTTRAY_OUTCOME_OK, 0, NULL);
    assert_true(ot_script_ready(r->sink));
    expect(three = take(r, 0), "5");
    settle_all(one);
    settle_all(two);
    settle_all(three);
    expect(three = take(r, 0), "37");
    settle_all(three);
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_OK], 7);
    rig_close(r);
}

static void without_order_it_does_not_matter(void **state)
{
    (void)state;
    static struct rig r;
    rig_open(&r, "script:", (const char *const[]){"relay.ordering=none", NULL});
    for (int i = 0; i < 4; i++)
        add(&r, "A", "x");
    rig_submit(&r, 4);
    struct outtray_batch *one = take(&r, 2), *two = take(&r, 2);
    expect(two, "xx");
    settle_all(one);
    settle_all(two);
    rig_run(&r, 1, 1000);
    rig_close(&r);
}

static void what_is_behind_a_failure_is_left_out(void **state)
{
    (void)state;
    struct rig *r = open_script();
    for (const char *p = "ABABBA"; *p != '\0'; p++)
        add(r, (char[]){*p, '\0'}, "x");
    rig_submit(r, 6);
    struct outtray_batch *b = take(r, 0);
    size_t i, seen = 0;
    assert_true(outtray_batch_next(b, &i));
    outtray_batch_settle(b, i, 1, OUTTRAY_OUTCOME_RETRY, 70, "later");
    while (outtray_batch_next(b, &i)) {
        assert_true(i == 1 || i == 3 || i == 4);
        outtray_batch_settle(b, i, 1, OUTTRAY_OUTCOME_OK, 0, NULL);
        seen++;
    }
    assert_int_equal(i, 6);
    assert_int_equal(seen, 3);
    assert_int_equal(outtray_batch_open(b), 0);
    outtray_batch_close(b);
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_OK], 3);
    assert_int_equal(r->outcome[OT_UNKNOWN], 2);
    assert_int_equal(r->events[0].completion.outcome, OT_RETRY);
    assert_int_equal(r->events[0].completion.retry_after_us, 70000);
    assert_string_equal(r->events[0].reason, "later");
    rig_close(r);
}

/* Nor may those overtake it that nobody took yet. */
static void what_waits_behind_a_failure_goes_back(void **state)
{
    (void)state;
    struct rig *r = open_script();
    for (const char *p = "ABACBA"; *p != '\0'; p++)
        add(r, (char[]){*p, '\0'}, (char[]){*p, '\0'});
    rig_submit(r, 6);
    struct outtray_batch *b = take(r, 2), *rest;
    outtray_batch_settle(b, 0, 1, OUTTRAY_OUTCOME_RETRY, 0, "later");
    settle_all(b);
    expect(rest = take(r, 0), "CB");
    settle_all(rest);
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_OK], 3);
    assert_int_equal(r->outcome[OT_RETRY], 1);
    assert_int_equal(r->outcome[OT_UNKNOWN], 2);
    rig_close(r);
}

/* --- settling --------------------------------------------------------------- */

static void each_outcome_is_passed_on(void **state)
{
    (void)state;
    static const struct {
        enum outtray_outcome said;
        enum ot_outcome outcome;
        enum ot_scope scope;
        int64_t after_us;
    } table[] = {
        {OUTTRAY_OUTCOME_OK, OT_OK, OT_THIS_EVENT, 0},
        {OUTTRAY_OUTCOME_RETRY, OT_RETRY, OT_THIS_EVENT, 5000},
        {OUTTRAY_OUTCOME_REJECTED, OT_REJECTED, OT_THIS_EVENT, 0},
        {OUTTRAY_OUTCOME_MISCONFIGURED, OT_MISCONFIGURED, OT_ITS_TOPIC, 5000},
        {OUTTRAY_OUTCOME_UNAVAILABLE, OT_UNAVAILABLE, OT_THE_SINK, 5000},
        {OUTTRAY_OUTCOME_UNKNOWN, OT_UNKNOWN, OT_THIS_EVENT, 5000},
    };
    for (size_t i = 0; i < OT_COUNT(table); i++) {
        for (int with = 0; with < 2; with++) {
            struct rig *r = open_script();
            add(r, NULL, "x");
            rig_submit(r, 1);
            struct outtray_batch *b = take(r, 0);
            assert_int_equal(outtray_batch_settle(b, 0, 1, table[i].said, 5,
                                                  with ? "because" : NULL),
                             1);
            assert_int_equal(
                outtray_batch_settle(b, 0, 1, OUTTRAY_OUTCOME_OK, 0, NULL), 0);
            outtray_batch_close(b);
            rig_run(r, 1, 1000);
            const struct ot_completion *c = &r->events[0].completion;
            assert_int_equal(c->outcome, table[i].outcome);
            assert_int_equal(c->scope, table[i].scope);
            assert_int_equal(c->retry_after_us, table[i].after_us);
            if (c->outcome != OT_OK)
                assert_true((strcmp(r->events[0].reason, "because") == 0) ==
                            (with == 1));
            rig_close(r);
        }
    }
}

/* Of many failures each keeps its own reason, as text. */
static void reasons_are_kept(void **state)
{
    (void)state;
    struct rig *r = open_script();
    char reason[1000];
    for (int i = 0; i < 600; i++)
        add(r, NULL, "x");
    rig_submit(r, 600);
    struct outtray_batch *b = take(r, 600);
    for (size_t i = 0; i < 598; i++) {
        snprintf(reason, sizeof(reason), "reason %zu", i);
        outtray_batch_settle(b, i, 1, OUTTRAY_OUTCOME_RETRY, 0, reason);
    }
    outtray_batch_settle(b, 598, 1, OUTTRAY_OUTCOME_RETRY, 0, "caf\xe9!");
    memset(reason, 'x', sizeof(reason));
    memcpy(reason + 399, "\xc3\xa9", 3);
    outtray_batch_settle(b, 599, 1, OUTTRAY_OUTCOME_RETRY, 0, reason);
    outtray_batch_close(b);
    rig_run(r, 1, 5000);
    for (size_t i = 0; i < 598; i++) {
        snprintf(reason, sizeof(reason), "reason %zu", i);
        assert_string_equal(r->events[i].reason, reason);
    }
    assert_string_equal(r->events[598].reason, "caf?!");
    assert_int_equal(strlen(r->events[599].completion.reason == NULL
                                ? ""
                                : r->events[599].reason),
                     399); /* rig keeps so much */
    rig_close(r);
}

static void an_unavailable_program_gets_no_more(void **state)
{
    (void)state;
    struct rig *r = open_script();
    for (int i = 0; i < 10; i++)
        add(r, NULL, "x");
    rig_submit(r, 10);
    struct outtray_batch *b = take(r, 3), *other = take(r, 3);
    outtray_batch_settle(b, 0, 1, OUTTRAY_OUTCOME_UNAVAILABLE, 0, "no net");
    assert_null(take(r, 0));
    settle_all(other);
    outtray_batch_close(b);
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_UNAVAILABLE], 5);
    assert_int_equal(r->outcome[OT_UNKNOWN], 2);
    assert_int_equal(r->outcome[OT_OK], 3);
    rig_close(r);
}

static void wrong_numbers_settle_nothing(void **state)
{
    (void)state;
    struct rig *r = open_script();
    add(r, NULL, "x");
    add(r, NULL, "x");
    rig_submit(r, 2);
    struct outtray_batch *b = take(r, 0);
    assert_int_equal(outtray_batch_settle(b, 2, 1, OUTTRAY_OUTCOME_OK, 0, NULL),
                     0);
    assert_int_equal(outtray_batch_settle(b, 0, 0, OUTTRAY_OUTCOME_OK, 0, NULL),
                     0);
    assert_int_equal(
        outtray_batch_settle(b, 0, 1, (enum outtray_outcome)6, 0, NULL), 0);
    assert_int_equal(
        outtray_batch_settle(b, 0, 1, (enum outtray_outcome) - 1, 0, NULL), 0);
    assert_int_equal(outtray_batch_open(b), 2);
    outtray_batch_close(b);
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_UNKNOWN], 2);
    outtray_batch_close(NULL);
    rig_close(r);
}

/* --- ends ------------------------------------------------------------------- */

static void abandoned_in_hands(void **state)
{
    (void)state;
    struct rig *r = open_script();
    for (int i = 0; i < 6; i++)
        add(r, "A", "x");
    rig_submit(r, 4);
    struct outtray_batch *b = take(r, 2), *again;
    outtray_batch_settle(b, 0, 1, OUTTRAY_OUTCOME_OK, 0, NULL);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, 4, 1000));
    assert_int_equal(r->outcome[OT_OK], 1);
    assert_int_equal(r->outcome[OT_UNKNOWN], 1);
    assert_int_equal(r->outcome[OT_UNAVAILABLE], 2);
    /* The memory of the events is gone, the copies are there. */
    expect(b, "xx");
    rig_submit(r, 2);
    assert_null(take(r, 0)); /* the key is still in hands */
    assert_int_equal(outtray_batch_settle(b, 1, 1, OUTTRAY_OUTCOME_OK, 0, NULL),
                     0);
    expect(again = take(r, 0), "xx");
    outtray_batch_close(b);
    settle_all(again);
    rig_run(r, 1, 1000);
    assert_int_equal(r->done, 6);
    rig_close(r);
}

static void stopped(void **state)
{
    (void)state;
    struct rig *r = open_script();
    for (int i = 0; i < 7; i++)
        add(r, NULL, "x");
    rig_submit(r, 5);
    struct outtray_batch *b = take(r, 2);
    ot_script_stop(r->sink);
    assert_null(take(r, 0));
    assert_true(rig_wait(r, 3, 1000));
    rig_submit(r, 2); /* comes too late */
    assert_true(rig_wait(r, 5, 1000));
    assert_int_equal(r->outcome[OT_UNAVAILABLE], 5);
    settle_all(b);
    rig_run(r, 1, 1000);
    assert_int_equal(r->outcome[OT_OK], 2);
    rig_close(r);
}

static void a_batch_outlives_its_sink(void **state)
{
    (void)state;
    struct rig *r = open_script();
    add(r, "A", "a");
    add(r, "B", "b");
    rig_submit(r, 2);
    struct outtray_batch *one = take(r, 1), *two = take(r, 1);
    r->sink->ops->abandon(r->sink);
    rig_close(r);
    size_t i;
    assert_false(outtray_batch_next(one, &i));
    assert_int_equal(
        outtray_batch_settle(one, 0, 1, OUTTRAY_OUTCOME_RETRY, 0, "why"), 0);
    outtray_batch_close(one);
    expect(two, "b");
    outtray_batch_close(two);
}

static void urls(void **state)
{
    (void)state;
    rig_refused("script:x", NULL, OUTTRAY_E_URL, "nothing after the colon");
}

static void no_descriptor_is_left(void **state)
{
    (void)state;
    rig_no_files(true);
    rig_refused("script:", NULL, OUTTRAY_E_IO, "ulimit -n");
    rig_no_files(false);
}

/* --- threads ---------------------------------------------------------------- */

enum { WORKERS = 4, EVENTS = 20000 };

static struct crowd {
    struct rig *r;
    pthread_mutex_t lock;
    long last[KEYS];
    size_t seen;
    atomic_bool over;
} crowd = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *work(void *arg)
{
    struct ot_rng rng;
    ot_rng_seed(&rng, (uint64_t)(uintptr_t)arg);
    while (!atomic_load(&crowd.over)) {
        struct outtray_batch_limits limits = {
            .max_events = (size_t)ot_rng_between(&rng, 1, 50)};
        struct outtray_batch *b;
        if (ot_script_take(crowd.r->sink, &limits, &b, NULL) != 1) {
            usleep(200);
            continue;
        }
        for (size_t i; outtray_batch_next(b, &i);) {
            long n = atol(outtray_batch_event(b, i)->event.payload.p);
            pthread_mutex_lock(&crowd.lock);
            if (crowd.last[n % KEYS] >= n)
                abort(); /* an event of its key was before it [INV-3] */
            crowd.last[n % KEYS] = n;
            crowd.seen++;
            pthread_mutex_unlock(&crowd.lock);
            outtray_batch_settle(b, i, 1, OUTTRAY_OUTCOME_OK, 0, NULL);
        }
        outtray_batch_close(b);
    }
    return NULL;
}

static const struct subject plain = {.name = "script", .topic = "orders"};

static void several_threads_take(void **state)
{
    (void)state;
    pthread_t threads[WORKERS];
    const struct subject *before = subject;
    subject = &plain;
    crowd.r = open_script();
    for (size_t i = 0; i < KEYS; i++)
        crowd.last[i] = -1;
    add_numbered(crowd.r, EVENTS);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
    rig_run(crowd.r, 700, 60000);
    atomic_store(&crowd.over, true);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.seen, EVENTS);
    assert_int_equal(crowd.r->outcome[OT_OK], EVENTS);
    rig_close(crowd.r);
    subject = before;
}

int main(void)
{
    static const struct subject battery = {"script", "orders", open_served,
                                           read_served, clear_served};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_whole),
        cmocka_unit_test(limits_bound_it),
        cmocka_unit_test(it_lingers),
        cmocka_unit_test(a_key_is_in_one_batch),
        cmocka_unit_test(without_order_it_does_not_matter),
        cmocka_unit_test(what_is_behind_a_failure_is_left_out),
        cmocka_unit_test(what_waits_behind_a_failure_goes_back),
        cmocka_unit_test(each_outcome_is_passed_on),
        cmocka_unit_test(reasons_are_kept),
        cmocka_unit_test(an_unavailable_program_gets_no_more),
        cmocka_unit_test(wrong_numbers_settle_nothing),
        cmocka_unit_test(abandoned_in_hands),
        cmocka_unit_test(stopped),
        cmocka_unit_test(a_batch_outlives_its_sink),
        cmocka_unit_test(urls),
        cmocka_unit_test(no_descriptor_is_left),
        cmocka_unit_test(several_threads_take),
    };
    int failed = run_battery(&battery);
    clear_served();
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
