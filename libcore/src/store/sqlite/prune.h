/* prune.h - deleting what every subscription has passed. */
#ifndef OT_SQLITE_PRUNE_H
#define OT_SQLITE_PRUNE_H

#include "store/sqlite/db.h"
#include "store/store.h"

/* Where the walk up the log stands, so that held events at its lower end are
 * not looked at again and again. Zero-initialise it. */
struct ot_sqlite_low {
    int64_t seq;     /* everything up to it was looked at */
    int64_t next_us; /* monotonic: when the walk starts from 0 again */
};

/* One batch in a transaction of its own, nothing of it on failure. [INV-10] */
int ot_sqlite_prune(struct ot_sqlite_db *, const struct ot_prune_request *,
                    bool dry_run, struct ot_sqlite_low *,
                    struct ot_prune_reply *out, struct outtray_error *err);

#endif
