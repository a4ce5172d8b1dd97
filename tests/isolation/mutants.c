/* mutants.c - what a wrong store or a wrong engine would do. Each breaks one
 * clause of one rule of capture (docs/internals.md). */
#include "gate.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/internal.h"

enum mutant mutant_of(const char *name)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        MUTANTS(NAME)
#undef NAME
    };

    for (size_t i = 0; i < OT_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum mutant)i;
    fprintf(stderr, "relay_steps: no mutant '%s'\n", name);
    exit(2);
}

/* --- reading ------------------------------------------------------------- */

void mutant_asks(struct gate *g, struct ot_read_request *q)
{
    if (g->mutant == MUTANT_HOLDERS_EARLY)
        q->with_locks = true;
    if (g->mutant == MUTANT_OWN_STATEMENT && q->ngaps > 0) {
        q->position = INT64_MAX - 1; /* no tail */
        g->split = true;
    }
}

/* The rows of two reads. */
struct joined {
    struct ot_rows rows;
    struct ot_rows *a, *b;
};

static void joined_free(struct ot_rows *rows)
{
    struct joined *joined = (struct joined *)(void *)rows;

    ot_rows_unref(joined->a);
    ot_rows_unref(joined->b);
    ot_free(joined->rows.events);
    ot_free(joined);
}

static struct ot_rows *join(struct ot_rows *a, struct ot_rows *b)
{
    struct joined *joined = ot_alloc_zero(1, sizeof(*joined));

    joined->a = a;
    joined->b = b;
    joined->rows.refs = 1;
    joined->rows.free = joined_free;
    joined->rows.n = a->n + b->n;
    joined->rows.bytes = a->bytes + b->bytes;
    joined->rows.events =
        ot_alloc(joined->rows.n * sizeof(*joined->rows.events) + 1);
    if (a->n > 0)
        memcpy(joined->rows.events, a->events, a->n * sizeof(*a->events));
    if (b->n > 0)
        memcpy(joined->rows.events + a->n, b->events,
               b->n * sizeof(*b->events));
    return &joined->rows;
}

static struct ot_holder *copy_holders(const struct ot_read_reply *read)
{
    struct ot_holder *copy =
        ot_alloc(read->nholders * sizeof(*read->holders) + 1);

    if (read->nholders > 0)
        memcpy(copy, read->holders, read->nholders * sizeof(*read->holders));
    return copy;
}

static void ask_tail(struct gate *g)
{
    struct ot_read_request q = g->read;

    q.gaps = NULL;
    q.ngaps = 0;
    q.with_locks = false;
    g->under_way++;
    g->inner->ops->read(g->inner, &q);
}

/* Gaps and tail were seen in two snapshots. */
static bool hears_halves(struct gate *g, struct ot_read_reply *read)
{
    if (g->split) {
        g->half = read->rows;
        g->half_cut = read->cut;
        ot_free(g->holders);
        g->holders = copy_holders(read);
        g->nholders = read->nholders;
        g->split = false;
        g->second = true;
        ask_tail(g);
        return false;
    }
    if (!g->second)
        return true;
    g->second = false;
    read->rows = join(g->half, read->rows);
    g->half = NULL;
    read->cut |= g->half_cut;
    read->has_locks = true;
    read->holders = g->holders;
    read->nholders = g->nholders;
    return true;
}

/* The holders of the pipeline that found the gap, not of the one after it. */
static void hears_early(struct gate *g, struct ot_read_reply *read)
{
    struct ot_holder *now = copy_holders(read);
    size_t n = read->nholders;

    ot_free(g->holders);
    g->holders = g->before;
    g->nholders = g->nbefore;
    g->before = now;
    g->nbefore = n;
    read->holders = g->holders;
    read->nholders = g->nholders;
}

/* Keep only the holders that a wrong rule would count. */
static void hears_some(struct gate *g, struct ot_read_reply *read)
{
    struct ot_holder *some = copy_holders(read);
    size_t n = 0;

    for (size_t i = 0; i < read->nholders; i++) {
        bool counts =
            g->mutant == MUTANT_BY_XMIN ? some[i].xid != 0 : !some[i].prepared;
        if (counts)
            some[n++] = some[i];
    }
    ot_free(g->holders);
    g->holders = some;
    g->nholders = n;
    read->holders = some;
    read->nholders = n;
}

/* What is in progress is looked up in the snapshot of the read before. */
static void hears_old(struct gate *g, struct ot_read_reply *read)
{
    struct ot_snapshot now = read->snapshot;
    uint64_t *xip = ot_alloc(now.nxip * sizeof(*xip) + 1);

    if (now.nxip > 0)
        memcpy(xip, now.xip, now.nxip * sizeof(*xip));
    now.xip = xip;
    ot_free((void *)(uintptr_t)g->older.xip);
    g->older = g->old;
    g->old = now;
    read->snapshot = g->older;
}

/* Filtered rows did not come. */
static void hears_matching(struct ot_read_reply *read)
{
    struct ot_rows *rows = read->rows;
    uint32_t n = 0;

    for (uint32_t i = 0; i < rows->n; i++)
        if (!rows->events[i].filtered)
            rows->events[n++] = rows->events[i];
    rows->n = n;
}

