/* gap.c - when a gap is born, confirmed, left out and dead. */
#include "engine/gap.h"
#include "engine/array.h"

#include <stdlib.h>

/* So many ranges that asking for all of them costs more than a thrown away
 * read now and then. */
#define MANY_RANGES 512

static struct ot_holders *holders_ref(struct ot_holders *who)
{
    if (who != NULL)
        who->refs++;
    return who;
}

static void holders_unref(struct ot_holders *who)
{
    if (who != NULL && --who->refs == 0)
        ot_free(who);
}

static void generation_unref(struct ot_generation *gen)
{
    if (--gen->refs > 0)
        return;
    holders_unref(gen->who);
    gen->who = NULL;
    gen->asked = true; /* swept by sweep_generations */
}

static void gap_drop(struct ot_gap *gap)
{
    generation_unref(gap->gen);
    holders_unref(gap->rest);
}

static void sweep_generations(struct ot_gaps *gaps)
{
    size_t kept = 0;
    for (size_t i = 0; i < gaps->ngens; i++) {
        if (gaps->gens[i]->refs == 0)
            ot_free(gaps->gens[i]);
        else
            gaps->gens[kept++] = gaps->gens[i];
    }
    gaps->ngens = kept;
}

void ot_gaps_clear(struct ot_gaps *gaps)
{
    for (size_t i = 0; i < gaps->n; i++)
        gap_drop(&gaps->v[i]);
    gaps->n = 0;
    gaps->nasked = 0;
    gaps->again = false;
    gaps->ahead = 0;
    sweep_generations(gaps);
}

void ot_gaps_free(struct ot_gaps *gaps)
{
    ot_gaps_clear(gaps);
    ot_free(gaps->v);
    ot_free(gaps->next);
    ot_free(gaps->gens);
    ot_free(gaps->asked);
    ot_free(gaps->locks);
    memset(gaps, 0, sizeof(*gaps));
}

static struct ot_generation *generation_new(struct ot_gaps *gaps)
{
    if (OT_GROW(gaps->gens, gaps->gens_size, gaps->ngens + 1) != 0)
        return NULL;
    struct ot_generation *gen = ot_alloc_zero(1, sizeof(*gen));
    if (gen != NULL)
        gaps->gens[gaps->ngens++] = gen;
    return gen;
}

int ot_gaps_load(struct ot_gaps *gaps, const struct ot_range *ranges, size_t n,
                 int64_t position)
{
    ot_gaps_clear(gaps);
    gaps->ahead = position;
    if (n == 0)
        return 0;
    struct ot_generation *gen = generation_new(gaps);
    if (gen == NULL || OT_GROW(gaps->v, gaps->size, n) != 0)
        return OUTTRAY_E_NOMEM;
    for (size_t i = 0; i < n && ranges[i].first <= position; i++) {
        int64_t last = ranges[i].last < position ? ranges[i].last : position;
        gaps->v[gaps->n++] =
            (struct ot_gap){.first = ranges[i].first, .last = last, .gen = gen};
        gen->refs++;
    }
    sweep_generations(gaps);
    return 0;
}

/* --- asking -------------------------------------------------------------- */

/* (a) it was confirmed while its holders were known, (b) the holders that
 * remained then are not none, (c) first half: each has a known xid. */
static bool may_leave_out(const struct ot_gap *gap)
{
    if (!gap->gen->asked || gap->rest == NULL || gap->rest->n == 0)
        return false;
    for (uint32_t i = 0; i < gap->rest->n; i++)
        if (gap->rest->h[i].xid == 0)
            return false;
    return true;
}

