/* What librdkafka measures: its documents, whatever stands in them, and those
 * of a real broker. */
#include "kafka_rig.h"

#include "sink/kafka/kafka.h"

#define WINDOW(avg, p99, max, cnt)                               \
    "{\"min\":1,\"avg\":" #avg ",\"p99\":" #p99 ",\"max\":" #max \
    ",\"cnt\":" #cnt "}"
#define BROKER(rtt, throttle) \
    "{\"nodeid\":1,\"rtt\":" rtt ",\"throttle\":" throttle ",\"toppars\":{}}"
#define NONE WINDOW(0, 0, 0, 0)

static const char two_brokers[] =
    "{\"name\":\"rdkafka#producer-1\",\"msg_cnt\":12,\"msg_size\":3400,"
    "\"brokers\":{"
    "\"a:9092/1\":" BROKER(
        WINDOW(1000, 1500, 2000, 30),
        NONE) ","
              "\"b:9092/2\":" BROKER(
                  WINDOW(3000, 9000, 9500, 10),
                  WINDOW(100, 300, 400, 4)) ","
                                            "\"c:9092/3\":" BROKER(
                                                NONE, NONE) "},\"topics\":{}}";

static void expect(const char *json, const struct ot_sink_stats *expected)
{
    struct ot_sink_stats got;
    memset(&got, 0, sizeof(got));
    assert_true(ot_kafka_statistics_read(json, &got));
    assert_int_equal(got.rtt_avg_us, expected->rtt_avg_us);
    assert_int_equal(got.rtt_p99_us, expected->rtt_p99_us);
    assert_int_equal(got.throttle_avg_ms, expected->throttle_avg_ms);
    assert_int_equal(got.throttle_max_ms, expected->throttle_max_ms);
    assert_int_equal(got.queued_events, expected->queued_events);
    assert_int_equal(got.queued_bytes, expected->queued_bytes);
}

static void test_document(void **state)
{
    (void)state;
    /* By requests, not by brokers. */
    expect(two_brokers,
           &(struct ot_sink_stats){1500, 9000, 100, 400, 12, 3400});
    expect("{\"msg_cnt\":0,\"msg_size\":0,\"brokers\":{}}",
           &(struct ot_sink_stats){-1, -1, 0, 0, 0, 0});
    /* Of another version, or of nobody: what is no number says nothing. */
    expect("{\"msg_cnt\":1,\"msg_size\":\"7\",\"brokers\":{\"a\":7,\"b\":null,"
           "\"c\":{\"rtt\":[],\"throttle\":{\"cnt\":\"1\",\"avg\":5}},"
           "\"d\":{\"rtt\":{\"cnt\":2}},"
           "\"e\":{\"throttle\":{\"cnt\":1,\"avg\":-4,\"max\":1e300}}}}",
           &(struct ot_sink_stats){0, 0, 0, 0, 1, 0});
}

static void test_rubbish(void **state)
{
    static const char *const rubbish[] = {
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        "{\"msg_cnt\":1}",
        "{\"msg_cnt\":1,\"brokers\":[]}",
        "{\"msg_cnt\":\"1\",\"brokers\":{}}",
        "{\"msg_cnt\":1,\"brokers\":{}",
        "{\"msg_cnt\":1,\"brokers\":{}}{",
        "{\"msg_cnt\":1,\"brokers\":{\"\xff\":{}}}",
    };
    static const struct ot_sink_stats before = {1, 2, 3, 4, 5, 6};
    struct ot_sink_stats got = before;
    static char deep[100001];
    (void)state;
    for (size_t i = 0; i < OT_COUNT(rubbish); i++)
        assert_false(ot_kafka_statistics_read(rubbish[i], &got));
    memset(deep, '[', sizeof(deep) - 1);
    assert_false(ot_kafka_statistics_read(deep, &got));
    for (size_t n = 0; n + 1 < sizeof(two_brokers); n++) {
        memcpy(deep, two_brokers, n);
        deep[n] = '\0';
        assert_false(ot_kafka_statistics_read(deep, &got));
    }
    assert_memory_equal(&got, &before, sizeof(got));
}

