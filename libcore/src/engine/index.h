/* index.h - find a pool slot by a 64-bit key: open addressing. */
#ifndef OT_ENGINE_INDEX_H
#define OT_ENGINE_INDEX_H

#include "base/base.h"

#define OT_NIL UINT32_MAX /* no slot */

struct ot_index_cell {
    uint64_t key;
    uint32_t id; /* OT_NIL: empty */
};
struct ot_index {
    struct ot_index_cell *cells;
    size_t size; /* a power of two, or 0 */
    size_t n;
};

uint32_t ot_index_find(const struct ot_index *, uint64_t key);
/* The key is not in it. 0 or E_NOMEM. */
int ot_index_put(struct ot_index *, uint64_t key, uint32_t id);
void ot_index_del(struct ot_index *, uint64_t key);
void ot_index_clear(struct ot_index *); /* keeps the memory */

#endif
