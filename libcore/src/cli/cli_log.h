/* cli_log.h - the relay's log on standard error. */
#ifndef OT_CLI_LOG_H
#define OT_CLI_LOG_H

#include "cli/cli.h"
#include "outtray/relay.h"

struct ot_cli_log {
    struct ot_cli *cli;
    enum outtray_log_level least;
    bool json;
};

void ot_cli_log_init(struct ot_cli_log *, struct ot_cli *);
/* An outtray_log_fn; ctx is the struct ot_cli_log. */
void ot_cli_log_write(void *ctx, enum outtray_log_level, const char *facility,
                      const char *text);

#endif
