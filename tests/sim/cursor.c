/* cursor.c - cursors and leases as the database keeps them, commands, and the
 * one write. Each is one step. */
#include "sim.h"

bool db_in_gap(const struct cursor *cur, int64_t seq)
{
    for (size_t i = 0; i < cur->ngaps; i++)
        if (cur->gaps[i].first <= seq && seq <= cur->gaps[i].last)
            return true;
    return false;
}

struct hold *db_held(struct sim *s, int sub, int event)
{
    struct cursor *cur = &s->db.now.cur[sub];
    for (size_t i = 0; i < cur->nheld; i++)
        if (cur->held[i].event == event)
            return &cur->held[i];
    return NULL;
}

void db_command(struct sim *s, int sub, enum ot_verb verb, int event)
{
    struct state *now = &s->db.now;
    if (now->ncommands == COMMANDS)
        return;
    now->commands[now->ncommands++] =
        (struct command){++s->db.next_command, verb, event, sub};
    SAY(s, "an operator asks: %s e%d, subscription %d", ot_verb_name(verb),
        event, sub);
    db_written(s, s->plan.embedded);
}

static void note_takeover(struct sim *s, int from)
{
    REACH(s, LEASE_TAKEN);
    for (int i = 0; i < s->plan.nrelays; i++)
        if (s->relays[i].engine != NULL && s->relays[i].owner == from &&
            s->relays[i].nflights > 0)
            REACH(s, TAKEOVER_IN_FLIGHT);
}

struct ot_lease_reply db_lease(struct sim *s, int owner, int sub,
                               const struct ot_lease_request *q)
{
    struct cursor *cur = &s->db.now.cur[sub];
    bool expired = cur->owner == 0 || db_now(s) >= cur->expires_us;
    bool mine = cur->owner == owner;
    struct ot_lease_reply reply;
    memset(&reply, 0, sizeof(reply));
    if (q->take ? expired || mine
                : !expired && mine && cur->fence == q->fence) {
        if (q->take && cur->owner != 0 && !mine)
            note_takeover(s, cur->owner);
        if (!q->take)
            REACH(s, LEASE_RENEWED);
        if (q->take)
            cur->fence = (cur->fence > q->fence ? cur->fence : q->fence) + 1;
        s->subs[sub].taken += q->take;
        cur->owner = owner;
        cur->expires_us = db_now(s) + q->ttl_us;
        db_written(s, s->plan.embedded);
        reply.granted = true;
        reply.fence = cur->fence;
        return reply;
    }
    if (q->take)
        REACH(s, LEASE_DENIED);
    else
        REACH(s, RENEWAL_DENIED);
    reply.free_in_us = expired ? 0 : cur->expires_us - db_now(s);
    memcpy(reply.owner, "another", 8);
    return reply;
}

void db_release(struct sim *s, int owner, int sub, int64_t fence)
{
    struct cursor *cur = &s->db.now.cur[sub];
    if (cur->owner != owner || cur->fence != fence)
        return;
    cur->owner = 0;
    db_written(s, s->plan.embedded);
}

static void del_gap(struct sim *s, struct cursor *cur, int64_t first)
{
    size_t i = 0;
    while (i < cur->ngaps && cur->gaps[i].first != first)
        i++;
    if (i == cur->ngaps)
        broken(s, "STORE", -1, "no gap starts at %lld", (long long)first);
    memmove(&cur->gaps[i], &cur->gaps[i + 1],
            (--cur->ngaps - i) * sizeof(cur->gaps[0]));
}

static void put_gap(struct sim *s, struct cursor *cur, struct ot_range gap)
{
    if (cur->ngaps == RANGES)
        broken(s, "SIM", -1, "more than %d gaps", RANGES);
    size_t i = cur->ngaps++;
    for (; i > 0 && cur->gaps[i - 1].first > gap.first; i--)
        cur->gaps[i] = cur->gaps[i - 1];
    cur->gaps[i] = gap;
}

static void del_held(struct sim *s, int sub, int64_t seq)
{
    struct cursor *cur = &s->db.now.cur[sub];
    struct hold *hold = db_held(s, sub, s->db.at[seq]);
    if (hold == NULL)
        return;
    memmove(hold, hold + 1,
            (size_t)(&cur->held[--cur->nheld] - hold) * sizeof(*hold));
}

