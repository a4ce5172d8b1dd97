#include "cli/cli.h"
#include "cli/probe.h"

struct report {
    struct ot_cli *cli;
    json_t *all;
    int64_t errors;
    int64_t warnings;
};

static const char *word_of(enum ot_level level)
{
    return level == OT_ERROR ? "FAILED" : level == OT_WARN ? "warning" : "ok";
}

static int each(void *ctx, const struct ot_finding *finding)
{
    struct report *report = ctx;
    struct ot_cli *cli = report->cli;
    report->errors += finding->level == OT_ERROR;
    report->warnings += finding->level == OT_WARN;
    if (report->all != NULL) {
        json_array_append_new(
            report->all,
            json_pack("{s:s,s:s,s:o,s:o}", "check", finding->check, "level",
                      word_of(finding->level), "text",
                      ot_json_text(ot_slice_of(finding->text)), "fix",
                      ot_json_text(ot_slice_of(finding->fix))));
        return 0;
    }
    ot_probe_print(cli, finding->level, finding->check, finding->text,
                   finding->fix);
    return 0;
}

/* The sink, if one is configured, is a finding like the others. */
static void look_at_sink(struct report *report)
{
    struct ot_cli *cli = report->cli;
    struct outtray_error err = {0};
    char fix[256] = "";
    if (!ot_conf_is_set(cli->conf, "sink.url"))
        return;
    struct ot_probe_hint hint;
    int rc = ot_probe_sink(cli, NULL, &hint, &err);
    ot_cli_usual_fix(cli, rc, fix, sizeof fix);
    char *url = ot_cli_url_text(cli, "sink.url");
    struct ot_finding finding = {
        .level = rc == 0 ? OT_INFO : OT_ERROR,
        .check = "sink",
        .text = rc == 0 && url != NULL ? url : err.text,
        .fix = rc != 0 && fix[0] != '\0' ? fix : NULL,
    };
    (void)each(report, &finding);
    ot_free(url);
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct report report = {.cli = cli};
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    if (cli->json)
        report.all = json_array();
    rc = cli->admin->ops->doctor(cli->admin, each, &report, &cli->err);
    if (rc != 0) {
        json_decref(report.all);
        return rc;
    }
    look_at_sink(&report);
    if (cli->json)
        ot_out_json(cli, json_pack("{s:I,s:I,s:o}", "errors",
                                   (json_int_t)report.errors, "warnings",
                                   (json_int_t)report.warnings, "findings",
                                   report.all));
    return report.errors > 0 ? outtray_error_exit(OUTTRAY_E_UNHEALTHY) : 0;
}

static const struct ot_cli_option options[] = {
    {"timeout", 0, "TIME",
     "how long the sink may take for each answer "
     "(10s)"},
    {0},
};
static const int codes[] = {
    OUTTRAY_E_UNHEALTHY,
    OUTTRAY_E_MISUSE,
    OUTTRAY_E_CONF,
    OUTTRAY_E_STORE_UNAVAILABLE,
    OUTTRAY_E_STORE_AUTH,
    OUTTRAY_E_STORE_NO_SCHEMA,
    0,
};

const struct ot_cli_verb ot_cli_verb_doctor = {
    .name = "doctor",
    .summary = "is it set up right: every finding with its fix",
    .purpose =
        "Looks at the conditions that ordered capture stands on (identity "
        "cache, primary, privileges, settings) and at what will hurt later. "
        "Exit status 1 if something is FAILED; a warning alone is 0. outtray "
        "check asks whether everything can be reached, outtray status how it "
        "is going.",
    .options = options,
    .example = "outtray doctor --sink kafka://localhost:9092",
    .codes = codes,
    .run = run,
};
