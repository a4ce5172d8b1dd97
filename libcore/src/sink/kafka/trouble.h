/* trouble.h - why a broker cannot be worked with, in words for people. */
#ifndef OT_SINK_KAFKA_TROUBLE_H
#define OT_SINK_KAFKA_TROUBLE_H

#include <librdkafka/rdkafka.h>

#include "base/base.h"

struct ot_kafka_trouble {
    char text[256]; /* "host:port: what is wrong: what to do" */
    bool lasting;   /* a matter of settings: waiting does not help */
    bool of_token;  /* seen in sink.token_file, not at a broker */
};

/* What an error event tells. certificate: what ot_kafka_trouble_certificate
 * heard last, or "". */
void ot_kafka_trouble_of(rd_kafka_resp_err_t err, const char *said,
                         const char *certificate, const rd_kafka_conf_t *conf,
                         struct ot_kafka_trouble *out);

/* Makes producers of conf log what is wrong with a broker's certificate;
 * librdkafka itself says of each only that it could not be verified. */
void ot_kafka_trouble_watch(rd_kafka_conf_t *conf);

/* Is text, a line of librdkafka's log, about that? Then out gets it. */
bool ot_kafka_trouble_certificate(const char *text, char *out, size_t size);

#endif
