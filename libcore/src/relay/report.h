/* report.h - why nothing moves: told to the log once per change of state, and
 * kept for whoever looks at the database. */
#ifndef OT_REPORT_H
#define OT_REPORT_H

#include "base/base.h"
#include "engine/engine.h"
#include "relay/driver.h"

#define OT_REPORT_DETAIL 420 /* the engine's words, and the sink's */

struct ot_report {
    const struct ot_log *log;
    int64_t next_us; /* look again then */

    /* what is so now */
    enum ot_stall stall;
    int64_t since_us;
    int64_t gone_us; /* it is not any more, since then; 0: it is */
    char detail[OT_REPORT_DETAIL];

    /* what the log was told */
    enum ot_stall told; /* OT_STALL_NONE: nothing, or that it is over */
    int64_t told_since_us;
    int64_t told_us; /* when it last was */
    int64_t calm_us; /* a change must last so long: grows with relapses */

    /* what the database is told */
    enum ot_stall shown;
    int64_t shown_since_us; /* wall time of the database */
    bool news;              /* it has not been handed out yet */
};

void ot_report_init(struct ot_report *, const struct ot_log *log);

/* Cheap when called often: looks at most every 20 ms. Returns whether what the
 * database should be told has just changed. */
bool ot_report_turn(struct ot_report *, const struct ot_driver *,
                    int64_t now_us);

/* When to look again although nothing happened: a database or broker that
 * says nothing at all must be named too. */
int64_t ot_report_wake_us(const struct ot_report *);

#endif
