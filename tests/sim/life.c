/* life.c - a schedule: first trouble, then calm, in which everything must come
 * to rest within bounded time. */
#include "sim.h"

#define CALM_US    (90 * SECOND)
#define CALM_TURNS 6000

/* --- the beginning ------------------------------------------------------------ */

static void clear_state(struct state *state)
{
    for (int i = 0; i < SUBS; i++) {
        struct cursor *cur = &state->cur[i];
        cur->position = cur->fence = cur->expires_us = 0;
        cur->ngaps = cur->nheld = 0;
        cur->owner = 0;
        cur->paused = false;
        cur->skipped = 0;
    }
    state->ncommands = 0;
    state->last_seq = state->logged_seq = 0;
    state->lsn = 0;
    state->pruned = 0;
}

static void clear(struct sim *s)
{
    struct database *db = &s->db;
    clear_state(&db->now);
    clear_state(&db->flushed);
    db->has_backup = db->behind = false;
    db->skew_us = db->most_us = 0;
    db->jumps = 0;
    db->incarnation = (struct ot_incarnation){1, 1, 7};
    db->flush_lsn = db->told_flush = db->mark_lsn = 0;
    db->flushed_seq = db->mark_seq = db->top_seq = 0;
    db->next_lock = db->next_xid = db->done_xid = 100;
    db->next_command = 0;
    memset(db->at, -1, sizeof(db->at));
    db->nevents = db->ntxs = db->nopen = 0;
    db->committed = db->durable = db->gone = 0;
    memset(db->keys, 0, sizeof(db->keys));
    memset(s->subs, 0, sizeof(s->subs));
    for (int i = 0; i < RELAYS; i++) {
        s->relays[i].engine = NULL;
        s->relays[i].pinned = s->relays[i].alive = 0;
        s->relays[i].nflights = 0;
    }
    s->owners = 0;
    s->nwire = 0;
    s->late_owner = s->late_lease.owner = 0;
    s->sink_down = s->sink_hangs = s->cured = s->calm = false;
    memset(s->topic_bad, 0, sizeof(s->topic_bad));
    memset(s->topic_away, 0, sizeof(s->topic_away));
    s->now_us = SECOND;
    s->step = 0;
    s->guilty = -1;
    s->law[0] = s->why[0] = '\0';
}

static void start(struct sim *s)
{
    for (int i = 0; i < s->plan.nrelays; i++) {
        s->relays[i].id = i;
        s->relays[i].sub = i % s->plan.nsubs;
        relay_start(s, &s->relays[i], false);
    }
}

/* --- trouble --------------------------------------------------------------------- */

static struct relay *some_relay(struct sim *s)
{
    return &s->relays[pick(&s->tape, (unsigned)s->plan.nrelays)];
}

/* What asked for them may be lost. */
static void forget_replays(struct sim *s)
{
    for (int k = 0; k < SUBS; k++)
        s->subs[k].owed = 0;
}

static void server_gone(struct sim *s, bool backend)
{
    s->late_owner = s->late_lease.owner = 0;
    for (int i = 0; i < s->plan.nrelays && s->plan.embedded; i++)
        relay_kill(s, &s->relays[i]); /* they live on the same machine */
    if (s->plan.embedded) {
        s->nwire = 0;
        forget_replays(s);
    }
    db_crash(s, backend);
    for (int i = 0; i < s->plan.nrelays; i++)
        link_break(s, &s->relays[i], true);
}

static void restore(struct sim *s)
{
    if (s->plan.embedded)
        return;
    if (!s->db.has_backup) {
        if (!s->db.behind)
            db_backup(s);
        s->trouble_left++;
        return;
    }
    s->late_owner = s->late_lease.owner = 0;
    forget_replays(s);
    db_restore(s);
    for (int i = 0; i < s->plan.nrelays; i++)
        link_break(s, &s->relays[i], true);
}

