/* sink.c - events on their way from a relay to the broker, and what comes
 * back. First the broker decides (an event arrives, or fails), later the
 * engine hears of it, or never. */
#include "sim.h"

static const char *event_key(const struct sim *s, int event)
{
    static const char *const names[] = {"a", "b", "c", "-"};
    return names[s->db.events[event].key];
}

static bool same_key(const struct sim *s, int a, int b)
{
    int key = s->db.events[a].key;
    return key != KEYS && key == s->db.events[b].key;
}

static bool ordered(const struct sim *s)
{
    return s->plan.opt.sink_ordered;
}

static bool pipelined(const struct sim *s)
{
    return ordered(s) && s->plan.opt.ordering == OT_ORDER_KEY;
}

/* --- arriving ---------------------------------------------------------------- */

static void publish(struct sim *s, int sub, int owner, int event)
{
    struct sub *to = &s->subs[sub];
    SAY(s, "e%d (key %s) arrives from relay %d", event, event_key(s, event),
        owner);
    if (s->db.now.cur[sub].owner != owner)
        REACH(s, ZOMBIE_PUBLISHED);
    if (to->owed & BIT(event))
        REACH(s, REPLAY_ARRIVED);
    to->owed &= ~BIT(event);
    if (to->published & BIT(event)) {
        to->again++;
        REACH(s, DUPLICATE);
        return;
    }
    check_arrival(s, sub, event);
    to->published |= BIT(event);
    s->published++;
}

/* It failed in a pipeline: those behind it may come first. [INV-3] */
static void let_pass(struct sim *s, struct relay *r, size_t at)
{
    if (!pipelined(s))
        return;
    int event = r->flights[at].event;
    for (size_t i = at + 1; i < r->nflights; i++)
        if (same_key(s, event, r->flights[i].event))
            s->subs[r->sub].after[r->flights[i].event] |= BIT(event);
}

static void decide(struct sim *s, struct relay *r, size_t at,
                   enum ot_outcome outcome, enum ot_scope scope)
{
    struct flight *f = &r->flights[at];
    f->decided = true;
    f->c = (struct ot_completion){
        .ticket = f->ticket, .outcome = outcome, .scope = scope};
    if (outcome != OT_OK) {
        f->c.reason = "as the tape wants it";
        let_pass(s, r, at);
        check_excuse(s, r->sub, f->event);
    }
}

static void ask_pause(struct sim *s, struct flight *f)
{
    if (s->calm || !one_in(&s->tape, 6))
        return;
    unsigned much = pick(&s->tape, 16);
    f->c.retry_after_us = (1 + (int64_t)much * 10) * MS;
    REACH(s, PAUSE_ASKED);
    if (s->plan.throttle && f->c.outcome == OT_RETRY && much > 3) {
        f->c.scope = OT_ITS_TOPIC;
        REACH(s, TOPIC_PAUSED);
    }
}

static unsigned beside(const struct relay *r, size_t at)
{
    unsigned n = 0;
    for (size_t i = 0; i < r->nflights; i++)
        n += r->flights[i].group == r->flights[at].group &&
             !r->flights[i].decided;
    return n;
}

static void reject(struct sim *s, struct relay *r, size_t at)
{
    unsigned group = r->flights[at].group;
    if (!s->plan.batches || beside(r, at) == 1) {
        bool alone = s->plan.batches && !s->calm && pick(&s->tape, 2);
        decide(s, r, at, OT_REJECTED, alone ? OT_ITS_BATCH : OT_THIS_EVENT);
        return;
    }
    REACH(s, SENT_BATCH);
    for (size_t i = 0; i < r->nflights; i++)
        if (r->flights[i].group == group && !r->flights[i].decided)
            decide(s, r, i, OT_REJECTED, OT_ITS_BATCH);
}

