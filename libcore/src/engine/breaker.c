/* breaker.c - closed, open with growing pauses, half open, ramp up. */
#include "engine/breaker.h"

#define RAMP_START 16 /* events in flight right after closing */

uint32_t ot_breaker_room(struct ot_breaker *b, uint32_t in_flight,
                         int64_t now_us)
{
    if (b->state == OT_BREAKER_OPEN && now_us >= b->until_us) {
        b->state = OT_BREAKER_HALF;
        b->probing = false;
    }
    switch (b->state) {
    case OT_BREAKER_OPEN:
        return 0;
    case OT_BREAKER_HALF:
        return b->probing ? 0 : 1;
    case OT_BREAKER_CLOSED:
        break;
    }
    if (b->ramp == 0)
        return UINT32_MAX;
    return in_flight < b->ramp ? b->ramp - in_flight : 0;
}

void ot_breaker_sent(struct ot_breaker *b)
{
    if (b->state == OT_BREAKER_HALF)
        b->probing = true;
}

void ot_breaker_up(struct ot_breaker *b, uint32_t window)
{
    if (b->state == OT_BREAKER_HALF) {
        b->state = OT_BREAKER_CLOSED;
        b->delay_us = 0;
        b->ramp = RAMP_START;
    } else if (b->state == OT_BREAKER_CLOSED && b->ramp > 0) {
        if (++b->ramp >= window)
            b->ramp = 0;
    }
}

void ot_breaker_down(struct ot_breaker *b, struct ot_rng *rng, int64_t after_us,
                     int64_t now_us)
{
    /* Those that were sent together fail together: one opening. But whoever
     * fails after its end, be it the probe of an earlier one, says that the
     * sink is not back. */
    if (b->state == OT_BREAKER_OPEN && now_us >= b->until_us)
        b->state = OT_BREAKER_HALF;
    if (b->state != OT_BREAKER_OPEN) {
        int64_t delay = b->delay_us > 0 ? b->delay_us * 2 : b->min_us;
        b->delay_us = delay < b->max_us ? delay : b->max_us;
        b->until_us =
            now_us + ot_rng_between(rng, b->delay_us / 2 + 1, b->delay_us);
        b->state = OT_BREAKER_OPEN;
    }
    if (after_us > 0 && b->until_us < now_us + after_us)
        b->until_us = now_us + after_us;
}

void ot_breaker_unanswered(struct ot_breaker *b)
{
    if (b->state == OT_BREAKER_HALF)
        b->probing = false;
}
