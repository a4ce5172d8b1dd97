#include "cli/arrivals.h"
#include "cli/operate.h"
#include "cli/signals.h"
#include "sink/sink.h"
#include "store/filter.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    TOPICS_MOST = 1000,
    LOOK_UPS_MOST = 1000,  /* of ids that the log did not have */
    REPAIRS_MOST = 100000, /* of one run */
    SKEW_US = 60000000,    /* between the clocks of database and broker */
};

/* One id of the answer. */
struct problem {
    const char *kind;
    struct ot_uuid id;
    int64_t seq;
};

struct run {
    struct ot_cli *cli;
    struct ot_reconcile *r;
    struct ot_filter filter; /* of the subscription */
    int64_t since_us, until_us;
    int64_t from_seq, to_seq;
    int64_t oldest_us; /* of the log; INT64_MAX: it is empty */
    int64_t first_us;  /* of what is expected */
    bool from_begin;   /* read the topics from their beginning, … */
    bool cut;          /* … which was not done */
    int64_t last_seq;  /* of the log, when it was read */
    int64_t rows;
    int64_t waiting; /* in the range, and not delivered yet */
    char *topics[TOPICS_MOST];
    size_t ntopics;
    struct ot_reconciled result;
    int64_t outside; /* arrived, older than the log */
    int64_t look_ups;
    struct problem *problems;
    size_t nproblems, most;
    int64_t *missing; /* seqs to ask for */
    size_t nmissing, missing_size;
    int64_t repaired;
    bool applied;
};

/* --- the log -------------------------------------------------------------- */

static bool topic_meant(const struct run *run, struct ot_slice topic)
{
    const char *name;

    if (!ot_filter_match(&run->filter, topic))
        return false;
    if (!ot_cli_has(run->cli, "topic"))
        return true;
    for (size_t i = 0; (name = ot_cli_get_nth(run->cli, "topic", i)) != NULL;
         i++)
        if (ot_slice_equal(topic, ot_slice_of(name)))
            return true;
    return false;
}

static bool in_range(const struct run *run, const struct ot_event *event)
{
    return event->seq >= run->from_seq && event->seq <= run->to_seq &&
           event->created_us >= run->since_us &&
           event->created_us < run->until_us && topic_meant(run, event->topic);
}

/* Where it went: each destination once. */
static int note_topic(struct run *run, struct ot_slice topic)
{
    struct ot_buffer text = {0};

    ot_sink_destination(run->cli->conf, topic, &text);
    ot_buffer_putc(&text, '\0');
    if (text.failed)
        return ot_fail_nomem(&run->cli->err);
    for (size_t i = 0; i < run->ntopics; i++)
        if (strcmp(run->topics[i], text.p) == 0) {
            ot_buffer_free(&text);
            return 0;
        }
    if (run->ntopics == TOPICS_MOST) {
        ot_buffer_free(&text);
        return ot_fail(&run->cli->err, OUTTRAY_E_CONF,
                       "the events went to more than %d topics: name some "
                       "with --topic",
                       TOPICS_MOST);
    }
    run->topics[run->ntopics++] = text.p;
    return 0;
}

static int each_event(void *ctx, const struct ot_event_info *info)
{
    struct run *run = ctx;
    const struct ot_event *event = &info->event;
    bool meant = in_range(run, event);
    bool expected = meant && info->fate == OT_FATE_DELIVERED;
    int rc = 0;

    if (ot_cli_signals_caught() != 0)
        return ot_fail(&run->cli->err, OUTTRAY_E_INTERRUPTED, "interrupted");
    run->last_seq = event->seq;
    if (event->created_us < run->oldest_us)
        run->oldest_us = event->created_us;
    if (expected && event->created_us < run->first_us)
        run->first_us = event->created_us;
    run->waiting += meant && !expected;
    if (++run->rows % 10000 == 0)
        ot_progress(run->cli, "log: %lld events", (long long)run->rows);
    if (expected)
        rc = note_topic(run, event->topic);
    if (rc == 0)
        rc = ot_reconcile_committed(
            run->r, event->id, event->seq,
            event->key.p != NULL ? ot_hash(event->key) | 1 : 0, expected,
            &run->cli->err);
    return rc;
}

static int read_log(struct run *run, int64_t after_seq)
{
    struct ot_event_query query = {
        .subscription = ot_conf_text(run->cli->conf, "relay.subscription"),
        .after_seq = after_seq,
        .held_state = -1,
    };
    int rc = run->cli->admin->ops->events(run->cli->admin, &query, each_event,
                                          run, &run->cli->err);

    ot_progress_end(run->cli);
    return rc;
}

/* --- what arrived --------------------------------------------------------- */