/* The broker is away. What it had taken may be there all the same. */
static void outage(struct sim *s, struct relay *r, size_t at)
{
    if (pick(&s->tape, 3) != 2) {
        decide(s, r, at, OT_UNAVAILABLE, OT_THE_SINK);
        ask_pause(s, &r->flights[at]);
        return;
    }
    if (pick(&s->tape, 2))
        publish(s, r->sub, r->owner, r->flights[at].event);
    decide(s, r, at, OT_UNKNOWN, OT_THE_SINK);
}

static void lose_answer(struct sim *s, struct relay *r, size_t at)
{
    bool there = pick(&s->tape, 2);
    if (there) {
        publish(s, r->sub, r->owner, r->flights[at].event);
        REACH(s, ACK_LOST);
    }
    decide(s, r, at, OT_UNKNOWN,
           pick(&s->tape, 3) == 2 ? OT_THE_SINK : OT_THIS_EVENT);
}

static void judge(struct sim *s, struct relay *r, size_t at)
{
    int i = r->flights[at].event;
    const struct event *event = &s->db.events[i];
    struct sub *sub = &s->subs[r->sub];
    if (s->sink_down) {
        outage(s, r, at);
    } else if (s->topic_bad[event->topic]) {
        decide(s, r, at, OT_MISCONFIGURED, OT_ITS_TOPIC);
    } else if (s->topic_away[event->topic]) {
        decide(s, r, at, OT_UNAVAILABLE, OT_ITS_TOPIC);
    } else if (event->verdict == POISON && !s->cured) {
        reject(s, r, at);
    } else if (sub->flaky[i] > 0) {
        bool there = s->plan.lost_acks && !s->calm && pick(&s->tape, 4) == 3;
        sub->flaky[i]--;
        if (there)
            publish(s, r->sub, r->owner, i);
        decide(s, r, at, OT_RETRY, OT_THIS_EVENT);
        r->flights[at].c.maybe_persisted = there;
        ask_pause(s, &r->flights[at]);
    } else if (!s->calm && s->plan.lost_acks &&
               one_in(&s->tape, s->plan.rare)) {
        lose_answer(s, r, at);
    } else {
        publish(s, r->sub, r->owner, i);
        decide(s, r, at, OT_OK, OT_THIS_EVENT);
    }
}

/* One of those that the broker has not seen; in order within its key. */
bool sink_arrive(struct sim *s, struct relay *r, size_t chosen)
{
    size_t n = 0, at = SIZE_MAX;
    for (size_t i = 0; i < r->nflights; i++)
        n += !r->flights[i].decided;
    if (n == 0)
        return false;
    chosen %= n;
    for (size_t i = 0; i < r->nflights && at == SIZE_MAX; i++)
        if (!r->flights[i].decided && chosen-- == 0)
            at = i;
    for (size_t i = 0; i < at && ordered(s); i++)
        if (!r->flights[i].decided &&
            same_key(s, r->flights[i].event, r->flights[at].event))
            at = i;
    judge(s, r, at);
    return true;
}

/* --- coming back ---------------------------------------------------------------- */

static bool lets_go(const struct sim *s, int event)
{
    enum ot_policy policy = s->plan.opt.on_reject;
    if (policy == OT_POLICY_AUTO)
        return s->db.events[event].key == KEYS;
    return policy == OT_DEAD_LETTER;
}

static void note_failure(struct sim *s, struct relay *r, const struct flight *f)
{
    struct sub *sub = &s->subs[r->sub];
    uint32_t most = s->plan.opt.retry_max_attempts;
    bool final = false;
    sub->failed[f->event]++;
    if (f->c.outcome == OT_REJECTED)
        final = true;
    else if (most > 0 && sub->failed[f->event] >= most)
        final = true;
    if (!final)
        return;
    sub->dead_ok |= BIT(f->event);
    if (lets_go(s, f->event))
        sub->let_go |= BIT(f->event);
}

static bool is_down(const struct ot_completion *c)
{
    return (c->outcome == OT_UNAVAILABLE && c->scope != OT_ITS_TOPIC) ||
           (c->outcome == OT_UNKNOWN && c->scope == OT_THE_SINK);
}

