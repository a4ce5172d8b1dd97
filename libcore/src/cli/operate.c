#include "cli/operate.h"

#include <stdio.h>

#include "cli/event_out.h"
#include "cli/signals.h"
#include "relay/apply.h"

enum { APPLY_MS = 30000, CHUNK = 1000 };

/* --- which events -------------------------------------------------------- */

struct selection {
    struct ot_cli *cli;
    int64_t *seqs;
    size_t n;
    size_t size;
};

static int add_seq(struct selection *selection, int64_t seq)
{
    for (size_t i = 0; i < selection->n && selection->n < 1000; i++) {
        if (selection->seqs[i] == seq)
            return 0; /* typed twice */
    }
    if (selection->n == selection->size) {
        size_t size = selection->size > 0 ? selection->size * 2 : 64;
        int64_t *seqs = ot_resize(selection->seqs, size * sizeof *seqs);
        if (seqs == NULL)
            return ot_fail_nomem(&selection->cli->err);
        selection->seqs = seqs;
        selection->size = size;
    }
    selection->seqs[selection->n++] = seq;
    return 0;
}

static int add_info(void *ctx, const struct ot_event_info *info)
{
    return add_seq(ctx, info->event.seq);
}

static int select_dead(struct ot_cli *cli, struct selection *selection)
{
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .key = ot_cli_get(cli, "key"),
        .topic = ot_cli_get(cli, "topic"),
        .held_only = true,
        .held_state = OT_HELD_DEAD,
    };
    return cli->admin->ops->events(cli->admin, &query, add_info, selection,
                                   &cli->err);
}

static int select_typed(struct ot_cli *cli, enum ot_verb verb, const char *text,
                        struct selection *selection)
{
    struct ot_event_copy copy = {0};
    int rc = ot_event_find(cli, text, false, &copy);
    if (rc != 0)
        return rc;
    bool skipped = copy.info.fate == OT_FATE_HELD &&
                   copy.info.held.state == OT_HELD_SKIPPED;
    if (copy.info.fate != OT_FATE_HELD || skipped) {
        ot_cli_fix(cli, "outtray explain%s %s", ot_cli_same(cli), text);
        rc = ot_fail(&cli->err, OUTTRAY_E_NOT_FOUND,
                     "%s: it is %s, only a held event can be %s", text,
                     skipped ? ot_held_state_name(OT_HELD_SKIPPED)
                             : ot_fate_name(&copy.info),
                     verb == OT_REDRIVE ? "sent again" : "skipped");
    } else {
        rc = add_seq(selection, copy.info.event.seq);
    }
    ot_event_copy_free(&copy);
    return rc;
}

static int select_events(struct ot_cli *cli, enum ot_verb verb, int argc,
                         char **argv, bool bulk, struct selection *selection)
{
    int rc = 0;
    if (bulk)
        return select_dead(cli, selection);
    for (int i = 0; rc == 0 && i < argc; i++)
        rc = select_typed(cli, verb, argv[i], selection);
    return rc;
}

/* --- asking -------------------------------------------------------------- */

static bool answered_yes(void)
{
    char line[16] = "";
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    return line[0] == 'y' || line[0] == 'Y';
}

/* Many events at once: somebody has to say so. */
static int confirm(struct ot_cli *cli, enum ot_verb verb, size_t n)
{
    char text[32];
    ot_number_text((int64_t)n, text);
    if (ot_cli_has(cli, "yes"))
        return 0;
    if (cli->term.in && cli->term.err && !cli->json) {
        fflush(stdout);
        fprintf(stderr, "%s %s dead %s? [y/N] ", ot_verb_name(verb), text,
                ot_events_word((int64_t)n));
        if (answered_yes())
            return 0;
        return ot_fail(&cli->err, OUTTRAY_E_INTERRUPTED, "nothing was changed");
    }
    ot_cli_fix(cli, "the same with --yes, or with --dry-run to see the count");
    return ot_fail(&cli->err, OUTTRAY_E_MISUSE,
                   "%s dead %s meant: confirm it with --yes", text,
                   n == 1 ? "event is" : "events are");
}

static int send(struct ot_cli *cli, enum ot_verb verb, const int64_t *seqs,
                size_t n)
{
    const char *subscription = ot_conf_text(cli->conf, "relay.subscription");
    size_t at = 0;
    int rc;
    ot_cli_signals_careful(NULL, NULL);
    do {
        size_t some = n - at < CHUNK ? n - at : CHUNK;
        rc = cli->admin->ops->command(cli->admin, subscription, verb,
                                      seqs != NULL ? seqs + at : NULL, some,
                                      &cli->err);
        at += some;
        if (n > CHUNK)
            ot_progress(cli, "%zu of %zu", at, n);
    } while (rc == 0 && at < n);
    if (rc != 0 && at > CHUNK)
        rc = ot_fail_context(&cli->err, rc, "after the first %zu of %zu",
                             (at - 1) / CHUNK * CHUNK, n);
    return rc;
}