int ot_gaps_ask(struct ot_gaps *gaps, int64_t wide, int64_t position)
{
    size_t nahead = 0, nahead_out = 0;
    gaps->nasked = 0;
    gaps->wide = wide;
    if (OT_GROW(gaps->asked, gaps->asked_size, gaps->n) != 0)
        return OUTTRAY_E_NOMEM;
    bool many = gaps->n > MANY_RANGES;
    for (size_t i = 0; i < gaps->n; i++) {
        struct ot_gap *gap = &gaps->v[i];
        bool costly = many || gap->last - gap->first >= wide;
        gap->left_out = costly && !gap->again && may_leave_out(gap);
        if (gap->first > position) {
            nahead++;
            nahead_out += gap->left_out;
        }
        if (!gap->left_out)
            gaps->asked[gaps->nasked++] =
                (struct ot_range){gap->first, gap->last};
    }
    gaps->from = gaps->ahead;
    if (nahead > 0 && nahead_out == 0) {
        /* All of it: as the tail that it is, not range by range. */
        gaps->nasked -= nahead;
        gaps->from = position;
    }
    return 0;
}

bool ot_gaps_contain(const struct ot_gaps *gaps, int64_t seq)
{
    size_t low = 0, high = gaps->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (gaps->v[mid].last < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low < gaps->n && gaps->v[low].first <= seq;
}

bool ot_gaps_asked(const struct ot_gaps *gaps, int64_t seq)
{
    size_t low = 0, high = gaps->nasked;
    if (seq > gaps->from)
        return true;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (gaps->asked[mid].last < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low < gaps->nasked && gaps->asked[low].first <= seq;
}

static int compare_xid(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool in_progress(const struct ot_snapshot *snapshot, uint64_t xid)
{
    if (xid < snapshot->xmin)
        return false;
    if (xid >= snapshot->xmax)
        return true;
    return snapshot->nxip > 0 && bsearch(&xid, snapshot->xip, snapshot->nxip,
                                         sizeof(xid), compare_xid) != NULL;
}

/* (c) second half: in progress in the snapshot of this very read. The locks
 * prove nothing here: a commit is visible before they are released. */
bool ot_gaps_stand(struct ot_gaps *gaps, const struct ot_snapshot *snapshot)
{
    bool stands = true;
    for (size_t i = 0; i < gaps->n; i++) {
        struct ot_gap *gap = &gaps->v[i];
        if (!gap->left_out)
            continue;
        for (uint32_t k = 0; k < gap->rest->n; k++)
            if (!in_progress(snapshot, gap->rest->h[k].xid)) {
                gap->again = gaps->again = true;
                stands = false;
                break;
            }
    }
    return stands;
}

/* --- learning ------------------------------------------------------------ */

static int compare_lock(const void *a, const void *b)
{
    uint64_t x = ((const struct ot_holder *)a)->lock;
    uint64_t y = ((const struct ot_holder *)b)->lock;
    return (x > y) - (x < y);
}

static int sort_locks(struct ot_gaps *gaps, const struct ot_read_reply *reply)
{
    if (OT_GROW(gaps->locks, gaps->locks_size, reply->nholders) != 0)
        return OUTTRAY_E_NOMEM;
    gaps->nlocks = reply->nholders;
    if (gaps->nlocks == 0)
        return 0;
    memcpy(gaps->locks, reply->holders, gaps->nlocks * sizeof(*gaps->locks));
    qsort(gaps->locks, gaps->nlocks, sizeof(*gaps->locks), compare_lock);
    return 0;
}

static struct ot_holders *holders_new(const struct ot_holder *h, size_t n)
{
    struct ot_holders *who = ot_alloc(sizeof(*who) + n * sizeof(*h));
    if (who == NULL)
        return NULL;
    who->refs = 1;
    who->n = (uint32_t)n;
    if (n > 0)
        memcpy(who->h, h, n * sizeof(*h));
    return who;
}

/* Keep of who those that are in the sorted list, with what the list knows of
 * them by now (the xid comes later than the lock). */
static struct ot_holders *intersect(struct ot_holders *who,
                                    const struct ot_gaps *gaps)
{
    struct ot_holders *out = holders_new(who->h, who->n);
    if (out == NULL)
        return NULL;
    out->n = 0;
    for (size_t i = 0, k = 0; i < who->n && k < gaps->nlocks;) {
        if (who->h[i].lock < gaps->locks[k].lock)
            i++;
        else if (who->h[i].lock > gaps->locks[k].lock)
            k++;
        else {
            out->h[out->n++] = gaps->locks[k++];
            i++;
        }
    }
    return out;
}

static bool holders_equal(const struct ot_holders *a,
                          const struct ot_holders *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->h[i].lock != b->h[i].lock || a->h[i].xid != b->h[i].xid)
            return false;
    return true;
}

/* A = L_(k+1) for the gaps of R_k; for older ones A ∩ L_j. Changing one
 * generation and failing at the next does no harm: both are true. */
static int update_generations(struct ot_gaps *gaps)
{
    for (size_t i = 0; i < gaps->ngens; i++) {
        struct ot_generation *gen = gaps->gens[i];
        struct ot_holders *who = gen->asked
                                     ? intersect(gen->who, gaps)
                                     : holders_new(gaps->locks, gaps->nlocks);
        if (who == NULL)
            return OUTTRAY_E_NOMEM;
        if (gen->asked && holders_equal(who, gen->who)) {
            holders_unref(who);
            continue;
        }
        holders_unref(gen->who);
        gen->who = who;
        gen->asked = true;
    }
    return 0;
}

/* What a read proves about the part [first, last] of an old gap. */
enum verdict { KEEP, CONFIRM, DEAD };

static enum verdict judge(const struct ot_gap *gap, bool covered,
                          bool has_locks)
{
    if (gap->left_out || !covered || !has_locks)
        return KEEP;
    return gap->gen->who->n == 0 ? DEAD : CONFIRM;
}

/* Do they stand for the same writers, and were they looked at alike? A bulk
 * load that goes on leaves a gap at each poll. */
static bool alike(const struct ot_gap *gap, const struct ot_generation *gen,
                  const struct ot_holders *rest)
{
    if (gap->rest == NULL || rest == NULL)
        return gap->gen == gen && gap->rest == rest;
    return holders_equal(gap->gen->who, gen->who) &&
           holders_equal(gap->rest, rest);
}

static int push(struct ot_gaps *gaps, int64_t first, int64_t last,
                struct ot_generation *gen, struct ot_holders *rest)
{
    if (first > last)
        return 0;
    if (gaps->next_n > 0) {
        struct ot_gap *before = &gaps->next[gaps->next_n - 1];
        if (before->last == first - 1 && before->last != gaps->edge &&
            alike(before, gen, rest)) {
            before->last = last;
            return 0;
        }
    }
    if (OT_GROW(gaps->next, gaps->next_size, gaps->next_n + 1) != 0)
        return OUTTRAY_E_NOMEM;
    gen->refs++;
    gaps->next[gaps->next_n++] = (struct ot_gap){
        .first = first, .last = last, .gen = gen, .rest = holders_ref(rest)};
    return 0;
}

static int push_part(struct ot_gaps *gaps, const struct ot_gap *gap,
                     int64_t first, int64_t last, bool covered, bool has_locks)
{
    switch (judge(gap, covered, has_locks)) {
    case DEAD:
        return 0;
    case CONFIRM:
        return push(gaps, first, last, gap->gen, gap->gen->who);
    case KEEP:
        break;
    }
    return push(gaps, first, last, gap->gen, gap->rest);
}

/* The part of a gap between two returned rows: what lies above the end of the
 * covered range stays as it was. */
static int split(struct ot_gaps *gaps, const struct ot_gap *gap, int64_t first,
                 int64_t last, int64_t covered, bool has_locks)
{
    int64_t edge = last < covered ? last : covered;
    int code = 0;
    if (first <= edge)
        code = push_part(gaps, gap, first, edge, true, has_locks);
    if (code == 0 && last > covered)
        code = push_part(gaps, gap, first > covered ? first : covered + 1, last,
                         false, has_locks);
    return code;
}

static int take_gap(struct ot_gaps *gaps, const struct ot_gap *gap,
                    const struct ot_read_reply *reply, uint32_t *row,
                    int64_t covered)
{
    const struct ot_event *events = reply->rows->events;
    int64_t first = gap->first;
    while (*row < reply->rows->n && events[*row].seq < first)
        ++*row;
    while (*row < reply->rows->n && events[*row].seq <= gap->last) {
        int64_t seq = events[(*row)++].seq;
        int code = split(gaps, gap, first, seq - 1, covered, reply->has_locks);
        if (code != 0 || seq == gap->last) /* perhaps the last of all */
            return code;
        first = seq + 1;
    }
    return split(gaps, gap, first, gap->last, covered, reply->has_locks);
}

static int found(struct ot_gaps *gaps, int64_t first, int64_t last,
                 struct ot_generation **gen)
{
    if (first > last)
        return 0;
    if (*gen == NULL && (*gen = generation_new(gaps)) == NULL)
        return OUTTRAY_E_NOMEM;
    return push(gaps, first, last, *gen, NULL);
}

/* What lies between the rows behind *end; and behind the last one, if writers
 * have drawn many seqs there. They had drawn them before the holders are asked
 * for, as those in between. */
static int take_tail(struct ot_gaps *gaps, const struct ot_read_reply *reply,
                     int64_t *end)
{
    const struct ot_rows *rows = reply->rows;
    struct ot_generation *gen = NULL;
    int code = 0;
    uint32_t i = 0;
    /* Mostly nothing does: as many rows as there are seqs. */
    if (rows->n > 0 && rows->events[0].seq - 1 == *end &&
        rows->events[rows->n - 1].seq - *end == rows->n) {
        *end += rows->n;
        i = rows->n;
    }
    for (; i < rows->n && code == 0; i++) {
        int64_t seq = rows->events[i].seq;
        if (seq <= *end)
            continue;
        code = found(gaps, *end + 1, seq - 1, &gen);
        *end = seq;
    }
    if (code != 0 || reply->cut || reply->last_seq - *end <= gaps->wide)
        return code;
    code = found(gaps, *end + 1, reply->last_seq, &gen);
    *end = reply->last_seq;
    return code;
}

/* Rows came from what is ahead, and all of that was asked for: it is the tail
 * again, which a cut read may end anywhere in. */
static void go_back(struct ot_gaps *gaps, const struct ot_rows *rows,
                    int64_t position)
{
    uint32_t i = 0;
    if (gaps->from == gaps->ahead)
        return;
    while (i < rows->n && rows->events[i].seq <= position)
        i++;
    if (i == rows->n || rows->events[i].seq > gaps->ahead)
        return;
    while (gaps->n > 0 && gaps->v[gaps->n - 1].first > position)
        gap_drop(&gaps->v[--gaps->n]);
    sweep_generations(gaps);
    gaps->ahead = position;
}

int ot_gaps_take(struct ot_gaps *gaps, const struct ot_read_reply *reply,
                 int64_t *position)
{
    const struct ot_rows *rows = reply->rows;
    int64_t covered = INT64_MAX;
    if (reply->cut)
        covered = rows->n > 0 ? rows->events[rows->n - 1].seq : 0;
    uint32_t row = 0;
    gaps->next_n = 0;
    gaps->edge = *position;
    go_back(gaps, rows, *position);
    int64_t end = gaps->ahead;
    int code = 0;
    if (reply->has_locks && gaps->n > 0 &&
        ((code = sort_locks(gaps, reply)) != 0 ||
         (code = update_generations(gaps)) != 0))
        return code;
    for (size_t i = 0; i < gaps->n && code == 0; i++)
        code = take_gap(gaps, &gaps->v[i], reply, &row, covered);
    if (code == 0)
        code = take_tail(gaps, reply, &end);
    if (code != 0) {
        while (gaps->next_n > 0)
            gap_drop(&gaps->next[--gaps->next_n]);
        sweep_generations(gaps);
        return code;
    }
    for (size_t i = 0; i < gaps->n; i++)
        gap_drop(&gaps->v[i]);
    struct ot_gap *v = gaps->v;
    size_t size = gaps->size;
    gaps->v = gaps->next;
    gaps->n = gaps->next_n;
    gaps->size = gaps->next_size;
    gaps->next = v;
    gaps->next_size = size;
    gaps->next_n = 0;
    gaps->again = false;
    sweep_generations(gaps);
    gaps->ahead = end;
    if (rows->n > 0 && rows->events[rows->n - 1].seq > *position)
        *position = rows->events[rows->n - 1].seq;
    return 0;
}
