/* index.c - linear probing, deletion by shifting back. */
#include "engine/index.h"

/* Keys may be hashes or plain seqs: spread both. */
static size_t home(const struct ot_index *index, uint64_t key)
{
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(key ^ (key >> 32)) & (index->size - 1);
}

uint32_t ot_index_find(const struct ot_index *index, uint64_t key)
{
    if (index->n == 0)
        return OT_NIL;
    size_t mask = index->size - 1;
    for (size_t i = home(index, key);; i = (i + 1) & mask) {
        const struct ot_index_cell *cell = &index->cells[i];
        if (cell->id == OT_NIL || cell->key == key)
            return cell->id;
    }
}

static void insert(struct ot_index *index, uint64_t key, uint32_t id)
{
    size_t mask = index->size - 1, i = home(index, key);
    while (index->cells[i].id != OT_NIL)
        i = (i + 1) & mask;
    index->cells[i] = (struct ot_index_cell){key, id};
}

static int rehash(struct ot_index *index)
{
    size_t size = index->size == 0 ? 64 : index->size * 2;
    struct ot_index old = *index;
    struct ot_index_cell *cells = ot_alloc(size * sizeof(*cells));
    if (cells == NULL)
        return OUTTRAY_E_NOMEM;
    for (size_t i = 0; i < size; i++)
        cells[i].id = OT_NIL;
    index->cells = cells;
    index->size = size;
    for (size_t i = 0; i < old.size; i++)
        if (old.cells[i].id != OT_NIL)
            insert(index, old.cells[i].key, old.cells[i].id);
    ot_free(old.cells);
    return 0;
}

int ot_index_put(struct ot_index *index, uint64_t key, uint32_t id)
{
    if ((index->n + 1) * 2 > index->size && rehash(index) != 0)
        return OUTTRAY_E_NOMEM;
    insert(index, key, id);
    index->n++;
    return 0;
}

void ot_index_del(struct ot_index *index, uint64_t key)
{
    if (index->n == 0)
        return;
    size_t mask = index->size - 1, i = home(index, key);
    while (index->cells[i].id != OT_NIL && index->cells[i].key != key)
        i = (i + 1) & mask;
    if (index->cells[i].id == OT_NIL)
        return;
    index->n--;
    for (size_t k = (i + 1) & mask; index->cells[k].id != OT_NIL;
         k = (k + 1) & mask) {
        size_t want = home(index, index->cells[k].key);
        /* may it move to the hole: is its home not within (hole, k]? */
        if (((k - want) & mask) >= ((k - i) & mask)) {
            index->cells[i] = index->cells[k];
            i = k;
        }
    }
    index->cells[i].id = OT_NIL;
}

void ot_index_clear(struct ot_index *index)
{
    for (size_t i = 0; i < index->size; i++)
        index->cells[i].id = OT_NIL;
    index->n = 0;
}
