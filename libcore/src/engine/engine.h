/* engine.h - the relay's decisions, without its hands.
 *
 * One engine serves one subscription. It does no I/O, reads no clock, draws
 * no random number but from its seed, starts no thread: the world is told to
 * it, and it tells what to do next. So a test can be the world, ten thousand
 * times a second, and the same object file runs in the simulator and in
 * production.
 *
 *     world ── replies, completions, stop, time ─────────────────► engine
 *     world ◄── lease, load, read, fetch, submit, write, … wait ── engine
 *
 * now_us is monotonic and never goes back; database time comes with replies.
 */
#ifndef OT_ENGINE_H
#define OT_ENGINE_H

#include "base/base.h"
#include "event/event.h"
#include "sink/sink.h"
#include "store/store.h"

struct ot_engine;

enum ot_ordering { OT_ORDER_NONE, OT_ORDER_KEY, OT_ORDER_STRICT };
enum ot_policy { OT_POLICY_AUTO, OT_PARK, OT_DEAD_LETTER, OT_BLOCK };

/* A limit of one topic; 0: none. */
struct ot_topic_limit {
    struct ot_slice topic; /* borrowed until ot_engine_new returns */
    int64_t events_per_s, bytes_per_s;
};
#define OT_TOPIC_LIMITS 64

/* What is held by the limit of its topic has this for its error. */
#define OT_LIMIT_REASON "the limit of its topic keeps it back"

/* Settings, all of them; see conf/keys.def for their meaning. */
struct ot_engine_options {
    enum ot_ordering ordering;
    enum ot_policy on_reject;
    bool sink_ordered;     /* the sink keeps the order it was given */
    bool barrier_by_write; /* OT_STORE_BARRIER_BY_WRITE */
    bool apply_only;       /* take the lease, apply commands, release, done:
                               for operators when no relay runs */
    uint32_t batch_events;
    size_t batch_bytes;
    uint32_t window_events;
    size_t window_bytes;
    uint32_t held_max;
    int64_t lease_ttl_us;
    int64_t poll_min_us, poll_max_us;
    int64_t cursor_us;
    int64_t retry_min_us, retry_max_us, retry_max_age_us;
    uint32_t retry_max_attempts;
    int64_t block_retry_us;
    int64_t probe_min_us, probe_max_us;
    int64_t breaker_min_us, breaker_max_us;
    int64_t limit_events_per_s, limit_bytes_per_s; /* 0: none */
    struct ot_topic_limit topic_limits[OT_TOPIC_LIMITS];
    uint32_t ntopic_limits;
    int64_t leave_out_seqs; /* gaps at least so wide are left out of reads while
                               their writers are known to be at work */
    uint64_t seed;
};

/* What `outtray conf` calls the defaults. */
void ot_engine_defaults(struct ot_engine_options *);

int ot_engine_new(struct ot_engine **out, const struct ot_engine_options *,
                  const struct ot_log *log);
void ot_engine_free(struct ot_engine *);

enum ot_wish {
    OT_WAIT,        /* nothing before wait_until_us, or until told something */
    OT_DO_LEASE,    /* store->lease */
    OT_DO_LOAD,     /* store->load */
    OT_DO_READ,     /* store->read */
    OT_DO_FETCH,    /* store->fetch */
    OT_DO_COMMANDS, /* store->commands */
    OT_DO_SUBMIT,   /* sink->submit, then ot_engine_submitted at once */
    OT_DO_WRITE,    /* store->write */
    OT_DO_RELEASE,  /* store->release */
    OT_DO_ABANDON,  /* sink->abandon: the lease is gone, or time is up */
    OT_DONE,        /* stopped: the lease is released or lost */
};

union ot_wish_args {
    int64_t wait_until_us; /* OT_NEVER: until told something */
    struct ot_lease_request lease;
    struct ot_read_request read;
    struct ot_fetch_request fetch;
    struct ot_write_request write;
    struct {
        const struct ot_send *sends;
        size_t n;
    } submit;
    int64_t release_fence;
};

