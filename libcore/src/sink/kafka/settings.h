/* settings.h - from the configuration of the relay to librdkafka's. */
#ifndef OT_SINK_KAFKA_SETTINGS_H
#define OT_SINK_KAFKA_SETTINGS_H

#include <librdkafka/rdkafka.h>

#include "conf/conf.h"

/* A template for producers: our defaults, what the URL says, then kafka.*.
 * Events are on, servers are set. Destroy it with rd_kafka_conf_destroy. */
int ot_kafka_settings(rd_kafka_conf_t **out, const struct outtray_conf *conf,
                      const struct ot_url *url, struct outtray_error *err);

/* The value of a setting as text, NULL if it has none; free with ot_free. */
char *ot_kafka_setting(const rd_kafka_conf_t *, const char *name);

/* Why a connection is not made that would need TLS and has none: an errno that
 * no network has, and its text. */
#define OT_KAFKA_ELSEWHERE      ENOKEY
#define OT_KAFKA_ELSEWHERE_TEXT "Required key not available"

/* Doubles the time in which a request must be answered, and lets requests be
 * smaller; false: that would be too long. */
bool ot_kafka_wait_longer(rd_kafka_conf_t *);

#endif
