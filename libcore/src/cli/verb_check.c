#include "cli/cli.h"
#include "cli/probe.h"

#include <stdio.h>

struct report {
    struct ot_cli *cli;
    json_t *all;
    int first; /* code of the first failure */
};

/* One item: code 0 is ok, negative failed with the text of err. */
static void item(struct report *report, const char *what, int code,
                 const char *good, const struct outtray_error *err)
{
    struct ot_cli *cli = report->cli;
    char fix[512] = "";
    const char *text = code == 0 ? good : err->text;
    if (code != 0) {
        ot_cli_usual_fix(cli, code, fix, sizeof fix);
        if (report->first == 0)
            report->first = code;
    }
    if (report->all == NULL) {
        ot_probe_print(cli, code == 0 ? OT_INFO : OT_ERROR, what, text, fix);
        return;
    }
    json_array_append_new(
        report->all,
        json_pack(
            "{s:o,s:b,s:o,s:o,s:s?}", "item", ot_json_text(ot_slice_of(what)),
            "ok", code == 0, "text", ot_json_text(ot_slice_of(text)), "error",
            code == 0 ? json_null() : json_string(outtray_error_name(code)),
            "try", fix[0] != '\0' ? fix : NULL));
}

static void check_schema(struct report *report,
                         const struct ot_store_facts *facts)
{
    struct ot_cli *cli = report->cli;
    const char *outbox = ot_conf_text(cli->conf, "store.outbox");
    struct outtray_error err = {0};
    char good[128];
    int code = 0;
    snprintf(good, sizeof good, "outbox %s, schema version %d", outbox,
             facts->schema_version);
    if (facts->schema_version == 0)
        code = ot_fail(&err, OUTTRAY_E_STORE_NO_SCHEMA,
                       "there is no outbox %s in this database", outbox);
    else if (facts->schema_version > facts->schema_wanted)
        code =
            ot_fail(&err, OUTTRAY_E_STORE_VERSION,
                    "outbox %s has schema version %d, this program knows %d: "
                    "install a newer one",
                    outbox, facts->schema_version, facts->schema_wanted);
    else if (facts->schema_version < facts->schema_wanted - 1)
        code = ot_fail(&err, OUTTRAY_E_STORE_VERSION,
                       "outbox %s has schema version %d, this program needs %d",
                       outbox, facts->schema_version, facts->schema_wanted);
    item(report, "schema", code, good, &err);
}

/* What doctor calls FAILED (rights above all) fails here as well. */
static int each_finding(void *ctx, const struct ot_finding *finding)
{
    struct report *report = ctx;
    struct outtray_error err = {0};
    if (finding->level != OT_ERROR)
        return 0;
    item(report, finding->check,
         ot_fail(&err, OUTTRAY_E_STORE_CONDITION, "%s", finding->text), "",
         &err);
    return 0;
}

static void check_store(struct report *report)
{
    struct ot_cli *cli = report->cli;
    struct ot_store_facts facts = {0};
    struct outtray_error err = {0};
    char good[400];
    int code = ot_cli_admin(cli);
    err = cli->err;
    if (code == 0)
        code = cli->admin->ops->facts(cli->admin, &facts, &err);
    snprintf(good, sizeof good, "%s, %s", facts.server, facts.where);
    item(report, "database", code, good, &err);
    if (code != 0)
        return;
    code = facts.writable
               ? 0
               : ot_fail(&err, OUTTRAY_E_STORE_STANDBY,
                         "it is a standby or read-only: %s", facts.where);
    item(report, "writable", code, "primary, read-write", &err);
    int before = report->first;
    check_schema(report, &facts);
    if (report->first != before)
        return;
    code = cli->admin->ops->doctor(cli->admin, each_finding, report, &err);
    if (code != 0)
        item(report, "conditions", code, "", &err);
    else if (report->first == 0)
        item(report, "conditions", 0, "rights and conditions of capture hold",
             &err);
}

