/* breaker.h - an outage of the sink is a state, not a failure of events. */
#ifndef OT_ENGINE_BREAKER_H
#define OT_ENGINE_BREAKER_H

#include "base/base.h"

enum ot_breaker_state {
    OT_BREAKER_CLOSED,
    OT_BREAKER_OPEN,
    OT_BREAKER_HALF, /* one real event probes */
};

struct ot_breaker {
    enum ot_breaker_state state;
    int64_t min_us, max_us;
    int64_t until_us; /* open: when to probe */
    int64_t delay_us; /* of the last opening */
    uint32_t ramp;    /* after closing: in flight at most; 0: no limit */
    bool probing;     /* half: the probe is on its way */
};

/* How many more events may be sent, with so many on their way? */
uint32_t ot_breaker_room(struct ot_breaker *, uint32_t in_flight,
                         int64_t now_us);
void ot_breaker_sent(struct ot_breaker *);
/* The sink answered about an event, whatever it said. */
void ot_breaker_up(struct ot_breaker *, uint32_t window);
/* The sink is unavailable, for at least after_us. */
void ot_breaker_down(struct ot_breaker *, struct ot_rng *, int64_t after_us,
                     int64_t now_us);
/* The probe came back without an answer. */
void ot_breaker_unanswered(struct ot_breaker *);

#endif
