/* signals.h - SIGTERM and SIGINT stop a relay cleanly, for languages that have no
 * signals of their own. One relay of a process at a time. */
#ifndef OUTTRAY_BINDINGS_SIGNALS_H
#define OUTTRAY_BINDINGS_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "outtray.h"

/* A handler can be told nothing. */
static struct outtray_relay *volatile signals_relay;
static struct sigaction signals_old[2];
static const int signals_numbers[2] = {SIGTERM, SIGINT};

static void signals_stop(int number)
{
    struct outtray_relay *relay = signals_relay;

    (void)number;
    if (relay != NULL)
        outtray_relay_stop(relay);
}

static inline void signals_release(const struct outtray_relay *relay)
{
    if (relay == NULL || signals_relay != relay)
        return;
    for (size_t i = 0; i < 2; i++)
        sigaction(signals_numbers[i], &signals_old[i], NULL);
    signals_relay = NULL;
}

/* False: another relay has them. */
static inline bool signals_catch(struct outtray_relay *relay)
{
    /* The second one ends the program as if nobody had caught it. */
    struct sigaction act = {.sa_handler = signals_stop,
                            .sa_flags = SA_RESETHAND};

    if (signals_relay != NULL)
        return signals_relay == relay;
    sigemptyset(&act.sa_mask);
    signals_relay = relay;
    for (size_t i = 0; i < 2; i++) {
        sigaction(signals_numbers[i], NULL, &signals_old[i]);
        /* A shell ignores SIGINT for what it starts in the background. */
        if (signals_old[i].sa_handler != SIG_IGN)
            sigaction(signals_numbers[i], &act, NULL);
    }
    return true;
}

#endif
