/* overrides.h - what the operator says of single errors: sink.classify. */
#ifndef OT_SINK_KAFKA_OVERRIDES_H
#define OT_SINK_KAFKA_OVERRIDES_H

#include "sink/kafka/classify.h"

struct ot_kafka_overrides {
    struct ot_kafka_class *of; /* owned */
    size_t n;
};

/* text: "POLICY_VIOLATION:retry, INVALID_RECORD:misconfigured", or NULL.
 * @return 0, E_CONF (an error or a class that there is not, or a class that
 * would break a promise), E_NOMEM */
int ot_kafka_overrides_read(struct ot_kafka_overrides *out, const char *text,
                            struct outtray_error *err);
void ot_kafka_overrides_free(struct ot_kafka_overrides *);

/* What the operator says of this error; NULL: nothing. */
const struct ot_kafka_class *
ot_kafka_override(const struct ot_kafka_overrides *, rd_kafka_resp_err_t err);

#endif