static int read_file(struct run *run, const char *sink)
{
    struct ot_url url;
    int rc = ot_url_parse(sink, &url, &run->cli->err);

    if (rc != 0)
        return rc;
    rc = ot_arrivals_lines(run->cli, url.path, run->r);
    ot_url_free(&url);
    return rc;
}

static int read_topics(struct run *run)
{
    int64_t since_us = run->first_us > SKEW_US && run->first_us != INT64_MAX
                           ? run->first_us - SKEW_US
                           : 0;
    int rc = 0;

    if (run->from_begin)
        since_us = 0;
    run->cut = since_us > 0;
    for (size_t i = 0; rc == 0 && i < run->ntopics; i++)
        rc = ot_arrivals_topic(run->cli, run->topics[i], since_us, run->r);
    return rc;
}

static int read_arrivals(struct run *run)
{
    struct ot_cli *cli = run->cli;
    const char *path = ot_cli_get(cli, "arrived");
    const char *sink = ot_conf_is_set(cli->conf, "sink.url")
                           ? ot_conf_secret(cli->conf, "sink.url")
                           : "";

    if (path != NULL)
        return ot_arrivals_lines(cli, path, run->r);
    if (strncmp(sink, "file:", 5) == 0)
        return read_file(run, sink);
    if (strncmp(sink, "kafka:", 6) == 0)
        return read_topics(run);
    ot_cli_fix(cli, "--sink kafka://HOST:PORT, --arrived FILE, or --arrived - "
                    "with the ids on standard input");
    return ot_fail(&cli->err, OUTTRAY_E_CONF,
                   "it is not said where the events arrived");
}

/* --- the answer ----------------------------------------------------------- */

static int found_one(void *ctx, const struct ot_event_info *info)
{
    (void)info;
    *(bool *)ctx = true;
    return 0;
}

/* It may have been committed after the log was read, or pruned since. */
static int explain_unknown(struct run *run, struct ot_uuid id, bool *explained)
{
    struct ot_cli *cli = run->cli;
    int64_t at_us = ot_uuid_time_us(id);
    char text[37];
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .id = text,
        .held_state = -1,
    };

    *explained = at_us >= 0 && at_us < run->oldest_us;
    run->outside += *explained;
    if (*explained || run->look_ups++ >= LOOK_UPS_MOST)
        return 0;
    ot_uuid_text(id, text);
    return cli->admin->ops->events(cli->admin, &query, found_one, explained,
                                   &cli->err);
}

static int each_problem(void *ctx, const char *kind, struct ot_uuid id,
                        int64_t seq)
{
    struct run *run = ctx;
    bool explained = false;
    int rc = 0;

    if (strcmp(kind, "unknown") == 0)
        rc = explain_unknown(run, id, &explained);
    if (rc != 0)
        return rc;
    if (explained) {
        run->result.unknown--;
        return 0;
    }
    if (strcmp(kind, "missing") == 0 && run->nmissing < run->missing_size)
        run->missing[run->nmissing++] = seq;
    if (run->nproblems < run->most)
        run->problems[run->nproblems++] = (struct problem){kind, id, seq};
    return 0;
}

static int64_t broken(const struct run *run)
{
    return run->result.missing + run->result.unknown + run->result.out_of_order;
}

static double error_rate(const struct run *run)
{
    return run->result.committed > 0
               ? (double)broken(run) / (double)run->result.committed
               : broken(run) > 0;
}

static void tell_json(struct run *run)
{
    const struct ot_reconciled *x = &run->result;
    json_t *list = json_array();
    char text[37];

    for (size_t i = 0; i < run->nproblems; i++) {
        struct problem *p = &run->problems[i];

        ot_uuid_text(p->id, text);
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:o}", "kind", p->kind, "id", text, "seq",
                            p->seq != 0 ? json_integer(p->seq) : json_null()));
    }
    ot_out_json(
        run->cli,
        json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I,s:o}", "expected",
                  (json_int_t)x->committed, "arrived", (json_int_t)x->arrived,
                  "missing", (json_int_t)x->missing, "duplicates",
                  (json_int_t)x->duplicates, "unknown", (json_int_t)x->unknown,
                  "out_of_order", (json_int_t)x->out_of_order,
                  "not_delivered_yet", (json_int_t)run->waiting,
                  "older_than_log", (json_int_t)run->outside, "error_rate",
                  error_rate(run), "repair_asked", (json_int_t)run->repaired,
                  "problems", list));
}

static void line(struct ot_cli *cli, const char *name, int64_t n,
                 const char *meaning)
{
    char text[32];

    ot_out(cli, "%-18s %12s   %s\n", name, ot_number_text(n, text), meaning);
}

