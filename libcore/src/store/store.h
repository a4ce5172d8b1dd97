/* store.h - where an outbox lives, as the relay sees it.
 *
 * A store does I/O and nothing else: it takes a request, and later hands out
 * one reply for it. What is read, when, and what it means is decided by the
 * engine. Everything runs on the relay's loop thread; no member waits (a
 * database that blocks is retried from service). One request of each kind may
 * be under way at a time; kinds overlap, so that read n+1, publish n and the
 * write of n-1 go on together.
 *
 * A lost connection fails every request under way with a retryable code, and
 * the store reconnects by itself, when asked the next time. It keeps no memory
 * of the cursor: after a failure the engine takes the lease again, under a new
 * fence, and then loads, so that a write that was under way and lands late is
 * refused. [INV-4]
 */
#ifndef OT_STORE_H
#define OT_STORE_H

#include "base/base.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "event/event.h"

#define OT_STORE_ABI 1

/* seqs, both ends included. */
struct ot_range {
    int64_t first;
    int64_t last;
};

/* A transaction that holds RowExclusiveLock on the log: it may yet commit
 * events with seqs that were drawn already. */
struct ot_holder {
    uint64_t lock; /* its virtual transaction: backend << 32 | number; a
                       prepared one keeps it until the server restarts */
    uint64_t xid;  /* its (64-bit) transaction id; 0: not known */
    bool prepared;
};

struct ot_snapshot {
    uint64_t xmin;
    uint64_t xmax;
    const uint64_t *xip; /* in progress, sorted, within [xmin, xmax) */
    size_t nxip;
};

/* Which life of which server answered: changes whenever shared memory was
 * rebuilt, also behind a pooler. Compared as a whole, never ordered. */
struct ot_incarnation {
    int64_t started_us;
    int64_t stats_reset_us;
    uint64_t system;
};

static inline bool ot_incarnation_equal(const struct ot_incarnation *a,
                                        const struct ot_incarnation *b)
{
    return a->started_us == b->started_us &&
           a->stats_reset_us == b->stats_reset_us && a->system == b->system;
}

/* --- requests ------------------------------------------------------------ */

/* Owner uuid and subscription name are given at open; every request below
 * acts for them. */

/* Take (a new fence, if free, expired or our own) or renew (the same fence, if
 * not expired) the lease. */
struct ot_lease_request {
    bool take;
    int64_t fence; /* renew: the fence we hold; take: the highest we have had,
                        as the new one must be above it even where a restore
                        or a failover has brought an older row back [INV-11] */
    int64_t ttl_us;
    const char *report; /* what the owner says of itself, for people: a JSON
                           object of less than OT_REPORT_SIZE bytes. Written if
                           the lease is granted; NULL: leave what is there */
};
#define OT_REPORT_SIZE 2048

/* The events above position and inside gaps, in one snapshot, by seq. */
struct ot_read_request {
    int64_t position;
    const struct ot_range *gaps; /* ascending, disjoint, all <= position */
    size_t ngaps;
    bool with_locks; /* L_k in the same pipeline, before the read */
    uint32_t limit;  /* at most so many events */
    size_t budget;   /* bytes of payloads, and 64 for each event: the event
                          that would exceed it is not read, unless it is the
                          first. A store that expected smaller ones may bring
                          none (cut), but not twice. [INV-8] */
};

/* May a write that names this incarnation (all zero: any) change anything? */
static inline bool ot_incarnation_allows(const struct ot_incarnation *asked,
                                         const struct ot_incarnation *now)
{
    static const struct ot_incarnation any;

    return ot_incarnation_equal(asked, &any) ||
           ot_incarnation_equal(asked, now);
}

enum ot_held_state {
    OT_HELD_RETRYING,  /* failed, has a next attempt */
    OT_HELD_WAITING,   /* for its destination */
    OT_HELD_BLOCKED,   /* behind a held event of its key */
    OT_HELD_SCHEDULED, /* deliver_at in the future */
    OT_HELD_DEAD,      /* given up on; redrive or skip */
    OT_HELD_SKIPPED,   /* settled on request: its row only keeps a later owner
                          from sending it, and goes once the position is past
                          it */
};
#define OT_HELD_COUNTED \
    (OT_HELD_DEAD + 1) /* states that people count as held */
const char *ot_held_state_name(enum ot_held_state); /* "retrying", … */
int ot_held_state_parse(struct ot_slice name, enum ot_held_state *out);

/* What the engine keeps of a held event. Key and topic are not here: the event
 * row has them. */