/* What was given up, or sent before a reset, tells nothing of the sink. */
static bool tells_nothing(const struct relay *r, const struct flight *f)
{
    bool orphan = r->engine->items[(uint32_t)f->c.ticket].orphan;
    return (f->abandoned || orphan) &&
           (is_down(&f->c) || f->c.outcome == OT_UNKNOWN);
}

/* What was sent before the sink last answered need not open the breaker; but
 * it may, and then the pause of those that fail after it has begun. While the
 * sink is down, whoever fails beside a probe begins the next pause. */
static void note_down(struct relay *r, const struct flight *f, int64_t now_us)
{
    if (!r->down && f->sent_us < r->up_us) {
        if (r->doubt_us == 0)
            r->doubt_us = now_us;
        return;
    }
    if (r->probing)
        r->down_us = now_us;
    else if (!r->down)
        r->down_us = r->doubt_us != 0 ? r->doubt_us : now_us;
    r->down = true;
    r->probing = false;
}

static void note_sink(struct sim *s, struct relay *r, const struct flight *f)
{
    int64_t now = relay_clock(s, r);
    if (tells_nothing(r, f))
        return;
    if (is_down(&f->c)) {
        note_down(r, f, now);
    } else if (r->down && f->c.outcome != OT_UNKNOWN &&
               (r->probing ||
                now >= r->down_us + s->plan.opt.breaker_min_us / 2)) {
        r->up_us = now;
        r->doubt_us = 0;
        r->down = r->probing = false; /* it answers, be it of an older one */
    }
    if (f->c.retry_after_us > 0 && f->c.scope == OT_THE_SINK &&
        now + f->c.retry_after_us > r->not_before_us)
        r->not_before_us = now + f->c.retry_after_us;
    int64_t *pause_us = &r->topic_pause_us[s->db.events[f->event].topic];
    if (f->c.outcome == OT_RETRY && f->c.scope == OT_ITS_TOPIC &&
        now + f->c.retry_after_us > *pause_us)
        *pause_us = now + f->c.retry_after_us;
}

static void note_outcome(struct sim *s, struct relay *r, const struct flight *f)
{
    static const enum cover reached[] = {
        [OT_OK] = C_SENT_OK,
        [OT_RETRY] = C_SENT_RETRY,
        [OT_REJECTED] = C_SENT_REJECTED,
        [OT_MISCONFIGURED] = C_SENT_MISCONFIGURED,
        [OT_UNAVAILABLE] = C_SENT_UNAVAILABLE,
        [OT_UNKNOWN] = C_SENT_UNKNOWN,
    };
    const struct ot_item *item = &r->engine->items[(uint32_t)f->c.ticket];
    s->cover[reached[f->c.outcome]]++;
    if (f->c.outcome == OT_UNAVAILABLE && f->c.scope == OT_ITS_TOPIC)
        REACH(s, SENT_TOPIC_DOWN);
    if (f->c.outcome == OT_OK && !item->orphan) {
        r->ok |= BIT(f->event);
        s->cover[C_HELD_SENT] += f->was_held;
    }
    if (f->c.outcome == OT_UNKNOWN || f->c.maybe_persisted) {
        s->subs[r->sub].unknown++;
        if (!item->orphan)
            r->maybe |= BIT(f->event);
    }
    bool own =
        f->c.outcome == OT_RETRY || (f->c.outcome == OT_REJECTED &&
                                     (f->c.scope == OT_THIS_EVENT || f->alone));
    if (own)
        note_failure(s, r, f);
    if (f->c.outcome == OT_REJECTED && f->alone && r->engine->bisecting)
        REACH(s, POISON_FOUND);
    note_sink(s, r, f);
}

