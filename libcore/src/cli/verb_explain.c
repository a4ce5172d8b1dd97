#include "cli/event_out.h"

#include <stdio.h>

/* Why an event is where it is. */
struct reasons {
    struct ot_cli *cli;
    const struct ot_event_info *info;
    struct ot_status status; /* of the subscription */
    bool known;              /* a relay has owned it */
    json_t *list;
    size_t n;
};

static void say(struct reasons *r, const char *code, const char *fmt, ...)
    OUTTRAY_PRINTF(3, 4);
static void say(struct reasons *r, const char *code, const char *fmt, ...)
{
    char text[700];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->n++;
    if (r->list != NULL) {
        json_array_append_new(r->list,
                              json_pack("{s:s,s:o}", "code", code, "text",
                                        ot_json_text(ot_slice_of(text))));
        return;
    }
    ot_out(r->cli, "  - ");
    ot_out_safe(r->cli, ot_slice_of(text));
    ot_out(r->cli, "\n");
}

static int keep_status(void *ctx, const struct ot_status *status)
{
    struct reasons *r = ctx;
    r->status = *status;
    r->known = status->fence > 0 || status->written_age_us >= 0;
    return 0;
}

/* What helps the event itself comes first. */
static void suggest_relay(struct ot_cli *cli)
{
    if (cli->fix[0] == '\0')
        ot_cli_fix(cli, "outtray relay%s%s", ot_cli_same(cli),
                   ot_cli_sink_hint(cli));
}

/* What keeps the whole subscription from moving. False: nothing. */
static bool explain_subscription(struct reasons *r)
{
    const struct ot_status *s = &r->status;
    struct ot_cli *cli = r->cli;
    char text[32];
    if (!r->known) {
        say(r, "no_subscription", "no relay has run for subscription %s yet",
            ot_conf_text(cli->conf, "relay.subscription"));
        suggest_relay(cli);
        return true;
    }
    if (s->paused) {
        say(r, "paused", "subscription %s is paused", s->subscription);
        if (cli->fix[0] == '\0')
            ot_cli_fix(cli, "outtray resume%s", ot_cli_same(cli));
        return true;
    }
    if (s->owner[0] == '\0') {
        say(r, "no_relay", "no relay owns subscription %s", s->subscription);
        suggest_relay(cli);
        return true;
    }
    if (s->lease_left_us <= 0) {
        say(r, "lease_expired",
            "the relay that owned subscription %s is gone: its lease expired "
            "%s ago",
            s->subscription, ot_duration_text(-s->lease_left_us, text));
        suggest_relay(cli);
        return true;
    }
    return false;
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
    if (explain_subscription(r))
        return;
    if (!r->info->in_gap && seq > s->position)
        say(r, "behind_position",
            "the written cursor is at %lld, %s seqs before it",
            (long long)s->position, ot_number_text(seq - s->position, text));
    if (s->written_age_us > 10 * 1000000) {
        say(r, "stalled",
            "the relay has not moved the cursor for %s: its log says why",
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
        say(r, "attempts", "it failed %u times by itself", h->attempts);
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
    }
    if (rc == 0)
        (void)explain_subscription(r);
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
        say(r, "passed",
            "the cursor of subscription %s passed it (position %s): it was "
            "delivered, skipped, or excluded by the subscription's filter",
            r->status.subscription, ot_number_text(r->status.position, text));
        break;
    }
    if (r->status.commands > 0)
        say(r, "commands", "%s commands wait for the relay",
            ot_number_text(r->status.commands, text));
    return 0;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct ot_event_copy copy = {0};
    struct reasons r = {.cli = cli, .info = &copy.info};
    int rc = ot_cli_args(cli, argc, 1, 1);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = ot_event_find(cli, argv[0], false, &copy);
    if (rc == 0)
        rc = cli->admin->ops->status(
            cli->admin, ot_conf_text(cli->conf, "relay.subscription"),
            keep_status, &r, &cli->err);
    if (rc == 0) {
        if (cli->json)
            r.list = json_array();
        else
            ot_event_print(cli, &copy.info, false);
        rc = explain(&r);
    }
    if (rc == 0 && cli->json)
        ot_out_json(cli, json_pack("{s:o,s:O,s:s?}", "event",
                                   ot_event_json(&copy.info, false), "reasons",
                                   r.list, "try",
                                   cli->fix[0] != '\0' ? cli->fix : NULL));
    else if (rc == 0 && cli->fix[0] != '\0')
        ot_next(cli, "%s", cli->fix);
    json_decref(r.list);
    ot_event_copy_free(&copy);
    return rc;
}

static const int codes[] = {
    OUTTRAY_E_MISUSE,
    OUTTRAY_E_CONF,
    OUTTRAY_E_STORE_UNAVAILABLE,
    OUTTRAY_E_STORE_AUTH,
    OUTTRAY_E_STORE_NO_SCHEMA,
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
        "error, and when it is tried next. With --json: one object with an "
        "array reasons of {code, text}.",
    .example = "outtray explain 019abc12-3456-7000-8000-000000000001",
    .codes = codes,
    .run = run,
};
