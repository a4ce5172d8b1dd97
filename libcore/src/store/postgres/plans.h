/* plans.h - statements that the server has parsed and planned already.
 *
 * An empty look at the log costs the server 0.8 ms when each statement is
 * parsed anew and 0.1 ms when none is, so what is said often is prepared. Only
 * on a connection of our own: behind a transaction pooler a name would be
 * missing, or somebody else's, in the next transaction (see greet in link.c).
 *
 * A text is prepared when it is said for the third time: those that carry a
 * number which changes would fill the server with plans for nothing.
 */
#ifndef OT_PG_PLANS_H
#define OT_PG_PLANS_H

#include "base/base.h"

#define OT_PG_PLANS 24
#define OT_NO_PLAN  (-1)

struct ot_pg_plan {
    char *sql; /* owned; NULL: free */
    uint32_t said;
    bool ready;    /* the server has it, under its name */
    uint64_t last; /* when it was said, for choosing which to forget */
};

struct ot_pg_plans {
    struct ot_pg_plan plans[OT_PG_PLANS];
    uint64_t clock;
    uint32_t series; /* part of the names: forgotten ones are not used again */
};

/* The place of sql, which is said now; OT_NO_PLAN: not worth a plan. */
int ot_pg_plans_say(struct ot_pg_plans *, const char *sql);
/* The server's name of a place. */
void ot_pg_plans_name(const struct ot_pg_plans *, int plan, char out[32]);
/* After an error nobody knows what is left of them, and a plan may be what it
 * was about. */
void ot_pg_plans_forget(struct ot_pg_plans *);

#endif
