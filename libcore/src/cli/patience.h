/* patience.h - what a verb that changes something says while the database keeps
 * it waiting, and how Ctrl-C ends that. */
#ifndef OT_CLI_PATIENCE_H
#define OT_CLI_PATIENCE_H

#include "cli/cli.h"

/* For cli->admin and ot_relay_apply; in cli, and valid as long. */
void ot_patience_init(struct ot_cli *);

#endif
