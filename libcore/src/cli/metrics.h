/* metrics.h - the status as numbers for Prometheus. */
#ifndef OT_CLI_METRICS_H
#define OT_CLI_METRICS_H

#include "cli/cli.h"

/* In its text format. subscriptions: as `status --json` has them. */
void ot_metrics_print(struct ot_cli *, const json_t *subscriptions);

#endif
