/* Limits of single topics, from the setting to the engine's options. */
#include "support/alloc_fail.h"

#include "conf/conf.h"
#include "relay/options.h"

#include <stdio.h>

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

static void set(const char *name, const char *value)
{
    assert_int_equal(outtray_conf_set(conf, name, value, &err), 0);
}

static void refuse(const char *name, const char *value, const char *words)
{
    set(name, value);
    assert_int_equal(outtray_conf_check(conf, &err), OUTTRAY_E_CONF);
    if (strstr(err.text, words) == NULL || strstr(err.text, name) == NULL)
        fail_msg("%s = %s: '%s' has no '%s'", name, value, err.text, words);
    set(name, "");
    assert_int_equal(outtray_conf_check(conf, &err), 0);
}

static void expect(const struct ot_engine_options *opt, const char *topic,
                   int64_t events_per_s, int64_t bytes_per_s)
{
    for (uint32_t i = 0; i < opt->ntopic_limits; i++) {
        const struct ot_topic_limit *own = &opt->topic_limits[i];

        if (!ot_slice_equal(own->topic, ot_slice_of(topic)))
            continue;
        assert_int_equal(own->events_per_s, events_per_s);
        assert_int_equal(own->bytes_per_s, bytes_per_s);
        return;
    }
    fail_msg("topic %s has no limit", topic);
}

static void taken(void **state)
{
    struct ot_engine_options opt;

    (void)state;
    assert_int_equal(ot_relay_options(conf, 0, 0, &opt, &err), 0);
    assert_int_equal(opt.ntopic_limits, 0);
    set("limit.topic_events_per_s", " mail = 10,a=b=3 ,orders.created=100");
    set("limit.topic_bytes_per_s", "images=1MiB, mail=64KiB");
    assert_int_equal(outtray_conf_check(conf, &err), 0);
    assert_int_equal(ot_relay_options(conf, 0, 0, &opt, &err), 0);
    assert_int_equal(opt.ntopic_limits, 4);
    expect(&opt, "mail", 10, 65536);
    expect(&opt, "a=b", 3, 0);
    expect(&opt, "orders.created", 100, 0);
    expect(&opt, "images", 0, 1048576);
}

static void refused(void **state)
{
    const char *events = "limit.topic_events_per_s";

    (void)state;
    refuse(events, "mail", "'mail' is not a topic and its limit");
    refuse(events, "mail=10,", "'' is not a topic and its limit");
    refuse(events, "=10", "'=10' is not a topic and its limit");
    refuse(events, "mail=10,,a=1", "'' is not a topic and its limit");
    refuse(events, "mail.*=10", "without a *");
    refuse(events, "mail=ten", "topic mail");
    refuse(events, "mail=ten", "'ten' is not a whole number");
    refuse(events, "a=1,mail=-1", "out of range");
    refuse(events, "mail=1KiB", "'1KiB' is not a whole number");
    refuse("limit.topic_bytes_per_s", "mail=1parsec", "not a size");
}

static void too_many(void **state)
{
    struct ot_engine_options opt;
    struct ot_buffer text = {0};

    (void)state;
    for (int i = 0; i < OT_TOPIC_LIMITS; i++)
        ot_buffer_printf(&text, "%st%d=1", i > 0 ? "," : "", i);
    set("limit.topic_events_per_s", text.p);
    assert_int_equal(ot_relay_options(conf, 0, 0, &opt, &err), 0);
    assert_int_equal(opt.ntopic_limits, OT_TOPIC_LIMITS);
    set("limit.topic_bytes_per_s", "t5=1,other=1");
    assert_int_equal(ot_relay_options(conf, 0, 0, &opt, &err), OUTTRAY_E_CONF);
    assert_non_null(strstr(err.text, "64 topics"));
    ot_buffer_free(&text);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(taken), TEST(refused),
                                       TEST(too_many)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
