#include "cli/cli.h"
#include "cli/event_out.h"
#include "cli/metrics.h"
#include "cli/signals.h"
#include "cli/stalls.h"

#include <poll.h>
#include <stdio.h>

struct report {
    struct ot_cli *cli;
    json_t *all; /* for programs; NULL: for people */
    bool metrics;
    size_t n;
    int64_t dead;
    bool unowned;
};

static int64_t held_of(const struct ot_status *s)
{
    int64_t n = 0;
    for (size_t i = 0; i < OT_COUNT(s->held); i++)
        n += s->held[i];
    return n;
}

static json_t *seconds(int64_t us)
{
    return json_real((double)us / 1e6);
}

/* What the owner says: its own words, and whether they still count. */
static json_t *report_json(const struct ot_status *s,
                           const struct ot_cli_report *r)
{
    if (r->json == NULL)
        return json_null();
    return json_pack("{s:O,s:b,s:o}", "said", r->json, "live", r->live, "age_s",
                     seconds(s->report_age_us));
}

static json_t *to_json(const struct ot_status *s, const struct ot_cli_report *r,
                       const struct ot_stalls *stalls)
{
    json_t *held = json_object();
    for (int i = 0; i < (int)OT_COUNT(s->held); i++)
        json_object_set_new(held, ot_held_state_name((enum ot_held_state)i),
                            json_integer(s->held[i]));
    return json_pack(
        "{s:s,s:s,s:I,s:b,s:f,s:o,s:I,s:I,s:I,s:b,s:s?,s:I,s:f,s:f,s:I,s:o,"
        "s:O}",
        "subscription", s->subscription, "state", ot_stalls_state(s, r),
        "pending", (json_int_t)s->pending, "pending_is_estimate",
        s->pending_is_estimate, "oldest_age_s",
        s->oldest_age_us < 0 ? -1.0 : (double)s->oldest_age_us / 1e6, "held",
        held, "position", (json_int_t)s->position, "last_seq",
        (json_int_t)s->last_seq, "gaps", (json_int_t)s->gaps, "paused",
        s->paused, "owner", s->owner[0] != '\0' ? s->owner : NULL, "fence",
        (json_int_t)s->fence, "lease_left_s", (double)s->lease_left_us / 1e6,
        "written_age_s",
        s->written_age_us < 0 ? -1.0 : (double)s->written_age_us / 1e6,
        "commands", (json_int_t)s->commands, "report", report_json(s, r),
        "reasons", stalls->list);
}

static void print_held(struct ot_cli *cli, const struct ot_status *s)
{
    const char *comma = "";
    char text[32];
    ot_out(cli, "  held      ");
    for (int i = 0; i < (int)OT_COUNT(s->held); i++) {
        bool red = i == OT_HELD_DEAD && cli->term.out_color;
        if (s->held[i] == 0)
            continue;
        ot_out(cli, "%s%s%s %s%s", comma, ot_term_color(red, OT_RED),
               ot_number_text(s->held[i], text),
               ot_held_state_name((enum ot_held_state)i),
               ot_term_color(red, OT_PLAIN));
        comma = ", ";
    }
    ot_out(cli, "%s\n", held_of(s) == 0 ? "0" : "");
}

static void print_relay(struct ot_cli *cli, const struct ot_status *s,
                        const struct ot_cli_report *r)
{
    static const char *const names[] = {"host", "sink"};
    char age[32];
    if (r->json == NULL)
        return;
    ot_out(cli, "  relay    ");
    for (size_t i = 0; i < OT_COUNT(names); i++) {
        ot_out(cli, " %s ", names[i]);
        ot_out_safe(cli, ot_slice_of(json_string_value(
                             json_object_get(r->json, names[i]))));
        ot_out(cli, ",");
    }
    ot_out(cli, " process %lld, %.1f events/s, %s %s ago\n",
           (long long)json_integer_value(json_object_get(r->json, "pid")),
           json_number_value(json_object_get(r->json, "rate")),
           r->live ? "reported" : "last seen",
           ot_duration_text(s->report_age_us, age));
}

static json_int_t integer_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* What its client measured last, if it was asked to. */
static void print_broker(struct ot_cli *cli, const struct ot_cli_report *r)
{
    const json_t *b = json_object_get(r->json, "broker");
    char a[32], c[32];
    if (!json_is_object(b))
        return;
    ot_out(cli, "  broker    ");
    if (integer_of(b, "rtt_avg_us") < 0)
        ot_out(cli, "no answer since the last look");
    else
        ot_out(cli, "round trip %s, p99 %s",
               ot_duration_text(integer_of(b, "rtt_avg_us"), a),
               ot_duration_text(integer_of(b, "rtt_p99_us"), c));
    if (integer_of(b, "throttle_max_ms") > 0)
        ot_out(cli, ", throttled by %s, at most %s",
               ot_duration_text(integer_of(b, "throttle_avg_ms") * 1000, a),
               ot_duration_text(integer_of(b, "throttle_max_ms") * 1000, c));
    ot_out(cli, ", queued %s events, %s bytes\n",
           ot_number_text(integer_of(b, "queued_events"), a),
           ot_number_text(integer_of(b, "queued_bytes"), c));
}

