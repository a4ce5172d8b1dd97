#include "cli/stalls.h"

#include <stdio.h>

/* --- what the owner said -------------------------------------------------- */

static const char *text_of(const json_t *report, const char *name)
{
    const char *text = json_string_value(json_object_get(report, name));
    return text != NULL ? text : "";
}

static int64_t number_of(const json_t *report, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(report, name));
}

void ot_cli_report_read(struct ot_cli_report *out, const struct ot_status *s)
{
    bool leased = s->owner[0] != '\0' && s->lease_left_us > 0;
    *out = (struct ot_cli_report){.reason = "none", .detail = ""};
    if (s->report[0] != '\0')
        out->json = json_loads(s->report, 0, NULL);
    if (out->json == NULL)
        return;
    out->reason = text_of(out->json, "reason");
    out->detail = text_of(out->json, "detail");
    out->since_us = number_of(out->json, "since_us");
    /* It is renewed every third of its time. */
    int64_t ttl_us = number_of(out->json, "ttl_us");
    out->silent = leased && ttl_us > 0 && s->lease_left_us < ttl_us / 2;
    out->live = leased && !out->silent;
}

void ot_cli_report_free(struct ot_cli_report *report)
{
    json_decref(report->json);
    report->json = NULL;
}

const char *ot_stalls_state(const struct ot_status *s,
                            const struct ot_cli_report *report)
{
    if (s->paused)
        return "paused";
    if (s->owner[0] == '\0')
        return "no relay";
    if (s->lease_left_us <= 0)
        return "relay gone";
    if (report->silent)
        return "silent";
    return report->live && strcmp(report->reason, "none") != 0 ? "stalled"
                                                               : "running";
}

/* --- sentences ------------------------------------------------------------ */

int ot_stalls_init(struct ot_stalls *stalls, struct ot_cli *cli)
{
    stalls->cli = cli;
    stalls->list = json_array();
    return stalls->list != NULL ? 0 : ot_fail_nomem(&cli->err);
}

void ot_stalls_free(struct ot_stalls *stalls)
{
    json_decref(stalls->list);
    stalls->list = NULL;
}

void ot_stalls_say(struct ot_stalls *stalls, const char *code, const char *fmt,
                   ...)
{
    char text[900];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    json_array_append_new(stalls->list,
                          json_pack("{s:s,s:o}", "code", code, "text",
                                    ot_json_text(ot_slice_of(text))));
}

void ot_stalls_print(const struct ot_stalls *stalls)
{
    size_t i;
    const json_t *one;
    json_array_foreach(stalls->list, i, one)
    {
        ot_out(stalls->cli, "  - ");
        ot_out_safe(stalls->cli, ot_slice_of(text_of(one, "text")));
        ot_out(stalls->cli, "\n");
    }
}

/* --- the database --------------------------------------------------------- */

static int each_obstacle(void *ctx, const struct ot_finding *finding)
{
    struct ot_stalls *stalls = ctx;
    ot_stalls_say(stalls, finding->check, "%s", finding->text);
    if (stalls->cli->fix[0] == '\0' && finding->fix != NULL)
        ot_cli_fix(stalls->cli, "%s", finding->fix);
    return 0;
}

int ot_stalls_database(struct ot_stalls *stalls)
{
    struct ot_cli *cli = stalls->cli;
    struct ot_store_facts facts = {0};
    int rc = cli->admin->ops->facts(cli->admin, &facts, &cli->err);
    if (rc != 0)
        return rc;
    if (!facts.writable) {
        ot_stalls_say(stalls, "read_only",
                      "the database at %s is a standby or read-only: nothing "
                      "can be relayed from it",
                      facts.where);
        return 0;
    }
    return cli->admin->ops->obstacles(cli->admin, each_obstacle, stalls,
                                      &cli->err);
}

void ot_stalls_blame(struct ot_stalls *stalls)
{
    struct ot_cli *cli = stalls->cli;
    struct outtray_error err = cli->err;
    if (ot_stalls_database(stalls) == 0 && json_array_size(stalls->list) > 0)
        ot_fail(&cli->err, err.code, "%.300s: %s",
                text_of(json_array_get(stalls->list, 0), "text"), err.text);
    else
        cli->err = err;
}

