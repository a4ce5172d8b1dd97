/* report.h - says once, per change of state, why nothing moves. */
#ifndef OT_REPORT_H
#define OT_REPORT_H

#include "base/base.h"
#include "engine/engine.h"

struct ot_report {
    const struct ot_log *log;
    int64_t next_us; /* look again then */
    enum ot_stall stall;
    int64_t since_us;
    bool said; /* the current stall was logged */
};

void ot_report_init(struct ot_report *, const struct ot_log *log);

/* Cheap when called often: looks at most every 20 ms. */
void ot_report_turn(struct ot_report *, const struct ot_engine *,
                    int64_t now_us);

/* When to look again although nothing happened: a database or broker that
 * says nothing at all must be named too. */
int64_t ot_report_wake_us(const struct ot_report *);

#endif
