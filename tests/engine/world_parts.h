/* world_parts.h - what the files of the world share with each other alone. */
#ifndef ENGINE_WORLD_PARTS_H
#define ENGINE_WORLD_PARTS_H

#include "world.h"

/* p with room for one more element after n, each of so many bytes. */
void *w_grow(void *p, size_t n, size_t each);
bool w_can_see(const struct world *w, const struct w_event *event);
void w_ask(struct world *w, enum ot_reply_kind kind,
           const union ot_wish_args *args);

#endif
