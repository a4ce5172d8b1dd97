/* script.h - what the fault sink does to whom, as a line of text.
 *
 *     ok*10,retry,unavailable:5s,reject@key=7,hang:2s
 *
 * Steps are separated by commas and taken one after the other, one per event;
 * after the last every event is ok.
 *
 *     ok             delivered
 *     retry          fails for now
 *     reject         fails for good
 *     poison         fails for good, with all events submitted beside it
 *     misconfigured  its topic is refused
 *     unavailable    the sink is away
 *     unknown        not delivered, but nobody can tell
 *     lost           delivered, but the answer is lost: reported as unknown
 *
 *     STEP*3         for three events
 *     STEP:5s        for every event from the first it meets until 5 s later
 *     STEP@key=7     a rule: for every event with that key, wherever the rule
 *                    stands; also topic, type, id; with *3 the first three
 *     STEP/20        a rule: for one in 20 events, by chance
 *
 * What changes how the sink behaves, from the next event on:
 *
 *     hang:2s        no event completes for 2 s; without a time, never
 *     busy:2s        takes no event beside the one it has for 2 s
 *     delay:10ms     each event completes 10 ms after it was taken
 *     shuffle        events that are due complete in any order
 *     inorder        … in their order again
 *     again          starts the script from its beginning
 *
 * Times: us, ms, s, min.
 */
#ifndef OT_SINK_FAULT_SCRIPT_H
#define OT_SINK_FAULT_SCRIPT_H

#include "event/event.h"

enum ot_fault_verb {
    OT_FAULT_OK,
    OT_FAULT_RETRY,
    OT_FAULT_REJECT,
    OT_FAULT_POISON,
    OT_FAULT_MISCONFIGURED,
    OT_FAULT_UNAVAILABLE,
    OT_FAULT_UNKNOWN,
    OT_FAULT_LOST,
    OT_FAULT_HANG, /* from here on: not an outcome */
    OT_FAULT_BUSY,
    OT_FAULT_DELAY,
    OT_FAULT_SHUFFLE,
    OT_FAULT_INORDER,
    OT_FAULT_AGAIN,
};

struct ot_fault_step {
    enum ot_fault_verb verb;
    int64_t count;   /* events; 0: not said */
    int64_t time_us; /* -1: not said */
    int64_t one_in;  /* 0: not said */
    enum { OT_ANYONE, OT_KEY, OT_TOPIC, OT_TYPE, OT_ID } field;
    struct ot_slice value; /* points into the text of the script */
    /* how far it got */
    int64_t used;
    int64_t ends_us; /* OT_NEVER: not begun, or no time */
};

struct ot_fault_script {
    char *text;
    struct ot_fault_step *steps;
    size_t n;
    size_t next;
};

int ot_fault_parse(struct ot_fault_script *, const char *text,
                   struct outtray_error *err);
void ot_fault_free(struct ot_fault_script *);

/* Settings that come before the outcome of this event, in order, and at last
 * the outcome: call until it returns one of the first kind. ruled: a rule made
 * a setting for this event already. */
struct ot_fault_step *ot_fault_next(struct ot_fault_script *,
                                    const struct ot_event *, int64_t now_us,
                                    struct ot_rng *, bool ruled);

#endif
