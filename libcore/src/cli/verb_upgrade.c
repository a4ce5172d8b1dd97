#include "cli/cli.h"
#include "cli/signals.h"

struct lines {
    struct ot_cli *cli;
    bool sql;
    json_t *all;
};

static int each_line(void *ctx, const char *line)
{
    struct lines *lines = ctx;
    if (lines->all != NULL)
        json_array_append_new(lines->all, ot_json_text(ot_slice_of(line)));
    else
        ot_out(lines->cli, "%s\n", line);
    return 0;
}

static int choose(struct ot_cli *cli, enum ot_upgrade_mode *out)
{
    bool plan = ot_cli_has(cli, "plan");
    bool sql = ot_cli_has(cli, "sql");
    bool check = ot_cli_has(cli, "check");
    if (plan + sql + check > 1)
        return ot_cli_misuse(cli, "--plan, --sql and --check exclude each "
                                  "other");
    *out = plan    ? OT_UPGRADE_PLAN
           : sql   ? OT_UPGRADE_SQL
           : check ? OT_UPGRADE_CHECK
                   : OT_UPGRADE_RUN;
    return 0;
}

static void report(struct ot_cli *cli, enum ot_upgrade_mode mode, json_t *lines)
{
    struct ot_store_facts facts = {0};
    (void)cli->admin->ops->facts(cli->admin, &facts, NULL);
    if (cli->json) {
        ot_out_json(cli, json_pack("{s:i,s:i,s:O}", "schema_version",
                                   facts.schema_version, "schema_wanted",
                                   facts.schema_wanted, "lines", lines));
        return;
    }
    /* The SQL alone may go to standard output: it is piped into psql. */
    if (mode == OT_UPGRADE_RUN || mode == OT_UPGRADE_CHECK)
        ot_out(cli, "schema version %d of %d\n", facts.schema_version,
               facts.schema_wanted);
    else if (facts.schema_version == facts.schema_wanted)
        ot_say(cli, "nothing to do: schema version %d", facts.schema_version);
    if (mode == OT_UPGRADE_PLAN && facts.schema_version != facts.schema_wanted)
        ot_next(cli, "outtray upgrade%s", ot_cli_same(cli));
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    enum ot_upgrade_mode mode = OT_UPGRADE_RUN;
    struct lines lines = {.cli = cli};
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = choose(cli, &mode);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    if (cli->json)
        lines.all = json_array();
    if (mode == OT_UPGRADE_RUN)
        ot_cli_signals_careful(NULL, NULL);
    rc = cli->admin->ops->upgrade(cli->admin, mode, each_line, &lines,
                                  &cli->err);
    if (rc == 0)
        report(cli, mode, lines.all);
    json_decref(lines.all);
    return rc;
}

static const struct ot_cli_option options[] = {
    {"plan", 0, NULL, "say what would run, change nothing"},
    {"sql", 0, NULL, "print the SQL that would run, change nothing"},
    {"check", 0, NULL, "exit status 78 if there is something to do"},
    {0},
};
static const int codes[] = {
    OT_USUAL_CODES,          OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_STANDBY, OUTTRAY_E_STORE_VERSION,
    OUTTRAY_E_INTERRUPTED,   0,
};

const struct ot_cli_verb ot_cli_verb_upgrade = {
    .name = "upgrade",
    .summary = "bring an outbox to the schema of this program",
    .purpose =
        "Runs the numbered migrations that are missing, forward only, under an "
        "advisory lock, each in its transaction. Upgrade every relay's "
        "program first: it works with the schema before its own as well, but "
        "with none that is newer. With --json: one object with "
        "schema_version, schema_wanted and the array lines, which has what is "
        "printed else.",
    .options = options,
    .example = "outtray upgrade --plan\n"
               "outtray upgrade --sql > migration.sql",
    .codes = codes,
    .run = run,
};
