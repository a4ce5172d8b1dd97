/* driver.h - the hands of an engine: joins it with a store and a sink.
 *
 * It carries out the engine's wishes and hands it the answers. It never waits:
 * whoever owns it waits for fds() until wake_us.
 */
#ifndef OT_DRIVER_H
#define OT_DRIVER_H

#include "base/base.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "sink/sink.h"
#include "store/store.h"

#define OT_DRIVER_FDS     16
#define OT_DRIVER_FAILURE 200

struct ot_driver {
    struct ot_engine *engine; /* all three are borrowed */
    struct ot_store *store;
    struct ot_sink *sink; /* NULL: an engine that only applies commands */

    /* A reply that is not the engine's (PRUNE), or NULL. */
    void (*other)(void *ctx, const struct ot_reply *reply, int64_t now_us);
    /* What to write down about this relay, along with a lease or a write: a
     * text that is valid until the next call, or NULL for nothing new. May be
     * NULL. */
    const char *(*report)(void *ctx, enum ot_wish, int64_t now_us);
    void *ctx;

    int64_t wake_us;   /* when to turn again if no fd becomes ready */
    bool done;         /* the engine said so: turn no more */
    bool short_submit; /* the sink had no room for all of the last batch */
    /* Database time minus monotonic time; 0: no answer yet. */
    int64_t db_offset_us;
    /* What the sink last said against an event, "" nothing yet. */
    char failure[OT_DRIVER_FAILURE];
    int64_t failure_us; /* wall time of the database */
};

void ot_driver_init(struct ot_driver *, struct ot_engine *, struct ot_store *,
                    struct ot_sink *);

/* Do what is due, until nothing moves any more or enough has been done for
 * once (wake_us is then in the past). */
void ot_driver_turn(struct ot_driver *);

/* Wall time of the database, or of this machine before it has answered. */
int64_t ot_driver_wall_us(const struct ot_driver *, int64_t now_us);

/* What to wait on; returns their number. */
size_t ot_driver_fds(const struct ot_driver *, struct ot_fd out[OT_DRIVER_FDS]);

#endif
