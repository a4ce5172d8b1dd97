/* plan.c - what a schedule is made of: which features, how often, and with
 * which settings. A schedule with few features reaches corners that one with
 * all of them never does. */
#include "sim.h"

static const uint8_t usual[OPS] = {
    [OP_RELAY] = 26, [OP_LINK] = 26, [OP_WRITER] = 22,  [OP_UNLOCK] = 4,
    [OP_SINK] = 14,  [OP_TIME] = 6,  [OP_FLUSH] = 2,    [OP_WIRE] = 2,
    [OP_PRUNE] = 1,  [OP_LATE] = 2,  [OP_OPERATOR] = 2, [OP_TROUBLE] = 2,
};

static void choose_ops(struct sim *s)
{
    struct plan *plan = &s->plan;
    unsigned weight[OPS], sum = 0, n = 0;
    for (int op = 0; op < OPS; op++) {
        weight[op] = usual[op] * 2u;
        if (op >= OP_WRITER)
            weight[op] =
                usual[op] * (unsigned[]){2, 1, 4, 2}[pick(&s->tape, 4)];
        sum += weight[op];
    }
    if (plan->ntrouble == 0) {
        sum -= weight[OP_TROUBLE];
        weight[OP_TROUBLE] = 0;
    }
    if (!plan->commands) {
        sum -= weight[OP_OPERATOR];
        weight[OP_OPERATOR] = 0;
    }
    unsigned done = 0;
    for (int op = 0; op < OPS; op++) {
        done += weight[op];
        while (n < 256 && n * sum < done * 256)
            plan->table[n++] = (uint8_t)op;
    }
}

static void choose_trouble(struct sim *s)
{
    struct plan *plan = &s->plan;
    unsigned bits = pick(&s->tape, 256) | pick(&s->tape, 256) << 8;
    if (pick(&s->tape, 4) == 0)
        bits = 0;
    for (unsigned t = 0; t < TROUBLES; t++)
        if (bits & 1u << t)
            plan->trouble[plan->ntrouble++] = (uint8_t)t;
    s->trouble_left = 1 + pick(&s->tape, 4) * 2;
}

static void choose_features(struct sim *s)
{
    struct plan *plan = &s->plan;
    unsigned a = pick(&s->tape, 256), b = pick(&s->tape, 256);
    plan->slow_commit = a & 1;
    plan->prepare = a & 2;
    plan->savepoints = a & 4;
    plan->bulk = a & 8;
    plan->filter = (a & 0x30) == 0x30;
    plan->schedule = (a & 0xc0) == 0xc0;
    plan->faults = b & 1;
    plan->poison = plan->faults && (b & 2);
    plan->flaky = plan->faults && (b & 4);
    plan->lost_acks = plan->faults && (b & 8);
    plan->partial = b & 0x10;
    plan->large = (b & 0x60) == 0x60;
    plan->commands = b & 0x80;
    a = pick(&s->tape, 256);
    plan->batches = a & 1;
    plan->topics = a & 2;
    plan->clocks = a & 4;
    plan->crowd = (a & 0x18) == 0x18;
    plan->embedded = (a & 0xe0) == 0xe0;
    plan->idle = pick(&s->tape, 4) == 3;
    plan->rare = 2 + pick(&s->tape, 4) * 4;
    plan->nrelays = 1 + (int)(unsigned[]){0, 1, 1, 2}[pick(&s->tape, 4)];
    plan->nsubs = pick(&s->tape, 8) == 7 ? 2 : 1;
    if (plan->nrelays < plan->nsubs)
        plan->nrelays = plan->nsubs;
    if (plan->embedded)
        plan->slow_commit = plan->prepare = plan->savepoints = plan->bulk =
            false;
}

static void limit_topic(struct ot_engine_options *opt, const char *topic,
                        int64_t events_per_s, int64_t bytes_per_s)
{
    opt->topic_limits[opt->ntopic_limits++] =
        (struct ot_topic_limit){ot_slice_of(topic), events_per_s, bytes_per_s};
}

static void choose_options(struct sim *s)
{
    struct tape *tape = &s->tape;
    struct ot_engine_options *opt = &s->plan.opt;
    ot_engine_defaults(opt);
    opt->ordering = (enum ot_ordering[]){
        OT_ORDER_KEY,    OT_ORDER_STRICT, OT_ORDER_KEY,
        OT_ORDER_STRICT, OT_ORDER_KEY,    OT_ORDER_NONE}[pick(tape, 6)];
    opt->on_reject = (enum ot_policy)pick(tape, 4);
    opt->sink_ordered = pick(tape, 3) != 2;
    opt->barrier_by_write = s->plan.embedded;
    opt->batch_events = 1 + pick(tape, 6);
    opt->window_events = opt->batch_events + pick(tape, 10);
    if (s->plan.large) {
        opt->batch_bytes = 150 + pick(tape, 4) * 200;
        opt->window_bytes = opt->batch_bytes + 300;
    }
    opt->leave_out_seqs = (int64_t[]){0, 1, 3, 256}[pick(tape, 4)];
    opt->held_max = pick(tape, 6) == 5 ? 2 : 100;
    opt->lease_ttl_us = (300 + (int64_t)pick(tape, 3) * 700) * MS;
    opt->poll_min_us = pick(tape, 2) ? 2 * MS : MS / 10;
    opt->poll_max_us = (5 + (int64_t)pick(tape, 4) * 60) * MS;
    opt->cursor_us = (int64_t)pick(tape, 3) * 20 * MS;
    opt->retry_min_us = (1 + (int64_t)pick(tape, 3) * 20) * MS;
    opt->retry_max_us = pick(tape, 3) == 2 ? 4 * SECOND : 200 * MS;
    opt->retry_max_attempts = pick(tape, 5) == 4 ? 2 : 0;
    opt->block_retry_us = 300 * MS;
    opt->probe_min_us = 20 * MS;
    opt->probe_max_us = 100 * MS;
    opt->breaker_min_us = 20 * MS;
    opt->breaker_max_us = 100 * MS;
    if (pick(tape, 8) == 7)
        opt->limit_events_per_s = 50;
    if (pick(tape, 16) == 15)
        opt->limit_bytes_per_s = 20000;
    opt->seed = pick(tape, 256);
    /* By the seed, so that older tapes keep their meaning. */
    if (opt->seed % 8 == 5)
        limit_topic(opt, "t", 20, 0);
    if (opt->seed % 16 == 13)
        limit_topic(opt, "u", opt->seed % 32 == 29 ? 15 : 0, 8000);
    s->plan.replays = opt->seed % 4 >= 2 && s->plan.commands;
    s->plan.throttle = opt->seed % 4 == 3 || opt->seed % 16 == 5;
}

void plan_choose(struct sim *s)
{
    memset(&s->plan, 0, sizeof(s->plan));
    s->plan.steps =
        40 + pick(&s->tape, 256) + (pick(&s->tape, 8) == 7 ? 200 : 0);
    choose_features(s);
    choose_trouble(s);
    choose_ops(s);
    choose_options(s);
    s->db.savings = s->plan.embedded ? 1 : 1 + (int)pick(&s->tape, 6);
    if (s->plan.embedded)
        REACH(s, EMBEDDED);
    if (s->plan.nsubs == 2)
        REACH(s, TWO_SUBSCRIPTIONS);
}
