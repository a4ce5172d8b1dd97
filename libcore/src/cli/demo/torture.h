/* torture.h - what befalls a run of a given time, and when: the same for the
 * same seed. */
#ifndef OT_DEMO_TORTURE_H
#define OT_DEMO_TORTURE_H

#include "base/base.h"

enum demo_harm {
    HARM_NOTHING,
    HARM_WRITER,      /* SIGKILL for a writer */
    HARM_RELAY,       /* SIGKILL for the relay */
    HARM_PAUSE,       /* SIGSTOP for it, and another one is started */
    HARM_WAKE,        /* SIGCONT: it finds that its lease is another's */
    HARM_BURY,        /* SIGKILL for the one that was woken */
    HARM_BROKER_DOWN, /* if the demo may */
    HARM_BROKER_UP,
};

struct demo_torture {
    int64_t until_us;  /* writers stop; 0: there is no torture */
    int64_t next_us;   /* the next kill or pause */
    int64_t sleep_us;  /* of a paused relay: longer than its lease */
    int64_t wake_us;   /* 0: none is paused */
    int64_t bury_us;   /* 0: none was woken */
    int64_t outage_us; /* how long the broker stays away; 0: never */
    int64_t down_us;   /* when it goes away next */
    int64_t up_us;     /* 0: it is there */
};

/* sleep_us: how long a relay is paused. outage_us 0: the broker is left alone.
 */
void demo_torture_plan(struct demo_torture *, struct ot_rng *, int64_t now_us,
                       int64_t time_us, int64_t sleep_us, int64_t outage_us);
/* The next that is due now; ask until it is HARM_NOTHING. */
enum demo_harm demo_torture_next(struct demo_torture *, struct ot_rng *,
                                 int64_t now_us);
/* The time is over, nobody is paused and the broker is there. */
bool demo_torture_over(const struct demo_torture *, int64_t now_us);

#endif
