#include "cli/help.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    int rc = ot_cli_args(cli, argc, 0, 1);
    if (rc != 0)
        return rc;
    if (ot_cli_has(cli, "man")) {
        ot_help_man(cli);
        return 0;
    }
    if (ot_cli_has(cli, "markdown")) {
        ot_help_markdown(cli);
        return 0;
    }
    if (argc == 0) {
        ot_help_overview(cli);
        return 0;
    }
    const struct ot_cli_verb *verb = ot_cli_verb_find(argv[0]);
    if (verb != NULL) {
        ot_help_verb(cli, verb);
        return 0;
    }
    const char *near = ot_cli_verb_near(argv[0]);
    ot_cli_fix(cli, "outtray help%s%s", near != NULL ? " " : "",
               near != NULL ? near : "");
    return ot_fail(&cli->err, OUTTRAY_E_MISUSE, "there is no verb %s%s%s%s",
                   argv[0], near != NULL ? ", did you mean " : "",
                   near != NULL ? near : "", near != NULL ? "?" : "");
}

static const struct ot_cli_option options[] = {
    {"man", 0, NULL, "the manual page, for groff"},
    {"markdown", 0, NULL, "docs/cli.md"},
    {0},
};
static const int codes[] = {OUTTRAY_E_MISUSE, 0};

const struct ot_cli_verb ot_cli_verb_help = {
    .name = "help",
    .group = "about",
    .summary = "what a verb does, its options, an example",
    .usage = "[VERB]",
    .purpose = "Without a verb: the overview.",
    .options = options,
    .example = "outtray help relay\n"
               "outtray help --man | man -l -",
    .codes = codes,
    .flags = OT_CLI_NO_CONF,
    .run = run,
};
