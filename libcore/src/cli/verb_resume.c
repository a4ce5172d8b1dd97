#include "cli/operate.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_operate_subscription(cli, OT_RESUME);
    if (rc == 0)
        ot_next(cli, "outtray status%s", ot_cli_same(cli));
    return rc;
}

const struct ot_cli_verb ot_cli_verb_resume = {
    .name = "resume",
    .summary = "deliver a paused subscription again",
    .purpose =
        "Goes on where outtray pause stopped it. With --json: one object, "
        "as from pause.",
    .example = "outtray resume --subscription main",
    .codes = ot_operate_codes,
    .run = run,
};
