/* done.c - finished events on their way to the engine. */
#include "sink/done.h"

#include <assert.h>

bool ot_done_reserve(struct ot_done *q, size_t total)
{
    if (total <= q->size)
        return true;
    size_t size = q->size == 0 ? 64 : q->size;
    while (size < total)
        size *= 2;
    struct ot_completion *ring = ot_alloc_zero(size, sizeof(*ring));
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < q->n; i++)
        ring[i] = q->ring[(q->first + i) & (q->size - 1)];
    ot_free(q->ring);
    q->ring = ring;
    q->first = 0;
    q->size = size;
    return true;
}

void ot_done_push(struct ot_done *q, const struct ot_completion *c)
{
    assert(q->n < q->size);
    q->ring[(q->first + q->n++) & (q->size - 1)] = *c;
}

size_t ot_done_take(struct ot_done *q, struct ot_completion *out, size_t max)
{
    size_t n = q->n < max ? q->n : max;
    for (size_t i = 0; i < n; i++)
        out[i] = q->ring[(q->first + i) & (q->size - 1)];
    if (n > 0)
        q->first = (q->first + n) & (q->size - 1);
    q->n -= n;
    return n;
}

void ot_done_free(struct ot_done *q)
{
    ot_free(q->ring);
    *q = (struct ot_done){0};
}
