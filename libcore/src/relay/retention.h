/* retention.h - when the relay deletes delivered events. [INV-10 is the
 * store's: it looks at cursors, gaps and held events in its own snapshot] */
#ifndef OT_RETENTION_H
#define OT_RETENTION_H

#include "conf/conf.h"
#include "store/store.h"

struct ot_retention {
    bool enabled;
    bool under_way;
    bool failing; /* the last batch failed: that was told */
    int64_t retention_us;
    int64_t pause_us; /* between two batches while there is more */
    int64_t idle_us;  /* between two looks otherwise */
    uint32_t batch;
    int64_t next_us;
    uint64_t deleted; /* rows, in this relay's life */
};

void ot_retention_init(struct ot_retention *, const struct outtray_conf *conf);

/* Ask the store for a batch if it is time. Only the owner of a lease prunes;
 * db_now_us is wall time of the database. Returns whether it asked. */
bool ot_retention_turn(struct ot_retention *, struct ot_store *store,
                       int64_t now_us, int64_t db_now_us);

/* What a lost connection does to it is told elsewhere; anything else is told
 * here, once. */
void ot_retention_told(struct ot_retention *, const struct ot_reply *reply,
                       int64_t now_us, const struct ot_log *log);

/* When to turn again. */
int64_t ot_retention_wake_us(const struct ot_retention *);

#endif
