/* statistics.c - what librdkafka measures, as far as the relay tells it. */
#include "sink/kafka/statistics.h"

#include <jansson.h>

#include "sink/kafka/kafka.h"

/* A quota holds back one request and lets the next one through. */
static const int64_t CALM_US = 60000000;

/* 0 for what is not a number, or is below 0. */
static int64_t number_of(const json_t *object, const char *name)
{
    double n = json_number_value(json_object_get(object, name));

    return n > 0 && n < 9e18 ? (int64_t)n : 0;
}

/* One of the windows of a broker, "rtt" or "throttle". */
struct window {
    double sum; /* of all brokers */
    double count;
    int64_t worst;
};

static void add_window(struct window *w, const json_t *broker, const char *name,
                       const char *worst)
{
    const json_t *of = json_object_get(broker, name);
    int64_t count = number_of(of, "cnt");
    int64_t value = number_of(of, worst);

    if (count == 0)
        return;
    w->sum += (double)number_of(of, "avg") * (double)count;
    w->count += (double)count;
    if (value > w->worst)
        w->worst = value;
}

static int64_t average(const struct window *w)
{
    return (int64_t)(w->sum / w->count);
}

bool ot_kafka_statistics_read(const char *json, struct ot_sink_stats *out)
{
    json_t *all = json_loads(json, 0, NULL);
    json_t *brokers = json_object_get(all, "brokers"), *broker;
    bool whole = json_is_object(brokers) &&
                 json_is_integer(json_object_get(all, "msg_cnt"));
    struct window rtt = {0}, throttle = {0};
    const char *name;

    json_object_foreach(brokers, name, broker)
    {
        add_window(&rtt, broker, "rtt", "p99");
        add_window(&throttle, broker, "throttle", "max");
    }
    if (whole)
        *out = (struct ot_sink_stats){
            .rtt_avg_us = rtt.count > 0 ? average(&rtt) : -1,
            .rtt_p99_us = rtt.count > 0 ? rtt.worst : -1,
            .throttle_avg_ms = throttle.count > 0 ? average(&throttle) : 0,
            .throttle_max_ms = throttle.worst,
            .queued_events = number_of(all, "msg_cnt"),
            .queued_bytes = number_of(all, "msg_size"),
        };
    json_decref(all);
    return whole;
}

static void tell_throttle(struct ot_kafka *k)
{
    bool told = k->throttled_us != 0;

    if (k->stats.throttle_max_ms > 0) {
        k->throttled_us = k->now_us;
        if (!told)
            ot_log(k->log, OT_WARN, "kafka",
                   "%s hold answers back, by up to %lld ms: a quota of the "
                   "relay's user or client.id",
                   k->hosts, (long long)k->stats.throttle_max_ms);
    } else if (told && k->now_us > k->throttled_us + CALM_US) {
        k->throttled_us = 0;
        ot_log(k->log, OT_INFO, "kafka", "%s hold answers back no more",
               k->hosts);
    }
}

void ot_kafka_measured(struct ot_kafka *k, const char *json)
{
    if (!ot_kafka_statistics_read(json, &k->stats)) {
        if (!k->unread_said)
            ot_log(k->log, OT_WARN, "kafka",
                   "the statistics of librdkafka %s cannot be read: they are "
                   "left out of status",
                   rd_kafka_version_str());
        k->unread_said = true;
        return;
    }
    k->measured = true;
    tell_throttle(k);
    ot_log(k->log, OT_DEBUG, "kafka",
           "round trip %lld us, p99 %lld us, throttle %lld ms, max %lld ms, "
           "queued %lld events, %lld bytes",
           (long long)k->stats.rtt_avg_us, (long long)k->stats.rtt_p99_us,
           (long long)k->stats.throttle_avg_ms,
           (long long)k->stats.throttle_max_ms,
           (long long)k->stats.queued_events, (long long)k->stats.queued_bytes);
}
