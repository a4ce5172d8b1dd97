/* lease.c - deadlines of the lease, on the relay's own monotonic clock. */
#include "engine/lease.h"

#define MAX_ASK_US INT64_C(1000000)

/* A tenth is left for clocks that run at different speeds. */
static int64_t deadline(const struct ot_lease *lease, int64_t left_us,
                        int64_t sent_us)
{
    return sent_us + left_us - lease->ttl_us / 10;
}

void ot_lease_granted(struct ot_lease *lease, int64_t fence, int64_t sent_us)
{
    lease->fence = fence;
    if (lease->last_fence < fence)
        lease->last_fence = fence;
    lease->deadline_us = deadline(lease, lease->ttl_us, sent_us);
    lease->renew_us = sent_us + lease->ttl_us / 3;
    lease->hurried = false;
}

void ot_lease_seen(struct ot_lease *lease, int64_t left_us, int64_t sent_us)
{
    int64_t us = deadline(lease, left_us, sent_us);
    if (us < lease->deadline_us)
        lease->deadline_us = us;
    if (lease->renew_us >= us)
        lease->renew_us = sent_us;
}

void ot_lease_taken(struct ot_lease *lease, struct ot_rng *rng,
                    int64_t free_in_us, int64_t now_us)
{
    int64_t most =
        lease->ttl_us / 3 < MAX_ASK_US ? lease->ttl_us / 3 : MAX_ASK_US;
    int64_t pause = free_in_us < most ? free_in_us : most;
    if (pause < 1000)
        pause = 1000;
    /* Relays that wait for the same lease do not ask at the same time. */
    lease->ask_us = now_us + pause + ot_rng_between(rng, 0, most / 10);
}

void ot_lease_forget(struct ot_lease *lease)
{
    lease->fence = 0;
    lease->deadline_us = 0;
}

void ot_lease_hurry(struct ot_lease *lease)
{
    int64_t sent_us = lease->renew_us - lease->ttl_us / 3;

    if (lease->fence != 0 && !lease->hurried) {
        lease->hurried = true;
        lease->renew_us = sent_us + lease->ttl_us / 15;
    }
}

bool ot_lease_expired(const struct ot_lease *lease, int64_t now_us)
{
    return lease->fence != 0 && now_us >= lease->deadline_us;
}
