/* loop.h - waits for descriptors, for a time, or for another thread. */
#ifndef OT_LOOP_H
#define OT_LOOP_H

#include "base/base.h"
#include "base/fd.h"

struct ot_loop;

int ot_loop_new(struct ot_loop **out, struct outtray_error *err);
void ot_loop_free(struct ot_loop *); /* NULL is fine */

/* Watch exactly these from now on, instead of those of the last call. */
void ot_loop_watch(struct ot_loop *, const struct ot_fd *fds, size_t n);

/* Return when a watched descriptor is ready, until_us has come (OT_NEVER: does
 * not), or somebody woke the loop. A time that has passed only looks. */
void ot_loop_wait(struct ot_loop *, int64_t until_us);

/* @thread any; safe in a signal handler */
void ot_loop_wake(struct ot_loop *);

/* For a loop around this one: readable when ot_loop_wait would return. */
int ot_loop_fd(const struct ot_loop *);
/* How long that loop may wait for the descriptor; -1: for ever. Speaks of the
 * until_us of the last ot_loop_wait. */
int ot_loop_timeout_ms(const struct ot_loop *);

#endif
