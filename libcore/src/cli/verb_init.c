#include "cli/cli.h"
#include "cli/signals.h"

static int each_line(void *ctx, const char *line)
{
    struct ot_cli *cli = ctx;
    if (!cli->json)
        ot_say(cli, "migration %s", line);
    return 0;
}

static void report(struct ot_cli *cli, bool created)
{
    struct ot_store_facts facts = {0};
    const char *outbox = ot_conf_text(cli->conf, "store.outbox");
    const char *app = ot_cli_get(cli, "app-role");
    const char *relay = ot_cli_get(cli, "relay-role");
    (void)cli->admin->ops->facts(cli->admin, &facts, NULL);
    if (cli->json) {
        ot_out_json(cli, json_pack("{s:s,s:s,s:s,s:b,s:i,s:s?,s:s?}", "outbox",
                                   outbox, "server", facts.server, "where",
                                   facts.where, "created", created,
                                   "schema_version", facts.schema_version,
                                   "app_role", app, "relay_role", relay));
        return;
    }
    ot_out(cli, "outbox %s %s in %s, %s\n", outbox,
           created ? "created" : "was there already", facts.server,
           facts.where);
    if (app != NULL)
        ot_out(cli, "role %s may enqueue\n", app);
    if (relay != NULL)
        ot_out(cli, "role %s may relay\n", relay);
    ot_next(cli, "outtray enqueue%s orders.created '{\"id\": 7}' --key 7",
            ot_cli_same(cli));
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    (void)argv;
    struct ot_init_options options = {
        .app_role = ot_cli_get(cli, "app-role"),
        .relay_role = ot_cli_get(cli, "relay-role"),
        .unique_ids = ot_cli_has(cli, "unique-ids"),
    };
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    ot_cli_signals_careful(NULL, NULL);
    rc = cli->admin->ops->init(cli->admin, &options, each_line, cli, &cli->err);
    if (rc == 0) {
        report(cli, true);
        return 0;
    }
    /* What was asked for is there: roles were granted, or the caller said
     * that this is fine. */
    bool fine = options.app_role != NULL || options.relay_role != NULL ||
                ot_cli_has(cli, "if-not-exists");
    if (rc == OUTTRAY_E_EXISTS && fine) {
        report(cli, false);
        return 0;
    }
    if (rc == OUTTRAY_E_EXISTS)
        ot_cli_fix(cli, "outtray upgrade --check%s", ot_cli_same(cli));
    return rc;
}

static const struct ot_cli_option options[] = {
    {"app-role", 0, "ROLE",
     "grant the application's role what enqueuing needs "
     "(PostgreSQL)"},
    {"relay-role", 0, "ROLE",
     "grant the relay's role what relaying needs "
     "(PostgreSQL)"},
    {"unique-ids", 0, NULL,
     "a unique index on the event id: the second event "
     "with an id is refused"},
    {"if-not-exists", 0, NULL, "an outbox that is there already is no error"},
    {0},
};
static const int codes[] = {
    OUTTRAY_E_MISUSE,
    OUTTRAY_E_CONF,
    OUTTRAY_E_STORE_UNAVAILABLE,
    OUTTRAY_E_STORE_AUTH,
    OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_STANDBY,
    OUTTRAY_E_EXISTS,
    OUTTRAY_E_INTERRUPTED,
    0,
};

const struct ot_cli_verb ot_cli_verb_init = {
    .name = "init",
    .group = "set up",
    .summary = "create the outbox in a database",
    .purpose =
        "Makes the tables, functions and views: a schema in PostgreSQL, tables "
        "with a prefix in an SQLite file (which is made if it is not there). "
        "Run it as the owner of the database; the roles that the application "
        "and the relay log in with get the least they need by --app-role and "
        "--relay-role.\n\n"
        "If there is an outbox already, nothing is changed and the exit status "
        "is 73, except that roles are granted what they need. "
        "With --json: one object with outbox, server, where, created, "
        "schema_version, app_role and relay_role.",
    .options = options,
    .example =
        "outtray init --store sqlite:///shop.db\n"
        "outtray init --store postgresql://owner@localhost/shop --app-role app "
        "--relay-role relay",
    .codes = codes,
    .run = run,
};