static void watch_breaker(struct sim *s, enum ot_breaker_state before,
                          enum ot_breaker_state after)
{
    if (before == after)
        return;
    if (after == OT_BREAKER_OPEN)
        REACH(s, BREAKER_OPENED);
    if (before == OT_BREAKER_HALF && after == OT_BREAKER_OPEN)
        REACH(s, BREAKER_AGAIN);
    if (before == OT_BREAKER_HALF && after == OT_BREAKER_CLOSED)
        REACH(s, BREAKER_CLOSED);
}

static const char *const outcomes[] = {
    "ok", "retry", "rejected", "misconfigured", "unavailable", "unknown"};

static void hear(struct sim *s, struct relay *r, size_t at)
{
    struct flight f = r->flights[at];
    memmove(&r->flights[at], &r->flights[at + 1],
            (--r->nflights - at) * sizeof(r->flights[0]));
    r->out &= ~BIT(f.event);
    r->wait_us = 0;
    SAY(s, "relay %d hears of e%d: %s%s", r->owner, f.event,
        outcomes[f.c.outcome],
        f.c.scope == OT_ITS_BATCH ? " with its batch" : "");
    note_outcome(s, r, &f);
    enum ot_breaker_state before = r->engine->breaker.state;
    size_t topics = r->engine->ntopics;
    ot_engine_completed(r->engine, &f.c, 1, relay_clock(s, r));
    s->cover[C_TOPIC_OPENED] += r->engine->ntopics < topics;
    watch_breaker(s, before, r->engine->breaker.state);
    check_relay(s, r);
    s->cover[C_BACKOFF] += r->engine->backoff.n > 0;
    r->short_submit = false;
}

bool sink_complete(struct sim *s, struct relay *r, size_t chosen)
{
    size_t n = 0, at = SIZE_MAX;
    for (size_t i = 0; i < r->nflights; i++)
        n += r->flights[i].decided;
    if (n == 0)
        return false;
    chosen %= n;
    for (size_t i = 0; i < r->nflights && at == SIZE_MAX; i++)
        if (r->flights[i].decided && chosen-- == 0)
            at = i;
    for (size_t i = 0; i < at && ordered(s); i++)
        if (r->flights[i].decided &&
            same_key(s, r->flights[i].event, r->flights[at].event))
            at = i;
    hear(s, r, at);
    return true;
}

/* --- sending -------------------------------------------------------------------- */

static void take(struct sim *s, struct relay *r, const struct ot_send *send)
{
    int event = send->event->id.b[0] - 1;
    check_send(s, r, send, event);
    struct flight *f = &r->flights[r->nflights++];
    const struct ot_item *item = &r->engine->items[(uint32_t)send->ticket];
    *f = (struct flight){.ticket = send->ticket,
                         .event = event,
                         .group = r->groups,
                         .sent_us = relay_clock(s, r),
                         .was_held = item->held != OT_NIL};
    if (item->held != OT_NIL && ot_entry(r->engine, item->held)->probe)
        REACH(s, PROBED);
    if (item->held != OT_NIL && ot_entry(r->engine, item->held)->released)
        REACH(s, TOPIC_RELEASED);
    r->out |= BIT(event);
    SAY(s, "relay %d sends e%d (seq %lld, key %s), try %u", r->owner, event,
        (long long)send->event->seq, event_key(s, event), send->attempts + 1);
    for (size_t i = 0; i + 1 < r->nflights && pipelined(s); i++)
        if (r->flights[i].decided && r->flights[i].c.outcome != OT_OK &&
            same_key(s, r->flights[i].event, event))
            s->subs[r->sub].after[event] |= BIT(r->flights[i].event);
}

static void watch_sending(struct sim *s, struct relay *r, size_t n)
{
    const struct ot_engine *e = r->engine;
    if (e->breaker.state == OT_BREAKER_HALF)
        REACH(s, BREAKER_PROBED);
    if (e->bisecting && n > 0) {
        REACH(s, BISECTED);
        s->cover[C_BISECTED_TWICE] += e->bisect * 4 <= e->nsuspects;
    }
    s->cover[C_LIMITED] += e->limited_until_us > relay_clock(s, r);
    for (size_t i = 0; i < e->nlimits; i++)
        s->cover[C_TOPIC_LIMITED] += e->limits[i].nwaiting > 0;
}

