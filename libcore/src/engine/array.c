/* array.c - growing memory, and what is due first. */
#include "engine/array.h"

int ot_grow(void **v, size_t *size, size_t want, size_t each)
{
    if (want <= *size)
        return 0;
    size_t n = *size < 16 ? 16 : *size;
    while (n < want)
        n *= 2;
    void *p = ot_resize(*v, n * each);
    if (p == NULL)
        return OUTTRAY_E_NOMEM;
    *v = p;
    *size = n;
    return 0;
}

int ot_heap_push(struct ot_heap *heap, int64_t at_us, uint32_t id)
{
    if (OT_GROW(heap->v, heap->size, heap->n + 1) != 0)
        return OUTTRAY_E_NOMEM;
    size_t i = heap->n++;
    while (i > 0 && heap->v[(i - 1) / 2].at_us > at_us) {
        heap->v[i] = heap->v[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->v[i] = (struct ot_due){at_us, id};
    return 0;
}

bool ot_heap_pop(struct ot_heap *heap, int64_t now_us, struct ot_due *out)
{
    if (heap->n == 0 || heap->v[0].at_us > now_us)
        return false;
    *out = heap->v[0];
    struct ot_due last = heap->v[--heap->n];
    size_t i = 0;
    for (size_t child = 1; child < heap->n; child = 2 * i + 1) {
        if (child + 1 < heap->n &&
            heap->v[child + 1].at_us < heap->v[child].at_us)
            child++;
        if (last.at_us <= heap->v[child].at_us)
            break;
        heap->v[i] = heap->v[child];
        i = child;
    }
    heap->v[i] = last;
    return true;
}

int64_t ot_heap_next(const struct ot_heap *heap)
{
    return heap->n > 0 ? heap->v[0].at_us : OT_NEVER;
}
