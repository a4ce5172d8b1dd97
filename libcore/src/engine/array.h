/* array.h - memory that grows and is kept: nothing on the hot path allocates
 * once the largest load was seen. */
#ifndef OT_ENGINE_ARRAY_H
#define OT_ENGINE_ARRAY_H

#include "base/base.h"

/* Make room for want elements. 0 or E_NOMEM; on failure v is as it was. */
int ot_grow(void **v, size_t *size, size_t want, size_t each);

#define OT_GROW(v, size, want) \
    ot_grow((void **)&(v), &(size), (want), sizeof(*(v)))

/* A binary heap of (time, id). An entry whose id has changed its mind is
 * found out when it comes up: the owner compares the time with its own. */
struct ot_due {
    int64_t at_us;
    uint32_t id;
};
struct ot_heap {
    struct ot_due *v;
    size_t n;
    size_t size;
};

int ot_heap_push(struct ot_heap *, int64_t at_us, uint32_t id);
/* The earliest entry, if it is due by now_us: removed, true. */
bool ot_heap_pop(struct ot_heap *, int64_t now_us, struct ot_due *out);
int64_t ot_heap_next(const struct ot_heap *); /* OT_NEVER: empty */

#endif
