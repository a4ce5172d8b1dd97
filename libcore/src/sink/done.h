/* done.h - finished events on their way to the engine. */
#ifndef OT_SINK_DONE_H
#define OT_SINK_DONE_H

#include "sink/sink.h"

/* A queue whose room is made before an event is accepted, so that completing
 * it cannot fail. [INV-7] */
struct ot_done {
    struct ot_completion *ring;
    size_t first, n, size; /* size is 0 or a power of two */
};

bool ot_done_reserve(struct ot_done *, size_t total); /* false: no memory */
void ot_done_push(struct ot_done *, const struct ot_completion *);
size_t ot_done_take(struct ot_done *, struct ot_completion *out, size_t max);
void ot_done_free(struct ot_done *);

#endif
