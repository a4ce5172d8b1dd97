/* topic.h - make and remove a topic, for the demo and for tests. */
#ifndef OT_KAFKA_TOPIC_H
#define OT_KAFKA_TOPIC_H

#include "conf/conf.h"

/* Replication as the broker's default. @return 0, E_EXISTS,
 * E_SINK_UNAVAILABLE, E_SINK */
int ot_kafka_topic_create(const struct outtray_conf *conf, const char *name,
                          int partitions, int timeout_ms,
                          struct outtray_error *err);
int ot_kafka_topic_delete(const struct outtray_conf *conf, const char *name,
                          int timeout_ms, struct outtray_error *err);

#endif
