/* cursor.h - what the cursor row says, and how to make it say something else.
 *
 * Gaps are rows, and only their difference is written. */
#ifndef OT_ENGINE_CURSOR_H
#define OT_ENGINE_CURSOR_H

#include "base/base.h"
#include "store/store.h"

struct ot_ranges {
    struct ot_range *v; /* ascending, disjoint */
    size_t n;
    size_t size;
};

struct ot_cursor {
    int64_t position; /* in the database */
    struct ot_ranges gaps;
    int64_t next_position; /* in the write that is planned or under way */
    struct ot_ranges next;
    struct ot_ranges put; /* the difference */
    int64_t *del;
    size_t ndel;
    size_t del_size;
};

void ot_cursor_free(struct ot_cursor *);

/* As it was loaded. 0 or E_NOMEM. */
int ot_cursor_load(struct ot_cursor *, int64_t position,
                   const struct ot_range *gaps, size_t n);

/* Start a plan; add ranges ascending by first (they may touch or overlap);
 * then make the difference. 0 or E_NOMEM. */
void ot_cursor_plan(struct ot_cursor *, int64_t position);
int ot_cursor_add(struct ot_cursor *, int64_t first, int64_t last);
int ot_cursor_difference(struct ot_cursor *);

/* Would writing the plan change anything? */
bool ot_cursor_differs(const struct ot_cursor *);

/* The write took place: the plan is what the database has. */
void ot_cursor_written(struct ot_cursor *);

#endif