/* Commands are rows that the owner carries out; with no owner they are carried
 * out here. *applied: done already. */
static int apply(struct ot_cli *cli, bool *applied)
{
    int rc = ot_relay_apply(cli->conf, APPLY_MS, &cli->patience, &cli->err);
    *applied = rc == 0;
    if (rc == OUTTRAY_E_LEASE_HELD) {
        ot_error_clear(&cli->err);
        rc = 0;
    }
    return rc;
}

int ot_operate_ask(struct ot_cli *cli, enum ot_verb verb, const int64_t *seqs,
                   size_t n, bool *applied)
{
    int rc = send(cli, verb, seqs, n);

    return rc == 0 ? apply(cli, applied) : rc;
}

/* --- verbs --------------------------------------------------------------- */

static void report(struct ot_cli *cli, enum ot_verb verb, int64_t n, bool dry,
                   bool applied)
{
    const char *subscription = ot_conf_text(cli->conf, "relay.subscription");
    const char *name = ot_verb_name(verb);
    bool now = applied || n == 0;
    char text[32];
    if (cli->json) {
        json_t *events = n >= 0 ? json_integer((json_int_t)n) : NULL;
        ot_out_json(cli, json_pack("{s:s,s:s,s:o*,s:b,s:b}", "verb", name,
                                   "subscription", subscription, "events",
                                   events, "dry_run", dry, "applied", applied));
        return;
    }
    if (n >= 0)
        ot_out(cli, "%s %s %s%s\n", ot_number_text(n, text), ot_events_word(n),
               dry   ? "would be "
               : now ? ""
                     : "to be ",
               verb == OT_SKIP ? "skipped" : "redriven");
    else
        ot_out(cli, "subscription %s %s%s\n", subscription,
               applied ? "" : "to be ",
               verb == OT_PAUSE ? "paused" : "resumed");
    if (!dry && !now)
        ot_say(cli, "the relay that runs carries it out");
}

int ot_operate_events(struct ot_cli *cli, enum ot_verb verb, int argc,
                      char **argv)
{
    struct selection selection = {.cli = cli};
    bool bulk = ot_cli_has(cli, "all") || ot_cli_has(cli, "key") ||
                ot_cli_has(cli, "topic");
    bool dry = ot_cli_has(cli, "dry-run");
    bool applied = false;
    int rc = 0;
    if (bulk == (argc > 0))
        rc = ot_cli_misuse(cli, "say which: event ids, or one of --all, --key "
                                "and --topic");
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = select_events(cli, verb, argc, argv, bulk, &selection);
    if (rc == 0 && bulk && !dry && selection.n > 0)
        rc = confirm(cli, verb, selection.n);
    if (rc == 0 && !dry && selection.n > 0)
        rc = send(cli, verb, selection.seqs, selection.n);
    if (rc == 0 && !dry && selection.n > 0)
        rc = apply(cli, &applied);
    if (rc == 0) {
        report(cli, verb, (int64_t)selection.n, dry, applied);
        if (!dry && applied && selection.n > 0)
            ot_next(cli, "outtray relay%s%s", ot_cli_same(cli),
                    ot_cli_sink_hint(cli));
        else if (!dry && selection.n > 0)
            ot_next(cli, "outtray status%s", ot_cli_same(cli));
    }
    ot_free(selection.seqs);
    return rc;
}

/* A row without a fence and a write is only how status shows one that nobody
 * has made yet. */
static int count_status(void *ctx, const struct ot_status *status)
{
    if (status->fence > 0 || status->written_age_us >= 0)
        ++*(size_t *)ctx;
    return 0;
}

int ot_operate_subscription(struct ot_cli *cli, enum ot_verb verb)
{
    const char *name = ot_conf_text(cli->conf, "relay.subscription");
    size_t found = 0;
    bool applied = false;
    int rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = cli->admin->ops->status(cli->admin, name, count_status, &found,
                                     &cli->err);
    if (rc == OUTTRAY_E_NOT_FOUND)
        rc = 0;
    /* The lease would make it: a mistyped name must not. */
    if (rc == 0 && found == 0) {
        ot_cli_fix(cli, "outtray status");
        rc = ot_fail(&cli->err, OUTTRAY_E_NOT_FOUND,
                     "there is no subscription %s yet: its first relay makes "
                     "it",
                     name);
    }
    if (rc == 0)
        rc = send(cli, verb, NULL, 0);
    if (rc == 0)
        rc = apply(cli, &applied);
    if (rc == 0)
        report(cli, verb, -1, false, applied);
    return rc;
}

const struct ot_cli_option ot_operate_options[] = {
    {"all", 0, NULL, "every dead event of the subscription"},
    {"key", 'k', "KEY", "the dead events of this key"},
    {"topic", 't', "TOPIC", "the dead events of this topic"},
    {"dry-run", 'n', NULL, "only count"},
    {"yes", 'y', NULL, "do not ask"},
    {0},
};

const int ot_operate_codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_NOT_FOUND,
    OUTTRAY_E_INTERRUPTED,
    0,
};