/* --- the subscription ----------------------------------------------------- */

/* What helps the event itself comes first. */
static void suggest_relay(struct ot_cli *cli)
{
    if (cli->fix[0] == '\0')
        ot_cli_fix(cli, "outtray relay%s%s", ot_cli_same(cli),
                   ot_cli_sink_hint(cli));
}

/* It may be why the relay ended. */
static void say_last_words(struct ot_stalls *stalls, const struct ot_status *s,
                           const struct ot_cli_report *report)
{
    char text[32];
    if (report->json == NULL || strcmp(report->reason, "none") == 0)
        return;
    ot_stalls_say(stalls, "last_report", "its last report, %s ago: %s%s%s",
                  ot_duration_text(s->report_age_us, text), report->reason,
                  report->detail[0] != '\0' ? ": " : "", report->detail);
}

static void say_owner_gone(struct ot_stalls *stalls, const struct ot_status *s,
                           const struct ot_cli_report *report)
{
    char text[32];
    if (s->owner[0] == '\0')
        ot_stalls_say(stalls, "no_relay", "no relay owns subscription %s",
                      s->subscription);
    else
        ot_stalls_say(stalls, "lease_expired",
                      "the relay that owned subscription %s is gone: its lease "
                      "expired %s ago",
                      s->subscription,
                      ot_duration_text(-s->lease_left_us, text));
    say_last_words(stalls, s, report);
    suggest_relay(stalls->cli);
}

static void say_silent(struct ot_stalls *stalls, const struct ot_status *s,
                       const struct ot_cli_report *report)
{
    char age[32], left[32];
    ot_stalls_say(
        stalls, "silent",
        "the relay that owns subscription %s (host %s, process %lld) "
        "has not renewed its lease for %s: it is frozen, or its "
        "database connection is; another relay may take over in %s",
        s->subscription, text_of(report->json, "host"),
        (long long)number_of(report->json, "pid"),
        ot_duration_text(number_of(report->json, "ttl_us") - s->lease_left_us,
                         age),
        ot_duration_text(s->lease_left_us, left));
}

static void say_stall(struct ot_stalls *stalls,
                      const struct ot_cli_report *report)
{
    struct ot_cli *cli = stalls->cli;
    char text[32];
    ot_stalls_say(stalls, report->reason, "%s: %s (the relay says so since %s)",
                  report->reason, report->detail,
                  ot_time_text(report->since_us, text));
    if (cli->fix[0] != '\0')
        return;
    if (strcmp(report->reason, "breaker") == 0 ||
        strcmp(report->reason, "sink") == 0)
        ot_cli_fix(cli, "outtray check%s%s", ot_cli_same(cli),
                   ot_cli_sink_hint(cli));
    else if (strcmp(report->reason, "held_full") == 0)
        ot_cli_fix(cli, "outtray dead%s", ot_cli_same(cli));
    else if (strcmp(report->reason, "refused") == 0)
        ot_cli_fix(cli, "outtray doctor%s", ot_cli_same(cli));
}

bool ot_stalls_subscription(struct ot_stalls *stalls, const struct ot_status *s)
{
    struct ot_cli *cli = stalls->cli;
    struct ot_cli_report report;
    bool something = true;
    ot_cli_report_read(&report, s);
    if (s->fence == 0 && s->written_age_us < 0) {
        ot_stalls_say(stalls, "no_subscription",
                      "no relay has run for subscription %s yet",
                      s->subscription);
        suggest_relay(cli);
    } else if (s->paused) {
        ot_stalls_say(stalls, "paused", "subscription %s is paused",
                      s->subscription);
        if (cli->fix[0] == '\0')
            ot_cli_fix(cli, "outtray resume%s", ot_cli_same(cli));
    } else if (s->owner[0] == '\0' || s->lease_left_us <= 0) {
        say_owner_gone(stalls, s, &report);
    } else if (report.silent) {
        say_silent(stalls, s, &report);
    } else if (report.live && strcmp(report.reason, "none") != 0) {
        say_stall(stalls, &report);
    } else {
        something = false;
    }
    ot_cli_report_free(&report);
    return something;
}