struct ot_held {
    int64_t seq;
    uint64_t key;   /* ot_hash of the key; 0: no key. Filled by load;
                             ignored in a write */
    uint64_t topic; /* ot_hash of the topic; likewise */
    enum ot_held_state state;
    bool holds_key;         /* later events of its key wait for it */
    uint32_t attempts;      /* failed tries of its own */
    int64_t next_us;        /* wall time of the database; 0: not by time */
    int64_t first_error_us; /* 0: none yet */
    int64_t last_error_us;
    int64_t retried_us;   /* time spent in its own backoff: outages do not
                             count towards giving up [INV-9] */
    int32_t error_code;   /* the sink's native code of the last error */
    bool maybe_duplicate; /* a try of it may have been persisted */
    const char *error; /* text. In a write: valid until the reply; NULL: none,
                             or the one that is there, if last_error_us is too.
                             In a load: always NULL */
};

/* One fenced write: all of it or nothing. [INV-4] */
struct ot_write_request {
    uint64_t number; /* echoed in the reply */
    int64_t fence;
    /* Of the load: in another life of the server nothing may change (refused).
     * There, seqs that are settled here may be lost and drawn again, and
     * flush_lsn says nothing about what was read before. All zero: any. */
    struct ot_incarnation incarnation;
    int64_t position;
    const struct ot_range *gaps_put; /* insert these rows */
    size_t ngaps_put;
    const int64_t *gaps_del; /* delete the rows with these firsts;
                                        before the inserts */
    size_t ngaps_del;
    const struct ot_held *held_put; /* insert or replace */
    size_t nheld_put;
    const int64_t *held_del; /* delete the rows with these seqs */
    size_t nheld_del;
    const int64_t *commands_done; /* delete these command rows */
    size_t ncommands_done;
    int set_paused;     /* -1: leave; 0, 1 */
    const char *report; /* as in a lease request */
    bool durable;       /* reply only once everything visible before is flushed:
                       the barrier of [INV-2] */
};

/* The rows of these seqs, in this order; missing ones are left out. */
struct ot_fetch_request {
    const int64_t *seqs;
    size_t n;
    size_t budget; /* as of a read */
};

struct ot_prune_request {
    int64_t older_than_us; /* created_at, wall time of the database */
    uint32_t limit;        /* look at and delete at most so many rows */
};

/* --- replies ------------------------------------------------------------- */

/* A batch of events, pinned by reference counts: the events point into the
 * client library's own result (zero copy). */
struct ot_rows {
    uint32_t refs; /* starts at 1, held by whoever took the reply */
    void (*free)(struct ot_rows *);
    struct ot_event *events; /* by seq (a read), as asked (a fetch) */
    uint32_t n;
    size_t bytes; /* sum of ot_event_bytes */
};

static inline void ot_rows_ref(struct ot_rows *rows, uint32_t n)
{
    rows->refs += n;
}

static inline void ot_rows_unref(struct ot_rows *rows)
{
    if (rows != NULL && --rows->refs == 0)
        rows->free(rows);
}

/* The answer to a read. Everything but rows is valid until the next reply. */
struct ot_read_reply {
    struct ot_rows *rows; /* never NULL; the taker owns one reference */
    bool cut;             /* LIMIT or the budget cut it: seqs after the last
                             row are not covered; else everything is */
    bool has_locks;       /* locks were read, before the snapshot was taken */
    const struct ot_holder *holders; /* L_k */
    size_t nholders;
    struct ot_snapshot snapshot; /* of the read */
    struct ot_incarnation incarnation;
    int64_t last_seq;   /* the sequence's last value, read after the rows'
                           snapshot; 0 if none was drawn */
    uint64_t lsn;       /* taken after the rows' snapshot and before
                            flush_lsn: every commit seen in rows was written at
                            or below it */
    uint64_t flush_lsn; /* durable up to here */
    int64_t db_now_us;  /* wall time of the database */
    bool has_commands;  /* the command table is not empty */
};

struct ot_lease_reply {
    bool granted;
    int64_t fence;      /* ours, if granted */
    int64_t free_in_us; /* if not: until the other's lease expires */
    char owner[37];     /* if not: whose it is */
};

struct ot_fetch_reply {
    struct ot_rows *rows; /* never NULL; the taker owns one reference */
    size_t n; /* the first n seqs were looked at; the budget cut the others */
};

/* The cursor as the database has it. Valid until the next reply. The lease
 * comes with it: a restore or a failover between the grant of a lease and the
 * load may have taken it back, and nothing else would tell. [INV-11] */
struct ot_cursor_reply {
    int64_t fence;         /* of our lease; 0: we are not its owner */
    int64_t lease_left_us; /* until it expires; <= 0: it has */
    int64_t position;
    const struct ot_range *gaps; /* as they are: some may lie above position */
    size_t ngaps;
    const struct ot_held *held; /* by seq */
    size_t nheld;
    bool paused;
    struct ot_incarnation incarnation;
    int64_t last_seq;
    uint64_t flush_lsn;
    int64_t db_now_us;
};