/* It works, but it will hurt: no failure, and the exit status says nothing. */
static void warn(struct report *report, const char *what,
                 const struct ot_probe_hint *hint)
{
    if (hint->text[0] == '\0')
        return;
    if (report->all == NULL)
        ot_probe_print(report->cli, OT_WARN, what, hint->text, "");
    else
        json_object_set_new(json_array_get(report->all,
                                           json_array_size(report->all) - 1),
                            "warning", ot_json_text(ot_slice_of(hint->text)));
}

static void check_sink(struct report *report)
{
    struct ot_probe_hint hint;
    struct ot_cli *cli = report->cli;
    struct outtray_error err = {0};
    const char *topic;
    if (!ot_conf_is_set(cli->conf, "sink.url")) {
        ot_say(cli, "%-7s  %-14s  none is named: --sink URL", "-", "sink");
        return;
    }
    char *url = ot_cli_url_text(cli, "sink.url");
    int code = ot_probe_sink(cli, NULL, &hint, &err);
    item(report, "sink", code < 0 ? code : 0, url != NULL ? url : "", &err);
    warn(report, "sink", &hint);
    ot_free(url);
    if (code < 0)
        return;
    for (size_t i = 0; (topic = ot_cli_get_nth(cli, "topic", i)) != NULL; i++) {
        struct ot_buffer what = {0};
        ot_buffer_printf(&what, "topic %s", topic);
        code = ot_probe_sink(cli, topic, &hint, &err);
        item(report, what.p != NULL ? what.p : "topic", code < 0 ? code : 0,
             code == 1 ? "this sink takes any topic" : "can be published to",
             &err);
        warn(report, what.p != NULL ? what.p : "topic", &hint);
        ot_buffer_free(&what);
    }
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct report report = {.cli = cli};
    int64_t timeout_us;
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_probe_timeout(cli, &timeout_us);
    if (rc != 0)
        return rc;
    bool store = ot_conf_is_set(cli->conf, "store.url");
    bool sink = ot_conf_is_set(cli->conf, "sink.url");
    if (ot_cli_has(cli, "topic") && !sink)
        return ot_cli_misuse(cli, "--topic needs a sink: --sink URL");
    if (cli->json)
        report.all = json_array();
    if (store || !sink)
        check_store(&report);
    check_sink(&report);
    if (cli->json)
        ot_out_json(cli, json_pack("{s:b,s:o}", "ok", report.first == 0,
                                   "items", report.all));
    if (report.first != 0)
        return outtray_error_exit(report.first);
    ot_next(cli, "outtray relay%s%s", ot_cli_same(cli), ot_cli_sink_hint(cli));
    return 0;
}

static const struct ot_cli_option options[] = {
    {"topic", 't', "TOPIC",
     "can events of this topic be published? May be "
     "repeated"},
    {"timeout", 0, "TIME",
     "how long the sink may take for each answer "
     "(10s)"},
    {0},
};
static const int codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_STANDBY,
    OUTTRAY_E_STORE_VERSION,
    OUTTRAY_E_STORE_CONDITION,
    OUTTRAY_E_SINK_UNAVAILABLE,
    OUTTRAY_E_SINK_MISCONFIGURED,
    0,
};

const struct ot_cli_verb ot_cli_verb_check = {
    .name = "check",
    .summary = "test the connection: database, rights, schema, sink, topics",
    .purpose =
        "One line for each item, ok or FAILED with what to do; a warning is "
        "about a topic that will lose or reject events later. The exit status "
        "is that of the first failure. It changes nothing and publishes "
        "nothing. outtray doctor looks deeper. With --json: one object with ok "
        "and "
        "the array items of {item, ok, text, error, try}, and warning where "
        "there is one.",
    .options = options,
    .example = "outtray check --sink kafka://localhost:9092 "
               "--topic orders.created",
    .codes = codes,
    .run = run,
};
