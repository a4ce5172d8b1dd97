/* chaos.h - when the demo kills what, decided before it starts. */
#ifndef OT_DEMO_CHAOS_H
#define OT_DEMO_CHAOS_H

#include "base/base.h"

#define CHAOS_KILLS_MAX 1000

struct demo_chaos {
    int64_t kill_at[CHAOS_KILLS_MAX]; /* transactions done, ascending */
    int kills;                        /* how many in all */
    int killed;                       /* so many are over */
    int64_t due_us;                   /* since when the next one waits */
    int64_t kill_us;                  /* when it comes; 0: not known yet */
    int64_t outage_at;                /* transactions done; -1: none left */
    int64_t outage_us;
    int64_t outage_end_us; /* while it lasts, else 0 */
};

/* The same seed gives the same plan. outage_us 0: no outage. */
void demo_chaos_plan(struct demo_chaos *, struct ot_rng *, int64_t transactions,
                     int kills, int64_t outage_us);

/* Shall a kill happen now? working: the relay has delivered something in this
 * life; the kill comes at a random moment after that, so that it hits a relay
 * at work, but not always at its first batch. */
bool demo_chaos_kill(struct demo_chaos *, struct ot_rng *, int64_t done,
                     bool working, int64_t now_us);

enum demo_outage { OUTAGE_NOTHING, OUTAGE_BEGIN, OUTAGE_END };
enum demo_outage demo_chaos_outage(struct demo_chaos *, int64_t done,
                                   int64_t now_us);

/* Everything planned has happened. */
bool demo_chaos_over(const struct demo_chaos *);

#endif
