/* builtin.h - the sinks that this library was built with. */
#ifndef OT_SINK_BUILTIN_H
#define OT_SINK_BUILTIN_H

#include "sink/sink.h"

extern const struct ot_sink_ops ot_sink_null;
extern const struct ot_sink_ops ot_sink_file;
extern const struct ot_sink_ops ot_sink_stdout;
extern const struct ot_sink_ops ot_sink_fault;
extern const struct ot_sink_ops ot_sink_script;
#ifdef OUTTRAY_WITH_KAFKA
extern const struct ot_sink_ops ot_sink_kafka;
#endif

#endif
