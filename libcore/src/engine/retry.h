/* retry.h - when an event that failed is tried again, and when no more. */
#ifndef OT_ENGINE_RETRY_H
#define OT_ENGINE_RETRY_H

#include "base/base.h"

struct ot_retry {
    int64_t min_us, max_us;
    int64_t max_age_us;    /* of its own failures; 0: never too old */
    uint32_t max_attempts; /* 0: no limit */
};

/* The next pause after a pause of last_us (0: none yet), with decorrelated
 * jitter, not shorter than what the broker asked for. */
int64_t ot_retry_delay(const struct ot_retry *, struct ot_rng *,
                       int64_t last_us, int64_t asked_us);

/* Give up after this many tries and this much time in its own backoff? Time
 * behind an outage, a pause or a limit is not in it. [INV-9] */
bool ot_retry_exhausted(const struct ot_retry *, uint32_t attempts,
                        int64_t retried_us);

#endif
