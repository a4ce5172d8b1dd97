/* tool.h - a handle of librdkafka for tools that work beside the sink. */
#ifndef OT_KAFKA_TOOL_H
#define OT_KAFKA_TOOL_H

#include <librdkafka/rdkafka.h>

#include "conf/conf.h"

/* Speaks to the brokers of conf's sink.url with the same rights; settings
 * (n pairs) come on top. It logs nothing. Free it with rd_kafka_destroy. */
int ot_kafka_tool_new(rd_kafka_t **out, rd_kafka_type_t type,
                      const struct outtray_conf *conf,
                      const char *const settings[][2], size_t n,
                      struct outtray_error *err);

#endif