static void count_line(void *ctx, enum ot_level level, const char *facility,
                       const char *text)
{
    char *last = ctx;
    (void)level;
    assert_string_equal(facility, "kafka");
    snprintf(last + 1, 300, "%s", text);
    last[0]++;
}

/* Throttling is told when it begins and when it is over, which a moment
 * without is not; what cannot be read is told once. */
static void test_told(void **state)
{
    static const char calm[] = "{\"msg_cnt\":0,\"brokers\":{}}";
    char last[301] = "";
    struct ot_log log = {OT_INFO, count_line, last};
    char hosts[] = "here:1";
    struct ot_kafka k = {.log = &log, .hosts = hosts, .now_us = 1000000};
    (void)state;
    ot_kafka_measured(&k, calm);
    assert_int_equal(last[0], 0);
    assert_true(k.measured);
    for (int i = 0; i < 3; i++) {
        k.now_us += 10000000;
        ot_kafka_measured(&k, two_brokers);
        ot_kafka_measured(&k, calm);
    }
    assert_int_equal(last[0], 1);
    assert_non_null(strstr(last + 1, "here:1 hold answers back, by up to 400 "
                                     "ms"));
    k.now_us += 61000000;
    ot_kafka_measured(&k, calm);
    ot_kafka_measured(&k, calm);
    assert_int_equal(last[0], 2);
    assert_non_null(strstr(last + 1, "no more"));
    ot_kafka_measured(&k, "rubbish");
    ot_kafka_measured(&k, "rubbish");
    assert_int_equal(last[0], 3);
    assert_non_null(strstr(last + 1, "cannot be read"));
    assert_int_equal(k.stats.rtt_avg_us, -1); /* as it was */
}

static struct rig *open_measuring(const char *every)
{
    static struct rig r;
    char setting[64];
    const char *settings[] = {setting, NULL};
    snprintf(setting, sizeof(setting), "sink.statistics_ms=%s", every);
    new_topic(&broker);
    open_kafka(&r, &broker, settings);
    return &r;
}

static void test_real(void **state)
{
    struct rig *r = open_measuring("1s");
    struct ot_sink_stats s;
    (void)state;
    assert_false(ot_sink_stats(r->sink, &s));
    for (int i = 0; i < 10; i++)
        rig_event(r, broker.topic, "k", "payload");
    rig_run(r, 10, 20000);
    int64_t until_us = ot_now_us() + 60000000;
    while (!(ot_sink_stats(r->sink, &s) && s.rtt_avg_us > 0) &&
           ot_now_us() < until_us)
        rig_turn(r, 50); /* with nothing under way, too */
    assert_true(s.rtt_avg_us > 0 && s.rtt_avg_us < 20000000);
    assert_true(s.rtt_p99_us > 0);
    assert_int_equal(s.throttle_max_ms, 0);
    assert_int_equal(s.queued_events, 0);
    assert_int_equal(s.queued_bytes, 0);
    /* They are of a client, and go with it. */
    ot_kafka_retire((struct ot_kafka *)r->sink, 0);
    assert_false(ot_sink_stats(r->sink, &s));
    rig_close(r);
}

static void test_off(void **state)
{
    struct rig *r = open_measuring("0");
    struct ot_sink_stats s;
    (void)state;
    rig_event(r, broker.topic, "k", "payload");
    rig_run(r, 1, 20000);
    for (int i = 0; i < 15; i++)
        rig_turn(r, 100);
    assert_false(ot_sink_stats(r->sink, &s));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document), cmocka_unit_test(test_rubbish),
        cmocka_unit_test(test_told),     cmocka_unit_test(test_real),
        cmocka_unit_test(test_off),
    };
    return cmocka_run_group_tests(tests, start_real, stop);
}
