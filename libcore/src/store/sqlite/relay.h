/* relay.h - the half of the SQLite store that the relay uses, from inside.
 *
 * A request is tried in the call that makes it. If another connection holds
 * the write lock it stays in its slot and is tried again from service, every
 * few milliseconds, until patience_us have passed.
 */
#ifndef OT_SQLITE_RELAY_H
#define OT_SQLITE_RELAY_H

#include "store/filter.h"
#include "store/replies.h"
#include "store/rows.h"
#include "store/sqlite/db.h"
#include "store/sqlite/prune.h"
#include "store/store.h"

enum { KINDS = OT_REPLIES };

struct slot {
    bool waiting;       /* a request waits for the write lock */
    int64_t since_us;   /* when it was made */
    int64_t again_us;   /* when it is tried next */
    int64_t pause_us;   /* between two tries */
    struct ot_buffer m; /* what its arguments point to */
};

struct relay {
    struct ot_store base;
    struct ot_sqlite_db db;
    const struct ot_log *log;
    char *subscription;
    char *topics; /* NULL: all */
    char owner[37];
    bool start_now; /* a new subscription starts at the end of the log */
    struct ot_filter filter;
    int64_t patience_us;
    int64_t (*wall_us)(void); /* a test has its own */

    /* The lease of another relay, as it was seen first. */
    struct {
        char owner[37];
        int64_t fence;
        int64_t expires_us;
        int64_t since_us; /* monotonic */
    } other;

    struct slot slots[KINDS];
    struct ot_lease_request lease;
    int64_t release_fence;
    struct ot_read_request read;
    struct ot_fetch_request fetch;
    struct ot_write_request write;
    struct ot_prune_request prune;

    struct ot_replies replies;

    /* What a poll may leave out: while nobody else has committed and nothing
     * of ours has touched it, all of this is still so. */
    struct {
        bool valid;
        int64_t data_version;
        int64_t upto; /* no event above it */
        int64_t last_seq;
        bool has_commands;
    } known;
    uint64_t seen;    /* counts what reads have seen: the LSN */
    uint64_t flushed; /* seen, when the disk last had all of it */
    struct ot_incarnation incarnation;
    struct ot_sqlite_low low;

    struct ot_rows_builder rows;
    struct ot_buffer gaps, held, commands; /* of the last reply of a kind */
};

/* One try each: 0 with the reply filled, or a code with reply->err. The
 * transaction is over when they return. */
int sqlite_lease(struct relay *, struct ot_reply *);
int sqlite_release(struct relay *, struct ot_reply *);
int sqlite_load(struct relay *, struct ot_reply *);
int sqlite_read(struct relay *, struct ot_reply *);
int sqlite_fetch(struct relay *, struct ot_reply *);
int sqlite_write(struct relay *, struct ot_reply *);
int sqlite_commands(struct relay *, struct ot_reply *);

#endif
