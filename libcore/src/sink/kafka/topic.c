/* topic.c - see topic.h. */
#include "sink/kafka/topic.h"

#include <librdkafka/rdkafka.h>

#include "sink/kafka/tool.h"

#define BROKER_DEFAULT (-1)

/* What the broker said about the one topic that was asked about. */
static rd_kafka_resp_err_t result_of(rd_kafka_event_t *event, const char **text)
{
    const rd_kafka_topic_result_t **results = NULL;
    const rd_kafka_CreateTopics_result_t *created;
    const rd_kafka_DeleteTopics_result_t *deleted;
    size_t n = 0;

    *text = rd_kafka_event_error_string(event);
    if (rd_kafka_event_error(event) != 0)
        return rd_kafka_event_error(event);
    created = rd_kafka_event_CreateTopics_result(event);
    deleted = rd_kafka_event_DeleteTopics_result(event);
    if (created != NULL)
        results = rd_kafka_CreateTopics_result_topics(created, &n);
    else if (deleted != NULL)
        results = rd_kafka_DeleteTopics_result_topics(deleted, &n);
    if (n == 0)
        return RD_KAFKA_RESP_ERR_UNKNOWN;
    *text = rd_kafka_topic_result_error_string(results[0]);
    return rd_kafka_topic_result_error(results[0]);
}

static int wait_for_result(rd_kafka_queue_t *queue, const char *name,
                           int timeout_ms, struct outtray_error *err)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    rd_kafka_resp_err_t why;
    const char *text;
    int rc = 0;

    if (event == NULL)
        return ot_fail(err, OUTTRAY_E_SINK_UNAVAILABLE,
                       "topic %s: no answer from the broker within %d ms", name,
                       timeout_ms);
    why = result_of(event, &text);
    if (why == RD_KAFKA_RESP_ERR__TIMED_OUT)
        text = "no broker can be reached, or none of them is the controller";
    if (why == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        rc = ot_fail(err, OUTTRAY_E_EXISTS, "topic %s exists already", name);
    else if (why != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = ot_fail(err,
                     why == RD_KAFKA_RESP_ERR__TIMED_OUT
                         ? OUTTRAY_E_SINK_UNAVAILABLE
                         : OUTTRAY_E_SINK,
                     "topic %s: %s", name,
                     text != NULL ? text : rd_kafka_err2str(why));
    rd_kafka_event_destroy(event);
    return rc;
}

static rd_kafka_AdminOptions_t *options_new(rd_kafka_t *client, int timeout_ms)
{
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_ANY);
    char text[128];

    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text,
                                              sizeof(text));
    return options;
}

/* What is needed to ask the broker one thing and wait for its answer. */
struct ask {
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
};

static int ask_begin(struct ask *ask, const struct outtray_conf *conf,
                     int timeout_ms, struct outtray_error *err)
{
    int rc =
        ot_kafka_tool_new(&ask->client, RD_KAFKA_PRODUCER, conf, NULL, 0, err);

    if (rc != 0)
        return rc;
    ask->queue = rd_kafka_queue_new(ask->client);
    ask->options = options_new(ask->client, timeout_ms);
    return 0;
}

static void ask_end(struct ask *ask)
{
    rd_kafka_AdminOptions_destroy(ask->options);
    rd_kafka_queue_destroy(ask->queue);
    rd_kafka_destroy(ask->client);
}

int ot_kafka_topic_create(const struct outtray_conf *conf, const char *name,
                          int partitions, int timeout_ms,
                          struct outtray_error *err)
{
    rd_kafka_NewTopic_t *topic;
    struct ask ask;
    char text[256];
    int rc = ask_begin(&ask, conf, timeout_ms, err);

    if (rc != 0)
        return rc;
    topic = rd_kafka_NewTopic_new(name, partitions, BROKER_DEFAULT, text,
                                  sizeof(text));
    if (topic == NULL) {
        rc = ot_fail(err, OUTTRAY_E_SINK, "topic %s: %s", name, text);
    } else {
        rd_kafka_CreateTopics(ask.client, &topic, 1, ask.options, ask.queue);
        rc = wait_for_result(ask.queue, name, timeout_ms + 1000, err);
        rd_kafka_NewTopic_destroy(topic);
    }
    ask_end(&ask);
    return rc;
}

int ot_kafka_topic_delete(const struct outtray_conf *conf, const char *name,
                          int timeout_ms, struct outtray_error *err)
{
    rd_kafka_DeleteTopic_t *topic;
    struct ask ask;
    int rc = ask_begin(&ask, conf, timeout_ms, err);

    if (rc != 0)
        return rc;
    topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_DeleteTopics(ask.client, &topic, 1, ask.options, ask.queue);
    rc = wait_for_result(ask.queue, name, timeout_ms + 1000, err);
    rd_kafka_DeleteTopic_destroy(topic);
    ask_end(&ask);
    return rc;
}