size_t sink_submit(struct sim *s, struct relay *r, const struct ot_send *sends,
                   size_t n)
{
    size_t room = FLIGHTS - r->nflights, took = 0;
    check_batch(s, r, n);
    watch_sending(s, r, n);
    if (!s->calm && s->plan.partial && one_in(&s->tape, 4)) {
        room = pick(&s->tape, (unsigned)n);
        if (room == 0 && r->nflights == 0)
            room = 1;
    }
    r->groups++;
    while (took < n && took < room) {
        take(s, r, &sends[took++]);
        size_t at = r->nflights - 1;
        if (s->topic_bad[s->db.events[r->flights[at].event].topic]) {
            /* it fails at once, and is the last of its prefix */
            decide(s, r, at, OT_MISCONFIGURED, OT_ITS_TOPIC);
            break;
        }
    }
    if (took == 1)
        r->flights[r->nflights - 1].alone = true;
    if (r->down && took > 0)
        r->probing = true;
    return took;
}

/* --- leaving --------------------------------------------------------------------- */

/* Those that left the process arrive or not, each key a prefix. */
static bool goes_loose(struct sim *s, const struct relay *r, int event,
                       unsigned *stopped)
{
    unsigned key = 1u << s->db.events[event].key;
    if ((*stopped & key && key != 1u << KEYS) || s->nwire == WIRE || s->calm ||
        pick(&s->tape, 2) == 0) {
        *stopped |= key;
        return false;
    }
    s->wire[s->nwire++] = (struct loose){event, r->sub, r->owner};
    return true;
}

void sink_abandon(struct sim *s, struct relay *r)
{
    unsigned stopped = 0;
    REACH(s, ABANDONED);
    for (size_t i = 0; i < r->nflights; i++) {
        struct flight *f = &r->flights[i];
        f->abandoned = true;
        if (f->decided)
            continue;
        if (goes_loose(s, r, f->event, &stopped))
            decide(s, r, i, OT_UNKNOWN, OT_THIS_EVENT);
        else
            decide(s, r, i, OT_UNAVAILABLE, OT_THE_SINK);
    }
}

void sink_lose(struct sim *s, struct relay *r)
{
    unsigned stopped = 0;
    for (size_t i = 0; i < r->nflights; i++)
        if (!r->flights[i].decided)
            goes_loose(s, r, r->flights[i].event, &stopped);
    r->nflights = 0;
    r->out = 0;
}

bool sink_wire(struct sim *s, size_t chosen)
{
    if (s->nwire == 0)
        return false;
    size_t at = chosen % s->nwire;
    for (size_t i = 0; i < at; i++)
        if (s->wire[i].owner == s->wire[at].owner &&
            same_key(s, s->wire[i].event, s->wire[at].event))
            at = i;
    struct loose loose = s->wire[at];
    memmove(&s->wire[at], &s->wire[at + 1],
            (--s->nwire - at) * sizeof(s->wire[0]));
    publish(s, loose.sub, loose.owner, loose.event);
    return true;
}

void sink_step(struct sim *s, struct relay *r)
{
    if (r->engine == NULL)
        return;
    unsigned what = pick(&s->tape, 16);
    if (what < 8 && !s->sink_hangs) {
        if (sink_arrive(s, r, pick(&s->tape, 16)))
            return;
    }
    if (r->frozen)
        return;
    if (what == 15 && r->short_submit) {
        r->short_submit = false;
        r->wait_us = 0;
        ot_engine_room(r->engine);
        return;
    }
    if (what >= 12)
        while (sink_complete(s, r, 0))
            continue;
    else
        sink_complete(s, r, pick(&s->tape, 16));
}
