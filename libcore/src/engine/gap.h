/* gap.h - seqs that were drawn, and that no read has returned.
 *
 * Sequence numbers become visible out of order. A read that returned 7 and
 * not 6 leaves the gap 6, and only proof closes it: either a later read
 * returns the row, or no transaction is left that could still commit it.
 *
 * The same holds above the last row: a read that returned nothing behind 7
 * while the sequence stood at 900,007 leaves the gap 8 to 900,007, a bulk load
 * that every poll would walk again. So reads go on from there, *ahead* of the
 * position. Only memory knows of it: what is written ends at the position.
 */
#ifndef OT_ENGINE_GAP_H
#define OT_ENGINE_GAP_H

#include "base/base.h"
#include "store/store.h"

/* Writers, ascending by lock; shared by reference count. */
struct ot_holders {
    uint32_t refs;
    uint32_t n;
    struct ot_holder h[];
};

/* The gaps that one read found. They share their holder set, which is read
 * with the next pipeline: so it was taken after they were seen. */
struct ot_generation {
    uint32_t refs; /* ranges */
    bool asked;    /* who was read */
    /* Of the holders in the first lock list after the gaps were seen, those
     * that were in every list since. NULL until asked. */
    struct ot_holders *who;
};

/* A gap must outlive every writer that could still commit into it. [INV-1] */
struct ot_gap {
    int64_t first; /* inclusive */
    int64_t last;  /* inclusive */
    struct ot_generation *gen;
    /* The holders that remained at the last read that asked for the gap,
     * covered it and did not return it. NULL: there was none yet. */
    struct ot_holders *rest;
    bool left_out; /* of the read that is under way */
    bool again;    /* it was left out, and that read was thrown away */
};

struct ot_gaps {
    struct ot_gap *v; /* ascending, disjoint, none on both sides of the
                         position */
    size_t n;
    size_t size;
    struct ot_gap *next; /* the list that a read builds */
    size_t next_n;
    size_t next_size;
    struct ot_generation **gens;
    size_t ngens;
    size_t gens_size;
    int64_t ahead;          /* the position, or where reads go on ahead of it */
    struct ot_range *asked; /* what the read under way asks for … */
    size_t nasked;
    size_t asked_size;
    int64_t from;            /* … beside all that is above this */
    int64_t wide;            /* of that ot_gaps_ask */
    int64_t edge;            /* the position before the read being taken */
    struct ot_holder *locks; /* the reply's, sorted */
    size_t nlocks;
    size_t locks_size;
    bool again; /* the last read was thrown away */
};

void ot_gaps_free(struct ot_gaps *);
void ot_gaps_clear(struct ot_gaps *);

/* The gaps of the cursor row, cut at position: every one as not yet asked,
 * never with an empty holder set, which would mean dead. 0 or E_NOMEM. */
int ot_gaps_load(struct ot_gaps *, const struct ot_range *ranges, size_t n,
                 int64_t position);

/* Choose what the next read asks for: all, but gaps wider than `wide` that
 * only writers at work hold open (a bulk load: its dead rows are costly to
 * look at). Fills asked and from. 0 or E_NOMEM. */
int ot_gaps_ask(struct ot_gaps *, int64_t wide, int64_t position);

/* May the read stand although it left gaps out? If not it must be thrown
 * away; the next one asks for those that it may not leave out. */
bool ot_gaps_stand(struct ot_gaps *, const struct ot_snapshot *);

/* Is there one below the position? Those above it are nobody's concern but
 * the reads'. */
static inline bool ot_gaps_open(const struct ot_gaps *gaps, int64_t position)
{
    return gaps->n > 0 && gaps->v[0].first <= position;
}

/* Does it lie in a gap? */
bool ot_gaps_contain(const struct ot_gaps *, int64_t seq);

/* Was this seq asked for by the read under way? */
bool ot_gaps_asked(const struct ot_gaps *, int64_t seq);

/* Learn from a read that stands: rows fill gaps, proof kills them, holes in
 * the tail become new ones. *position moves to the last row. On E_NOMEM
 * nothing has changed but that what was ahead may be forgotten. */
int ot_gaps_take(struct ot_gaps *, const struct ot_read_reply *,
                 int64_t *position);

#endif
