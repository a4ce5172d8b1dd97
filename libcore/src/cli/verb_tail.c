#include "cli/event_out.h"
#include "cli/signals.h"

#include <poll.h>
#include <stdlib.h>

/* Following: seqs become visible out of order, so each look begins at the
 * first hole that is not yet old, and leaves out what was shown. */
enum { RECENT = 20000, PATIENCE_US = 10 * 1000000, PAUSE_MS = 500 };

struct seen {
    int64_t seq;
    int64_t at_us;
};

struct tail {
    struct ot_cli *cli;
    bool payload;
    int64_t floor;     /* nothing at or below it is looked at again */
    struct seen *seen; /* above floor, by seq */
    size_t nseen;
};

/* Where seq is, or would be. */
static size_t place(const struct tail *tail, int64_t seq)
{
    size_t low = 0, high = tail->nseen;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (tail->seen[mid].seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* False: it was shown already. */
static bool note(struct tail *tail, int64_t seq)
{
    size_t at = place(tail, seq);
    if (seq <= tail->floor || (at < tail->nseen && tail->seen[at].seq == seq))
        return false;
    if (tail->nseen == RECENT) {
        /* A long listing: what is behind is behind. */
        size_t half = RECENT / 2;
        tail->floor = tail->seen[half - 1].seq;
        memmove(tail->seen, tail->seen + half,
                (RECENT - half) * sizeof *tail->seen);
        tail->nseen -= half;
        at = place(tail, seq);
    }
    memmove(tail->seen + at + 1, tail->seen + at,
            (tail->nseen - at) * sizeof *tail->seen);
    tail->seen[at] = (struct seen){seq, ot_now_us()};
    tail->nseen++;
    return true;
}

/* Up to the first hole that somebody may still fill. */
static void raise_floor(struct tail *tail)
{
    int64_t old = ot_now_us() - PATIENCE_US;
    size_t n = 0;
    while (n < tail->nseen &&
           (tail->seen[n].seq == tail->floor + 1 || tail->seen[n].at_us < old))
        tail->floor = tail->seen[n++].seq;
    memmove(tail->seen, tail->seen + n, (tail->nseen - n) * sizeof *tail->seen);
    tail->nseen -= n;
}

static int each(void *ctx, const struct ot_event_info *info)
{
    struct tail *tail = ctx;
    if (!note(tail, info->event.seq))
        return 0;
    if (tail->cli->json)
        ot_out_json(tail->cli, ot_event_json(info, tail->payload));
    else
        ot_event_line(tail->cli, info, tail->payload);
    return ot_cli_out_ok(tail->cli) && ot_cli_signals_caught() == 0 ? 0 : 1;
}

static int follow(struct tail *tail, struct ot_event_query *query)
{
    struct ot_cli *cli = tail->cli;
    int rc = 0;
    /* What was shown first begins the part that is looked at again. */
    if (tail->nseen > 0)
        tail->floor = tail->seen[0].seq - 1;
    while (rc >= 0 && ot_cli_signals_caught() == 0) {
        struct pollfd closed = {.fd = 1};
        rc = ot_cli_out_end(cli);
        if (rc != 0 || !ot_cli_out_ok(cli))
            break;
        /* Nobody reads any more: end, also with nothing to say. */
        if (poll(&closed, 1, PAUSE_MS) > 0)
            break;
        raise_floor(tail);
        query->after_seq = tail->floor;
        query->limit = 0;
        rc = cli->admin->ops->events(cli->admin, query, each, tail, &cli->err);
    }
    return rc;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct tail tail = {.cli = cli, .payload = ot_cli_has(cli, "payload")};
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .key = ot_cli_get(cli, "key"),
        .topic = ot_cli_get(cli, "topic"),
        .held_state = -1,
        .with_payload = tail.payload,
    };
    int64_t n;
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "lines", 10, 1, 10000, &n);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    tail.seen = ot_alloc_zero(RECENT + 1, sizeof *tail.seen);
    if (tail.seen == NULL)
        return ot_fail_nomem(&cli->err);
    query.after_seq = -n;
    tail.floor = INT64_MIN;
    if (ot_cli_has(cli, "follow"))
        ot_cli_signals_careful(NULL, NULL);
    rc = cli->admin->ops->events(cli->admin, &query, each, &tail, &cli->err);
    if (rc >= 0 && ot_cli_has(cli, "follow"))
        rc = follow(&tail, &query);
    ot_free(tail.seen);
    return rc < 0 ? rc : 0;
}

static const struct ot_cli_option options[] = {
    {"lines", 'n', "N", "the last N (10)"},
    {"follow", 'f', NULL, "wait for more, until Ctrl-C"},
    {"topic", 't', "TOPIC", "only events of this topic"},
    {"key", 'k', "KEY", "only events of this key"},
    {"payload", 'p', NULL, "the payload as well"},
    {0},
};

const struct ot_cli_verb ot_cli_verb_tail = {
    .name = "tail",
    .summary = "the newest events of the log, and what is added",
    .purpose = "Reads the log, not the broker: it changes nothing and needs no "
               "relay. With --json: one object a line, as from show.",
    .options = options,
    .example = "outtray tail -f --topic orders.created --payload",
    .run = run,
};
