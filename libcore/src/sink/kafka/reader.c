/* reader.c - see reader.h. */
#include "sink/kafka/reader.h"

#include <librdkafka/rdkafka.h>

#include "sink/kafka/tool.h"

struct ot_kafka_reader {
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    rd_kafka_message_t *message; /* of the last next(); its bytes are lent */
    int partitions;
    int64_t *next; /* per partition: the offset after what was read */
};

/* --- open ----------------------------------------------------------------- */

static int client_new(struct ot_kafka_reader *reader,
                      const struct outtray_conf *conf,
                      struct outtray_error *err)
{
    static const char *const settings[][2] = {
        /* The end of a partition is told, also after control records. */
        {"enable.partition.eof", "true"},
        /* A broker that cannot wake a waiting fetch (the embedded one) would
         * add its whole wait to the latency. */
        {"fetch.wait.max.ms", "10"},
        {"fetch.error.backoff.ms", "50"},
    };

    return ot_kafka_tool_new(&reader->client, RD_KAFKA_CONSUMER, conf, settings,
                             OT_COUNT(settings), err);
}

static int learn_partitions(struct ot_kafka_reader *reader,
                            const char *destination, int timeout_ms,
                            struct outtray_error *err)
{
    const int64_t until_us = ot_now_us() + (int64_t)timeout_ms * 1000;
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t why;

    do {
        why = rd_kafka_metadata(reader->client, 0, reader->topic, &metadata,
                                timeout_ms < 1000 ? timeout_ms : 1000);
        if (why == RD_KAFKA_RESP_ERR_NO_ERROR) {
            why = metadata->topics[0].err;
            reader->partitions = metadata->topics[0].partition_cnt;
            rd_kafka_metadata_destroy(metadata);
            if (why == RD_KAFKA_RESP_ERR_NO_ERROR && reader->partitions > 0)
                return 0;
        }
    } while (ot_now_us() < until_us);
    if (why == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return ot_fail(err, OUTTRAY_E_SINK_MISCONFIGURED,
                       "topic %s: the broker does not know it", destination);
    return ot_fail(err, OUTTRAY_E_SINK_UNAVAILABLE, "topic %s: %s", destination,
                   rd_kafka_err2str(why));
}

/* Where each partition begins. */
static int find_start(struct ot_kafka_reader *reader, int64_t since_us,
                      int64_t *starts, int timeout_ms,
                      struct outtray_error *err)
{
    const char *name = rd_kafka_topic_name(reader->topic);
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t why;

