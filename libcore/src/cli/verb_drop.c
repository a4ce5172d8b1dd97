#include "cli/cli.h"
#include "cli/signals.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    bool dry = ot_cli_has(cli, "dry-run");
    bool yes = ot_cli_has(cli, "yes");
    const char *outbox = ot_conf_text(cli->conf, "store.outbox");
    int64_t events = 0;
    char text[32];
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = cli->admin->ops->drop(cli->admin, true, &events, &cli->err);
    if (rc != 0)
        return rc;
    ot_number_text(events, text);
    if (!cli->json)
        ot_out(cli, "outbox %s has %s %s\n", outbox, text,
               ot_events_word(events));
    if (!dry && !yes) {
        ot_cli_fix(cli, "outtray drop%s --yes", ot_cli_same(cli));
        return ot_fail(&cli->err, OUTTRAY_E_MISUSE,
                       "outbox %s and its %s %s would be gone for good: "
                       "confirm it with --yes",
                       outbox, text, ot_events_word(events));
    }
    if (!dry) {
        ot_cli_signals_careful(NULL, NULL);
        rc = cli->admin->ops->drop(cli->admin, false, &events, &cli->err);
    }
    if (rc != 0)
        return rc;
    if (cli->json)
        ot_out_json(cli, json_pack("{s:s,s:I,s:b}", "outbox", outbox, "events",
                                   (json_int_t)events, "dropped", !dry));
    else if (!dry)
        ot_out(cli, "dropped\n");
    return 0;
}

static const struct ot_cli_option options[] = {
    {"dry-run", 'n', NULL, "only count"},
    {"yes", 'y', NULL, "really do it"},
    {0},
};
static const int codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_BUSY,
    OUTTRAY_E_INTERRUPTED,
    0,
};

const struct ot_cli_verb ot_cli_verb_drop = {
    .name = "drop",
    .summary = "remove an outbox with everything in it",
    .purpose = "Counts the events first, and removes them, cursors and held "
               "events only with --yes. What was not delivered is lost. "
               "With --json: one object with outbox, events and dropped.",
    .options = options,
    .example = "outtray drop --dry-run\n"
               "outtray drop --yes",
    .codes = codes,
    .run = run,
};
