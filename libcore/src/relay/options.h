/* options.h - the engine's settings, read from the configuration. */
#ifndef OT_RELAY_OPTIONS_H
#define OT_RELAY_OPTIONS_H

#include "conf/conf.h"
#include "engine/engine.h"

/* store_caps: enum ot_store_caps; sink_caps: enum ot_sink_caps. Draws the seed
 * from the system. Returns 0, E_CONF or E_IO.
 * Topics of the limits point into conf. */
int ot_relay_options(const struct outtray_conf *conf, uint32_t store_caps,
                     uint32_t sink_caps, struct ot_engine_options *out,
                     struct outtray_error *err);

#endif
