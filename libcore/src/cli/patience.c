#include "cli/patience.h"

#include <stdio.h>

#include "cli/signals.h"

struct look {
    struct ot_cli *cli;
    bool found;
};

static int each_obstacle(void *ctx, const struct ot_finding *finding)
{
    struct look *look = ctx;
    bool ours = strcmp(finding->check, "standby") == 0 ||
                strcmp(finding->check, "lock") == 0;

    if (ours && finding->level != OT_INFO) {
        look->found = true;
        ot_cli_tell(look->cli, finding->text, finding->fix);
    }
    return 0;
}

/* Through a connection of its own: the other one waits. */
static void waits(void *ctx, int64_t for_us)
{
    struct ot_cli *cli = ctx;
    struct look look = {.cli = cli};
    struct outtray_error err = {0};
    struct ot_admin *admin = NULL;
    char text[sizeof(err.text) + 80], time[32];
    int rc = ot_admin_open(&admin, cli->conf, &err);

    if (rc == 0)
        rc = admin->ops->obstacles(admin, each_obstacle, &look, &err);
    if (admin != NULL)
        admin->ops->close(admin);
    if (!look.found && !cli->waits) {
        snprintf(text, sizeof(text), "the database has not answered for %s%s%s",
                 ot_duration_text(for_us, time), rc != 0 ? ": " : "",
                 rc != 0 ? err.text : ", and does not say why");
        ot_cli_tell(cli, text, NULL);
    }
    cli->waits = true;
}

static bool interrupted(void *ctx)
{
    (void)ctx;
    return ot_cli_signals_caught() != 0;
}

void ot_patience_init(struct ot_cli *cli)
{
    cli->patience = (struct ot_patience){waits, interrupted, cli};
}
