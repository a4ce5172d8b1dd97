/* check.c - what must hold, at each step and at rest.
 *
 * INV-n as in docs/internals.md, and besides: I7 dead only for a reason; I8
 * fences only grow; I11 rest is reached, and a long wait has a name; I12
 * duplicates are bounded; I13 limits; I14 the breaker; I15 memory is bounded;
 * I17 nothing leaks; DUPLICATE what may be there already is marked; SKIP what
 * was skipped is not sent; REPLAY what was passed and asked for arrives again,
 * in order; PAUSE; SCHEDULE; ENGINE, STORE: the contracts. */
#include "sim.h"

#include <stdarg.h>

void broken(struct sim *s, const char *law, int event, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, args);
    va_end(args);
    snprintf(s->law, sizeof(s->law), "%s", law);
    s->guilty = event;
    SAY(s, "BROKEN %s: %s", s->law, s->why);
    longjmp(s->broken, 1);
}

void say(struct sim *s, const char *fmt, ...)
{
    va_list args;
    printf("%9.3f ms  ", (double)s->now_us / 1000.0);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

const char *cover_text(enum cover which)
{
    static const char *const texts[] = {
#define COVER(name, text) text,
#include "cover.def"
#undef COVER
    };
    return texts[which];
}

static int first_of(set events)
{
    return __builtin_ctzll(events);
}

/* --- reading ----------------------------------------------------------------- */

void check_read(struct sim *s, struct relay *r, const struct ot_read_request *q)
{
    int64_t last = 0;
    for (size_t i = 0; i < q->ngaps; i++) {
        if (q->gaps[i].first <= last || q->gaps[i].last < q->gaps[i].first)
            broken(s, "ENGINE", -1, "gaps are asked for out of order");
        last = q->gaps[i].last;
    }
    if (last > q->position)
        broken(s, "ENGINE", -1, "a gap above the position is asked for");
    if (q->limit == 0)
        broken(s, "ENGINE", -1, "a read of nothing");
    if (r->pinned + q->limit > s->plan.opt.window_events)
        broken(s, "INV-8", -1,
               "%u rows are pinned, %u more are asked for, the window is %u",
               r->pinned, q->limit, s->plan.opt.window_events);
    for (set rest = r->given; rest != 0; rest &= rest - 1) {
        int64_t seq = s->db.events[first_of(rest)].seq;
        bool again = seq > q->position;
        for (size_t i = 0; i < q->ngaps; i++)
            again |= q->gaps[i].first <= seq && seq <= q->gaps[i].last;
        if (again)
            broken(s, "INV-12", first_of(rest), "e%d is asked for again",
                   first_of(rest));
    }
}

/* A read costs what it brings and what may still come, not what came. [INV-12]
 */
void check_given(struct relay *r, set events)
{
    if (r->resets == r->engine->stats.resets)
        r->given |= events;
}

/* A fetch brings what can be sent, whatever else is held. [INV-12] */
void check_fetch(struct sim *s, struct relay *r,
                 const struct ot_fetch_request *q)
{
    const struct ot_engine *e = r->engine;
    if (q->n == 0 || q->n > e->fetch_max)
        broken(s, "INV-12", -1, "a fetch of %zu", q->n);
    for (size_t i = 0; i < q->n; i++) {
        uint32_t id = ot_held_find(e, q->seqs[i]);
        if (id == OT_NIL || !ot_drain_eligible(e, &e->entries[id]))
            broken(s, "INV-12", -1, "seq %lld is fetched, and cannot be sent",
                   (long long)q->seqs[i]);
    }
}

/* --- sending ----------------------------------------------------------------- */

static void check_lease(struct sim *s, struct relay *r,
                        const struct ot_send *send, int event)
{
    const struct cursor *cur = &s->db.now.cur[r->sub];
    if (r->link.lease_jumps != s->db.jumps)
        return; /* its own clock is all that it has */
    if (cur->owner != r->owner)
        broken(s, "INV-11", event,
               "relay %d sends e%d under fence %lld, but relay %d owns the "
               "subscription under %lld",
               r->owner, event, (long long)send->fence, cur->owner,
               (long long)cur->fence);
    if (send->fence > cur->fence)
        broken(s, "INV-11", event, "e%d is sent under a fence never given",
               event);
    if (db_now(s) >= cur->expires_us)
        broken(s, "INV-11", event, "e%d is sent after the lease expired",
               event);
}

/* Once it is known that a key is held, nothing later of it goes. [INV-6] */
static void check_held(struct sim *s, struct relay *r, int event)
{
    const struct cursor *cur = &s->db.now.cur[r->sub];
    const struct sub *sub = &s->subs[r->sub];
    const struct event *events = s->db.events;
    set free = sub->published | sub->skipping | sub->let_go | r->out;
    if (events[event].key == KEYS || s->plan.opt.ordering == OT_ORDER_NONE ||
        ((sub->owed | r->again) & BIT(event)))
        return; /* a replay comes without its key */
    for (size_t i = 0; i < cur->nheld; i++) {
        int other = cur->held[i].event;
        if (cur->held[i].holds_key && !(free & BIT(other)) &&
            events[other].key == events[event].key &&
            events[other].seq < events[event].seq)
            broken(s, "INV-6", event, "e%d is sent, but e%d holds its key",
                   event, other);
    }
}

/* Those that were asked for together go in order, but for what fails or is
 * looked after by other rules. */
static void check_replay(struct sim *s, struct relay *r, int event)
{
    const struct sub *sub = &s->subs[r->sub];
    const struct ot_engine *e = r->engine;
    if (!(sub->owed & BIT(event)) || s->db.jumps > 0)
        return; /* their order is kept by the clock of the database */
    set first = sub->ahead[event] & sub->owed & ~(r->out | s->db.now.pruned);
    for (set rest = first; rest != 0; rest &= rest - 1) {
        uint32_t id = ot_held_find(e, s->db.events[first_of(rest)].seq);
        if (id != OT_NIL && e->entries[id].h.state == OT_HELD_RETRYING)
            broken(s, "REPLAY", event,
                   "e%d is replayed before e%d of its key, which was asked for "
                   "first",
                   event, first_of(rest));
    }
}

void check_excuse(struct sim *s, int sub, int event)
{
    struct sub *to = &s->subs[sub];
    if (to->owed & BIT(event))
        for (int i = 0; i < s->db.nevents; i++)
            to->ahead[i] &= ~BIT(event);
}

/* Was it allowed to take so much now? */
static bool spend(int64_t *tat_ns, int64_t amount, int64_t per_s,
                  int64_t now_us)
{
    if (per_s == 0)
        return true;
    if (*tat_ns < now_us * 1000)
        *tat_ns = now_us * 1000;
    bool fine = *tat_ns <= now_us * 1000 + 100000000 + 2000;
    *tat_ns += amount * 1000000000 / per_s;
    return fine;
}

static void check_pace(struct sim *s, struct relay *r, int event)
{
    int64_t now = relay_clock(s, r);
    int64_t rate = s->plan.opt.limit_events_per_s;
    if (now < r->not_before_us)
        broken(s, "I13", event,
               "e%d is sent, the broker asked for a pause of %lld us more",
               event, (long long)(r->not_before_us - now));
    if (!spend(&r->limit_tat_ns, 1, rate, now))
        broken(s, "I13", event, "e%d is sent above the limit", event);
}

/* What was rejected with its batch is sent again at once: the first time paid
 * for it. */
static void check_topic_pace(struct sim *s, struct relay *r,
                             const struct ot_send *send, int event)
{
    const struct ot_engine_options *opt = &s->plan.opt;
    int topic = s->db.events[event].topic;
    int64_t now = relay_clock(s, r);
    bool halved = r->engine->bisecting;
    if (!halved && now < r->topic_pause_us[topic])
        broken(s, "I13", event, "e%d is sent while its topic has a pause",
               event);
    for (uint32_t i = 0; i < opt->ntopic_limits; i++) {
        const struct ot_topic_limit *l = &opt->topic_limits[i];
        if (l->topic.p[0] != "tu"[topic])
            continue;
        bool fine = spend(&r->topic_tat_ns[topic], 1, l->events_per_s, now);
        fine &=
            spend(&r->topic_bytes_ns[topic],
                  (int64_t)ot_event_bytes(send->event), l->bytes_per_s, now);
        if (!fine && !halved)
            broken(s, "I13", event, "e%d is sent above the limit of its topic",
                   event);
    }
}

/* Its row goes with the write that ends the pause. */
static bool resume_asked(const struct sim *s, int sub)
{
    for (size_t i = 0; i < s->db.now.ncommands; i++)
        if (s->db.now.commands[i].sub == sub &&
            s->db.now.commands[i].verb == OT_RESUME)
            return true;
    return false;
}

void check_send(struct sim *s, struct relay *r, const struct ot_send *send,
                int event)
{
    struct sub *sub = &s->subs[r->sub];
    const struct cursor *cur = &s->db.now.cur[r->sub];
    set bit = BIT(event);
    if (event < 0 || event >= s->db.nevents ||
        s->db.events[event].seq != send->event->seq)
        broken(s, "INV-2", -1, "an event is sent that there never was");
    if (!(s->db.durable & bit))
        broken(s, "INV-2", event, "e%d is sent and not durable", event);
    if (sub->filtered & bit)
        broken(s, "INV-2", event, "e%d is sent and filtered", event);
    if (r->out & bit)
        broken(s, "INV-7", event, "e%d is sent twice at a time", event);
    if (r->ok & bit)
        broken(s, "I12", event, "e%d is sent again after its acknowledgement",
               event);
    if (send->attempts > sub->failed[event])
        broken(s, "INV-9", event, "e%d has %u attempts and %u failures", event,
               send->attempts, sub->failed[event]);
    check_replay(s, r, event);
    check_pace(s, r, event);
    check_topic_pace(s, r, send, event);
    if ((r->maybe & bit) && !send->maybe_duplicate)
        broken(s, "DUPLICATE", event, "e%d is sent again, and not marked",
               event);
    if (relay_clock(s, r) >= r->until_us)
        broken(s, "INV-11", event, "e%d is sent after the lease, by own clock",
               event);
    if (send->fence < r->fence)
        broken(s, "I8", event, "e%d is sent under fence %lld after %lld", event,
               (long long)send->fence, (long long)r->fence);
    r->fence = send->fence;
    if (!ot_incarnation_equal(&r->engine->incarnation, &s->db.incarnation))
        return; /* it does not know yet: leases may have been restored */
    check_lease(s, r, send, event);
    if (cur->fence != send->fence)
        return;
    if (cur->skipped & bit & ~sub->owed)
        broken(s, "SKIP", event, "e%d is sent although it was skipped", event);
    if (cur->paused && !resume_asked(s, r->sub))
        broken(s, "PAUSE", event, "e%d is sent while paused", event);
    check_held(s, r, event);
    const struct hold *hold = db_held(s, r->sub, event);
    if (hold != NULL && hold->maybe_duplicate) {
        if (!send->maybe_duplicate)
            broken(s, "DUPLICATE", event, "e%d is sent again, and not marked",
                   event);
        if (!(r->maybe & bit))
            REACH(s, MAYBE_LOADED);
    }
    if (s->db.events[event].deliver_us > db_now(s) + 50 * MS &&
        !s->plan.clocks && s->db.jumps == 0 && !(sub->redriven & bit))
        broken(s, "SCHEDULE", event, "e%d is sent before its time", event);
}

void check_batch(struct sim *s, struct relay *r, size_t n)
{
    int64_t now = relay_clock(s, r);
    if (n == 0 || n > s->plan.opt.batch_events)
        broken(s, "ENGINE", -1, "a batch of %zu", n);
    if (!r->down)
        return;
    if (n > 1)
        broken(s, "I14", -1, "the sink is down, %zu events probe it", n);
    if (now < r->down_us + s->plan.opt.breaker_min_us / 2)
        broken(s, "I14", -1, "the sink is down, and probed %lld us later",
               (long long)(now - r->down_us));
}

/* First publications of a key follow its commits. [INV-3] */
void check_arrival(struct sim *s, int sub, int event)
{
    const struct sub *to = &s->subs[sub];
    const struct event *e = &s->db.events[event];
    if (!(s->db.durable & BIT(event)))
        broken(s, "INV-2", event, "e%d arrives and was never durable", event);
    if (s->plan.opt.ordering == OT_ORDER_NONE || e->deliver_us > 0)
        return;
    set missing = e->before & s->db.committed &
                  ~(to->published | to->filtered | to->let_go | to->skipping |
                    to->after[event]);
    for (set rest = missing; rest != 0; rest &= rest - 1)
        if (s->db.events[first_of(rest)].deliver_us > 0)
            missing &= ~BIT(first_of(rest));
    if (missing != 0)
        broken(s, "INV-3", event, "e%d arrives before e%d of its key", event,
               first_of(missing));
    if (e->before & to->after[event] & ~to->published)
        REACH(s, OVERTAKEN);
}

/* --- an engine ---------------------------------------------------------------- */

static void check_breaker(struct sim *s, struct relay *r)
{
    enum ot_breaker_state was = r->breaker, is = r->engine->breaker.state;
    if ((was == OT_BREAKER_CLOSED && is == OT_BREAKER_HALF) ||
        (was == OT_BREAKER_OPEN && is == OT_BREAKER_CLOSED))
        broken(s, "I14", -1, "the breaker of relay %d goes from %d to %d",
               r->owner, was, is);
    r->breaker = is;
}

/* Memory is bounded by the window, what is held and what is open. */
static void check_memory(struct sim *s, const struct relay *r)
{
    const struct ot_engine *e = r->engine;
    uint32_t window = e->opt.window_events, most = e->opt.held_max;
    if (r->held > most)
        most = r->held;
    if (e->in_memory - e->orphans > window + e->fetch_max)
        broken(s, "I15", -1, "relay %d has %u events in memory", r->owner,
               e->in_memory);
    if (e->held > most + 2 * window)
        broken(s, "I15", -1, "relay %d holds %u events", r->owner, e->held);
    if (e->gaps.ngens > e->gaps.n || e->ntopics > TOPICS ||
        e->nsuspects > 2 * e->nitems || e->nskipped > e->held ||
        e->held_due.n > 8 * EVENTS || e->backoff.n > 8 * EVENTS ||
        e->nlimits > TOPICS)
        broken(s, "I15", -1, "a list of relay %d has grown too long", r->owner);
}

void check_relay(struct sim *s, struct relay *r)
{
    check_breaker(s, r);
    check_memory(s, r);
}

/* Who waits long, for no answer of anybody, says what for. */
void check_wait(struct sim *s, struct relay *r, int64_t wait_us)
{
    char detail[200];
    int64_t now = relay_clock(s, r);
    if (wait_us < now + SECOND || r->nflights > 0)
        return;
    for (int kind = 0; kind < KINDS; kind++)
        if (r->link.stage[kind] != IDLE)
            return;
    if (ot_engine_stall(r->engine, now, detail) == OT_STALL_NONE)
        broken(s, "I11", -1, "relay %d waits and does not say what for",
               r->owner);
}

/* --- writing ------------------------------------------------------------------ */

static void check_put(struct sim *s, int sub, const struct ot_held *held)
{
    int event = held->seq > 0 && held->seq <= SEQS ? s->db.at[held->seq] : -1;
    if (event < 0 || !(s->db.committed & BIT(event)))
        broken(s, "INV-2", event, "seq %lld is held and not committed",
               (long long)held->seq);
    if (held->attempts > s->subs[sub].failed[event])
        broken(s, "INV-9", event, "e%d is held with %u attempts of %u", event,
               held->attempts, s->subs[sub].failed[event]);
    set dead_ok = s->subs[sub].dead_ok | s->db.now.pruned;
    if (held->state == OT_HELD_DEAD && !(dead_ok & BIT(event)))
        broken(s, "I7", event, "e%d is given up on without a reason", event);
    if (held->state != OT_HELD_SKIPPED)
        s->cover[C_HELD_RETRYING + held->state]++;
    if (held->state == OT_HELD_DEAD && s->db.events[event].verdict != POISON)
        REACH(s, GIVEN_UP);
}

/* Rows are deleted first: it may have been delivered, and be held again. */
static bool put_again(const struct ot_write_request *q, int64_t seq)
{
    for (size_t i = 0; i < q->nheld_put; i++)
        if (q->held_put[i].seq == seq)
            return true;
    return false;
}

/* Whoever takes a replayed event out of held has sent it again. */
static void check_replayed(struct sim *s, const struct relay *r,
                           const struct ot_write_request *q)
{
    const struct cursor *cur = &s->db.now.cur[r->sub];
    const struct sub *to = &s->subs[r->sub];
    if (cur->owner != r->owner || cur->fence != q->fence)
        return; /* it is refused */
    for (size_t i = 0; i < q->nheld_del; i++) {
        int event = s->db.at[q->held_del[i]];
        if (event >= 0 && !put_again(q, q->held_del[i]) &&
            (to->owed & ~to->skipping & BIT(event)))
            broken(s, "REPLAY", event,
                   "e%d is not held any more and did not arrive again", event);
    }
}

/* What it knows of a try goes with the event. */
void check_asked(struct sim *s, struct relay *r,
                 const struct ot_write_request *q)
{
    check_replayed(s, r, q);
    if (r->resets != r->engine->stats.resets)
        return;
    for (size_t i = 0; i < q->nheld_put; i++) {
        const struct ot_held *held = &q->held_put[i];
        int event = s->db.at[held->seq];
        if (event < 0)
            continue; /* drawn in a line of history that is gone */
        s->cover[C_MAYBE_HELD] += held->maybe_duplicate;
        s->cover[C_SKIP_KEPT] += held->state == OT_HELD_SKIPPED;
        s->cover[C_TOPIC_HELD] += held->state == OT_HELD_WAITING &&
                                  held->error != NULL &&
                                  strcmp(held->error, OT_LIMIT_REASON) == 0;
        if ((r->maybe & BIT(event)) && !held->maybe_duplicate &&
            held->state != OT_HELD_SKIPPED) /* is not sent again */
            broken(s, "DUPLICATE", event, "e%d is held, and not marked", event);
    }
}

void check_write(struct sim *s, int sub, const struct ot_write_request *q)
{
    const struct cursor *cur = &s->db.now.cur[sub];
    const struct sub *to = &s->subs[sub];
    if (q->position < cur->position)
        broken(s, "INV-5", -1, "the position goes back from %lld to %lld",
               (long long)cur->position, (long long)q->position);
    if (q->position > s->db.top_seq)
        broken(s, "INV-5", -1, "the position is %lld, the last seq %lld",
               (long long)q->position, (long long)s->db.top_seq);
    for (size_t i = 0; i < q->nheld_put; i++)
        check_put(s, sub, &q->held_put[i]);
    for (size_t i = 0; i < q->nheld_del; i++) {
        int event = s->db.at[q->held_del[i]];
        if (event >= 0 && (s->db.committed & BIT(event)) &&
            !((to->published | to->skipping) & BIT(event)))
            broken(s, "INV-5", event,
                   "e%d is not held any more and was not published", event);
    }
}

/* What the cursor passes is published or held, or will never be. [INV-1]
 * [INV-5] */
void check_cursor(struct sim *s, int sub)
{
    const struct database *db = &s->db;
    const struct cursor *cur = &db->now.cur[sub];
    const struct sub *to = &s->subs[sub];
    for (size_t i = 0; i < cur->ngaps; i++)
        if (cur->gaps[i].last > cur->position ||
            cur->gaps[i].first > cur->gaps[i].last ||
            (i > 0 && cur->gaps[i - 1].last >= cur->gaps[i].first))
            broken(s, "INV-5", -1, "the gaps written make no sense");
    set done = to->published | to->filtered | cur->skipped | to->skipping;
    for (size_t i = 0; i < cur->nheld; i++)
        done |= BIT(cur->held[i].event);
    for (int i = 0; i < db->nevents; i++) {
        const struct event *event = &db->events[i];
        if (event->seq > cur->position || (done & BIT(i)) ||
            (db->gone & BIT(i)) || db->at[event->seq] != i)
            continue;
        const struct tx *tx = &db->txs[event->tx];
        bool open = (tx->state == TX_ACTIVE || tx->state == TX_PREPARED) &&
                    ((tx->events & BIT(i)) || tx->drawn == i);
        if ((!open && !(db->committed & BIT(i))) || db_in_gap(cur, event->seq))
            continue;
        if (open)
            broken(s, "INV-1", i, "the cursor passed e%d, which may commit yet",
                   i);
        broken(s, "INV-5", i, "the cursor passed e%d, which was not published",
               i);
    }
}

void check_prune(struct sim *s, int event)
{
    for (int k = 0; k < s->plan.nsubs; k++) {
        const struct sub *to = &s->subs[k];
        set done = to->published | to->filtered | s->db.now.cur[k].skipped;
        if (!(done & BIT(event)))
            broken(s, "INV-10", event,
                   "e%d is pruned and subscription %d did not get it", event,
                   k);
    }
}

/* --- at rest ------------------------------------------------------------------- */

static bool serves(const struct relay *r, int sub)
{
    return r->engine != NULL && r->sub == sub && !r->apply_only &&
           r->engine->lease.fence != 0;
}

static bool sub_is_quiet(struct sim *s, int sub)
{
    for (int i = 0; i < s->plan.nrelays; i++) {
        const struct relay *r = &s->relays[i];
        if (serves(r, sub) && r->link.stage[OT_REPLY_WRITE] == IDLE &&
            r->engine->stats.reads > r->reads + 1 && ot_engine_empty(r->engine))
            return true;
    }
    return false;
}

bool check_quiet(struct sim *s)
{
    for (int k = 0; k < s->plan.nsubs; k++)
        if (!sub_is_quiet(s, k))
            return false;
    return s->nwire == 0;
}

/* Whoever takes the lease may send the window of the one before once more. */
static void check_again(struct sim *s, int sub)
{
    const struct sub *to = &s->subs[sub];
    const struct ot_engine_options *opt = &s->plan.opt;
    unsigned each = opt->window_events + opt->batch_events;
    if (s->db.jumps == 0 &&
        to->again > (to->taken - 1) * each + to->unknown + to->replays)
        broken(s, "I12", -1,
               "%u events arrived again at subscription %d, the lease was "
               "taken %u times, %u events each, %u answers were unknown, and "
               "%u replays were taken up",
               to->again, sub, to->taken, each, to->unknown, to->replays);
}

void check_rest(struct sim *s)
{
    for (int k = 0; k < s->plan.nsubs; k++)
        check_again(s, k);
    for (int k = 0; k < s->plan.nsubs; k++) {
        const struct cursor *cur = &s->db.now.cur[k];
        const struct sub *to = &s->subs[k];
        set lost =
            s->db.committed & ~(to->published | to->filtered | cur->skipped);
        if (lost != 0)
            broken(s, "INV-1", first_of(lost),
                   "e%d was committed and did not arrive at subscription %d",
                   first_of(lost), k);
        set owed = s->db.committed & to->owed &
                   ~(to->skipping | cur->skipped | s->db.now.pruned);
        if (owed != 0)
            broken(s, "REPLAY", first_of(owed), "e%d did not arrive again",
                   first_of(owed));
        if (cur->ngaps > 0)
            broken(s, "I11", -1, "a gap from %lld on is left at rest",
                   (long long)cur->gaps[0].first);
        if (cur->nheld > 0)
            broken(s, "I11", cur->held[0].event, "e%d is left held at rest",
                   cur->held[0].event);
    }
}
