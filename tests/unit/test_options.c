/* Every setting of the engine, from its key to the engine's options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "conf/conf.h"
#include "relay/options.h"

static struct outtray_conf *conf;
static struct outtray_error err;

static int setup(void **state)
{
    (void)state;
    ot_error_clear(&err);
    conf = outtray_conf_new();
    return conf == NULL;
}

static int teardown(void **state)
{
    (void)state;
    outtray_conf_free(conf);
    return 0;
}

/* A key, a value that is not its default, and what its field is then. */
static const struct row {
    const char *key, *text;
    size_t at, size; /* of the field */
    int64_t value;
} rows[] = {
#define FIELD(f)                           \
    offsetof(struct ot_engine_options, f), \
        sizeof(((struct ot_engine_options *)0)->f)
    {"relay.ordering", "none", FIELD(ordering), OT_ORDER_NONE},
    {"relay.ordering", "strict", FIELD(ordering), OT_ORDER_STRICT},
    {"relay.on_reject", "park", FIELD(on_reject), OT_PARK},
    {"relay.on_reject", "dead_letter", FIELD(on_reject), OT_DEAD_LETTER},
    {"relay.on_reject", "block", FIELD(on_reject), OT_BLOCK},
    {"relay.block_retry_ms", "2s", FIELD(block_retry_us), 2000000},
    {"relay.lease_ttl_ms", "21s", FIELD(lease_ttl_us), 21000000},
    {"relay.batch_events", "11", FIELD(batch_events), 11},
    {"relay.batch_bytes", "12KiB", FIELD(batch_bytes), 12288},
    {"relay.window_events", "13", FIELD(window_events), 13},
    {"relay.window_bytes", "128KiB", FIELD(window_bytes), 131072},
    {"relay.poll_min_ms", "14", FIELD(poll_min_us), 14000},
    {"relay.poll_max_ms", "15min", FIELD(poll_max_us), 900000000},
    {"relay.cursor_ms", "16", FIELD(cursor_us), 16000},
    {"relay.held_max", "17", FIELD(held_max), 17},
    {"retry.min_ms", "18", FIELD(retry_min_us), 18000},
    {"retry.max_ms", "19s", FIELD(retry_max_us), 19000000},
    {"retry.max_age_ms", "20s", FIELD(retry_max_age_us), 20000000},
    {"retry.max_attempts", "21", FIELD(retry_max_attempts), 21},
    {"probe.min_ms", "22", FIELD(probe_min_us), 22000},
    {"probe.max_ms", "23s", FIELD(probe_max_us), 23000000},
    {"breaker.min_ms", "24", FIELD(breaker_min_us), 24000},
    {"breaker.max_ms", "25s", FIELD(breaker_max_us), 25000000},
    {"limit.events_per_s", "26", FIELD(limit_events_per_s), 26},
    {"limit.bytes_per_s", "27KiB", FIELD(limit_bytes_per_s), 27648},
    {"limit.topic_events_per_s", "a=28", FIELD(topic_limits[0].events_per_s),
     28},
    {"limit.topic_bytes_per_s", "a=29", FIELD(topic_limits[0].bytes_per_s), 29},
#undef FIELD
};

/* The keys of the same sections that are not the engine's. */
static const char *const others[] = {
    "relay.subscription", "relay.topics",       "relay.start",
    "relay.stop_soft_ms", "relay.stop_hard_ms",
};

static int64_t value_of(const struct ot_engine_options *opt,
                        const struct row *row)
{
    const char *field = (const char *)opt + row->at;
    uint32_t small;
    int64_t large;

    if (row->size == sizeof(small)) {
        memcpy(&small, field, sizeof(small));
        return small;
    }
    assert_int_equal(row->size, sizeof(large));
    memcpy(&large, field, sizeof(large));
    return large;
}

static void expect(const struct ot_engine_options *opt, const struct row *row,
                   int64_t value, const char *when)
{
    if (value_of(opt, row) != value)
        fail_msg("%s: the field of %s is %lld, not %lld", when, row->key,
                 (long long)value_of(opt, row), (long long)value);
}

static void read_options(struct ot_engine_options *opt)
{
    assert_int_equal(outtray_conf_check(conf, &err), 0);
    assert_int_equal(ot_relay_options(conf, 0, 0, opt, &err), 0);
}

/* The engine's tests and the simulator start from its own defaults: they try
 * what users have only if these are the defaults of the keys. */
static void defaults_agree(void **state)
{
    struct ot_engine_options own, opt;

    (void)state;
    ot_engine_defaults(&own);
    read_options(&opt);
    assert_int_equal(opt.ntopic_limits, own.ntopic_limits);
    assert_int_equal(opt.leave_out_seqs, own.leave_out_seqs);
    for (size_t i = 0; i < OT_COUNT(rows); i++)
        expect(&opt, &rows[i], value_of(&own, &rows[i]), "defaults");
}

static void each_key_sets_its_field(void **state)
{
    struct ot_engine_options own, opt;

    (void)state;
    ot_engine_defaults(&own);
    for (size_t i = 0; i < OT_COUNT(rows); i++) {
        const struct row *row = &rows[i];

        assert_true(value_of(&own, row) != row->value);
        assert_int_equal(outtray_conf_set(conf, row->key, row->text, &err), 0);
        read_options(&opt);
        for (size_t j = 0; j < OT_COUNT(rows); j++)
            expect(&opt, &rows[j],
                   rows[j].at == row->at ? row->value
                                         : value_of(&own, &rows[j]),
                   row->key);
        assert_int_equal(outtray_conf_set(conf, row->key, "", &err), 0);
    }
}

static bool has_row(const char *key)
{
    for (size_t i = 0; i < OT_COUNT(rows); i++)
        if (strcmp(rows[i].key, key) == 0)
            return true;
    for (size_t i = 0; i < OT_COUNT(others); i++)
        if (strcmp(others[i], key) == 0)
            return true;
    return false;
}

/* A key that is added later shall not be forgotten here. */
static void no_key_is_left_out(void **state)
{
    static const char *const sections[] = {"relay.", "retry.", "probe.",
                                           "breaker.", "limit."};

    (void)state;
    for (size_t i = 0; i < ot_conf_count(); i++) {
        const char *key = ot_conf_key_at(i)->name;

        for (size_t j = 0; j < OT_COUNT(sections); j++)
            if (strncmp(key, sections[j], strlen(sections[j])) == 0 &&
                !has_row(key))
                fail_msg("%s has no row in this test", key);
    }
}

static void caps_are_taken(void **state)
{
    struct ot_engine_options opt;

    (void)state;
    read_options(&opt);
    assert_false(opt.sink_ordered);
    assert_false(opt.barrier_by_write);
    assert_int_equal(ot_relay_options(conf, 0, OT_SINK_ORDERED, &opt, &err), 0);
    assert_true(opt.sink_ordered);
    assert_false(opt.barrier_by_write);
    assert_int_equal(
        ot_relay_options(conf, OT_STORE_BARRIER_BY_WRITE, 0, &opt, &err), 0);
    assert_false(opt.sink_ordered);
    assert_true(opt.barrier_by_write);
}

static void each_relay_has_a_seed_of_its_own(void **state)
{
    struct ot_engine_options one, two;

    (void)state;
    read_options(&one);
    read_options(&two);
    assert_true(one.seed != two.seed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(defaults_agree),
                                       TEST(each_key_sets_its_field),
                                       TEST(no_key_is_left_out),
                                       TEST(caps_are_taken),
                                       TEST(each_relay_has_a_seed_of_its_own)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
