/* limiter.h - not more than so much a second (GCRA). */
#ifndef OT_ENGINE_LIMITER_H
#define OT_ENGINE_LIMITER_H

#include "base/base.h"

struct ot_limiter {
    int64_t events_per_s, bytes_per_s;   /* 0: no limit */
    int64_t events_tat_ns, bytes_tat_ns; /* theoretical arrival times */
    int64_t not_before_us;               /* the broker asked for a pause */
};

static inline bool ot_limiter_limits(const struct ot_limiter *l)
{
    return l->events_per_s > 0 || l->bytes_per_s > 0;
}

/* When may the next event go? now_us or earlier: at once. */
int64_t ot_limiter_at(const struct ot_limiter *);
void ot_limiter_take(struct ot_limiter *, size_t bytes, int64_t now_us);
void ot_limiter_push(struct ot_limiter *, int64_t until_us);
/* How many events to read at once, so that they do not wait long. */
uint32_t ot_limiter_events(const struct ot_limiter *, uint32_t most);

#endif
