/* hints.c - what a topic's settings will hurt with later. */
#include "sink/kafka/kafka.h"

#include <stdio.h>
#include <stdlib.h>

#include "sink/kafka/settings.h"

struct facts {
    long long min_insync; /* -1: not known */
    long long max_bytes;
};

static void take(struct facts *facts, const rd_kafka_event_t *event)
{
    size_t n = 0, m = 0;
    const rd_kafka_DescribeConfigs_result_t *result =
        rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)event);
    const rd_kafka_ConfigResource_t **topics =
        result != NULL ? rd_kafka_DescribeConfigs_result_resources(result, &n)
                       : NULL;
    if (n == 0 || rd_kafka_ConfigResource_error(topics[0]) != 0)
        return;
    const rd_kafka_ConfigEntry_t **entries =
        rd_kafka_ConfigResource_configs(topics[0], &m);
    for (size_t i = 0; i < m; i++) {
        const char *name = rd_kafka_ConfigEntry_name(entries[i]);
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (value == NULL)
            continue;
        if (strcmp(name, "min.insync.replicas") == 0)
            facts->min_insync = atoll(value);
        else if (strcmp(name, "max.message.bytes") == 0)
            facts->max_bytes = atoll(value);
    }
}

/* Without the right DescribeConfigs nothing is known, and nothing said. */
static struct facts ask(rd_kafka_t *rk, const char *topic, int timeout_ms)
{
    struct facts facts = {-1, -1};
    char text[128];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);

    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text,
                                              sizeof(text));
    rd_kafka_DescribeConfigs(rk, &resource, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    if (event != NULL) {
        take(&facts, event);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return facts;
}

void ot_kafka_hint(const struct ot_kafka *k, rd_kafka_t *rk,
                   const struct ot_kafka_ask *topic, int timeout_ms)
{
    struct facts facts = ask(rk, topic->topic, timeout_ms);
    long long largest = ot_conf_int(k->conf, "enqueue.max_payload_bytes");

    if (topic->replicas == 1 && topic->brokers > 1)
        ot_log(k->log, OT_WARN, "kafka",
               "topic %s has one replica: what is acknowledged is on one "
               "broker only",
               topic->topic);
    if (topic->replicas > 1 && facts.min_insync == 1)
        ot_log(k->log, OT_WARN, "kafka",
               "topic %s has min.insync.replicas=1: while other replicas lag, "
               "what is acknowledged is on one broker only; set it to 2",
               topic->topic);
    if (facts.max_bytes >= 0 && facts.max_bytes < largest)
        ot_log(k->log, OT_WARN, "kafka",
               "topic %s takes messages of %lld bytes at most "
               "(max.message.bytes), and enqueue.max_payload_bytes allows "
               "%lld: larger events will be rejected",
               topic->topic, facts.max_bytes, largest);
}