static void tell(struct run *run)
{
    const struct ot_reconciled *x = &run->result;
    struct ot_cli *cli = run->cli;
    char text[37];

    if (cli->json) {
        tell_json(run);
        return;
    }
    line(cli, "expected", x->committed, "delivered, says the cursor");
    line(cli, "arrived", x->arrived, "records");
    line(cli, "missing", x->missing, "expected, never arrived");
    line(cli, "unknown", x->unknown, "arrived, never committed");
    line(cli, "out of order", x->out_of_order, "first arrivals of one key");
    line(cli, "duplicates", x->duplicates, "same id, told by the id");
    if (run->waiting > 0)
        line(cli, "not yet delivered", run->waiting, "pending or held");
    if (run->outside > 0)
        line(cli, "older than the log", run->outside, "arrived, pruned since");
    line(cli, "wrong", broken(run), "missing, unknown or out of order");
    for (size_t i = 0; i < run->nproblems; i++) {
        struct problem *p = &run->problems[i];

        ot_uuid_text(p->id, text);
        ot_out(cli, "%s %s", p->kind, text);
        if (p->seq != 0)
            ot_out(cli, " (seq %lld)", (long long)p->seq);
        ot_out(cli, "\n");
    }
    if (run->repaired > 0)
        ot_say(cli, "%lld %s asked for again; %s", (long long)run->repaired,
               ot_events_word(run->repaired),
               run->applied ? "the next relay sends them"
                            : "the relay that runs sends them");
    else if (x->missing > 0)
        ot_next(cli, "outtray reconcile%s --repair", ot_cli_same(cli));
}

static int by_seq(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* They go in the order in which they are asked for. */
static int repair(struct run *run)
{
    int rc;

    if (!ot_cli_has(run->cli, "repair") || run->nmissing == 0)
        return 0;
    qsort(run->missing, run->nmissing, sizeof(*run->missing), by_seq);
    rc = ot_operate_ask(run->cli, OT_REPLAY, run->missing, run->nmissing,
                        &run->applied);
    if (rc == 0)
        run->repaired = (int64_t)run->nmissing;
    return rc;
}

/* --- the verb ------------------------------------------------------------- */

static int get_time(struct ot_cli *cli, const char *name, int64_t fallback,
                    int64_t *out)
{
    const char *text = ot_cli_get(cli, name);
    int64_t ago_us;

    *out = fallback;
    if (text == NULL)
        return 0;
    if (strchr(text, '-') != NULL || strchr(text, ':') != NULL) {
        if (ot_time_parse(text, ot_wall_us(), out, &cli->err) == 0)
            return 0;
        return ot_cli_misuse(cli,
                             "--%s %s: neither a time (RFC 3339) nor how "
                             "long ago (90s, 5m, 24h, 7d)",
                             name, text);
    }
    if (ot_cli_get_us(cli, name, 0, &ago_us) != 0)
        return cli->err.code;
    *out = ot_wall_us() - ago_us;
    return 0;
}

static int prepare(struct run *run)
{
    struct ot_cli *cli = run->cli;
    int64_t limit = 0;
    int rc = get_time(cli, "since", INT64_MIN, &run->since_us);

    if (rc == 0)
        rc = get_time(cli, "until", INT64_MAX, &run->until_us);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "from", 1, 1, INT64_MAX, &run->from_seq);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "to", INT64_MAX, 1, INT64_MAX, &run->to_seq);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "limit", 20, 0, 1000000, &limit);
    if (rc == 0)
        rc = ot_filter_parse(
            &run->filter, ot_conf_text(cli->conf, "relay.topics"), &cli->err);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    run->most = (size_t)limit;
    run->missing_size = ot_cli_has(cli, "repair") ? REPAIRS_MOST : 0;
    run->problems = ot_alloc_zero(run->most + 1, sizeof(run->problems[0]));
    run->missing = ot_alloc_zero(run->missing_size + 1, sizeof(int64_t));
    if (run->problems == NULL || run->missing == NULL)
        return ot_fail_nomem(&cli->err);
    return 0;
}

/* The log first: what it calls delivered by then must be among what arrived.
 * What was committed meanwhile is read behind it, so that it is not unknown. */
static int compare_once(struct run *run)
{
    int64_t waiting, to_seq = run->to_seq;
    int rc = ot_reconcile_new(&run->r, &run->cli->err);

    run->oldest_us = run->first_us = INT64_MAX;
    if (rc == 0)
        rc = read_log(run, 0);
    waiting = run->waiting;
    if (rc == 0)
        rc = read_arrivals(run);
    if (rc == 0) {
        run->to_seq = 0; /* nothing more is expected */
        rc = read_log(run, run->last_seq);
        run->to_seq = to_seq;
    }
    run->waiting = waiting;
    if (rc == 0)
        rc = ot_reconcile_judge(run->r, &run->result, each_problem, run,
                                &run->cli->err);
    return rc;
}

