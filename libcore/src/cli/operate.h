/* operate.h - what operators ask of the owner of a subscription. */
#ifndef OT_CLI_OPERATE_H
#define OT_CLI_OPERATE_H

#include "cli/cli.h"

/* Redrive or skip: the events that arguments or options select. */
int ot_operate_events(struct ot_cli *, enum ot_verb, int argc, char **argv);
/* Pause or resume. */
int ot_operate_subscription(struct ot_cli *, enum ot_verb);

/* Ask for these, and carry it out here if there is no owner: *applied. */
int ot_operate_ask(struct ot_cli *, enum ot_verb, const int64_t *seqs, size_t n,
                   bool *applied);

#define OT_OPERATE_JSON                                                      \
    "With --json: one object with verb, subscription, events (how many are " \
    "meant), dry_run and applied (false: a relay runs and will do it)."
extern const struct ot_cli_option ot_operate_options[];
extern const int ot_operate_codes[];

#endif
