#include "cli/operate.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    return ot_operate_events(cli, OT_SKIP, argc, argv);
}

const struct ot_cli_verb ot_cli_verb_skip = {
    .name = "skip",
    .summary = "give up on held events without sending them",
    .usage = "ID|SEQ...",
    .purpose =
        "The event counts as settled and its key goes on. It stays in the log "
        "until its retention ends, and is not sent any more. --all, --key and "
        "--topic mean dead events only; by its id any held event can be "
        "skipped. " OT_OPERATE_JSON,
    .options = ot_operate_options,
    .example = "outtray skip 019abc12-3456-7000-8000-000000000001",
    .codes = ot_operate_codes,
    .run = run,
};
