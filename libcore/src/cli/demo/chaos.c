/* chaos.c - see chaos.h. */
#include "cli/demo/chaos.h"

#include <stdlib.h>

#define PATIENCE_US 5000000 /* for a relay that does not get to work */
#define SPREAD_US   400000

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void demo_chaos_plan(struct demo_chaos *chaos, struct ot_rng *rng,
                     int64_t transactions, int kills, int64_t outage_us)
{
    memset(chaos, 0, sizeof(*chaos));
    chaos->kills = kills < CHAOS_KILLS_MAX ? kills : CHAOS_KILLS_MAX;
    for (int i = 0; i < chaos->kills; i++)
        chaos->kill_at[i] =
            ot_rng_between(rng, transactions / 20, transactions * 19 / 20);
    qsort(chaos->kill_at, (size_t)chaos->kills, sizeof(chaos->kill_at[0]),
          ascending);
    chaos->outage_us = outage_us;
    chaos->outage_at =
        outage_us > 0
            ? ot_rng_between(rng, transactions * 3 / 10, transactions * 6 / 10)
            : -1;
}

bool demo_chaos_kill(struct demo_chaos *chaos, struct ot_rng *rng, int64_t done,
                     bool working, int64_t now_us)
{
    if (chaos->killed == chaos->kills || done < chaos->kill_at[chaos->killed])
        return false;
    if (chaos->due_us == 0)
        chaos->due_us = now_us;
    if (!working && now_us - chaos->due_us < PATIENCE_US)
        return false;
    if (chaos->kill_us == 0)
        chaos->kill_us = now_us + ot_rng_between(rng, 0, SPREAD_US);
    if (now_us < chaos->kill_us)
        return false;
    chaos->due_us = 0;
    chaos->kill_us = 0;
    chaos->killed++;
    return true;
}

enum demo_outage demo_chaos_outage(struct demo_chaos *chaos, int64_t done,
                                   int64_t now_us)
{
    if (chaos->outage_end_us != 0) {
        if (now_us < chaos->outage_end_us)
            return OUTAGE_NOTHING;
        chaos->outage_end_us = 0;
        return OUTAGE_END;
    }
    if (chaos->outage_at < 0 || done < chaos->outage_at)
        return OUTAGE_NOTHING;
    chaos->outage_at = -1;
    chaos->outage_end_us = now_us + chaos->outage_us;
    return OUTAGE_BEGIN;
}

bool demo_chaos_over(const struct demo_chaos *chaos)
{
    return chaos->killed == chaos->kills && chaos->outage_at < 0 &&
           chaos->outage_end_us == 0;
}
