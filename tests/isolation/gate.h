/* gate.h - a store before the store: it lets the requests of an engine through
 * one at a time, when a step of a spec says so.
 *
 * Everything that matters is the real store's. The gate only decides when a
 * request leaves and when its answer is handed over, as a slow network would.
 * In a mutant it also does what a wrong store or a wrong engine would do: so a
 * spec that passes with the real one and fails with the mutant is known to
 * guard the rule that the mutant breaks.
 */
#ifndef GATE_H
#define GATE_H

#include <libpq-fe.h>

#include "base/base.h"
#include "engine/engine.h"
#include "store/store.h"

#define MUTANTS(X)                                            \
    X(NONE, "")                                               \
    X(OWN_STATEMENT, "gaps-in-own-statement")   /* rule 2 */  \
    X(CUT_IGNORED, "dropped-by-cut-read")       /* rule 3 */  \
    X(HOLDERS_EARLY, "holders-before-gap")      /* rule 4 */  \
    X(BY_XMIN, "dropped-by-xmin")               /* rule 4 */  \
    X(UNPREPARED, "prepared-not-counted")       /* rule 4 */  \
    X(OLD_SNAPSHOT, "left-out-by-old-snapshot") /* rule 5 */  \
    X(NO_BARRIER, "published-before-durable")   /* rule 7 */  \
    X(SAME_LIFE, "incarnation-not-compared")    /* rule 8 */  \
    X(PAST_TAIL, "position-past-unsettled")     /* rule 9 */  \
    X(PAST_LATE, "position-past-late-row")      /* rule 9 */  \
    X(NO_FENCE, "fence-not-checked")            /* rule 9 */  \
    X(IN_WHERE, "filter-in-where")              /* rule 10 */ \
    X(PRUNE_GAPS, "pruned-inside-gaps")         /* rule 11 */

enum mutant {
#define NAME(id, name) MUTANT_##id,
    MUTANTS(NAME)
#undef NAME
};

/* "" is no mutant; exits if there is none of that name. */
enum mutant mutant_of(const char *name);

struct gate {
    struct ot_store base;
    struct ot_store *inner;
    struct ot_engine *engine;
    enum mutant mutant;
    bool barrier; /* wait for the flush; else: as if it had come at once */
    bool pooler;  /* a lost connection is made again without a word */

    unsigned under_way; /* requests in the store */

    /* What may pass. */
    bool pass_lease, pass_write;
    int pass_reads;
    bool hold_reply; /* of the read: keep it until told */

    /* What waits. */
    bool has_lease, has_read, has_write, has_reply;
    struct ot_lease_request lease;
    struct ot_read_request read;
    struct ot_range *gaps; /* of read */
    struct ot_write_request write;
    struct ot_reply reply;

    /* What was seen, since the caller looked last. */
    unsigned reads, writes, leases, prunes;
    int lease_code;
    char error[512];
    bool granted;
    enum ot_fate fate;
    struct ot_prune_reply pruned;
    char rows[4096]; /* payloads of the last read, by comma */

    /* Of mutants. */
    bool split;           /* the second statement is still to be asked */
    bool second;          /* … or under way */
    struct ot_rows *half; /* rows of the first */
    bool half_cut;
    struct ot_holder *before; /* holders of the pipeline before */
    size_t nbefore;
    struct ot_holder *holders; /* what is handed out */
    size_t nholders;
    struct ot_incarnation life;
    struct ot_snapshot old, older;
    struct ot_range *put;
    int64_t *del;
    const char *url, *outbox;
};

/* Takes over the store. */
void gate_open(struct gate *, struct ot_store *inner, enum mutant);
/* Lets go of what waits. Returns the store if nothing is under way in it (the
 * caller's again), else closes it and returns NULL. */
struct ot_store *gate_leave(struct gate *);

void gate_let_lease(struct gate *);
void gate_let_read(struct gate *);
void gate_let_write(struct gate *);
void gate_let_reply(struct gate *);
void gate_shut(struct gate *);

/* mutants.c: called by the gate. */
void mutant_asks(struct gate *, struct ot_read_request *);
/* false: the answer is not whole yet. */
bool mutant_hears(struct gate *, struct ot_reply *);
void mutant_writes(struct gate *, struct ot_write_request *);
/* true: it wrote by itself, *out is the answer. */
bool mutant_wrote(struct gate *, const struct ot_write_request *,
                  struct ot_reply *out);
bool mutant_prunes(struct gate *, struct ot_reply *out);
void mutant_free(struct gate *);

#endif
