/* turn_sink.c - a broker that answers some time later, and whose nth event
 * fails. */
#include "turns.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROOM = 64 };
static const int64_t ANSWER_US = 3000;

struct pending {
    struct ot_completion c;
    int64_t due_us;
};

struct broker {
    struct ot_sink base;
    turn_try_fn *try;
    turn_answered_fn *answered;
    struct pending pending[ROOM];
    size_t n;
    bool failed; /* the engine has not heard of a failure yet */
};

static struct broker *broker_of(struct ot_sink *s)
{
    return (struct broker *)(void *)s;
}

static void owe(struct broker *b, uint64_t ticket, enum ot_outcome outcome,
                bool persisted)
{
    struct ot_completion c = {.ticket = ticket, .outcome = outcome};

    if (outcome == OT_UNAVAILABLE)
        c.scope = OT_THE_SINK;
    else if (outcome == OT_MISCONFIGURED)
        c.scope = OT_ITS_TOPIC;
    c.maybe_persisted = persisted;
    c.reason = outcome != OT_OK ? "the test says so" : NULL;
    b->failed |= outcome != OT_OK;
    b->pending[b->n++] = (struct pending){
        .c = c,
        .due_us = turn_clock() + (outcome == OT_OK ? ANSWER_US : 0),
    };
}

/* What becomes of this event; delivered: although the answer says otherwise. */
static enum ot_outcome fate(struct broker *b, const struct ot_event *e,
                            bool *delivered)
{
    struct turn_try *try = b->try(e);

    *delivered = false;
    for (int outcome = OT_OK; outcome <= OT_UNKNOWN; outcome++)
        if (turn_now((enum turn_kind)(TURN_SINK + outcome))) {
            *delivered = outcome == OT_OK;
            return outcome == OT_OK ? OT_UNKNOWN : (enum ot_outcome)outcome;
        }
    if (try != NULL && try->count > 0) {
        try->count--;
        return try->outcome;
    }
    *delivered = true;
    return OT_OK;
}

static size_t broker_submit(struct ot_sink *s, const struct ot_send *sends,
                            size_t n)
{
    struct broker *b = broker_of(s);
    bool delivered;
    size_t i;

    /* Nothing may overtake what has failed. */
    for (i = 0; i < n && b->n < ROOM && !b->failed; i++) {
        enum ot_outcome outcome;

        if (b->n > 0 && turn_now(TURN_ROOM))
            break;
        outcome = fate(b, sends[i].event, &delivered);
        b->answered(sends[i].event, outcome, delivered);
        owe(b, sends[i].ticket, outcome, outcome == OT_UNKNOWN);
    }
    return i;
}

static int64_t broker_service(struct ot_sink *s, int64_t now_us)
{
    const struct broker *b = broker_of(s);
    int64_t at_us = OT_NEVER;

    (void)now_us;
    for (size_t i = 0; i < b->n; i++)
        if (b->pending[i].due_us < at_us)
            at_us = b->pending[i].due_us;
    return at_us;
}

static size_t broker_fds(const struct ot_sink *s, struct ot_fd *out, size_t max)
{
    (void)s;
    (void)out;
    (void)max;
    return 0;
}

static size_t broker_completions(struct ot_sink *s, struct ot_completion *out,
                                 size_t max)
{
    struct broker *b = broker_of(s);
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < b->n; i++) {
        if (n < max && b->pending[i].due_us <= turn_clock())
            out[n++] = b->pending[i].c;
        else
            b->pending[kept++] = b->pending[i];
    }
    b->n = kept;
    b->failed = false;
    for (size_t i = 0; i < kept; i++)
        b->failed |= b->pending[i].c.outcome != OT_OK;
    return n;
}

static void broker_abandon(struct ot_sink *s)
{
    struct broker *b = broker_of(s);

    for (size_t i = 0; i < b->n; i++) {
        b->pending[i].due_us = 0;
        if (b->pending[i].c.outcome == OT_OK) {
            b->pending[i].c.outcome = OT_UNKNOWN;
            b->pending[i].c.maybe_persisted = true;
        }
    }
}

static void broker_health(const struct ot_sink *s, struct ot_health *out)
{
    *out = (struct ot_health){
        .state = OT_HEALTH_UP,
        .in_flight = ((const struct broker *)(const void *)s)->n,
    };
}

static void broker_close(struct ot_sink *s)
{
    free(s);
}

struct ot_sink *turn_sink(turn_try_fn *try, turn_answered_fn *answered)
{
    static const struct ot_sink_ops ops = {
        .abi = OT_SINK_ABI,
        .caps = OT_SINK_ORDERED,
        .scheme = "turn",
        .submit = broker_submit,
        .service = broker_service,
        .fds = broker_fds,
        .completions = broker_completions,
        .abandon = broker_abandon,
        .health = broker_health,
        .close = broker_close,
    };
    struct broker *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    b->base.ops = &ops;
    b->try = try;
    b->answered = answered;
    return &b->base;
}
