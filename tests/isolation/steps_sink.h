/* steps_sink.h - a sink that takes everything, and acknowledges it when a step
 * of a spec says so. */
#ifndef STEPS_SINK_H
#define STEPS_SINK_H

#include "sink/sink.h"

#define STEPS_SINK_MOST 4096

struct steps_sink {
    struct ot_sink base;
    struct ot_send flight[STEPS_SINK_MOST]; /* in order */
    size_t n;
    size_t settle; /* so many of them are acknowledged now */
    bool lost;     /* abandoned: the others as unknown */
    /* Payloads, by comma, since they were cleared. */
    char sent[8192];
    char ok[8192];
};

void steps_sink_init(struct steps_sink *);

#endif
