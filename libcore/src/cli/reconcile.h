/* reconcile.h - what was committed against what arrived.
 *
 * Both sides go to temporary files, cut into parts by the id, then what fits
 * into parts by the key; each part is judged alone. So memory is that of one
 * part, about 2 bytes per event, however many there are. It is the judge of
 * the demo, too.
 */
#ifndef OT_CLI_RECONCILE_H
#define OT_CLI_RECONCILE_H

#include "base/base.h"

struct ot_reconcile;

struct ot_reconciled {
    int64_t committed;    /* that should have arrived */
    int64_t arrived;      /* records, with duplicates */
    int64_t missing;      /* committed, never arrived */
    int64_t duplicates;   /* arrived again */
    int64_t unknown;      /* arrived, never committed: each id once */
    int64_t out_of_order; /* first arrivals behind a later one of their key */
};

/* What to say of the single ones. kind: "missing", "unknown", "out_of_order".
 * seq: 0 for unknown. Returns 0 to go on. */
typedef int ot_reconcile_fn(void *ctx, const char *kind, struct ot_uuid id,
                            int64_t seq);

int ot_reconcile_new(struct ot_reconcile **out, struct outtray_error *err);
void ot_reconcile_free(struct ot_reconcile *); /* NULL is fine */

/* An event of the log. key: 0 for none. expected: it should have arrived; else
 * it only may. The same id twice is an error of the log: judged as one. */
int ot_reconcile_committed(struct ot_reconcile *, struct ot_uuid id,
                           int64_t seq, uint64_t key, bool expected,
                           struct outtray_error *err);
/* In the order of arrival, as far as the order of a key is concerned. */
int ot_reconcile_arrived(struct ot_reconcile *, struct ot_uuid id,
                         struct outtray_error *err);

/* Once both are complete. each may be NULL. */
int ot_reconcile_judge(struct ot_reconcile *, struct ot_reconciled *out,
                       ot_reconcile_fn *each, void *ctx,
                       struct outtray_error *err);

#endif
