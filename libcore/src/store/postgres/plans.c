/* plans.c - see plans.h. */
#include "store/postgres/plans.h"

#include <stdio.h>

#define OFTEN 3

/* Where a new text goes: a free place, or that of the one not heard of for
 * longest. One that the server has stays. */
static int place(const struct ot_pg_plans *plans)
{
    int best = OT_NO_PLAN;

    for (int i = 0; i < OT_PG_PLANS; i++) {
        const struct ot_pg_plan *p = &plans->plans[i];

        if (p->sql == NULL)
            return i;
        if (!p->ready &&
            (best == OT_NO_PLAN || p->last < plans->plans[best].last))
            best = i;
    }
    return best;
}

static int find(const struct ot_pg_plans *plans, const char *sql)
{
    for (int i = 0; i < OT_PG_PLANS; i++) {
        const char *mine = plans->plans[i].sql;

        if (mine != NULL && strcmp(mine, sql) == 0)
            return i;
    }
    return OT_NO_PLAN;
}

int ot_pg_plans_say(struct ot_pg_plans *plans, const char *sql)
{
    int at = find(plans, sql);
    struct ot_pg_plan *p;

    if (at == OT_NO_PLAN) {
        at = place(plans);
        if (at == OT_NO_PLAN)
            return OT_NO_PLAN;
        p = &plans->plans[at];
        ot_free(p->sql);
        *p = (struct ot_pg_plan){.sql = ot_strdup(sql)};
        if (p->sql == NULL) /* then it goes without */
            return OT_NO_PLAN;
    }
    p = &plans->plans[at];
    p->last = ++plans->clock;
    return ++p->said >= OFTEN ? at : OT_NO_PLAN;
}

void ot_pg_plans_name(const struct ot_pg_plans *plans, int plan, char out[32])
{
    snprintf(out, 32, "outtray_%u_%d", (unsigned)plans->series, plan);
}

void ot_pg_plans_forget(struct ot_pg_plans *plans)
{
    for (int i = 0; i < OT_PG_PLANS; i++)
        ot_free(plans->plans[i].sql);
    memset(plans->plans, 0, sizeof(plans->plans));
    plans->series++;
}
