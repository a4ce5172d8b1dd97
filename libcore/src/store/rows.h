/* rows.h - a batch of events that is copied, for stores without a result that
 * could stay pinned. Two allocations per batch, and a growing one. */
#ifndef OT_STORE_ROWS_H
#define OT_STORE_ROWS_H

#include "store/store.h"

/* Collects a batch. */
struct ot_rows_builder {
    struct ot_rows_item *items;
    uint32_t n;
    uint32_t size;
    struct ot_buffer bytes; /* what the slices of the items are made of */
    size_t counted;         /* of what was added, against a budget */
};

/* Copies the event, unless it exceeds the budget (*cut); the first one never
 * does. A filtered one keeps only its seq and created_us. */
int ot_rows_add(struct ot_rows_builder *, const struct ot_event *,
                size_t budget, bool *cut);
/* The batch so far, with one reference; NULL: out of memory. Starts anew. */
struct ot_rows *ot_rows_finish(struct ot_rows_builder *);
void ot_rows_restart(struct ot_rows_builder *);
void ot_rows_builder_free(struct ot_rows_builder *);

#endif
