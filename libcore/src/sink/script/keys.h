/* keys.h - the keys whose events a program has in its hands.
 *
 * An event of such a key goes into no other batch, so that batches can be
 * handled side by side. [INV-3] */
#ifndef OT_SCRIPT_KEYS_H
#define OT_SCRIPT_KEYS_H

#include "engine/index.h"

struct ot_script_key {
    uint64_t hash;  /* two keys of one hash are taken for one */
    uint64_t batch; /* the number of the batch that has it */
    uint32_t last;  /* its last event there */
    uint32_t n;     /* events not let go; free list: the next */
};

struct ot_script_keys {
    struct ot_index by_hash;
    struct ot_script_key *pool;
    uint32_t n, size;
    uint32_t free;
};

void ot_script_keys_init(struct ot_script_keys *);
void ot_script_keys_free(struct ot_script_keys *);

/* Event i of that batch has the key. *slot is to be let go, *before the event
 * of the key before it in the batch, or OT_NIL. 0;
 * 1: another batch has it; E_NOMEM. */
int ot_script_keys_hold(struct ot_script_keys *, uint64_t hash, uint64_t batch,
                        uint32_t i, uint32_t *slot, uint32_t *before);
void ot_script_keys_let_go(struct ot_script_keys *, uint32_t slot);

#endif