/* Somebody sets the sequence back. Nothing may be drawn until it is mended. */
static void setval(struct sim *s)
{
    struct database *db = &s->db;
    if (s->plan.embedded)
        return;
    db->behind = !db->behind;
    db->now.last_seq =
        db->behind ? db->now.last_seq / 2 : db->top_seq + pick(&s->tape, 3);
    if (db->now.last_seq > db->top_seq)
        db->top_seq = db->now.last_seq;
    db->now.logged_seq = db->now.last_seq;
    db->now.lsn++;
    db_flush(s);
    SAY(s, "the sequence is set to %lld", (long long)db->now.last_seq);
}

static void freeze(struct sim *s, struct relay *r)
{
    if (r->engine == NULL)
        return;
    r->frozen = !r->frozen;
    SAY(s, "relay %d %s", r->owner, r->frozen ? "freezes" : "goes on");
    if (!r->frozen)
        r->wait_us = 0;
    else if (pick(&s->tape, 2)) {
        s->now_us += r->ttl_us + 50 * MS;
        REACH(s, FROZEN);
    }
}

static void clock_jump(struct sim *s, struct relay *r)
{
    if (r->engine == NULL)
        return;
    s->plan.clocks = true;
    r->base_us += (int64_t)pick(&s->tape, 64) * 50 * MS;
    SAY(s, "the clock of relay %d jumps", r->owner);
    REACH(s, CLOCK_JUMP);
}

/* A failover, or somebody who sets it. */
static void db_clock_jump(struct sim *s)
{
    unsigned how = pick(&s->tape, 4);
    int64_t by_us = (1 + (int64_t)pick(&s->tape, 32)) * 300 * MS;
    if (how & 1)
        by_us = -by_us;
    else if (how == 2)
        by_us = 3600 * SECOND;
    s->db.skew_us += by_us;
    if (s->db.skew_us > s->db.most_us)
        s->db.most_us = s->db.skew_us;
    s->db.jumps++;
    SAY(s, "the clock of the database jumps by %lld us", (long long)by_us);
    if (by_us > 0)
        REACH(s, DB_CLOCK_FORWARD);
    else
        REACH(s, DB_CLOCK_BACK);
}

static void link_trouble(struct sim *s, struct relay *r)
{
    if (r->engine == NULL || r->frozen)
        return;
    unsigned kind = pick(&s->tape, 2 * KINDS);
    for (unsigned i = 0; i < KINDS && kind < KINDS; i++)
        if (r->link.stage[kind] == IDLE)
            kind = (kind + 1) % KINDS;
    if (kind >= KINDS || r->link.stage[kind] == IDLE) {
        link_break(s, r, false);
        REACH(s, BROKEN_LINK);
    } else {
        link_fail(s, r, (enum ot_reply_kind)kind, OUTTRAY_E_STORE_BUSY);
        REACH(s, ONE_ERROR);
    }
}

static void stop_or_start(struct sim *s, struct relay *r)
{
    unsigned how = pick(&s->tape, 4);
    if (r->engine == NULL)
        relay_start(s, r, how == 3);
    else if (how < 2)
        relay_stop(s, r, 30 * MS, 60 * MS);
    else
        relay_stop(s, r, how == 3 ? SECOND : 0, how == 3 ? 2 * SECOND : MS);
}

static void topic_trouble(struct sim *s)
{
    unsigned which = pick(&s->tape, 4), topic = which & 1;
    bool *state = which & 2 ? &s->topic_away[topic] : &s->topic_bad[topic];
    *state = !*state;
    SAY(s, "topic %c %s", "tu"[topic], *state ? "refuses" : "takes events");
}

