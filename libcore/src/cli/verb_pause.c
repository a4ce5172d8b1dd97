#include "cli/operate.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_operate_subscription(cli, OT_PAUSE);
    if (rc == 0)
        ot_next(cli, "outtray resume%s", ot_cli_same(cli));
    return rc;
}

const struct ot_cli_verb ot_cli_verb_pause = {
    .name = "pause",
    .summary = "stop delivering a subscription",
    .purpose =
        "Nothing is lost and no attempt is counted: events stay pending until "
        "outtray resume. The pause is kept in the database, so it outlives "
        "restarts of the relay. Enqueuing is not touched. With --json: one "
        "object with verb, subscription, dry_run (false) and applied (false: a "
        "relay runs and will do it).",
    .example = "outtray pause --subscription main",
    .codes = ot_operate_codes,
    .run = run,
};