static void print_one(struct ot_cli *cli, const struct ot_status *s,
                      const struct ot_cli_report *r)
{
    char a[32], b[32];
    bool running = strcmp(ot_stalls_state(s, r), "running") == 0;
    ot_out(cli, "subscription ");
    ot_out_safe(cli, ot_slice_of(s->subscription));
    ot_out(cli, ": %s%s%s",
           ot_term_color(cli->term.out_color, running ? OT_GREEN : OT_YELLOW),
           ot_stalls_state(s, r), ot_term_color(cli->term.out_color, OT_PLAIN));
    if (s->owner[0] != '\0')
        ot_out(cli, ", relay %s, fence %lld", s->owner, (long long)s->fence);
    ot_out(cli, "\n  pending   %s%s\n", ot_number_text(s->pending, a),
           s->pending_is_estimate ? " or more" : "");
    if (s->oldest_age_us >= 0)
        ot_out(cli, "  oldest    %s\n", ot_duration_text(s->oldest_age_us, a));
    print_held(cli, s);
    ot_out(cli, "  position  %s of %s", ot_number_text(s->position, a),
           ot_number_text(s->last_seq, b));
    if (s->gaps > 0)
        ot_out(cli, ", %s gaps", ot_number_text(s->gaps, a));
    if (s->written_age_us >= 0)
        ot_out(cli, ", written %s ago", ot_duration_text(s->written_age_us, a));
    ot_out(cli, "\n");
    if (s->commands > 0)
        ot_out(cli, "  commands  %s wait for the relay\n",
               ot_number_text(s->commands, a));
    print_relay(cli, s, r);
    print_broker(cli, r);
}

/* Events that were tried and did not go: what the oldest of them met. */
static int say_held(struct ot_stalls *stalls, const struct ot_status *s)
{
    static const enum ot_held_state states[] = {OT_HELD_WAITING,
                                                OT_HELD_RETRYING};
    struct ot_cli *cli = stalls->cli;
    char number[32];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < OT_COUNT(states); i++) {
        struct ot_event_copy first = {0};
        struct ot_event_query query = {.subscription = s->subscription,
                                       .held_only = true,
                                       .held_state = (int)states[i],
                                       .limit = 1};
        if (s->held[states[i]] == 0)
            continue;
        rc = cli->admin->ops->events(cli->admin, &query, ot_event_copy_first,
                                     &first, &cli->err);
        if (rc == 0 && first.memory != NULL && first.info.error != NULL) {
            ot_stalls_say(stalls, ot_held_state_name(states[i]),
                          "%s %s %s, the first is event %lld: %s",
                          ot_number_text(s->held[states[i]], number),
                          ot_events_word(s->held[states[i]]),
                          ot_held_state_name(states[i]),
                          (long long)first.info.event.seq, first.info.error);
            if (cli->fix[0] == '\0')
                ot_cli_fix(cli, "outtray explain%s %lld", ot_cli_same(cli),
                           (long long)first.info.event.seq);
        }
        ot_event_copy_free(&first);
    }
    return rc;
}

static int each_status(void *ctx, const struct ot_status *s)
{
    struct report *report = ctx;
    struct ot_stalls stalls;
    struct ot_cli_report said;
    int rc = ot_stalls_init(&stalls, report->cli);
    if (rc != 0)
        return rc;
    ot_cli_report_read(&said, s);
    (void)ot_stalls_subscription(&stalls, s);
    if (!report->metrics) /* nor may a watcher read the log */
        rc = say_held(&stalls, s);
    report->n++;
    report->dead += s->held[OT_HELD_DEAD];
    report->unowned |= s->owner[0] == '\0' || s->lease_left_us <= 0;
    if (report->all != NULL) {
        json_array_append_new(report->all, to_json(s, &said, &stalls));
    } else {
        print_one(report->cli, s, &said);
        ot_stalls_print(&stalls);
    }
    ot_cli_report_free(&said);
    ot_stalls_free(&stalls);
    return rc;
}

