#include "cli/event_out.h"
#include "cli/stalls.h"
#include "engine/engine.h"
#include "store/filter.h"

#include <stdio.h>

/* Why an event is where it is. */
struct reasons {
    struct ot_cli *cli;
    const struct ot_event_info *info;
    struct ot_status status; /* of the subscription */
    struct ot_stalls stalls;
};
#define say(r, ...) ot_stalls_say(&(r)->stalls, __VA_ARGS__)

static int keep_status(void *ctx, const struct ot_status *status)
{
    struct reasons *r = ctx;
    r->status = *status;
    return 0;
}

/* The filter of now: another one may have let the event pass. */
static bool explain_filter(struct reasons *r)
{
    struct ot_slice topic = r->info->event.topic;
    struct ot_filter filter;
    bool excluded;
    if (ot_filter_parse(&filter, r->status.topics, NULL) != 0)
        return false;
    excluded = !ot_filter_match(&filter, topic);
    ot_filter_free(&filter);
    if (excluded)
        say(r, "filtered",
            "subscription %s takes the topics %s: it leaves out %.*s",
            r->status.subscription, r->status.topics, (int)topic.n, topic.p);
    return excluded;
}

static void explain_pending(struct reasons *r)
{
    const struct ot_status *s = &r->status;
    int64_t seq = r->info->event.seq;
    char text[32];
    if (r->info->in_gap)
        say(r, "gap",
            "seq %lld was drawn before the cursor passed and committed later: "
            "the next read takes it",
            (long long)seq);
    if (explain_filter(r) || ot_stalls_subscription(&r->stalls, &r->status))
        return;
    if (!r->info->in_gap && seq > s->position)
        say(r, "behind_position",
            "the written cursor is at %lld, %s seqs before it",
            (long long)s->position, ot_number_text(seq - s->position, text));
    if (s->written_age_us > 10 * 1000000) {
        say(r, "stalled", "the relay has not moved the cursor for %s",
            ot_duration_text(s->written_age_us, text));
        ot_cli_fix(r->cli, "outtray check%s%s", ot_cli_same(r->cli),
                   ot_cli_sink_hint(r->cli));
    }
}

/* The first held event of its key is what it waits for. */
static int explain_blocked(struct reasons *r)
{
    struct ot_cli *cli = r->cli;
    struct ot_event_copy first = {0};
    const struct ot_event *e = &r->info->event;
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .key = e->key.p,
        .held_only = true,
        .held_state = -1,
        .limit = 1,
    };
    char id[37];
    int rc = cli->admin->ops->events(cli->admin, &query, ot_event_copy_first,
                                     &first, &cli->err);
    if (rc != 0)
        return rc;
    if (first.memory == NULL || first.info.event.seq >= e->seq) {
        say(r, "blocked", "an earlier event of its key was held; it goes next");
    } else {
        ot_uuid_text(first.info.event.id, id);
        say(r, "behind_event",
            "it waits behind event %s of the same key, "
            "which is %s%s%s",
            id, ot_held_state_name(first.info.held.state),
            first.info.error != NULL ? ": " : "",
            first.info.error != NULL ? first.info.error : "");
        if (first.info.held.state == OT_HELD_DEAD)
            ot_cli_fix(cli, "outtray redrive%s %s, or outtray skip%s %s",
                       ot_cli_same(cli), id, ot_cli_same(cli), id);
        else
            ot_cli_fix(cli, "outtray explain%s %s", ot_cli_same(cli), id);
    }
    ot_event_copy_free(&first);
    return 0;
}

static void explain_error(struct reasons *r)
{
    const struct ot_held *h = &r->info->held;
    char text[32];
    if (h->attempts > 0)
        say(r, "attempts", "it failed %u %s of its own", h->attempts,
            h->attempts == 1 ? "time" : "times");
    if (!r->cli->json) /* the lines of the event say the rest */
        return;
    if (r->info->error != NULL)
        say(r, "last_error", "the last error was: %s (%s)", r->info->error,
            h->last_error_us != 0 ? ot_time_text(h->last_error_us, text)
                                  : "time unknown");
    if (h->next_us != 0)
        say(r, "next_attempt", "the next attempt is at %s",
            ot_time_text(h->next_us, text));
}