bool mutant_hears(struct gate *g, struct ot_reply *reply)
{
    struct ot_read_reply *read = &reply->read;

    switch (g->mutant) {
    case MUTANT_OWN_STATEMENT:
        return hears_halves(g, read);
    case MUTANT_CUT_IGNORED:
        read->cut = false;
        break;
    case MUTANT_HOLDERS_EARLY:
        hears_early(g, read);
        break;
    case MUTANT_BY_XMIN:
    case MUTANT_UNPREPARED:
        hears_some(g, read);
        break;
    case MUTANT_OLD_SNAPSHOT:
        hears_old(g, read);
        break;
    case MUTANT_NO_BARRIER:
        read->flush_lsn = read->lsn;
        break;
    case MUTANT_SAME_LIFE:
        read->incarnation = g->life;
        break;
    case MUTANT_IN_WHERE:
        hears_matching(read);
        break;
    default:
        break;
    }
    return true;
}

/* --- writing ------------------------------------------------------------- */

static bool open_gap(const struct ot_gaps *gaps, const struct ot_range *range)
{
    for (size_t i = 0; i < gaps->n; i++)
        if (gaps->v[i].first <= range->last && gaps->v[i].last >= range->first)
            return true;
    return false;
}

/* Written gaps = open gaps, without the unsettled rows that came out of
 * gaps. */
static void forget_late(struct gate *g, struct ot_write_request *q)
{
    const struct ot_engine *e = g->engine;
    const struct ot_ranges *has = &e->cursor.gaps;
    size_t n = 0;

    ot_free(g->put);
    ot_free(g->del);
    g->put = ot_alloc((q->ngaps_put + 1) * sizeof(*g->put));
    g->del = ot_alloc((has->n + q->ngaps_del + 1) * sizeof(*g->del));
    for (size_t i = 0; i < q->ngaps_put; i++)
        if (open_gap(&e->gaps, &q->gaps_put[i]))
            g->put[n++] = q->gaps_put[i];
    q->gaps_put = g->put;
    q->ngaps_put = n;
    n = q->ngaps_del;
    if (n > 0)
        memcpy(g->del, q->gaps_del, n * sizeof(*g->del));
    for (size_t i = 0; i < has->n; i++)
        if (!open_gap(&e->gaps, &has->v[i]))
            g->del[n++] = has->v[i].first;
    q->gaps_del = g->del;
    q->ngaps_del = n;
}

void mutant_writes(struct gate *g, struct ot_write_request *q)
{
    if (g->mutant == MUTANT_PAST_TAIL)
        q->position = g->engine->read_position;
    else if (g->mutant == MUTANT_PAST_LATE)
        forget_late(g, q);
    else if (g->mutant == MUTANT_SAME_LIFE)
        q->incarnation = (struct ot_incarnation){0};
}

static void run(PGconn *c, const char *outbox, const char *sql, int64_t a,
                int64_t b)
{
    char text[512];
    int n =
        snprintf(text, sizeof(text), sql, outbox, (long long)a, (long long)b);
    PGresult *r = n < (int)sizeof(text) ? PQexec(c, text) : NULL;

    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        fprintf(stderr, "relay_steps: %s", PQerrorMessage(c));
    PQclear(r);
}

/* Neither owner nor fence is looked at. */
bool mutant_wrote(struct gate *g, const struct ot_write_request *q,
                  struct ot_reply *out)
{
    PGconn *c;

    if (g->mutant != MUTANT_NO_FENCE)
        return false;
    c = PQconnectdb(g->url);
    run(c, g->outbox, "UPDATE \"%s\".cursor SET position = %lld", q->position,
        0);
    for (size_t i = 0; i < q->ngaps_del; i++)
        run(c, g->outbox, "DELETE FROM \"%s\".gap WHERE first = %lld",
            q->gaps_del[i], 0);
    for (size_t i = 0; i < q->ngaps_put; i++)
        run(c, g->outbox,
            "INSERT INTO \"%s\".gap VALUES ('main', %lld, %lld) ON CONFLICT "
            "DO NOTHING",
            q->gaps_put[i].first, q->gaps_put[i].last);
    PQfinish(c);
    memset(out, 0, sizeof(*out));
    out->kind = OT_REPLY_WRITE;
    out->write.number = q->number;
    out->write.fate = OT_WRITTEN;
    return true;
}

/* Everything up to the position goes, what lies in gaps as well. */
bool mutant_prunes(struct gate *g, struct ot_reply *out)
{
    PGconn *c;

    if (g->mutant != MUTANT_PRUNE_GAPS)
        return false;
    c = PQconnectdb(g->url);
    run(c, g->outbox, "DELETE FROM \"%s\".event WHERE seq <= %lld",
        g->engine->cursor.position, 0);
    PQfinish(c);
    memset(out, 0, sizeof(*out));
    out->kind = OT_REPLY_PRUNE;
    return true;
}

void mutant_free(struct gate *g)
{
    ot_rows_unref(g->half);
    ot_free(g->before);
    ot_free(g->holders);
    ot_free(g->put);
    ot_free(g->del);
    ot_free((void *)(uintptr_t)g->old.xip);
    ot_free((void *)(uintptr_t)g->older.xip);
}