static void trouble(struct sim *s)
{
    if (s->trouble_left == 0)
        return;
    s->trouble_left--;
    struct relay *r = some_relay(s);
    if (r->engine == NULL) {
        stop_or_start(s, r);
        return;
    }
    switch (s->plan.trouble[pick(&s->tape, s->plan.ntrouble)]) {
    case T_SERVER:
        server_gone(s, false);
        break;
    case T_BACKEND:
        server_gone(s, true);
        break;
    case T_RESTORE:
        restore(s);
        break;
    case T_SETVAL:
        setval(s);
        break;
    case T_KILL:
        relay_kill(s, r);
        if (pick(&s->tape, 2))
            relay_start(s, r, false);
        break;
    case T_FREEZE:
        freeze(s, r);
        s->trouble_left++;
        break;
    case T_CLOCK:
        clock_jump(s, r);
        break;
    case T_BREAK:
        link_trouble(s, r);
        break;
    case T_STOP:
        stop_or_start(s, r);
        break;
    case T_OUTAGE:
        s->sink_down = !s->sink_down;
        SAY(s, "the broker is %s", s->sink_down ? "away" : "back");
        break;
    case T_HANG:
        s->sink_hangs = !s->sink_hangs;
        SAY(s, "the broker %s", s->sink_hangs ? "hangs" : "moves");
        break;
    case T_TOPIC:
        topic_trouble(s);
        break;
    case T_DBCLOCK:
        db_clock_jump(s);
        break;
    }
}

/* --- one step ---------------------------------------------------------------------- */

static void time_step(struct sim *s)
{
    unsigned how = pick(&s->tape, 16);
    int64_t next = OT_NEVER;
    if (how < 10) {
        for (int i = 0; i < s->plan.nrelays; i++)
            if (s->relays[i].engine != NULL && !s->relays[i].frozen) {
                int64_t wake = relay_wake(s, &s->relays[i]);
                next = wake < next ? wake : next;
            }
        if (next != OT_NEVER && next < s->now_us + 5 * SECOND) {
            s->now_us = next;
            return;
        }
    }
    s->now_us += how == 15 ? (int64_t)pick(&s->tape, 16) * 50 * MS
                           : (int64_t)pick(&s->tape, 8) * MS / 2;
}

/* A range of what was committed, from anywhere; mostly it was delivered. */
static void replay_range(struct sim *s, int sub)
{
    const struct sub *to = &s->subs[sub];
    const struct cursor *cur = &s->db.now.cur[sub];
    set some = db_visible(s) & ~(to->filtered | cur->skipped | to->skipping);
    int64_t seq = 1 + pick(&s->tape, 64) % (unsigned)(cur->position + 2);
    unsigned most = 1 + pick(&s->tape, 4);
    for (; seq <= s->db.top_seq && most > 0; seq++) {
        int i = s->db.at[seq];
        if (i < 0 || !(some & BIT(i)))
            continue;
        db_command(s, sub, OT_REPLAY, i);
        most--;
    }
}

static void operator_step(struct sim *s)
{
    int sub = (int)pick(&s->tape, (unsigned)s->plan.nsubs);
    const struct cursor *cur = &s->db.now.cur[sub];
    unsigned what = pick(&s->tape, 8);
    if (s->db.now.ncommands > 3)
        return;
    if (s->plan.replays && (what == 5 || (what < 5 && cur->nheld == 0))) {
        replay_range(s, sub);
    } else if (what < 6) {
        if (cur->nheld > 0)
            db_command(s, sub, what < 3 ? OT_REDRIVE : OT_SKIP,
                       cur->held[pick(&s->tape, (unsigned)cur->nheld)].event);
    } else {
        db_command(s, sub, what == 6 && !cur->paused ? OT_PAUSE : OT_RESUME,
                   -1);
    }
}

static void link_some(struct sim *s, struct relay *r)
{
    unsigned kind = pick(&s->tape, KINDS);
    for (unsigned i = 0; i < KINDS; i++)
        if (r->link.stage[(kind + i) % KINDS] != IDLE) {
            link_step(s, r, (enum ot_reply_kind)((kind + i) % KINDS));
            return;
        }
}

