/* demo_relay.c - the relay of the demo: the public one, in a child. */
#include <stdio.h>

#include "cli/demo/demo.h"
#include "outtray/relay.h"

#define STEP_MS 50

static void log_line(void *ctx, enum outtray_log_level level,
                     const char *facility, const char *text)
{
    char at[32];

    (void)ctx;
    (void)level;
    fprintf(stderr, "%s %s: %s\n", ot_time_text(ot_wall_us(), at), facility,
            text);
}

static int step_to_the_end(struct demo_board *board,
                           struct outtray_relay *relay,
                           struct outtray_error *err)
{
    struct outtray_relay_stats stats;
    int rc;

    do {
        if (atomic_load(&board->drain))
            outtray_relay_until_empty(relay);
        rc = outtray_relay_step(relay, STEP_MS, err);
        outtray_relay_stats(relay, &stats);
        atomic_store(&board->relayed, (long long)stats.delivered);
    } while (rc == 1);
    return rc;
}

int demo_relay(struct demo *demo, int index)
{
    struct outtray_error err = {0};
    struct outtray_relay *relay;
    int rc;

    (void)index;
    rc = outtray_relay_open(&relay, demo->conf, log_line, NULL, &err);
    if (rc == 0)
        rc = step_to_the_end(demo->board, relay, &err);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.text);
    outtray_relay_close(relay);
    return rc == 0 ? 0 : 1;
}
