/* keys.c - see keys.h. */
#include "sink/script/keys.h"

void ot_script_keys_init(struct ot_script_keys *k)
{
    memset(k, 0, sizeof(*k));
    k->free = OT_NIL;
}

void ot_script_keys_free(struct ot_script_keys *k)
{
    ot_free(k->by_hash.cells);
    ot_free(k->pool);
    ot_script_keys_init(k);
}

static uint32_t make(struct ot_script_keys *k)
{
    uint32_t slot = k->free;
    if (slot != OT_NIL) {
        k->free = k->pool[slot].n;
        return slot;
    }
    if (k->n == k->size) {
        uint32_t size = k->size == 0 ? 64 : k->size * 2;
        struct ot_script_key *pool =
            ot_resize(k->pool, size * sizeof(*k->pool));
        if (pool == NULL)
            return OT_NIL;
        k->pool = pool;
        k->size = size;
    }
    return k->n++;
}

static void drop(struct ot_script_keys *k, uint32_t slot)
{
    k->pool[slot].n = k->free;
    k->free = slot;
}

int ot_script_keys_hold(struct ot_script_keys *k, uint64_t hash, uint64_t batch,
                        uint32_t i, uint32_t *slot, uint32_t *before)
{
    struct ot_script_key *key;

    *before = OT_NIL;
    *slot = ot_index_find(&k->by_hash, hash);
    if (*slot != OT_NIL) {
        key = &k->pool[*slot];
        if (key->batch != batch)
            return 1;
        *before = key->last;
        key->last = i;
        key->n++;
        return 0;
    }
    *slot = make(k);
    if (*slot == OT_NIL)
        return OUTTRAY_E_NOMEM;
    if (ot_index_put(&k->by_hash, hash, *slot) != 0) {
        drop(k, *slot);
        return OUTTRAY_E_NOMEM;
    }
    k->pool[*slot] =
        (struct ot_script_key){.hash = hash, .batch = batch, .last = i, .n = 1};
    return 0;
}

void ot_script_keys_let_go(struct ot_script_keys *k, uint32_t slot)
{
    if (--k->pool[slot].n > 0)
        return;
    ot_index_del(&k->by_hash, k->pool[slot].hash);
    drop(k, slot);
}