static void put_held(struct sim *s, int sub, const struct ot_held *held)
{
    struct cursor *cur = &s->db.now.cur[sub];
    int event = s->db.at[held->seq];
    struct hold *to = db_held(s, sub, event);
    if (to == NULL) {
        size_t i = cur->nheld++;
        for (; i > 0 && s->db.events[cur->held[i - 1].event].seq > held->seq;
             i--)
            cur->held[i] = cur->held[i - 1];
        to = &cur->held[i];
    }
    *to = (struct hold){.event = event,
                        .state = held->state,
                        .holds_key = held->holds_key,
                        .attempts = held->attempts,
                        .next_us = held->next_us,
                        .first_us = held->first_error_us,
                        .last_us = held->last_error_us,
                        .retried_us = held->retried_us,
                        .maybe_duplicate = held->maybe_duplicate};
}

/* Was the skip of this event carried out by this write? It may have found that
 * the event was delivered, and not held any more. */
static bool skips(const struct sim *s, int sub, int event,
                  const struct ot_write_request *q)
{
    int64_t seq = s->db.events[event].seq;
    for (size_t i = 0; i < q->nheld_put; i++)
        if (q->held_put[i].seq == seq)
            return q->held_put[i].state == OT_HELD_SKIPPED;
    for (size_t i = 0; i < q->nheld_del; i++)
        if (q->held_del[i] == seq)
            return !(s->subs[sub].published & BIT(event));
    return false;
}

static void del_command(struct sim *s, int sub, int64_t id,
                        const struct ot_write_request *q)
{
    struct state *now = &s->db.now;
    for (size_t i = 0; i < now->ncommands; i++)
        if (now->commands[i].id == id) {
            const struct command *command = &now->commands[i];
            if (command->verb == OT_SKIP && skips(s, sub, command->event, q))
                now->cur[sub].skipped |= BIT(command->event);
            memmove(&now->commands[i], &now->commands[i + 1],
                    (--now->ncommands - i) * sizeof(now->commands[0]));
            return;
        }
}

/* May this write change anything? All or nothing. [INV-4] */
static bool allowed(const struct sim *s, int owner, int sub,
                    const struct ot_write_request *q)
{
    const struct cursor *cur = &s->db.now.cur[sub];
    return cur->owner == owner && cur->fence == q->fence &&
           ot_incarnation_allows(&q->incarnation, &s->db.incarnation);
}

struct ot_write_reply db_write(struct sim *s, int owner, int sub,
                               const struct ot_write_request *q)
{
    struct cursor *cur = &s->db.now.cur[sub];
    struct ot_write_reply reply = {.number = q->number, .fate = OT_REFUSED};
    if (!allowed(s, owner, sub, q)) {
        SAY(s, "the write of relay %d is refused", owner);
        return reply;
    }
    SAY(s, "relay %d writes position %lld, %zu+ %zu- gaps, %zu+ %zu- held",
        owner, (long long)q->position, q->ngaps_put, q->ngaps_del, q->nheld_put,
        q->nheld_del);
    check_write(s, sub, q);
    cur->position = q->position;
    for (size_t i = 0; i < q->ngaps_del; i++)
        del_gap(s, cur, q->gaps_del[i]);
    for (size_t i = 0; i < q->ngaps_put; i++)
        put_gap(s, cur, q->gaps_put[i]);
    for (size_t i = 0; i < q->ncommands_done; i++)
        del_command(s, sub, q->commands_done[i], q);
    for (size_t i = 0; i < q->nheld_del; i++)
        del_held(s, sub, q->held_del[i]);
    for (size_t i = 0; i < q->nheld_put; i++)
        put_held(s, sub, &q->held_put[i]);
    if (q->set_paused >= 0)
        cur->paused = q->set_paused == 1;
    if (q->durable)
        REACH(s, BARRIER_FORCED);
    db_written(s, q->durable);
    reply.fate = OT_WRITTEN;
    if (q->durable)
        reply.flush_lsn = s->plan.embedded ? s->db.told_flush : s->db.flush_lsn;
    check_cursor(s, sub);
    return reply;
}
