/* recent.h - which topics an outbox uses, from its newest events. */
#ifndef OT_CLI_RECENT_H
#define OT_CLI_RECENT_H

#include "cli/cli.h"

#define OT_RECENT_EVENTS 1000 /* looked at: of the log, and of the held */
#define OT_RECENT_TOPICS 200  /* told apart, at most */

struct ot_recent_topic {
    char *name;
    bool waits;   /* an event of it is not delivered yet */
    int64_t last; /* the highest seq of it that was seen */
};

struct ot_recent {
    struct ot_recent_topic topics[OT_RECENT_TOPICS];
    size_t n;
};

/* The topics of the newest events and of the newest held ones that the
 * subscription takes: those with an event that waits first, then the newest.
 * 0 or a code; free it in any case. */
int ot_recent_topics(struct ot_cli *, struct ot_recent *out,
                     struct outtray_error *err);
void ot_recent_free(struct ot_recent *);

#endif