static void relay_some(struct sim *s, struct relay *r)
{
    unsigned most = 1 + pick(&s->tape, 4);
    while (most-- > 0 && relay_step(s, r))
        continue;
}

static void step(struct sim *s)
{
    switch ((enum op)s->plan.table[tape_draw(&s->tape)]) {
    case OP_RELAY:
        relay_some(s, some_relay(s));
        break;
    case OP_LINK:
        link_some(s, some_relay(s));
        break;
    case OP_WRITER:
        writer_step(s);
        break;
    case OP_UNLOCK:
        if (s->db.nopen > 0)
            writer_unlock(s, (int)pick(&s->tape, (unsigned)s->db.nopen));
        break;
    case OP_SINK:
        sink_step(s, some_relay(s));
        break;
    case OP_TIME:
        time_step(s);
        break;
    case OP_FLUSH:
        db_flush_step(s);
        break;
    case OP_WIRE:
        sink_wire(s, pick(&s->tape, WIRE));
        break;
    case OP_OPERATOR:
        operator_step(s);
        break;
    case OP_PRUNE:
        db_prune(s);
        break;
    case OP_LATE:
        link_late(s);
        break;
    case OP_TROUBLE:
        trouble(s);
        break;
    case OPS:
        break;
    }
}

/* --- calm --------------------------------------------------------------------------- */

/* Nobody asks for it any more. */
static void forget_replay(struct sim *s, const struct command *command)
{
    if (command->verb == OT_REPLAY)
        s->subs[command->sub].owed &= ~BIT(command->event);
}

static void calm_down(struct sim *s)
{
    SAY(s, "---- calm ----");
    s->calm = true;
    if (s->db.behind)
        setval(s);
    s->db.jumps += s->db.skew_us != s->db.most_us;
    s->db.skew_us = s->db.most_us; /* or leases would last and last */
    while (s->late_owner != 0 || s->late_lease.owner != 0)
        link_late(s);
    for (int k = 0; s->db.nopen > 0; k++)
        writer_end(s, 0, k % 4 != 3);
    if (!s->plan.embedded)
        db_flush(s);
    s->sink_down = s->sink_hangs = false;
    memset(s->topic_bad, 0, sizeof(s->topic_bad));
    memset(s->topic_away, 0, sizeof(s->topic_away));
    s->cured = s->plan.opt.on_reject == OT_BLOCK;
    for (int i = 0; i < s->plan.nrelays; i++) {
        struct relay *r = &s->relays[i];
        r->frozen = false;
        r->wait_us = 0;
        r->reads = r->engine != NULL ? r->engine->stats.reads : 0;
    }
    for (; s->db.now.ncommands > 4; s->db.now.ncommands--)
        forget_replay(s, &s->db.now.commands[s->db.now.ncommands - 1]);
    for (int k = 0; k < s->plan.nsubs; k++)
        db_command(s, k, OT_RESUME, -1);
}

static bool calm_relay(struct sim *s, struct relay *r)
{
    bool moved = false;
    if (r->engine == NULL)
        relay_start(s, r, false);
    for (int n = 0; relay_step(s, r); n++) {
        moved = true;
        if (n == 2000)
            broken(s, "I11", -1, "relay %d never waits", r->owner);
    }
    for (int kind = 0; kind < KINDS; kind++)
        while (r->engine != NULL && link_step(s, r, (enum ot_reply_kind)kind))
            moved = true;
    while (sink_arrive(s, r, 0))
        moved = true;
    while (r->engine != NULL && sink_complete(s, r, 0))
        moved = true;
    if (r->short_submit && r->engine != NULL) {
        r->short_submit = false;
        r->wait_us = 0;
        ot_engine_room(r->engine);
    }
    return moved;
}

