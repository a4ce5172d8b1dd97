#include "cli/cli.h"
#include "cli/probe.h"
#include "cli/recent.h"

#include <stdio.h>

#define TOPICS   20       /* that the sink is asked for */
#define PATIENCE 30000000 /* for all of them together, in microseconds */

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
            json_pack("{s:o,s:s,s:o,s:o}", "check",
                      ot_json_text(ot_slice_of(finding->check)), "level",
                      word_of(finding->level), "text",
                      ot_json_text(ot_slice_of(finding->text)), "fix",
                      ot_json_text(ot_slice_of(finding->fix))));
        return 0;
    }
    ot_probe_print(cli, finding->level, finding->check, finding->text,
                   finding->fix);
    return 0;
}

static void tell(struct report *report, enum ot_level level, const char *check,
                 const char *text, const char *fix)
{
    struct ot_finding finding = {
        .level = level,
        .check = check,
        .text = text,
        .fix = fix != NULL && fix[0] != '\0' ? fix : NULL,
    };
    (void)each(report, &finding);
}

/* --- the sink, if one is configured --------------------------------------- */

/* To "outtray check", if a shell and a terminal can take its name as it is. */
static void add_topic(char *fix, size_t size, const char *topic)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const size_t n = strlen(fix);

    if (topic != NULL && strncmp(fix, "outtray check", 13) == 0 &&
        topic[strspn(topic, plain)] == '\0')
        snprintf(fix + n, size - n, " --topic %s", topic);
}

/* Asks it for a topic, or (NULL) for itself; a hint is a finding of its own.
 * 0; 1: it cannot tell; or why not. level: of that. */
static int ask_sink(struct report *report, const char *topic, const char *check,
                    enum ot_level level)
{
    struct ot_cli *cli = report->cli;
    struct outtray_error err = {0};
    struct ot_probe_hint hint;
    char fix[256] = "";
    int rc = ot_probe_sink(cli, topic, &hint, &err);
    if (rc < 0) {
        ot_cli_usual_fix(cli, rc, fix, sizeof fix);
        add_topic(fix, sizeof fix, topic);
        tell(report, level, check, err.text, fix);
    }
    if (hint.text[0] != '\0')
        tell(report, OT_WARN, check, hint.text, NULL);
    return rc;
}

/* One that nothing waits for may have been removed on purpose. */
static int ask_topic(struct report *report, const struct ot_recent_topic *topic,
                     struct ot_buffer *good)
{
    struct ot_buffer check = {0};
    ot_buffer_printf(&check, "topic %s", topic->name);
    int rc = ask_sink(report, topic->name, check.failed ? topic->name : check.p,
                      topic->waits ? OT_ERROR : OT_WARN);
    if (rc == 0)
        ot_buffer_printf(good, "%s%s", good->n > 0 ? ", " : "", topic->name);
    ot_buffer_free(&check);
    return rc;
}

static void tell_topics(struct report *report, const char *good, size_t left)
{
    struct ot_buffer text = {0};
    if (good != NULL) {
        ot_buffer_printf(&text, "can be published to: %s", good);
        tell(report, OT_INFO, "topics", text.failed ? good : text.p, NULL);
    }
    ot_buffer_clear(&text);
    if (left > 0) {
        ot_buffer_printf(&text, "%zu more were not asked for", left);
        tell(report, OT_INFO, "topics", text.failed ? "not all" : text.p,
             "outtray check --topic TOPIC");
    }
    ot_buffer_free(&text);
}

/* Those of the newest events, and of those that wait. */
static void look_at_topics(struct report *report)
{
    struct outtray_error err = {0};
    struct ot_buffer good = {0};
    struct ot_recent recent;
    int64_t until_us = ot_now_us() + PATIENCE;
    size_t i = 0;
    int rc = ot_recent_topics(report->cli, &recent, &err);
    /* What keeps it from looking at the events was told as FAILED, mostly. */
    if (rc != 0 && report->errors == 0)
        tell(report, OT_WARN, "topics", err.text, NULL);
    for (; rc == 0 && i < recent.n && i < TOPICS && ot_now_us() < until_us; i++)
        (void)ask_topic(report, &recent.topics[i], &good);
    if (rc == 0)
        tell_topics(report, good.failed ? NULL : good.p, recent.n - i);
    ot_buffer_free(&good);
    ot_recent_free(&recent);
}

static void look_at_sink(struct report *report)
{
    if (!ot_conf_is_set(report->cli->conf, "sink.url"))
        return;
    int rc = ask_sink(report, NULL, "sink", OT_ERROR);
    if (rc < 0)
        return;
    char *url = ot_cli_url_text(report->cli, "sink.url");
    tell(report, OT_INFO, "sink", url != NULL ? url : "", NULL);
    ot_free(url);
    if (rc == 0)
        look_at_topics(report);
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct report report = {.cli = cli};
    int64_t timeout_us;
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_probe_timeout(cli, &timeout_us);
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
    OT_USUAL_CODES,
    OUTTRAY_E_UNHEALTHY,
    0,
};

const struct ot_cli_verb ot_cli_verb_doctor = {
    .name = "doctor",
    .summary = "is it set up right: every finding with its fix",
    .purpose =
        "Looks at the conditions that ordered capture stands on (identity "
        "cache, primary, privileges, settings) and at what will hurt later; "
        "with a sink also at the topics of recent events, 20 at most: can they "
        "be published to, will they lose or reject events? "
        "Exit status 1 if something is FAILED; a warning alone is 0. outtray "
        "check asks whether everything can be reached, outtray status how it "
        "is going. With --json: one object with errors, warnings and the array "
        "findings of {check, level, text, fix}; level is ok, warning or "
        "FAILED.",
    .options = options,
    .example = "outtray doctor --sink kafka://localhost:9092",
    .codes = codes,
    .run = run,
};
