/* relay.c - a process with a real engine in it. */
#include "sim.h"

int64_t relay_clock(const struct sim *s, const struct relay *r)
{
    return r->base_us + (s->now_us - r->born_us) * r->rate / 100;
}

int64_t relay_wake(const struct sim *s, const struct relay *r)
{
    if (r->wait_us == OT_NEVER)
        return OT_NEVER;
    int64_t left = r->wait_us - relay_clock(s, r);
    return left <= 0 ? s->now_us : s->now_us + (left * 100) / r->rate + 1;
}

static void hear_log(void *ctx, enum ot_level level, const char *facility,
                     const char *text)
{
    (void)level;
    (void)facility;
    SAY((struct sim *)ctx, "    log: %s", text);
}

void relay_start(struct sim *s, struct relay *r, bool apply_only)
{
    struct ot_engine_options opt = s->plan.opt;
    opt.apply_only = apply_only;
    r->owner = ++s->owners;
    r->frozen = r->stopping = r->done = r->short_submit = false;
    r->apply_only = apply_only;
    r->born_us = s->now_us;
    r->base_us = SECOND + (int64_t)r->owner * 7 * SECOND;
    r->rate = 100;
    if (s->plan.clocks)
        r->rate = (int64_t[]){100, 96, 103, 95}[pick(&s->tape, 4)];
    r->ttl_us = opt.lease_ttl_us;
    r->wait_us = 0;
    r->nflights = 0;
    r->out = r->ok = r->maybe = r->given = r->again = 0;
    r->resets = r->reads = 0;
    r->held = 0;
    r->until_us = r->fence = 0;
    r->breaker = OT_BREAKER_CLOSED;
    r->not_before_us = r->limit_tat_ns = r->down_us = r->up_us = 0;
    r->doubt_us = 0;
    memset(r->topic_pause_us, 0, sizeof(r->topic_pause_us));
    memset(r->topic_tat_ns, 0, sizeof(r->topic_tat_ns));
    memset(r->topic_bytes_ns, 0, sizeof(r->topic_bytes_ns));
    r->down = r->probing = false;
    memset(r->link.stage, 0, sizeof(r->link.stage));
    SAY(s, "relay %d starts for subscription %d%s", r->owner, r->sub,
        apply_only ? ", only to apply commands" : "");
    s->log = (struct ot_log){OT_DEBUG, s->talk ? hear_log : NULL, s};
    if (ot_engine_new(&r->engine, &opt, &s->log) != 0)
        broken(s, "SIM", -1, "no engine");
}

void relay_kill(struct sim *s, struct relay *r)
{
    if (r->engine == NULL)
        return;
    SAY(s, "relay %d is killed", r->owner);
    if (r->nflights > 0)
        REACH(s, RELAY_KILLED);
    link_cut(s, r);
    sink_lose(s, r);
    ot_engine_free(r->engine);
    r->engine = NULL;
    if (r->pinned != 0)
        broken(s, "INV-8", -1, "%u rows were not given back", r->pinned);
}

void relay_stop(struct sim *s, struct relay *r, int64_t soft, int64_t hard)
{
    int64_t now = relay_clock(s, r);
    if (r->engine == NULL || r->stopping)
        return;
    SAY(s, "relay %d is told to stop", r->owner);
    r->stopping = true;
    r->wait_us = 0;
    r->hard_us = now + hard;
    ot_engine_stop(r->engine, now + soft, now + hard);
}

static void end(struct sim *s, struct relay *r)
{
    SAY(s, "relay %d is done", r->owner);
    if (r->apply_only)
        REACH(s, APPLY_ONLY);
    else if (!r->stopping)
        broken(s, "ENGINE", -1, "relay %d ended by itself", r->owner);
    else if (r->nflights > 0)
        REACH(s, STOP_HARD);
    else
        REACH(s, STOP_CLEAN);
    relay_kill(s, r);
}

static void watch(struct sim *s, struct relay *r)
{
    const struct ot_engine *e = r->engine;
    if (e->stats.unexpected > 0)
        broken(s, "INV-7", -1, "relay %d: a completion was not expected",
               r->owner);
    if (e->in_flight != r->nflights)
        broken(s, "INV-7", -1, "relay %d counts %u in flight, the sink %zu",
               r->owner, e->in_flight, r->nflights);
    if (e->pinned > r->alive)
        broken(s, "INV-8", -1, "relay %d counts %u rows as pinned, %u are",
               r->owner, e->pinned, r->alive);
    if (r->resets != e->stats.resets) {
        r->resets = e->stats.resets;
        r->ok = r->maybe = r->given = r->again = 0;
    }
    check_relay(s, r);
    s->cover[C_HELD_FULL] += e->held >= e->opt.held_max;
    s->cover[C_ORPHANS] += e->orphans > 0;
}

static void submit(struct sim *s, struct relay *r,
                   const union ot_wish_args *args)
{
    size_t n = sink_submit(s, r, args->submit.sends, args->submit.n);
    r->short_submit = n < args->submit.n;
    if (r->short_submit)
        REACH(s, BACK_PRESSURE);
    ot_engine_submitted(r->engine, n, relay_clock(s, r));
}

static void carry_out(struct sim *s, struct relay *r, enum ot_wish wish,
                      const union ot_wish_args *args)
{
    switch (wish) {
    case OT_WAIT:
        r->wait_us = args->wait_until_us;
        break;
    case OT_DO_LEASE:
        link_ask(s, r, OT_REPLY_LEASE, args);
        break;
    case OT_DO_LOAD:
        link_ask(s, r, OT_REPLY_CURSOR, args);
        break;
    case OT_DO_READ:
        link_ask(s, r, OT_REPLY_READ, args);
        break;
    case OT_DO_FETCH:
        link_ask(s, r, OT_REPLY_FETCH, args);
        break;
    case OT_DO_COMMANDS:
        link_ask(s, r, OT_REPLY_COMMANDS, args);
        break;
    case OT_DO_SUBMIT:
        submit(s, r, args);
        break;
    case OT_DO_WRITE:
        if (args->write.position > 0 && r->engine->late > 0)
            REACH(s, LATE_UNSETTLED);
        link_ask(s, r, OT_REPLY_WRITE, args);
        break;
    case OT_DO_RELEASE:
        link_ask(s, r, OT_REPLY_RELEASE, args);
        break;
    case OT_DO_ABANDON:
        SAY(s, "relay %d gives up what the sink has", r->owner);
        sink_abandon(s, r);
        break;
    case OT_DONE:
        end(s, r);
        break;
    }
}

bool relay_step(struct sim *s, struct relay *r)
{
    union ot_wish_args args;
    if (r->engine == NULL || r->frozen)
        return false;
    int64_t now = relay_clock(s, r);
    if (r->wait_us > now) /* nothing happened since it said so */
        return false;
    s->wishes++;
    int64_t fence = r->engine->lease.fence;
    enum ot_wish wish = ot_engine_next(r->engine, now, &args);
    if (fence != 0 && r->engine->lease.fence == 0)
        REACH(s, LEASE_RAN_OUT);
    bool waits = wish == OT_WAIT;
    if (waits && args.wait_until_us <= now)
        broken(s, "ENGINE", -1, "relay %d waits for a time that has passed",
               r->owner);
    if (waits)
        check_wait(s, r, args.wait_until_us);
    carry_out(s, r, wish, &args);
    if (r->engine == NULL)
        return true;
    watch(s, r);
    return !waits;
}
