/* link.c - requests on their way to the database, answers on their way back.
 *
 * A request is carried out in one step and answered in another; in between the
 * connection may break, and then nobody knows. What was sent may still land
 * later: writes and requests for a lease are kept for that. */
#include "sim.h"

static const char *const names[KINDS] = {
    "lease", "load", "read", "fetch", "write", "commands", "release", "prune"};

/* --- asking ----------------------------------------------------------------- */

#define COPY(to, from, n)                                             \
    do {                                                              \
        if ((n) > OT_COUNT(to))                                       \
            broken(s, "SIM", -1, "%zu of " #to " in a request", (n)); \
        if ((n) > 0)                                                  \
            memcpy((to), (from), (n) * sizeof((to)[0]));              \
    } while (0)

static void point_at_copies(struct write_copy *w)
{
    w->q.gaps_put = w->gaps_put;
    w->q.gaps_del = w->gaps_del;
    w->q.held_put = w->held_put;
    w->q.held_del = w->held_del;
    w->q.commands_done = w->commands_done;
}

static void copy_write(struct sim *s, struct write_copy *w,
                       const struct ot_write_request *q)
{
    w->q = *q;
    COPY(w->gaps_put, q->gaps_put, q->ngaps_put);
    COPY(w->gaps_del, q->gaps_del, q->ngaps_del);
    COPY(w->held_put, q->held_put, q->nheld_put);
    COPY(w->held_del, q->held_del, q->nheld_del);
    COPY(w->commands_done, q->commands_done, q->ncommands_done);
    point_at_copies(w);
    /* The texts stay the engine's, until the answer. */
    for (size_t i = 0; i < q->nheld_put; i++)
        w->held_put[i].error = NULL;
}

void link_ask(struct sim *s, struct relay *r, enum ot_reply_kind kind,
              const union ot_wish_args *args)
{
    struct link *link = &r->link;
    if (link->stage[kind] != IDLE)
        broken(s, "ENGINE", -1, "a second %s while one is under way",
               names[kind]);
    SAY(s, "relay %d asks: %s", r->owner, names[kind]);
    link->stage[kind] = ASKED;
    switch (kind) {
    case OT_REPLY_LEASE:
        link->lease = args->lease;
        link->lease_asked_us = relay_clock(s, r);
        break;
    case OT_REPLY_READ:
        check_read(s, r, &args->read);
        link->read = args->read;
        COPY(link->read_gaps, args->read.gaps, args->read.ngaps);
        link->read.gaps = link->read_gaps;
        break;
    case OT_REPLY_FETCH:
        check_fetch(s, r, &args->fetch);
        link->nfetch = args->fetch.n;
        COPY(link->fetch, args->fetch.seqs, args->fetch.n);
        break;
    case OT_REPLY_WRITE:
        check_asked(s, r, &args->write);
        copy_write(s, &link->write, &args->write);
        break;
    case OT_REPLY_RELEASE:
        link->release = args->release_fence;
        break;
    case OT_REPLY_CURSOR:
    case OT_REPLY_COMMANDS:
    case OT_REPLY_PRUNE:
        break;
    }
}

/* --- carrying out ------------------------------------------------------------ */

static void copy_commands(struct sim *s, struct relay *r)
{
    struct link *link = &r->link;
    link->ncommands = 0;
    for (size_t i = 0; i < s->db.now.ncommands; i++) {
        const struct command *c = &s->db.now.commands[i];
        if (c->sub == r->sub)
            link->commands[link->ncommands++] = (struct ot_command){
                c->id, c->verb, c->event >= 0 ? s->db.events[c->event].seq : 0};
    }
}

static void carry_out(struct sim *s, struct relay *r, enum ot_reply_kind kind)
{
    struct link *link = &r->link;
    SAY(s, "the database does: %s of relay %d", names[kind], r->owner);
    switch (kind) {
    case OT_REPLY_LEASE:
        link->lease_said = db_lease(s, r->owner, r->sub, &link->lease);
        if (link->lease_said.granted)
            link->lease_jumps = s->db.jumps;
        break;
    case OT_REPLY_CURSOR:
        db_load(s, r);
        break;
    case OT_REPLY_READ:
        db_read(s, r);
        break;
    case OT_REPLY_FETCH:
        db_fetch(s, r);
        break;
    case OT_REPLY_WRITE:
        link->write_said = db_write(s, r->owner, r->sub, &link->write.q);
        if (link->write_said.fate == OT_REFUSED)
            REACH(s, WRITE_REFUSED);
        break;
    case OT_REPLY_COMMANDS:
        copy_commands(s, r);
        break;
    case OT_REPLY_RELEASE:
        db_release(s, r->owner, r->sub, link->release);
        break;
    case OT_REPLY_PRUNE:
        break;
    }
    link->stage[kind] = ANSWERED;
}

/* --- answering ---------------------------------------------------------------- */

static void tell(struct sim *s, struct relay *r, struct ot_reply *reply)
{
    r->wait_us = 0;
    s->wishes++;
    ot_engine_told(r->engine, reply, relay_clock(s, r));
}

static struct ot_reply *reply_of(struct sim *s, enum ot_reply_kind kind)
{
    s->reply.kind = kind;
    s->reply.code = 0;
    s->reply.err.code = 0;
    s->reply.err.text[0] = '\0';
    return &s->reply;
}

/* What a read taught the engine, as far as it can be seen from outside. */
static void watch_gaps(struct sim *s, struct relay *r, struct ot_reply *reply)
{
    struct ot_engine *e = r->engine;
    const struct ot_read_reply *read = &reply->read;
    bool unasked = false, asked = false, left_out = false, ahead = false, stale;
    int64_t last_gap = 0;
    uint64_t late = e->stats.late;
    size_t before = e->gaps.n, rows = 0;
    stale = !ot_incarnation_equal(&read->incarnation, &e->incarnation) ||
            e->asked[OT_REPLY_READ].epoch != e->epoch;
    for (size_t i = 0; i < before; i++) {
        unasked |= !e->gaps.v[i].gen->asked;
        asked |= e->gaps.v[i].gen->asked;
        left_out |= e->gaps.v[i].left_out;
        ahead |= e->gaps.v[i].left_out && e->gaps.v[i].first > e->read_position;
        last_gap = e->gaps.v[i].last;
    }
    for (uint32_t i = 0; i < read->rows->n; i++)
        rows += read->rows->events[i].seq > e->read_position;
    set given = 0;
    for (uint32_t i = 0; i < read->rows->n; i++)
        given |= BIT(read->rows->events[i].id.b[0] - 1);
    int64_t last_row =
        read->rows->n > 0 ? read->rows->events[read->rows->n - 1].seq : 0;
    bool cut_gaps = read->cut && last_row < last_gap;
    uint64_t taken = e->stats.read;
    tell(s, r, reply);
    if (stale)
        return;
    s->cover[C_GAP_LEFT_OUT] += left_out;
    s->cover[C_GAP_AHEAD] += ahead && !e->gaps.again;
    s->cover[C_READ_THROWN_AWAY] += left_out && e->gaps.again;
    s->cover[C_READ_CUT_GAPS] += cut_gaps;
    if (e->stats.read == taken && e->gaps.again)
        return;
    check_given(r, given);
    s->cover[C_GAP_FILLED] += e->stats.late > late;
    s->cover[C_GAP_FOUND] += rows > 0 && e->gaps.n > before;
    s->cover[C_GAP_SPLIT] += rows == 0 && e->gaps.n > before;
    if (e->stats.late == late && e->gaps.n < before && rows == 0) {
        s->cover[C_GAP_DEAD_AT_ONCE] += unasked;
        s->cover[C_GAP_DEAD_LATER] += asked && !unasked;
    }
    for (size_t i = 0; i < e->gaps.n; i++)
        if (e->gaps.v[i].rest != NULL)
            REACH(s, GAP_CONFIRMED);
    s->cover[C_BARRIER_WAIT] += e->admit < e->tail;
    s->cover[C_WINDOW_FULL] += e->pinned >= e->opt.window_events;
}

static void answer_read(struct sim *s, struct relay *r)
{
    struct ot_reply *reply = reply_of(s, OT_REPLY_READ);
    reply->read = r->link.read_said;
    if (r->engine->gaps.n > 0 && !ot_incarnation_equal(&reply->read.incarnation,
                                                       &r->engine->incarnation))
        REACH(s, RESTART_WITH_GAPS);
    if (s->talk) {
        char text[300] = "";
        size_t n = 0;
        for (uint32_t i = 0; i < reply->read.rows->n && n < 280; i++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " e%d",
                                  reply->read.rows->events[i].id.b[0] - 1);
        SAY(s, "relay %d reads%s%s, flushed %llu of %llu", r->owner, text,
            reply->read.cut ? " (cut)" : "",
            (unsigned long long)reply->read.flush_lsn,
            (unsigned long long)reply->read.lsn);
    }
    watch_gaps(s, r, reply);
}

static void answer_load(struct sim *s, struct relay *r)
{
    struct ot_held held[EVENTS];
    const struct cursor *cur = &r->link.loaded;
    for (size_t i = 0; i < cur->nheld; i++) {
        const struct hold *h = &cur->held[i];
        const struct event *event = &s->db.events[h->event];
        struct ot_slice key = ot_slice(&"abc"[event->key], 1);
        held[i] = (struct ot_held){
            .seq = event->seq,
            .key = event->key == KEYS ? 0 : ot_hash(key),
            .topic = ot_hash(ot_slice(&"tu"[event->topic], 1)),
            .state = h->state,
            .holds_key = h->holds_key,
            .attempts = h->attempts,
            .next_us = h->next_us,
            .first_error_us = h->first_us,
            .last_error_us = h->last_us,
            .retried_us = h->retried_us,
            .maybe_duplicate = h->maybe_duplicate,
        };
    }
    struct ot_reply *reply = reply_of(s, OT_REPLY_CURSOR);
    reply->cursor = (struct ot_cursor_reply){
        .fence = cur->fence,
        .lease_left_us = cur->expires_us - r->link.loaded_now,
        .position = cur->position,
        .gaps = cur->gaps,
        .ngaps = cur->ngaps,
        .held = held,
        .nheld = cur->nheld,
        .paused = cur->paused,
        .incarnation = r->link.loaded_incarnation,
        .last_seq = r->link.loaded_last,
        .flush_lsn = r->link.loaded_flush,
        .db_now_us = r->link.loaded_now,
    };
    SAY(s, "relay %d loads position %lld, %zu gaps, %zu held", r->owner,
        (long long)cur->position, cur->ngaps, cur->nheld);
    if (cur->ngaps > 0)
        REACH(s, GAP_LOADED);
    r->held = (uint32_t)cur->nheld;
    for (size_t i = 0; i < cur->nheld; i++) {
        s->cover[C_SKIP_LOADED] += cur->held[i].state == OT_HELD_SKIPPED;
        s->cover[C_REPLAY_LOADED] +=
            s->subs[r->sub].owed >> cur->held[i].event & 1;
    }
    int64_t fence = r->engine->lease.fence;
    tell(s, r, reply);
    if (r->engine->refused)
        REACH(s, BEHIND);
    if (fence != 0 && r->engine->lease.fence == 0)
        REACH(s, LEASE_GONE);
}

/* The events that its engine holds. */
static set in_hand(const struct sim *s, const struct relay *r)
{
    set held = 0;
    for (int i = 0; i < s->db.nevents; i++)
        if (ot_held_find(r->engine, s->db.events[i].seq) != OT_NIL)
            held |= BIT(i);
    return held;
}

/* Is it still asked for, and by this relay that it is carried out? */
static bool stands(const struct sim *s, const struct relay *r, int64_t id)
{
    const struct cursor *cur = &s->db.now.cur[r->sub];
    if (cur->owner != r->owner || cur->fence != r->engine->lease.fence)
        return false;
    for (size_t i = 0; i < s->db.now.ncommands; i++)
        if (s->db.now.commands[i].id == id)
            return true;
    return false;
}

static set ahead_of(const struct sim *s, int event, set others)
{
    set found = 0;
    for (set rest = others; rest != 0; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        if (s->db.events[i].key == s->db.events[event].key &&
            s->db.events[i].seq < s->db.events[event].seq)
            found |= BIT(i);
    }
    return found;
}

/* What became held by commands goes out again. */
static void note_replays(struct sim *s, struct relay *r, set before)
{
    struct sub *sub = &s->subs[r->sub];
    set taken = in_hand(s, r) & ~before, fresh = 0;
    for (size_t i = 0; i < r->link.ncommands; i++) {
        const struct ot_command *c = &r->link.commands[i];
        int event = c->seq > 0 ? s->db.at[c->seq] : -1;
        if (event >= 0 && c->verb == OT_SKIP && (fresh & BIT(event)))
            sub->skipping |= BIT(event);
        if (event >= 0 && c->verb == OT_REDRIVE) {
            check_excuse(s, r->sub, event); /* due at another time now */
            before &= ~BIT(event);
        }
        if (c->verb != OT_REPLAY || event < 0)
            continue;
        if (!(taken & BIT(event))) {
            REACH(s, REPLAY_REFUSED);
            continue;
        }
        taken &= ~BIT(event);
        fresh |= BIT(event);
        SAY(s, "e%d is to be sent again", event);
        REACH(s, REPLAY_TAKEN);
        sub->replays++;
        r->ok &= ~BIT(event);
        r->maybe |= BIT(event);
        r->again |= BIT(event);
        sub->redriven |= BIT(event); /* also before its time, as asked */
        if (!stands(s, r, c->id))
            continue;
        sub->ahead[event] =
            s->db.events[event].key == KEYS
                ? 0
                : ahead_of(s, event, before & sub->owed & r->again);
        s->cover[C_REPLAY_BEHIND] += sub->ahead[event] != 0;
        for (int k = 0; k < s->db.nevents; k++) /* if it was replayed before */
            sub->ahead[k] &= ~BIT(event);
        sub->owed |= BIT(event);
        before |= BIT(event);
    }
}

static void answer_commands(struct sim *s, struct relay *r)
{
    struct ot_reply *reply = reply_of(s, OT_REPLY_COMMANDS);
    reply->commands.commands = r->link.commands;
    reply->commands.n = r->link.ncommands;
    bool heard = r->engine->asked[OT_REPLY_COMMANDS].epoch == r->engine->epoch;
    for (size_t i = 0; heard && i < r->link.ncommands; i++) {
        const struct ot_command *c = &r->link.commands[i];
        int event = c->seq > 0 ? s->db.at[c->seq] : -1;
        if (event < 0 || ot_held_find(r->engine, c->seq) == OT_NIL)
            continue;
        if (c->verb == OT_SKIP) {
            s->subs[r->sub].skipping |= BIT(event);
            REACH(s, SKIPPED);
        } else if (c->verb == OT_REDRIVE) {
            s->subs[r->sub].redriven |= BIT(event);
            check_excuse(s, r->sub, event);
            REACH(s, REDRIVEN);
        }
    }
    bool paused = r->engine->paused;
    set held = s->plan.replays ? in_hand(s, r) : 0;
    tell(s, r, reply);
    if (s->plan.replays)
        note_replays(s, r, held);
    if (r->engine->paused && !paused)
        REACH(s, PAUSED);
}

static void answer_write(struct sim *s, struct relay *r)
{
    struct ot_reply *reply = reply_of(s, OT_REPLY_WRITE);
    reply->write = r->link.write_said;
    tell(s, r, reply);
}

static void answer(struct sim *s, struct relay *r, enum ot_reply_kind kind)
{
    struct ot_reply *reply;
    SAY(s, "relay %d hears: %s", r->owner, names[kind]);
    r->link.stage[kind] = IDLE;
    switch (kind) {
    case OT_REPLY_LEASE:
        reply = reply_of(s, kind);
        reply->lease = r->link.lease_said;
        if (reply->lease.granted)
            SAY(s, "relay %d has the lease, fence %lld", r->owner,
                (long long)reply->lease.fence);
        if (reply->lease.granted)
            r->until_us = r->link.lease_asked_us + r->ttl_us;
        tell(s, r, reply);
        break;
    case OT_REPLY_CURSOR:
        answer_load(s, r);
        break;
    case OT_REPLY_READ:
        answer_read(s, r);
        break;
    case OT_REPLY_FETCH:
        reply = reply_of(s, kind);
        reply->fetch = (struct ot_fetch_reply){r->link.fetched, r->link.nfetch};
        tell(s, r, reply);
        break;
    case OT_REPLY_WRITE:
        answer_write(s, r);
        break;
    case OT_REPLY_COMMANDS:
        answer_commands(s, r);
        break;
    case OT_REPLY_RELEASE:
    case OT_REPLY_PRUNE:
        tell(s, r, reply_of(s, kind));
        break;
    }
}

bool link_step(struct sim *s, struct relay *r, enum ot_reply_kind kind)
{
    struct link *link = &r->link;
    switch (link->stage[kind]) {
    case IDLE:
        return false;
    case ASKED:
        if (kind == OT_REPLY_READ && link->read.with_locks) {
            SAY(s, "the database lists locks for relay %d", r->owner);
            db_locks(s, r);
            link->stage[kind] = LOCKED;
            return true;
        }
        carry_out(s, r, kind);
        return true;
    case LOCKED:
        carry_out(s, r, kind);
        return true;
    case ANSWERED:
        if (r->frozen || r->engine == NULL)
            return false;
        answer(s, r, kind);
        return true;
    }
    return false;
}

/* --- breaking ------------------------------------------------------------------ */

static void drop_answer(struct relay *r, enum ot_reply_kind kind)
{
    if (r->link.stage[kind] != ANSWERED)
        return;
    if (kind == OT_REPLY_READ)
        ot_rows_unref(r->link.read_said.rows);
    if (kind == OT_REPLY_FETCH)
        ot_rows_unref(r->link.fetched);
}

void link_fail(struct sim *s, struct relay *r, enum ot_reply_kind kind,
               int code)
{
    if (kind == OT_REPLY_WRITE && r->link.stage[kind] == ANSWERED &&
        r->link.write_said.fate == OT_WRITTEN)
        REACH(s, FATE_UNKNOWN_DONE);
    drop_answer(r, kind);
    r->link.stage[kind] = IDLE;
    struct ot_reply *reply = reply_of(s, kind);
    reply->code = code;
    ot_fail(&reply->err, code, "as the tape wants it");
    if (kind == OT_REPLY_WRITE)
        reply->write = (struct ot_write_reply){.number = r->link.write.q.number,
                                               .fate = OT_FATE_UNKNOWN};
    SAY(s, "relay %d hears that its %s failed", r->owner, names[kind]);
    tell(s, r, reply);
}

/* What is on its way without an answer may land at any later time. */
static void keep_late(struct sim *s, struct relay *r)
{
    if (r->link.stage[OT_REPLY_WRITE] == ASKED && s->late_owner == 0 &&
        pick(&s->tape, 2)) {
        s->late_write = r->link.write;
        point_at_copies(&s->late_write);
        s->late_owner = r->owner;
        s->late_sub = r->sub;
    }
    if (r->link.stage[OT_REPLY_LEASE] == ASKED && s->late_lease.owner == 0 &&
        pick(&s->tape, 2)) {
        s->late_lease.owner = r->owner;
        s->late_lease.sub = r->sub;
        s->late_lease.q = r->link.lease;
    }
}

void link_break(struct sim *s, struct relay *r, bool server_gone)
{
    if (r->engine == NULL)
        return;
    SAY(s, "the connection of relay %d breaks", r->owner);
    if (!server_gone)
        keep_late(s, r);
    for (int kind = 0; kind < KINDS; kind++)
        if (r->link.stage[kind] != IDLE)
            link_fail(s, r, (enum ot_reply_kind)kind,
                      OUTTRAY_E_STORE_UNAVAILABLE);
}

void link_cut(struct sim *s, struct relay *r)
{
    keep_late(s, r);
    for (int kind = 0; kind < KINDS; kind++) {
        drop_answer(r, (enum ot_reply_kind)kind);
        r->link.stage[kind] = IDLE;
    }
}

void link_late(struct sim *s)
{
    if (s->late_owner != 0) {
        int owner = s->late_owner;
        s->late_owner = 0;
        SAY(s, "a write of relay %d lands late", owner);
        if (db_write(s, owner, s->late_sub, &s->late_write.q).fate ==
            OT_WRITTEN)
            REACH(s, LATE_WRITE_DONE);
        else
            REACH(s, LATE_WRITE_REFUSED);
    } else if (s->late_lease.owner != 0) {
        int owner = s->late_lease.owner;
        s->late_lease.owner = 0;
        SAY(s, "a request for the lease by relay %d lands late", owner);
        db_lease(s, owner, s->late_lease.sub, &s->late_lease.q);
        REACH(s, LATE_LEASE);
    }
}
