/* torture.c - see torture.h. */
#include "cli/demo/torture.h"

#define PAUSE_MIN_US  500000
#define PAUSE_MAX_US  4000000
#define AWAKE_US      700000   /* a woken relay may do what it wants */
#define OUTAGE_MIN_US 20000000 /* between two of them */
#define OUTAGE_MAX_US 60000000

void demo_torture_plan(struct demo_torture *t, struct ot_rng *rng,
                       int64_t now_us, int64_t time_us, int64_t sleep_us,
                       int64_t outage_us)
{
    int64_t first_us =
        time_us / 4 < OUTAGE_MIN_US ? time_us / 4 : OUTAGE_MIN_US;

    *t = (struct demo_torture){
        .until_us = now_us + time_us,
        .next_us = now_us + ot_rng_between(rng, PAUSE_MIN_US, PAUSE_MAX_US),
        .sleep_us = sleep_us,
        .outage_us = outage_us,
        .down_us = outage_us > 0 ? now_us + first_us : INT64_MAX,
    };
}

/* What has begun comes to its end also when the time is over. */
static enum demo_harm ends(struct demo_torture *t, int64_t now_us)
{
    if (t->wake_us != 0 && now_us >= t->wake_us) {
        t->wake_us = 0;
        t->bury_us = now_us + AWAKE_US;
        return HARM_WAKE;
    }
    if (t->bury_us != 0 && now_us >= t->bury_us) {
        t->bury_us = 0;
        return HARM_BURY;
    }
    if (t->up_us != 0 && now_us >= t->up_us) {
        t->up_us = 0;
        return HARM_BROKER_UP;
    }
    return HARM_NOTHING;
}

enum demo_harm demo_torture_next(struct demo_torture *t, struct ot_rng *rng,
                                 int64_t now_us)
{
    enum demo_harm harm = ends(t, now_us);
    int64_t dice;

    if (harm != HARM_NOTHING || now_us >= t->until_us)
        return harm;
    if (t->up_us == 0 && now_us >= t->down_us) {
        t->up_us = now_us + t->outage_us;
        t->down_us =
            t->up_us + ot_rng_between(rng, OUTAGE_MIN_US, OUTAGE_MAX_US);
        return HARM_BROKER_DOWN;
    }
    if (now_us < t->next_us)
        return HARM_NOTHING;
    t->next_us = now_us + ot_rng_between(rng, PAUSE_MIN_US, PAUSE_MAX_US);
    dice = ot_rng_between(rng, 0, 9);
    if (dice < 4)
        return HARM_WRITER;
    if (dice < 8 || t->wake_us != 0 || t->bury_us != 0)
        return HARM_RELAY;
    t->wake_us = now_us + t->sleep_us;
    return HARM_PAUSE;
}

bool demo_torture_over(const struct demo_torture *t, int64_t now_us)
{
    return now_us >= t->until_us && t->wake_us == 0 && t->bury_us == 0 &&
           t->up_us == 0;
}