    for (int i = 0; i < reader->partitions; i++)
        starts[i] = RD_KAFKA_OFFSET_BEGINNING;
    if (since_us <= 0)
        return 0;
    list = rd_kafka_topic_partition_list_new(reader->partitions);
    for (int i = 0; i < reader->partitions; i++)
        rd_kafka_topic_partition_list_add(list, name, i)->offset =
            since_us / 1000;
    why = rd_kafka_offsets_for_times(reader->client, list, timeout_ms);
    for (int i = 0; why == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        why = list->elems[i].err;
        starts[list->elems[i].partition] = list->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (why == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    return ot_fail(err, OUTTRAY_E_SINK_UNAVAILABLE, "topic %s: %s", name,
                   rd_kafka_err2str(why));
}

static int start(struct ot_kafka_reader *reader, const int64_t *starts,
                 struct outtray_error *err)
{
    reader->next =
        ot_alloc_zero((size_t)reader->partitions, sizeof(reader->next[0]));
    if (reader->next == NULL)
        return ot_fail_nomem(err);
    reader->queue = rd_kafka_queue_new(reader->client);
    for (int i = 0; i < reader->partitions; i++) {
        if (rd_kafka_consume_start_queue(reader->topic, i, starts[i],
                                         reader->queue) != 0)
            return ot_fail(err, OUTTRAY_E_SINK, "partition %d: %s", i,
                           rd_kafka_err2str(rd_kafka_last_error()));
    }
    return 0;
}

int ot_kafka_reader_open(struct ot_kafka_reader **out,
                         const struct outtray_conf *conf,
                         const char *destination, int64_t since_us,
                         int timeout_ms, struct outtray_error *err)
{
    struct ot_kafka_reader *reader = ot_alloc_zero(1, sizeof(*reader));
    int64_t *starts = NULL;
    int rc;

    *out = NULL;
    if (reader == NULL)
        return ot_fail_nomem(err);
    rc = client_new(reader, conf, err);
    if (rc == 0) {
        reader->topic = rd_kafka_topic_new(reader->client, destination, NULL);
        rc = reader->topic != NULL
                 ? learn_partitions(reader, destination, timeout_ms, err)
                 : ot_fail(err, OUTTRAY_E_SINK, "topic %s: %s", destination,
                           rd_kafka_err2str(rd_kafka_last_error()));
    }
    if (rc == 0) {
        starts = ot_alloc_zero((size_t)reader->partitions, sizeof(starts[0]));
        rc = starts != NULL
                 ? find_start(reader, since_us, starts, timeout_ms, err)
                 : ot_fail_nomem(err);
    }
    if (rc == 0)
        rc = start(reader, starts, err);
    ot_free(starts);
    if (rc != 0) {
        ot_kafka_reader_close(reader);
        return rc;
    }
    *out = reader;
    return 0;
}

/* --- reading -------------------------------------------------------------- */

static struct ot_slice header(const rd_kafka_message_t *message,
                              const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;

    if (rd_kafka_message_headers(message, &headers) != 0 ||
        rd_kafka_header_get_last(headers, name, &value, &n) != 0)
        return ot_slice(NULL, 0);
    return ot_slice(value, n);
}

static void record_of(const rd_kafka_message_t *message,
                      struct ot_kafka_record *out)
{
    rd_kafka_timestamp_type_t type;

    out->partition = message->partition;
    out->offset = message->offset;
    out->timestamp_us = rd_kafka_message_timestamp(message, &type) * 1000;
    out->key = ot_slice(message->key, message->key_len);
    out->payload = ot_slice(message->payload, message->len);
    out->id = header(message, "id");
}

/* Errors of a message that pass by themselves: the broker is away. */
static bool passing(rd_kafka_resp_err_t why)
{
    return why == RD_KAFKA_RESP_ERR__TRANSPORT ||
           why == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
           why == RD_KAFKA_RESP_ERR__TIMED_OUT ||
           why == RD_KAFKA_RESP_ERR__RESOLVE;
}

int ot_kafka_reader_next(struct ot_kafka_reader *reader, int timeout_ms,
                         struct ot_kafka_record *out, struct outtray_error *err)
{
    rd_kafka_message_t *message;

    if (reader->message != NULL)
        rd_kafka_message_destroy(reader->message);
    reader->message = NULL;
    rd_kafka_poll(reader->client, 0); /* errors and log lines of the client */
    message = rd_kafka_consume_queue(reader->queue, timeout_ms);
    if (message == NULL)
        return 0;
    reader->message = message;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        reader->next[message->partition] = message->offset + 1;
        record_of(message, out);
        return 1;
    }
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        reader->next[message->partition] = message->offset;
        return 0;
    }
    if (passing(message->err))
        return 0;
    return ot_fail(err, OUTTRAY_E_SINK, "reading back: %s",
                   rd_kafka_message_errstr(message));
}

bool ot_kafka_reader_at_end(struct ot_kafka_reader *reader, int timeout_ms)
{
    const char *name = rd_kafka_topic_name(reader->topic);
    int64_t low, high;

    for (int i = 0; i < reader->partitions; i++) {
        if (rd_kafka_query_watermark_offsets(reader->client, name, i, &low,
                                             &high, timeout_ms) != 0 ||
            reader->next[i] < high)
            return false;
    }
    return true;
}

void ot_kafka_reader_close(struct ot_kafka_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->message != NULL)
        rd_kafka_message_destroy(reader->message);
    if (reader->queue != NULL) {
        for (int i = 0; i < reader->partitions; i++)
            rd_kafka_consume_stop(reader->topic, i);
        rd_kafka_queue_destroy(reader->queue);
    }
    if (reader->topic != NULL)
        rd_kafka_topic_destroy(reader->topic);
    if (reader->client != NULL)
        rd_kafka_destroy(reader->client);
    ot_free(reader->next);
    ot_free(reader);
}
