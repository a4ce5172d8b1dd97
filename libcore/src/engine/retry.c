/* retry.c - decorrelated jitter, and giving up. */
#include "engine/retry.h"

int64_t ot_retry_delay(const struct ot_retry *retry, struct ot_rng *rng,
                       int64_t last_us, int64_t asked_us)
{
    int64_t delay = retry->min_us;
    if (last_us > 0) {
        int64_t high =
            last_us < retry->max_us / 3 ? last_us * 3 : retry->max_us;
        if (high < retry->min_us)
            high = retry->min_us;
        delay = ot_rng_between(rng, retry->min_us, high);
    }
    if (delay > retry->max_us)
        delay = retry->max_us;
    return delay > asked_us ? delay : asked_us;
}

bool ot_retry_exhausted(const struct ot_retry *retry, uint32_t attempts,
                        int64_t retried_us)
{
    if (retry->max_attempts > 0 && attempts >= retry->max_attempts)
        return true;
    return retry->max_age_us > 0 && retried_us >= retry->max_age_us;
}