static int explain_held(struct reasons *r)
{
    struct ot_cli *cli = r->cli;
    const struct ot_event *e = &r->info->event;
    char id[37], text[32];
    int rc = 0;
    ot_uuid_text(e->id, id);
    switch (r->info->held.state) {
    case OT_HELD_RETRYING:
        explain_error(r);
        break;
    case OT_HELD_WAITING:
        if (r->info->error != NULL &&
            strcmp(r->info->error, OT_LIMIT_REASON) == 0) {
            say(r, "limit",
                "its topic is at its limit (limit.topic_events_per_s, "
                "limit.topic_bytes_per_s, or its broker asked for a pause): it "
                "goes when those before it have gone");
            break;
        }
        say(r, "destination", "its destination refuses events for now");
        explain_error(r);
        ot_cli_fix(cli, "outtray check%s --topic %.*s", ot_cli_same(cli),
                   (int)e->topic.n, e->topic.p);
        break;
    case OT_HELD_BLOCKED:
        rc = explain_blocked(r);
        break;
    case OT_HELD_SCHEDULED:
        say(r, "scheduled", "it is not to be delivered before %s",
            ot_time_text(e->deliver_us, text));
        break;
    case OT_HELD_DEAD:
        say(r, "dead", "it was given up on%s",
            r->info->held.holds_key ? "; later events of its key wait for it"
                                    : "");
        explain_error(r);
        ot_cli_fix(cli, "outtray redrive%s %s, or outtray skip%s %s",
                   ot_cli_same(cli), id, ot_cli_same(cli), id);
        return 0;
    case OT_HELD_SKIPPED:
        say(r, "skipped", "it was skipped on request and is not sent");
        return 0;
    }
    if (rc == 0)
        (void)ot_stalls_subscription(&r->stalls, &r->status);
    return rc;
}

static int explain(struct reasons *r)
{
    char text[32];
    switch (r->info->fate) {
    case OT_FATE_PENDING:
        explain_pending(r);
        break;
    case OT_FATE_HELD:
        return explain_held(r);
    case OT_FATE_DELIVERED:
        if (explain_filter(r))
            break;
        say(r, "passed",
            "the cursor of subscription %s passed it (position %s): it was "
            "delivered or skipped",
            r->status.subscription, ot_number_text(r->status.position, text));
        break;
    }
    if (r->status.commands > 0)
        say(r, "commands", "%s commands wait for the relay",
            ot_number_text(r->status.commands, text));
    return 0;
}

static void show(struct reasons *r)
{
    struct ot_cli *cli = r->cli;
    if (cli->json) {
        ot_out_json(cli, json_pack("{s:o,s:O,s:s?}", "event",
                                   ot_event_json(r->info, false), "reasons",
                                   r->stalls.list, "try",
                                   cli->fix[0] != '\0' ? cli->fix : NULL));
        return;
    }
    ot_event_print(cli, r->info, false);
    ot_stalls_print(&r->stalls);
    if (cli->fix[0] != '\0')
        ot_next(cli, "%s", cli->fix);
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct ot_event_copy copy = {0};
    struct reasons r = {.cli = cli, .info = &copy.info};
    int rc = ot_cli_args(cli, argc, 1, 1);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = ot_stalls_init(&r.stalls, cli);
    if (rc == 0)
        rc = ot_event_find(cli, argv[0], false, &copy);
    if (rc == 0)
        rc = cli->admin->ops->status(
            cli->admin, ot_conf_text(cli->conf, "relay.subscription"),
            keep_status, &r, &cli->err);
    if (rc == 0)
        rc = explain(&r);
    if (rc == 0 && copy.info.fate != OT_FATE_DELIVERED)
        rc = ot_stalls_database(&r.stalls);
    else if (rc == OUTTRAY_E_STORE_BUSY)
        ot_stalls_blame(&r.stalls);
    if (rc == 0)
        show(&r);
    ot_stalls_free(&r.stalls);
    ot_event_copy_free(&copy);
    return rc;
}

static const int codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_NOT_FOUND,
    0,
};

const struct ot_cli_verb ot_cli_verb_explain = {
    .name = "explain",
    .summary = "why an event is not delivered yet, and what would help",
    .usage = "ID|SEQ",
    .purpose =
        "Is it committed? Pending, held or delivered? Behind which gap, pause, "
        "missing relay or event of its key; how often it failed, with what "
        "error, and when it is tried next; what the relay says that it waits "
        "for, and who holds a lock in the database. With --json: one object "
        "with event (as from show), the array reasons of {code, text}, and "
        "try, "
        "the command that would help, or null.",
    .example = "outtray explain 019abc12-3456-7000-8000-000000000001",
    .codes = codes,
    .run = run,
};