/* Whoever looks after dead events: sends the good ones again, skips poison. */
static bool look_after_dead(struct sim *s)
{
    bool any = false; /* is held */
    for (int k = 0; k < s->plan.nsubs; k++) {
        const struct cursor *cur = &s->db.now.cur[k];
        for (size_t i = 0; i < cur->nheld; i++) {
            any = true;
            if (cur->held[i].state != OT_HELD_DEAD)
                continue;
            int event = cur->held[i].event;
            bool poison = s->db.events[event].verdict == POISON && !s->cured;
            poison |= s->db.now.pruned >> event & 1; /* nothing to send */
            if (s->db.now.ncommands < COMMANDS / 2)
                db_command(s, k, poison ? OT_SKIP : OT_REDRIVE, event);
        }
    }
    return any;
}

static void pass_time(struct sim *s, bool moved)
{
    int64_t next = OT_NEVER;
    if (moved) {
        s->now_us += 200;
        return;
    }
    for (int i = 0; i < s->plan.nrelays; i++) {
        int64_t wake = relay_wake(s, &s->relays[i]);
        next = wake < next ? wake : next;
    }
    if (next == OT_NEVER)
        broken(s, "I11", -1, "everybody waits for ever");
    s->now_us = next > s->now_us + 200 ? next : s->now_us + 200;
}

static void stalled(struct sim *s)
{
    char detail[200] = "";
    const char *name = "no relay";
    for (int i = 0; i < s->plan.nrelays; i++)
        if (s->relays[i].engine != NULL && (i == 0 || detail[0] == '\0'))
            name = ot_stall_name(ot_engine_stall(
                s->relays[i].engine, relay_clock(s, &s->relays[i]), detail));
    broken(s, "I11", -1, "no rest; the stall is %s (%s)", name, detail);
}

static void settle(struct sim *s)
{
    int64_t until;
    calm_down(s);
    until = s->now_us + CALM_US;
    for (int turn = 0;; turn++) {
        bool moved = sink_wire(s, 0);
        for (int i = 0; i < s->plan.nrelays; i++)
            moved |= calm_relay(s, &s->relays[i]);
        bool quiet = !moved && check_quiet(s);
        if ((quiet || turn % 64 == 63) && !look_after_dead(s) && quiet)
            break;
        if (turn == CALM_TURNS || s->now_us > until)
            stalled(s);
        pass_time(s, moved);
        s->steps++;
    }
    check_rest(s);
}

/* At rest a relay stops at once, and gives its lease back. */
static void stop_all(struct sim *s)
{
    for (int i = 0; i < s->plan.nrelays; i++) {
        struct relay *r = &s->relays[i];
        int owner = r->owner;
        relay_stop(s, r, SECOND, 2 * SECOND);
        for (int turn = 0; r->engine != NULL; turn++) {
            bool moved = false;
            while (relay_step(s, r))
                moved = true;
            for (int kind = 0; kind < KINDS && r->engine != NULL; kind++)
                moved |= link_step(s, r, (enum ot_reply_kind)kind);
            if (r->engine == NULL)
                break;
            while (sink_arrive(s, r, 0) || sink_complete(s, r, 0))
                moved = true;
            if (!moved)
                s->now_us += 50 * MS;
            if (turn > 200)
                broken(s, "I11", -1, "relay %d does not stop", owner);
        }
        if (s->db.now.cur[r->sub].owner == owner)
            broken(s, "I11", -1, "relay %d kept its lease", owner);
    }
}

static void live(struct sim *s)
{
    start(s);
    for (s->step = 0; s->step < s->plan.steps && !tape_ended(&s->tape);
         s->step++)
        step(s);
    s->steps += s->step;
    s->events += (uint64_t)s->db.nevents;
    settle(s);
    stop_all(s);
    s->virtual_us += (uint64_t)s->now_us;
    if (memory_live() != 0)
        broken(s, "I17", -1, "%zu blocks were not freed", memory_live());
}

bool life_run(struct sim *s)
{
    memory_reset();
    clear(s);
    if (setjmp(s->broken) != 0)
        return false;
    plan_choose(s);
    live(s);
    return true;
}
