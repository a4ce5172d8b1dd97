/* statistics.h - what librdkafka measures, as far as the relay tells it. */
#ifndef OT_SINK_KAFKA_STATISTICS_H
#define OT_SINK_KAFKA_STATISTICS_H

#include "sink/sink.h"

struct ot_kafka;

/* Reads one of librdkafka's documents. False: it is none that can be read; out
 * is as it was. */
bool ot_kafka_statistics_read(const char *json, struct ot_sink_stats *out);

/* A document came. Keeps it, and tells the log when brokers begin to hold
 * answers back and when that is over. */
void ot_kafka_measured(struct ot_kafka *, const char *json);

#endif
