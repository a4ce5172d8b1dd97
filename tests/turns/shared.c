/* shared.c - the turns that every store takes. */
#include "turns.h"

void turn_without_a_fault(void **state)
{
    turn_run(*state, TURN_NOTHING, 0);
}

void turn_allocations(void **state)
{
    const struct outbox *o = *state;

    turn_each(o, TURN_ALLOC, o->most.alloc);
    turn_each(o, TURN_ALLOCS, o->most.allocs);
}

void turn_requests(void **state)
{
    const struct outbox *o = *state;

    turn_each(o, TURN_LOST, o->most.request);
    turn_each(o, TURN_LANDED, o->most.request);
    turn_each(o, TURN_BUSY, o->most.busy);
}

void turn_outcomes(void **state)
{
    const struct outbox *o = *state;

    for (int kind = TURN_SINK; kind <= TURN_ROOM; kind++)
        turn_each(o, (enum turn_kind)kind, o->most.outcome);
}
