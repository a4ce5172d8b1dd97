/* limiter.c - generic cell rate algorithm with a tenth of a second of slack. */
#include "engine/limiter.h"

#define SLACK_NS  INT64_C(100000000)
#define SECOND_NS INT64_C(1000000000)

int64_t ot_limiter_at(const struct ot_limiter *l)
{
    int64_t at_us = l->not_before_us, us;
    if (l->events_per_s > 0) {
        us = (l->events_tat_ns - SLACK_NS + 999) / 1000;
        at_us = us > at_us ? us : at_us;
    }
    if (l->bytes_per_s > 0) {
        us = (l->bytes_tat_ns - SLACK_NS + 999) / 1000;
        at_us = us > at_us ? us : at_us;
    }
    return at_us;
}

static void advance(int64_t *tat_ns, int64_t amount, int64_t per_s,
                    int64_t now_us)
{
    if (per_s <= 0)
        return;
    if (*tat_ns < now_us * 1000)
        *tat_ns = now_us * 1000;
    *tat_ns += (int64_t)((double)amount * (double)SECOND_NS / (double)per_s);
}

void ot_limiter_take(struct ot_limiter *l, size_t bytes, int64_t now_us)
{
    advance(&l->events_tat_ns, 1, l->events_per_s, now_us);
    advance(&l->bytes_tat_ns, (int64_t)bytes, l->bytes_per_s, now_us);
}

void ot_limiter_push(struct ot_limiter *l, int64_t until_us)
{
    if (until_us > l->not_before_us)
        l->not_before_us = until_us;
}

uint32_t ot_limiter_events(const struct ot_limiter *l, uint32_t most)
{
    if (l->events_per_s == 0 || l->events_per_s >= most)
        return most;
    return l->events_per_s > 1 ? (uint32_t)l->events_per_s : 1;
}
