/* kafka_rig.h - brokers for tests: librdkafka's mock, or a real one. */
#ifndef KAFKA_RIG_H
#define KAFKA_RIG_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "battery.h"

struct broker {
    char servers[200];
    char topic[64];
    rd_kafka_t *host;              /* of the mock */
    rd_kafka_t *client;            /* makes topics */
    rd_kafka_mock_cluster_t *mock; /* NULL: a real one */
};

/* Of all tests of a program. */
static struct broker broker;

static inline void conf_set(rd_kafka_conf_t *conf, const char *name,
                            const char *value)
{
    char text[300];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) !=
        RD_KAFKA_CONF_OK)
        fail_msg("%s", text);
}

static inline rd_kafka_t *kafka_handle(rd_kafka_type_t type,
                                       const char *servers)
{
    char text[300];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    conf_set(conf, "log_level", "0");
    if (servers != NULL)
        conf_set(conf, "bootstrap.servers", servers);
    if (type == RD_KAFKA_CONSUMER) {
        conf_set(conf, "group.id", "tests");
        conf_set(conf, "enable.auto.commit", "false");
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof(text));
    if (rk == NULL)
        fail_msg("%s", text);
    return rk;
}

static inline void mock_start(struct broker *b, int brokers)
{
    memset(b, 0, sizeof(*b));
    b->host = kafka_handle(RD_KAFKA_PRODUCER, NULL);
    b->mock = rd_kafka_mock_cluster_new(b->host, brokers);
    assert_non_null(b->mock);
    snprintf(b->servers, sizeof(b->servers), "%s",
             rd_kafka_mock_cluster_bootstraps(b->mock));
    b->client = kafka_handle(RD_KAFKA_PRODUCER, b->servers);
}

static inline void real_start(struct broker *b)
{
    const char *servers = getenv("OUTTRAY_TEST_KAFKA");
    memset(b, 0, sizeof(*b));
    if (servers == NULL || *servers == '\0') {
        fprintf(stderr, "OUTTRAY_TEST_KAFKA is not set: run it through "
                        "./dev test\n");
        exit(1);
    }
    snprintf(b->servers, sizeof(b->servers), "%s", servers);
    b->client = kafka_handle(RD_KAFKA_PRODUCER, servers);
}

static inline void broker_stop(struct broker *b)
{
    rd_kafka_destroy(b->client);
    if (b->mock != NULL)
        rd_kafka_mock_cluster_destroy(b->mock);
    if (b->host != NULL)
        rd_kafka_destroy(b->host);
}

/* For a group of tests. */
static inline int start_real(void **state)
{
    (void)state;
    real_start(&broker);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    broker_stop(&broker);
    return 0;
}

static inline void end_admin(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 120000);
    assert_non_null(event);
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail_msg("%s", rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
}

static inline void topic_admin(struct broker *b, const char *name, bool make,
                               int partitions, const char *const *settings)
{
    char text[300];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(b->client);
    if (make) {
        rd_kafka_NewTopic_t *topic =
            rd_kafka_NewTopic_new(name, partitions, 1, text, sizeof(text));
        for (; settings != NULL && settings[0] != NULL; settings += 2)
            rd_kafka_NewTopic_set_config(topic, settings[0], settings[1]);
        rd_kafka_CreateTopics(b->client, &topic, 1, NULL, queue);
        rd_kafka_NewTopic_destroy(topic);
    } else {
        rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
        rd_kafka_DeleteTopics(b->client, &topic, 1, NULL, queue);
        rd_kafka_DeleteTopic_destroy(topic);
    }
    end_admin(queue);
}

static inline void grow_topic(struct broker *b, const char *name,
                              size_t partitions)
{
    char text[300];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(b->client);
    rd_kafka_NewPartitions_t *more =
        rd_kafka_NewPartitions_new(name, partitions, text, sizeof(text));
    rd_kafka_CreatePartitions(b->client, &more, 1, NULL, queue);
    rd_kafka_NewPartitions_destroy(more);
    end_admin(queue);
}

/* Asking the mock for a topic makes it, with 4 partitions, and faster than
 * its own function does. */
static inline void ask_for_topic(struct broker *b, const char *name)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(b->client, name, NULL);
    for (int i = 0; i < 1500; i++) {
        assert_int_equal(rd_kafka_metadata(b->client, 0, topic, &md, 60000), 0);
        bool there = md->topic_cnt == 1 && md->topics[0].err == 0;
        rd_kafka_metadata_destroy(md);
        if (there)
            break;
        usleep(20000);
    }
    rd_kafka_topic_destroy(topic);
}

/* Metadata names a leader before it knows that it is one. Only the leader of a
 * partition answers for its offsets. */
static inline void wait_for_leaders(struct broker *b, const char *name, int n)
{
    int64_t low, high;
    for (int partition = 0, i = 0; partition < n && i < 3000; i++) {
        if (rd_kafka_query_watermark_offsets(b->client, name, partition, &low,
                                             &high, 10000) == 0)
            partition++;
        else
            usleep(20000);
    }
}

/* A topic with 4 partitions, whose name goes to b->topic. */
static inline void new_topic(struct broker *b)
{
    static int count;
    snprintf(b->topic, sizeof(b->topic), "sink-%d-%d", (int)getpid(), ++count);
    if (b->mock == NULL)
        topic_admin(b, b->topic, true, 4, NULL);
    ask_for_topic(b, b->topic);
    if (b->mock == NULL)
        wait_for_leaders(b, b->topic, 4);
}

static inline void open_kafka(struct rig *r, const struct broker *b,
                              const char *const *settings)
{
    char url[300];
    snprintf(url, sizeof(url), "kafka://%s", b->servers);
    rig_open(r, url, settings);
}

/* Hands every message of the topic to each, until that many came or nothing
 * comes any more. */
static inline size_t consume(struct broker *b, const char *topic,
                             int partitions, size_t expected,
                             void (*each)(void *, const rd_kafka_message_t *),
                             void *ctx)
{
    rd_kafka_t *rk = kafka_handle(RD_KAFKA_CONSUMER, b->servers);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(partitions);
    size_t n = 0;
    rd_kafka_poll_set_consumer(rk);
    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    int64_t until_us = ot_now_us() + 60000000;
    while (n < expected && ot_now_us() < until_us) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 200);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            each(ctx, m);
            n++;
            until_us = ot_now_us() + 8000000; /* then it is quiet */
        }
        rd_kafka_message_destroy(m);
    }
    /* Is there one too many? */
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 300);
    if (m != NULL && m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        n++;
    if (m != NULL)
        rd_kafka_message_destroy(m);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return n;
}

static inline void add_number(void *ctx, const rd_kafka_message_t *m)
{
    struct arrived *a = ctx;
    char text[32];
    snprintf(text, sizeof(text), "%.*s", (int)m->len, (const char *)m->payload);
    a->at[a->n++] = strtol(text, NULL, 10);
}

static inline struct arrived read_numbers(struct broker *b, int partitions,
                                          size_t expected)
{
    struct arrived a = {calloc(expected + 1, sizeof(long)), 0};
    assert_non_null(a.at);
    size_t n = consume(b, b->topic, partitions, expected, add_number, &a);
    a.n = n;
    return a;
}

#endif
