/* classify.h - what an error of Kafka means to an event. */
#ifndef OT_SINK_KAFKA_CLASSIFY_H
#define OT_SINK_KAFKA_CLASSIFY_H

#include <librdkafka/rdkafka.h>

#include "sink/sink.h"

struct ot_kafka_class {
    rd_kafka_resp_err_t err;
    enum ot_outcome outcome;
    enum ot_scope scope;
    const char *advice; /* what to do, or NULL */
};

/* Never NULL: what is not in the table is tried again. */
const struct ot_kafka_class *ot_kafka_classify(rd_kafka_resp_err_t err);

/* Does it show that no broker can be worked with, and why? */
bool ot_kafka_is_outage(rd_kafka_resp_err_t err);

#endif
