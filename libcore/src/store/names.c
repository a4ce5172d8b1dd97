/* names.c - the words that a database keeps for states and verbs. */
#include "store/store.h"

static const char *const states[] = {
    [OT_HELD_RETRYING] = "retrying", [OT_HELD_WAITING] = "waiting",
    [OT_HELD_BLOCKED] = "blocked",   [OT_HELD_SCHEDULED] = "scheduled",
    [OT_HELD_DEAD] = "dead",         [OT_HELD_SKIPPED] = "skipped",
};

static const char *const verbs[] = {
    [OT_REDRIVE] = "redrive", [OT_SKIP] = "skip",     [OT_PAUSE] = "pause",
    [OT_RESUME] = "resume",   [OT_REPLAY] = "replay",
};

static int find(const char *const *words, size_t n, struct ot_slice name)
{
    for (size_t i = 0; i < n; i++)
        if (ot_slice_equal(ot_slice_of(words[i]), name))
            return (int)i;
    return -1;
}

const char *ot_held_state_name(enum ot_held_state state)
{
    return (size_t)state < OT_COUNT(states) ? states[state] : "unknown";
}

int ot_held_state_parse(struct ot_slice name, enum ot_held_state *out)
{
    int i = find(states, OT_COUNT(states), name);

    *out = i >= 0 ? (enum ot_held_state)i : OT_HELD_RETRYING;
    return i >= 0 ? 0 : OUTTRAY_E_NOT_FOUND;
}

const char *ot_verb_name(enum ot_verb verb)
{
    return (size_t)verb < OT_COUNT(verbs) ? verbs[verb] : "unknown";
}

const char *ot_verb_stored(enum ot_verb verb, int64_t seq, int64_t *argument)
{
    *argument = verb == OT_REPLAY ? -seq : seq;
    return verbs[verb == OT_REPLAY ? OT_REDRIVE : verb];
}

int ot_command_parse(struct ot_slice verb, int64_t argument,
                     struct ot_command *out)
{
    int i = find(verbs, OT_REPLAY, verb);

    out->verb = i >= 0 ? (enum ot_verb)i : OT_REDRIVE;
    out->seq = argument;
    if (i == OT_REDRIVE && argument < 0) {
        out->verb = OT_REPLAY;
        out->seq = -argument;
    }
    return i >= 0 ? 0 : OUTTRAY_E_NOT_FOUND;
}
