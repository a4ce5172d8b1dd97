/* battery.h - what every sink must do, whatever is behind it. */
#ifndef BATTERY_H
#define BATTERY_H

#include "rig.h"

#include <stdatomic.h>

/* Payloads in the order in which they arrived, as numbers. */
struct arrived {
    long *at;
    size_t n;
};

struct subject {
    const char *name;
    const char *topic;
    void (*open)(struct rig *);
    /* Reads what is there once `expected` arrived, or after some time; NULL:
     * nobody can tell. */
    struct arrived (*read)(size_t expected);
    /* Away with what arrived so far. */
    void (*clear)(void);
};
static const struct subject *subject;

enum { KEYS = 17 };

static inline void add_numbered(struct rig *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[16], payload[32];
        snprintf(key, sizeof(key), "key-%zu", r->n % KEYS);
        snprintf(payload, sizeof(payload), "%zu", r->n);
        rig_event(r, subject->topic, key, payload);
    }
}

static inline struct rig *battery_open(void)
{
    static struct rig r;
    if (subject->clear != NULL)
        subject->clear();
    subject->open(&r);
    return &r;
}

static inline void battery_one(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    assert_int_equal(rig_submit(r, 0), 0);
    assert_int_equal(r->sink->ops->submit(r->sink, NULL, 0), 0);
    add_numbered(r, 1);
    rig_run(r, 1, 10000);
    assert_int_equal(r->outcome[OT_OK], 1);
    struct ot_health h;
    r->sink->ops->health(r->sink, &h);
    assert_int_equal(h.in_flight, 0);
    assert_int_not_equal(h.state, OT_HEALTH_DOWN);
    rig_close(r);
}

static inline void battery_unused(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    struct ot_completion none;
    assert_int_equal(r->sink->ops->completions(r->sink, &none, 1), 0);
    r->sink->ops->service(r->sink, ot_now_us());
    r->sink->ops->abandon(r->sink);
    rig_close(r);
}

/* Every event once, those of a key in their order. */
static inline void check_arrived(struct rig *r)
{
    if (subject->read == NULL)
        return;
    struct arrived a = subject->read(r->n);
    long *last = calloc(KEYS, sizeof(*last));
    char *seen = calloc(r->n, 1);
    assert_non_null(last);
    assert_non_null(seen);
    for (size_t i = 0; i < KEYS; i++)
        last[i] = -1;
    for (size_t i = 0; i < a.n && i < r->n; i++) {
        assert_true(a.at[i] >= 0 && (size_t)a.at[i] < r->n);
        assert_false(seen[a.at[i]]);
        seen[a.at[i]] = 1;
        if ((r->sink->ops->caps & OT_SINK_ORDERED) != 0)
            assert_true(last[a.at[i] % KEYS] < a.at[i]);
        last[a.at[i] % KEYS] = a.at[i];
    }
    for (size_t i = 0; i < r->n; i++)
        if (!seen[i])
            fail_msg("%zu is not there, though acknowledged", i);
    assert_int_equal(a.n, r->n);
    free(a.at);
    free(last);
    free(seen);
}

static inline void battery_order(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    add_numbered(r, 5000);
    rig_run(r, 250, 20000);
    assert_int_equal(r->outcome[OT_OK], r->n);
    check_arrived(r);
    rig_close(r);
}

static inline void battery_single_file(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    add_numbered(r, 50);
    while (r->sent < r->n) {
        assert_int_equal(rig_submit(r, 1), 1);
        assert_true(rig_wait(r, r->sent, 10000));
    }
    assert_int_equal(r->outcome[OT_OK], r->n);
    check_arrived(r);
    rig_close(r);
}

/* More than a sink can have: it takes less, and all the same everything
 * arrives once. */
static inline void battery_back_pressure(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    add_numbered(r, 70000);
    while (r->sent < r->n && rig_submit(r, 5000) == 5000)
        ;
    assert_true(r->sent < r->n);
    rig_run(r, 5000, 60000);
    assert_int_equal(r->outcome[OT_OK], r->n);
    rig_close(r);
}

