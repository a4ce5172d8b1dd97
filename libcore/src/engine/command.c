/* command.c - what operators ask of the owner of a subscription. */
#include "engine/internal.h"

static void redrive(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->loaded || entry->queued || entry->fetching)
        return; /* is on its way */
    if (entry->h.state == OT_HELD_BLOCKED)
        return; /* goes behind what holds its key: never before it [INV-3] */
    if (entry->h.state == OT_HELD_DEAD) {
        entry->h.attempts = 0;
        entry->h.retried_us = 0;
    }
    bool holds_key = entry->h.holds_key;
    uint32_t lane = entry->lane;
    ot_held_set(e, id, OT_HELD_RETRYING, holds_key, ot_db_now(e));
    ot_held_error(e, id, "sent again on request");
    ot_held_save(e, id);
    if (lane != OT_NIL)
        ot_lane_go(e, lane);
}

static bool known(const struct ot_engine *e, int64_t id)
{
    for (size_t i = 0; i < e->ndone; i++)
        if (e->done[i] == id)
            return true;
    for (size_t i = 0; i < e->ndone_writing; i++)
        if (e->done_writing[i] == id)
            return true;
    return false;
}

/* Below the position, and in no gap that is open or was not settled yet. */
static bool passed(struct ot_engine *e, int64_t seq)
{
    if (seq <= 0 || seq > e->cursor.position || ot_gaps_contain(&e->gaps, seq))
        return false;
    for (uint64_t i = e->head; e->late > 0 && i < e->tail; i++) {
        uint32_t id = e->ring[i & (e->ring_size - 1)];
        if (id != OT_NIL && ot_item(e, id)->event->seq == seq)
            return false;
    }
    return true;
}

static void on_event(struct ot_engine *e, const struct ot_command *command)
{
    uint32_t id = ot_held_find(e, command->seq);
    if (id == OT_NIL || ot_entry(e, id)->h.state == OT_HELD_SKIPPED) {
        ot_log(e->log, OT_WARN, "engine",
               "%s of event %lld: it is not held (any more), nothing to do",
               ot_verb_name(command->verb), (long long)command->seq);
        return;
    }
    if (command->verb == OT_SKIP)
        ot_held_skip(e, id);
    else
        redrive(e, id);
    ot_log(e->log, OT_INFO, "engine", "%s of event %lld on request",
           ot_verb_name(command->verb), (long long)command->seq);
}

/* It was delivered, and somebody says that it did not arrive. */
static void replay(struct ot_engine *e, const struct ot_command *command)
{
    if (ot_held_find(e, command->seq) == OT_NIL && passed(e, command->seq)) {
        ot_held_again(e, command->seq);
        ot_log(e->log, OT_INFO, "engine",
               "event %lld, passed before, is sent again on request",
               (long long)command->seq);
        return;
    }
    ot_log(e->log, OT_WARN, "engine",
           "replay of event %lld: it was not delivered yet, nothing to do",
           (long long)command->seq);
}

static void pause(struct ot_engine *e, bool paused)
{
    e->paused = paused;
    e->set_paused = paused;
    e->next_read_us = e->now_us;
    ot_log(e->log, OT_INFO, "engine", paused ? "paused" : "resumed");
}

static void apply(struct ot_engine *e, const struct ot_command *command)
{
    if (known(e, command->id))
        return;
    if (OT_GROW(e->done, e->done_size, e->ndone + 1) != 0) {
        e->nomem = true;
        return;
    }
    switch (command->verb) {
    case OT_REDRIVE:
    case OT_SKIP:
        on_event(e, command);
        break;
    case OT_REPLAY:
        replay(e, command);
        break;
    case OT_PAUSE:
        pause(e, true);
        break;
    case OT_RESUME:
        pause(e, false);
        break;
    }
    /* Its row goes with the write that makes its effect durable. */
    e->done[e->ndone++] = command->id;
    ot_save_soon(e);
}

void ot_command_told(struct ot_engine *e, const struct ot_reply *reply)
{
    /* There may be more than one reply brings. */
    e->want_commands = e->opt.apply_only && reply->commands.n > 0;
    e->commands_us =
        e->now_us + (e->opt.poll_max_us > 100000 ? e->opt.poll_max_us : 100000);
    for (size_t i = 0; i < reply->commands.n && !e->nomem; i++)
        apply(e, &reply->commands.commands[i]);
}