enum ot_fate {
    OT_WRITTEN,
    OT_REFUSED, /* owner, fence or incarnation are stale: nothing changed */
    OT_FATE_UNKNOWN, /* the connection broke before the answer */
};

struct ot_write_reply {
    uint64_t number;
    enum ot_fate fate;
    uint64_t flush_lsn; /* after it, if durable was asked for; else 0 */
};

enum ot_verb {
    OT_REDRIVE, /* seq: send the dead (or retrying) event again, now */
    OT_SKIP,    /* seq: give up on the held event without sending it */
    OT_PAUSE,
    OT_RESUME,
    OT_REPLAY, /* seq: send an event again that was passed. A row of it is a
                  redrive of -seq, which older programs know and refuse. */
};
const char *ot_verb_name(enum ot_verb);

struct ot_command {
    int64_t id;
    enum ot_verb verb;
    int64_t seq; /* 0 where the verb takes none */
};
/* As its row has them: the word, and the argument for a seq. */
const char *ot_verb_stored(enum ot_verb, int64_t seq, int64_t *argument);
/* From a row; 0 or E_NOT_FOUND. */
int ot_command_parse(struct ot_slice verb, int64_t argument,
                     struct ot_command *out);

struct ot_commands_reply {
    const struct ot_command *commands; /* by id; valid until the next reply */
    size_t n;
};

struct ot_prune_reply {
    uint32_t deleted;
    bool more; /* the limit was reached: ask again */
};

enum ot_reply_kind {
    OT_REPLY_LEASE,
    OT_REPLY_CURSOR,
    OT_REPLY_READ,
    OT_REPLY_FETCH,
    OT_REPLY_WRITE,
    OT_REPLY_COMMANDS,
    OT_REPLY_RELEASE,
    OT_REPLY_PRUNE,
};

struct ot_reply {
    enum ot_reply_kind kind;
    int code; /* 0, or why there is no answer; err has the text. A WRITE always
                 has its fate, whatever the code. */
    struct outtray_error err;
    union {
        struct ot_lease_reply lease;
        struct ot_cursor_reply cursor;
        struct ot_read_reply read;
        struct ot_fetch_reply fetch;
        struct ot_write_reply write;
        struct ot_commands_reply commands;
        struct ot_prune_reply prune;
    };
};

enum ot_store_caps {
    OT_STORE_GAPS = 1, /* seqs become visible out of order */
    /* Durability moves only with a durable write: lsn is then a counter and
     * flush_lsn its value at the last durable write (SQLite). */
    OT_STORE_BARRIER_BY_WRITE = 2,
};

struct ot_store {
    const struct ot_store_ops *ops;
};

struct ot_store_ops {
    uint32_t abi;
    uint32_t caps;
    const char *scheme; /* "postgresql", "sqlite", "memory" */

    /* Connects to nothing yet. owner: a random uuid of this relay's life. log
     * may be NULL and outlives the store. */
    int (*open)(struct ot_store **out, const struct outtray_conf *conf,
                struct ot_uuid owner, const struct ot_log *log,
                struct outtray_error *err);

    /* Start a request. Arguments are copied, or used up, before it returns.
     * The connection is made by the first of them. */
    void (*lease)(struct ot_store *, const struct ot_lease_request *);
    void (*release)(struct ot_store *, int64_t fence);
    void (*load)(struct ot_store *);
    void (*read)(struct ot_store *, const struct ot_read_request *);
    void (*fetch)(struct ot_store *, const struct ot_fetch_request *);
    void (*write)(struct ot_store *, const struct ot_write_request *);
    void (*commands)(struct ot_store *);
    void (*prune)(struct ot_store *, const struct ot_prune_request *);

    /* Does the I/O that is due, never waits. Returns when to be called again
     * if no fd becomes ready before; OT_NEVER for none. */
    int64_t (*service)(struct ot_store *, int64_t now_us);
    size_t (*fds)(const struct ot_store *, struct ot_fd *out, size_t max);

    /* The next finished request: true and *out, or false. */
    bool (*next)(struct ot_store *, struct ot_reply *out);

    /* Drops what is under way (no reply comes) and disconnects. Rows that are
     * still pinned stay valid. */
    void (*close)(struct ot_store *);
};

/* The store for the scheme of conf's store.url. */
int ot_store_open(struct ot_store **out, const struct outtray_conf *conf,
                  struct ot_uuid owner, const struct ot_log *log,
                  struct outtray_error *err);

#endif
