/* classify.c - what an error of Kafka means to an event. */
#include "sink/kafka/classify.h"

#define E(name) RD_KAFKA_RESP_ERR_##name

static const char size_advice[] =
    "raise max.message.bytes of the topic and kafka.message.max.bytes, or "
    "lower enqueue.max_payload_bytes";
static const char record_advice[] =
    "the broker finds the record invalid; a compacted topic needs a key";
static const char topic_advice[] =
    "create it, correct sink.topic, or set kafka.allow.auto.create.topics=true";
static const char right_advice[] =
    "grant the relay's user Write and Describe on it";
static const char login_advice[] =
    "check user and password in sink.url and kafka.sasl.mechanism";
static const char broker_advice[] = "look at the broker's log";

/* An error that a whole message set shares is ITS_BATCH: its neighbours are
 * innocent. What may have been written is OT_UNKNOWN whatever stands here,
 * if it stands here as unavailable. */
static const struct ot_kafka_class table[] = {
    {E(NO_ERROR), OT_OK, OT_THIS_EVENT, NULL},

    {E(MSG_SIZE_TOO_LARGE), OT_REJECTED, OT_ITS_BATCH, size_advice},
    {E(RECORD_LIST_TOO_LARGE), OT_REJECTED, OT_ITS_BATCH, size_advice},
    {E(INVALID_MSG_SIZE), OT_REJECTED, OT_ITS_BATCH, size_advice},
    {E(INVALID_MSG), OT_REJECTED, OT_ITS_BATCH, record_advice},
    {E(INVALID_RECORD), OT_REJECTED, OT_ITS_BATCH, record_advice},
    {E(INVALID_TIMESTAMP), OT_REJECTED, OT_ITS_BATCH,
     "correct the clock, or raise message.timestamp.after.max.ms (an old "
     "event: before.max.ms; before Kafka 3.6 difference.max.ms) of the topic"},
    {E(UNSUPPORTED_FOR_MESSAGE_FORMAT), OT_REJECTED, OT_ITS_BATCH,
     "the topic's message format has no headers: upgrade it"},
    {E(POLICY_VIOLATION), OT_REJECTED, OT_ITS_BATCH,
     "a policy of the broker forbids it"},

    {E(UNKNOWN_TOPIC_OR_PART), OT_MISCONFIGURED, OT_ITS_TOPIC, topic_advice},
    {E(_UNKNOWN_TOPIC), OT_MISCONFIGURED, OT_ITS_TOPIC, topic_advice},
    {E(_UNKNOWN_PARTITION), OT_MISCONFIGURED, OT_ITS_TOPIC, topic_advice},
    /* In flight to a partition that has gone, while the client lives. */
    {E(_DESTROY), OT_MISCONFIGURED, OT_ITS_TOPIC,
     "its partition has gone: was the topic deleted?"},
    {E(TOPIC_EXCEPTION), OT_MISCONFIGURED, OT_ITS_TOPIC,
     "a topic name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"},
    {E(TOPIC_AUTHORIZATION_FAILED), OT_MISCONFIGURED, OT_ITS_TOPIC,
     right_advice},
    {E(UNSUPPORTED_COMPRESSION_TYPE), OT_MISCONFIGURED, OT_ITS_TOPIC,
     "set kafka.compression.type to what the topic allows"},
    {E(INVALID_REQUIRED_ACKS), OT_MISCONFIGURED, OT_ITS_TOPIC, broker_advice},

    {E(CLUSTER_AUTHORIZATION_FAILED), OT_UNAVAILABLE, OT_THE_SINK,
     "grant the relay's user Write on its topics (before Kafka 2.8 also "
     "IdempotentWrite on the cluster)"},
    {E(SASL_AUTHENTICATION_FAILED), OT_UNAVAILABLE, OT_THE_SINK, login_advice},
    {E(UNSUPPORTED_SASL_MECHANISM), OT_UNAVAILABLE, OT_THE_SINK, login_advice},
    {E(ILLEGAL_SASL_STATE), OT_UNAVAILABLE, OT_THE_SINK, login_advice},
    {E(_AUTHENTICATION), OT_UNAVAILABLE, OT_THE_SINK, login_advice},
    {E(_SSL), OT_UNAVAILABLE, OT_THE_SINK,
     "check kafka.ssl.* and the broker's certificate"},
    {E(_RESOLVE), OT_UNAVAILABLE, OT_THE_SINK,
     "check the host names in sink.url and the name server"},
    {E(_TRANSPORT), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_ALL_BROKERS_DOWN), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_TIMED_OUT), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_TIMED_OUT_QUEUE), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_MSG_TIMED_OUT), OT_UNAVAILABLE, OT_THE_SINK,
     "leave kafka.message.timeout.ms at 0, so that an outage reorders "
     "nothing"},
    {E(_FATAL), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_FENCED), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_GAPLESS_GUARANTEE), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_INCONSISTENT), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_PURGE_QUEUE), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(_PURGE_INFLIGHT), OT_UNKNOWN, OT_THE_SINK, NULL},
    {E(REQUEST_TIMED_OUT), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(NETWORK_EXCEPTION), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(BROKER_NOT_AVAILABLE), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(LEADER_NOT_AVAILABLE), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(NOT_LEADER_FOR_PARTITION), OT_UNAVAILABLE, OT_THE_SINK, NULL},
    {E(NOT_ENOUGH_REPLICAS), OT_UNAVAILABLE, OT_THE_SINK,
     "too few replicas are in sync: look at the brokers"},
    {E(NOT_ENOUGH_REPLICAS_AFTER_APPEND), OT_UNAVAILABLE, OT_THE_SINK,
     "too few replicas are in sync: look at the brokers"},
    {E(KAFKA_STORAGE_ERROR), OT_UNAVAILABLE, OT_THE_SINK,
     "look at the broker's disk"},
    {E(THROTTLING_QUOTA_EXCEEDED), OT_UNAVAILABLE, OT_THE_SINK, NULL},

    /* librdkafka gives these up at once, but they pass. */
    {E(UNKNOWN), OT_RETRY, OT_THIS_EVENT, broker_advice},
    {E(INVALID_PRODUCER_EPOCH), OT_RETRY, OT_THIS_EVENT, NULL},
    {E(UNKNOWN_PRODUCER_ID), OT_RETRY, OT_THIS_EVENT, NULL},
    {E(OUT_OF_ORDER_SEQUENCE_NUMBER), OT_RETRY, OT_THIS_EVENT, NULL},
    {E(INVALID_TXN_STATE), OT_RETRY, OT_THIS_EVENT, NULL},
};

const struct ot_kafka_class *ot_kafka_classify(rd_kafka_resp_err_t err)
{
    static const struct ot_kafka_class other = {E(UNKNOWN), OT_RETRY,
                                                OT_THIS_EVENT, broker_advice};
    for (size_t i = 0; i < OT_COUNT(table); i++)
        if (table[i].err == err)
            return &table[i];
    return &other;
}

bool ot_kafka_is_outage(rd_kafka_resp_err_t err)
{
    const struct ot_kafka_class *c = ot_kafka_classify(err);
    return c->outcome == OT_UNAVAILABLE && c->scope == OT_THE_SINK;
}