static inline void battery_shapes(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    struct ot_event *e = rig_event(r, subject->topic, NULL, NULL);
    e = rig_event(r, subject->topic, "", "");
    e = rig_event(r, subject->topic, "k", NULL);
    e->payload = rig_slice("\0\xff\xfe", 3);
    e = rig_event(r, subject->topic, "k\xc3\xa9", "{\"a\": \"b\\n\"}\n");
    e->type = rig_text("thing.happened");
    e->headers = rig_text("{\n\t\"traceparent\": \"00-1-2-3\",\n \"empty\": "
                          "\"\", \"escaped\": \"\\u00e9\\\"\"\n}");
    e = rig_event(r, subject->topic, "k", NULL);
    char *large = malloc(300000);
    assert_non_null(large);
    memset(large, 'x', 300000);
    e->payload = rig_slice(large, 300000);
    free(large);
    rig_run(r, 10, 10000);
    assert_int_equal(r->outcome[OT_OK], r->n);
    rig_close(r);
}

/* Everything completes, however it ends, and the sink goes on. */
static inline void battery_abandon(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    add_numbered(r, 3010);
    size_t taken = rig_submit(r, 3000);
    assert_true(taken > 0);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, taken, 5000));
    assert_int_equal(r->done, taken);
    assert_int_equal(r->outcome[OT_OK] + r->outcome[OT_UNKNOWN] +
                         r->outcome[OT_UNAVAILABLE],
                     taken);
    size_t before = r->outcome[OT_OK];
    rig_run(r, 3000, 10000);
    assert_int_equal(r->outcome[OT_OK], before + r->n - taken);
    rig_close(r);
}

static inline void battery_close(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    add_numbered(r, 500);
    rig_submit(r, 500);
    r->sink->ops->abandon(r->sink);
    rig_close(r); /* fails if it takes too long */
}

static inline void battery_check(void **state)
{
    (void)state;
    struct rig *r = battery_open();
    struct outtray_error err = {0};
    assert_true((r->sink->ops->caps & OT_SINK_CHECKS) != 0);
    if (r->sink->ops->check(r->sink, NULL, 5000, &err) != 0)
        fail_msg("%s", err.text);
    if (r->sink->ops->check(r->sink, subject->topic, 5000, &err) != 0)
        fail_msg("%s", err.text);
    rig_close(r);
}

static _Atomic long battery_left = -1;

static inline bool battery_starved(void)
{
    return atomic_load(&battery_left) >= 0 &&
           atomic_fetch_sub(&battery_left, 1) == 0;
}

static inline void *battery_alloc(size_t n)
{
    return battery_starved() ? NULL : malloc(n);
}

static inline void *battery_resize(void *p, size_t n)
{
    return battery_starved() ? NULL : realloc(p, n);
}

/* Whichever allocation fails, every event that was taken completes, and what
 * does not arrive is said to be the sink's fault or worth a try. */
static inline void battery_no_memory(void **state)
{
    (void)state;
    outtray_set_allocator(battery_alloc, battery_resize, free);
    for (long n = 0; n < 200; n++) {
        struct rig *r = battery_open();
        add_numbered(r, 150);
        atomic_store(&battery_left, n);
        rig_run(r, 50, 10000);
        bool reached = atomic_load(&battery_left) < 0;
        atomic_store(&battery_left, -1);
        assert_int_equal(r->outcome[OT_OK] + r->outcome[OT_UNAVAILABLE] +
                             r->outcome[OT_RETRY],
                         r->n);
        size_t ok = r->outcome[OT_OK];
        add_numbered(r, 10);
        rig_run(r, 10, 10000);
        assert_int_equal(r->outcome[OT_OK], ok + 10);
        rig_close(r);
        if (!reached)
            break;
    }
    outtray_set_allocator(NULL, NULL, NULL);
}

static inline int run_battery(const struct subject *s)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(battery_one),
        cmocka_unit_test(battery_unused),
        cmocka_unit_test(battery_order),
        cmocka_unit_test(battery_single_file),
        cmocka_unit_test(battery_back_pressure),
        cmocka_unit_test(battery_shapes),
        cmocka_unit_test(battery_abandon),
        cmocka_unit_test(battery_close),
        cmocka_unit_test(battery_check),
        cmocka_unit_test(battery_no_memory),
    };
    subject = s;
    return cmocka_run_group_tests_name(s->name, tests, NULL, NULL);
}

#endif