static void print_hint(struct ot_cli *cli, const struct report *report)
{
    if (report->dead > 0)
        ot_next(cli, "outtray dead%s", ot_cli_same(cli));
    else if (cli->fix[0] != '\0')
        ot_next(cli, "%s", cli->fix);
    else if (report->n == 0 || report->unowned)
        ot_next(cli, "outtray relay%s%s", ot_cli_same(cli),
                ot_cli_sink_hint(cli));
}

static int print_rows(struct report *report, struct ot_stalls *database)
{
    struct ot_cli *cli = report->cli;
    struct ot_store_facts facts = {0};
    const char *outbox = ot_conf_text(cli->conf, "store.outbox");
    const char *only = ot_conf_is_set(cli->conf, "relay.subscription")
                           ? ot_conf_text(cli->conf, "relay.subscription")
                           : NULL;
    int rc = cli->admin->ops->facts(cli->admin, &facts, &cli->err);
    if (rc != 0)
        return rc;
    if (report->all == NULL && facts.schema_version > 0)
        ot_out(cli, "outbox %s in %s, %s\n", outbox, facts.server, facts.where);
    rc = cli->admin->ops->status(cli->admin, only, each_status, report,
                                 &cli->err);
    if (rc == OUTTRAY_E_STORE_BUSY)
        ot_stalls_blame(database);
    if (rc == 0 && !report->metrics)
        rc = ot_stalls_database(database);
    if (rc != 0)
        return rc;
    if (report->metrics)
        ot_metrics_print(cli, report->all);
    else if (cli->json)
        ot_out_json(cli, json_pack("{s:s,s:s,s:s,s:i,s:O,s:O}", "outbox",
                                   outbox, "server", facts.server, "where",
                                   facts.where, "schema_version",
                                   facts.schema_version, "subscriptions",
                                   report->all, "obstacles", database->list));
    else
        ot_stalls_print(database);
    return 0;
}

static int print_status(struct ot_cli *cli, bool hints)
{
    struct report report = {.cli = cli, .metrics = ot_cli_has(cli, "metrics")};
    struct ot_stalls database;
    int rc = ot_stalls_init(&database, cli);
    if (rc != 0)
        return rc;
    cli->fix[0] = '\0';
    if (cli->json || report.metrics)
        report.all = json_array();
    rc = print_rows(&report, &database);
    json_decref(report.all);
    ot_stalls_free(&database);
    if (rc != 0 || cli->json || report.metrics)
        return rc;
    if (report.n == 0)
        ot_out(cli, "no subscription yet: the first relay makes it\n");
    if (hints)
        print_hint(cli, &report);
    return 0;
}

static int watch(struct ot_cli *cli, int64_t seconds)
{
    int rc = 0;
    ot_cli_signals_careful(NULL, NULL);
    while (rc == 0 && ot_cli_signals_caught() == 0 && ot_cli_out_ok(cli)) {
        if (cli->term.out && !cli->json)
            ot_out(cli, "\033[H\033[J");
        rc = print_status(cli, false);
        if (rc == 0)
            rc = ot_cli_out_end(cli);
        if (rc == 0 && ot_cli_signals_caught() == 0)
            (void)poll(NULL, 0, (int)seconds * 1000);
    }
    return rc;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    int64_t seconds;
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0 && ot_cli_has(cli, "metrics") &&
        (cli->json || ot_cli_has(cli, "watch")))
        rc = ot_cli_misuse(cli, "--metrics goes with neither --json nor "
                                "--watch");
    if (rc == 0)
        rc = ot_cli_get_int(cli, "watch", 0, 1, 86400, &seconds);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    return seconds > 0 ? watch(cli, seconds) : print_status(cli, true);
}

static const struct ot_cli_option options[] = {
    {"watch", 'w', "SECONDS", "again every so many seconds, until Ctrl-C"},
    {"metrics", 0, NULL,
     "numbers in the text format of Prometheus, for the textfile collector of "
     "its node exporter"},
    {0},
};

const struct ot_cli_verb ot_cli_verb_status = {
    .name = "status",
    .summary = "how is it going: pending, oldest, held, dead, who relays",
    .purpose =
        "One block for each subscription (or for --subscription alone). It "
        "needs no relay to run. pending: committed and not yet passed by the "
        "cursor. oldest: age of the oldest event that is neither delivered nor "
        "dead. held: taken out of the stream with a reason; outtray explain "
        "says which. relay: what its owner reported with the last renewal of "
        "its lease; \"last seen\" if it is gone. Then, in a sentence each, "
        "why nothing moves: what the relay waits for, what held events met, "
        "and who holds a lock or keeps a transaction open in the database. "
        "With --json: one object with the arrays subscriptions (each with "
        "state, report and reasons) and obstacles (of the database).",
    .options = options,
    .example = "outtray status --watch 2\n"
               "outtray status --json | jq .subscriptions[0].pending",
    .run = run,
};