/* The next thing to do. Call until OT_WAIT or OT_DONE; every store wish is
 * answered once by ot_engine_told, in any order. What args points to is valid
 * until the next call into the engine, for a write until its reply. */
enum ot_wish ot_engine_next(struct ot_engine *, int64_t now_us,
                            union ot_wish_args *out);

/* A reply of the store, as it came. Takes over the reference of its rows. */
void ot_engine_told(struct ot_engine *, const struct ot_reply *,
                    int64_t now_us);

/* The sink took the first n of what was submitted. */
void ot_engine_submitted(struct ot_engine *, size_t n, int64_t now_us);

/* The sink may take more again, without a completion. */
void ot_engine_room(struct ot_engine *);

/* What became of submitted events. A second completion is a bug. [INV-7]
 * True: all of them are OK. */
bool ot_engine_completed(struct ot_engine *, const struct ot_completion *,
                         size_t n, int64_t now_us);

/* Read no more; wait for what is under way until soft, abandon it at hard,
 * write the cursor, release the lease: then OT_DONE. */
void ot_engine_stop(struct ot_engine *, int64_t soft_us, int64_t hard_us);

/* What the owner says of itself has changed: ask for a renewal soon, which
 * takes the report along. */
void ot_engine_news(struct ot_engine *);

/* Nothing left to deliver now: the last read covered everything and found
 * nothing, no gap is open, nothing is under way or held but what is dead or
 * scheduled, and the cursor is written. */
bool ot_engine_empty(const struct ot_engine *);

/* Why nothing is moving, for people: the first that applies, in UTF-8. */
enum ot_stall {
    OT_STALL_NONE,
    OT_STALL_STOPPED,
    OT_STALL_STORE,   /* the database does not answer */
    OT_STALL_REFUSED, /* the database answers, and the relay must not go on:
                           standby, log behind the cursor, … */
    OT_STALL_LEASE,   /* another relay owns the subscription */
    OT_STALL_PAUSED,
    OT_STALL_BREAKER, /* the sink is unavailable */
    OT_STALL_SINK,    /* events are with the sink, which is slow to answer */
    OT_STALL_LIMIT,   /* events wait for a limit, or the broker's */
    OT_STALL_BARRIER, /* waiting for the database's flush */
    OT_STALL_HELD_FULL,
    OT_STALL_GAP, /* only gaps are left: open transactions hold them */
};
const char *ot_stall_name(enum ot_stall);
enum ot_stall ot_engine_stall(const struct ot_engine *, int64_t now_us,
                              char detail[200]);

struct ot_engine_stats {
    uint64_t read, submitted, ok, retry, rejected, misconfigured, unavailable,
        unknown;         /* events; the last six by outcome */
    uint64_t dead;       /* given up on */
    uint64_t late;       /* came out of a gap */
    uint64_t unexpected; /* completions of nothing in flight: a bug. [INV-7] */
    uint64_t reads, writes, resets;
    int64_t position; /* written */
    int64_t read_position;
    int64_t last_seq;    /* the sequence, as of the last read */
    int64_t fence;       /* 0: no lease */
    uint32_t window;     /* events read and not settled */
    size_t window_bytes; /* pinned */
    uint32_t in_flight;
    uint32_t gaps;                  /* ranges */
    uint32_t held[OT_HELD_COUNTED]; /* by enum ot_held_state */
    bool paused;
    bool breaker_open;   /* or half-open */
    const char *breaker; /* "closed", "open", "half-open" */
};
void ot_engine_stats(const struct ot_engine *, struct ot_engine_stats *out);
int64_t ot_engine_fence(const struct ot_engine *); /* as in the stats */

/* The error that makes OT_STALL_STORE or OT_STALL_REFUSED, or code 0. */
const struct outtray_error *ot_engine_error(const struct ot_engine *);

#endif