static void forget(struct run *run)
{
    ot_reconcile_free(run->r);
    run->r = NULL;
    run->result = (struct ot_reconciled){0};
    run->rows = run->last_seq = run->waiting = 0;
    run->outside = run->look_ups = 0;
    run->nproblems = run->nmissing = 0;
}

/* A record can be older than its event: where the clock of the database is far
 * ahead, the sink gives it the time of its sending. So nothing is called missing
 * before the whole topic was read. */
static int compare(struct run *run)
{
    int rc = compare_once(run);

    if (rc != 0 || run->result.missing == 0 || !run->cut)
        return rc;
    forget(run);
    run->from_begin = true;
    return compare_once(run);
}

static int run_verb(struct ot_cli *cli, int argc, char **argv)
{
    struct run *run = ot_alloc_zero(1, sizeof(*run));
    int rc;

    (void)argv;
    if (run == NULL)
        return ot_fail_nomem(&cli->err);
    run->cli = cli;
    rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = prepare(run);
    if (rc == 0) {
        ot_cli_signals_careful(NULL, NULL);
        rc = compare(run);
    }
    if (rc == 0)
        rc = repair(run);
    if (rc == 0) {
        tell(run);
        rc = broken(run) > 0 ? outtray_error_exit(OUTTRAY_E_BROKEN_PROMISE) : 0;
    }
    ot_reconcile_free(run->r);
    ot_filter_free(&run->filter);
    for (size_t i = 0; i < run->ntopics; i++)
        ot_free(run->topics[i]);
    ot_free(run->problems);
    ot_free(run->missing);
    ot_free(run);
    return rc;
}

static const struct ot_cli_option options[] = {
    {"arrived", 'a', "FILE",
     "what arrived: a line for each, an id or an object with \"id\"; - is "
     "standard input"},
    {"topic", 't', "TOPIC", "only events of this topic; may be repeated"},
    {"since", 0, "TIME",
     "only events since then: a time, or how long ago (the whole log)"},
    {"until", 0, "TIME", "only events before then"},
    {"from", 0, "SEQ", "only events from this seq on"},
    {"to", 0, "SEQ", "only events up to this seq"},
    {"limit", 0, "N", "list up to N of the missing, unknown, and so on (20)"},
    {"repair", 0, NULL, "let the relay send the missing again"},
    {0},
};
static const int codes[] = {
    OUTTRAY_E_BROKEN_PROMISE,
    OUTTRAY_E_MISUSE,
    OUTTRAY_E_CONF,
    OUTTRAY_E_STORE_UNAVAILABLE,
    OUTTRAY_E_STORE_NO_SCHEMA,
    OUTTRAY_E_SINK_UNAVAILABLE,
    OUTTRAY_E_SINK_MISCONFIGURED,
    OUTTRAY_E_IO,
    OUTTRAY_E_INTERRUPTED,
    0,
};

const struct ot_cli_verb ot_cli_verb_reconcile = {
    .name = "reconcile",
    .summary = "compare what was committed with what arrived",
    .purpose =
        "Reads the events that the log still has and that the subscription "
        "calls delivered, and what arrived: the topics of a Kafka (--sink), "
        "from about the time of the oldest of these events, and from their "
        "beginning before anything is called missing; the file of a "
        "file: sink; or ids, from a file or a pipe (--arrived). Counts what is "
        "missing, arrived twice, was never committed, or arrived behind a "
        "later event of its key. A skipped event counts as missing.\n\n"
        "Exit status 1 if something is missing, unknown or out of order; "
        "duplicates are part of the promise (at least once). It reads only, "
        "relays may run meanwhile, and memory does not grow with the number "
        "of events: both sides go through temporary files (TMPDIR).\n\n"
        "--repair asks the relay to send the missing again, at most 100,000 at "
        "a time, by a command that its owner carries out (or, with no relay, "
        "this program). They come behind later events of their key, in their "
        "own "
        "order. With --json: one object with expected, arrived, missing, "
        "duplicates, unknown, out_of_order, not_delivered_yet, "
        "older_than_log, error_rate, repair_asked and the array problems of "
        "{kind, id, seq}.",
    .options = options,
    .example = "outtray reconcile --sink kafka://localhost:9092 --since 24h\n"
               "outtray reconcile --arrived ids.txt --repair",
    .codes = codes,
    .run = run_verb,
};
