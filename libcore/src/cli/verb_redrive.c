#include "cli/operate.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    return ot_operate_events(cli, OT_REDRIVE, argc, argv);
}

const struct ot_cli_verb ot_cli_verb_redrive = {
    .name = "redrive",
    .summary = "send dead events again",
    .usage = "ID|SEQ...",
    .purpose =
        "Dead events become deliverable again, at once, with their attempts "
        "forgotten; a retrying event that is named by its id is tried now. "
        "Without a running relay the change is made at once, else the relay "
        "makes it. Delivered events are not meant: they are gone from "
        "here. " OT_OPERATE_JSON,
    .options = ot_operate_options,
    .example = "outtray redrive 019abc12-3456-7000-8000-000000000001\n"
               "outtray redrive --topic orders.created --dry-run",
    .codes = ot_operate_codes,
    .run = run,
};
