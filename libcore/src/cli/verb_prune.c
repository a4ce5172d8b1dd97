#include "cli/cli.h"
#include "cli/signals.h"

#include <poll.h>

struct pruning {
    struct ot_cli *cli;
    struct ot_prune_request request;
    int64_t total; /* counted first */
    int64_t deleted;
};

/* A walk over the log like the deletion, in larger steps. */
static int count(struct pruning *pruning, int64_t *out)
{
    enum { STEP = 100000 };
    struct ot_cli *cli = pruning->cli;
    struct ot_prune_request step = pruning->request;
    struct ot_prune_reply reply = {.more = true};
    char text[32];
    step.limit = STEP;
    *out = 0;
    while (reply.more) {
        int rc =
            cli->admin->ops->prune(cli->admin, &step, true, &reply, &cli->err);
        if (rc != 0)
            return rc;
        *out += reply.deleted;
        ot_progress(cli, "counting: %s", ot_number_text(*out, text));
    }
    return 0;
}

static int delete_all(struct pruning *pruning)
{
    struct ot_cli *cli = pruning->cli;
    int pause_ms = (int)(ot_conf_us(cli->conf, "prune.pause_ms") / 1000);
    struct ot_prune_reply reply = {.more = true};
    char deleted[32], total[32];
    ot_cli_signals_careful(NULL, NULL);
    while (reply.more) {
        int rc = cli->admin->ops->prune(cli->admin, &pruning->request, false,
                                        &reply, &cli->err);
        if (rc != 0)
            return ot_fail_context(&cli->err, rc, "after %s deleted events",
                                   ot_number_text(pruning->deleted, deleted));
        pruning->deleted += reply.deleted;
        ot_progress(cli, "%s of %s", ot_number_text(pruning->deleted, deleted),
                    ot_number_text(pruning->total, total));
        if (ot_cli_signals_caught() != 0)
            return ot_fail(&cli->err, OUTTRAY_E_INTERRUPTED,
                           "%s events deleted, the rest is kept",
                           ot_number_text(pruning->deleted, deleted));
        /* Nobody who enqueues shall wait for us. */
        if (reply.more)
            (void)poll(NULL, 0, pause_ms);
    }
    return 0;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct pruning pruning = {.cli = cli};
    bool dry = ot_cli_has(cli, "dry-run");
    int64_t age_us;
    char text[32];
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc =
            ot_cli_get_us(cli, "older-than",
                          ot_conf_us(cli->conf, "prune.retention_ms"), &age_us);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    pruning.request.older_than_us = ot_wall_us() - age_us;
    pruning.request.limit = (uint32_t)ot_conf_int(cli->conf, "prune.batch");
    rc = count(&pruning, &pruning.total);
    if (rc != 0)
        return rc;
    if (!cli->json)
        ot_out(cli, "%s %s can be deleted\n",
               ot_number_text(pruning.total, text),
               ot_events_word(pruning.total));
    if (!dry && pruning.total > 0)
        rc = delete_all(&pruning);
    if (rc != 0)
        return rc;
    if (cli->json)
        ot_out_json(cli,
                    json_pack("{s:I,s:I,s:b}", "found",
                              (json_int_t)pruning.total, "deleted",
                              (json_int_t)pruning.deleted, "dry_run", dry));
    else if (!dry)
        ot_out(cli, "%s deleted\n", ot_number_text(pruning.deleted, text));
    return 0;
}

static const struct ot_cli_option options[] = {
    {"older-than", 0, "AGE",
     "delivered events enqueued longer ago than this: "
     "90s, 5m, 24h, 7d (prune.retention_ms)"},
    {"dry-run", 'n', NULL, "only count"},
    {0},
};
static const int codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_BUSY,
    OUTTRAY_E_INTERRUPTED,
    0,
};

const struct ot_cli_verb ot_cli_verb_prune = {
    .name = "prune",
    .summary = "delete delivered events after their retention",
    .purpose =
        "Counts, then deletes in small batches with a pause between them "
        "(prune.batch, prune.pause_ms). What some subscription has not passed, "
        "or holds, is never deleted. A running relay does the same by itself "
        "unless prune.enabled is false. With --json: one object with found, "
        "deleted and dry_run.",
    .options = options,
    .example = "outtray prune --older-than 7d --dry-run",
    .codes = codes,
    .run = run,
};
