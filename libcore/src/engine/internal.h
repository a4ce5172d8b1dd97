/* internal.h - the engine's state, shared by the files of this folder.
 *
 * Events in memory are items, held events are entries, keys with either are
 * lanes; each kind lives in a pool that only grows and is named by index.
 *
 *     ring (read order) ─► admitted (barrier) ─► lane ─► ready queue ─► sink
 *                                                 │
 *                                   held entries of the key, by seq
 */
#ifndef OT_ENGINE_INTERNAL_H
#define OT_ENGINE_INTERNAL_H

#include "engine/array.h"
#include "engine/breaker.h"
#include "engine/cursor.h"
#include "engine/engine.h"
#include "engine/gap.h"
#include "engine/index.h"
#include "engine/lease.h"
#include "engine/limiter.h"
#include "engine/retry.h"

#define OT_NO_RING     UINT64_MAX
#define OT_BARRIER_US  INT64_C(5000)    /* then a write forces the flush */
#define OT_BARRIER_MIN INT64_C(100)     /* least pause of reads until then */
#define OT_IN_MEMORY   INT64_C(1000000) /* longest backoff in the window */
#define OT_SLOW_US     INT64_C(3000000) /* a sink that needs so long is news */
#define OT_RECHECK_US  INT64_C(3000000) /* after a refusal */
#define OT_FAILED_MIN  INT64_C(100000)  /* pause after a failed request … */
#define OT_RESUMED_US  INT64_C(10000000)
#define OT_FAILED_MAX  INT64_C(3000000) /* … doubling up to this */
#define OT_BACK_US     INT64_C(1000000) /* a clock set back, not a slow answer */
#define OT_GAP_POLL_US INT64_C(50000)   /* longest poll while gaps are open */
#define OT_LIMIT_NAME  80 /* bytes of a topic's name that are kept */

enum ot_item_state {
    OT_ITEM_FREE,
    OT_ITEM_READ,    /* its batch may not be durable yet */
    OT_ITEM_READY,   /* waits for its lane */
    OT_ITEM_QUEUED,  /* may be sent */
    OT_ITEM_LIMITED, /* may be sent, but for the limit of its topic */
    OT_ITEM_OFFERED, /* in the submit wish */
    OT_ITEM_FLIGHT,  /* with the sink */
    OT_ITEM_BACKOFF, /* failed, tried again from memory */
    OT_ITEM_SUSPECT, /* rejected with neighbours: being bisected */
    OT_ITEM_HOLDING, /* held in memory, not yet in the database */
};

/* An event in memory: of the window, or fetched from the held ones. */
struct ot_item {
    const struct ot_event *event;
    struct ot_rows *rows; /* one reference */
    uint64_t lsn;         /* of its batch */
    uint64_t ring;        /* its place in read order; OT_NO_RING: fetched */
    uint32_t gen;         /* grows with every submission: the ticket */
    uint32_t lane, lane_prev, lane_next; /* in read order */
    uint32_t prev, next;                 /* ready queue; free list */
    uint32_t held;                       /* its entry */
    uint8_t state;                       /* enum ot_item_state */
    bool late : 1;    /* was at or below the position when read */
    bool careful : 1; /* failed before: alone in its lane */
    bool maybe_duplicate : 1;
    bool orphan : 1; /* read before a reset: only its completion is awaited */
    /* Up to here a cache line, from here another one. */
    int64_t at_us;  /* backoff: tried again then; in flight: since then */
    uint64_t topic; /* ot_hash; 0: not computed yet */
    uint64_t order; /* of admission, for bisecting */
    uint32_t attempts, unknowns;
    int64_t delay_us, retried_us, first_error_us, last_error_us;
};

/* A held event. */
struct ot_entry {
    struct ot_held h; /* h.error: owned, until written */
    uint32_t item;    /* in memory: fetched, or not yet written */
    uint32_t lane, lane_prev, lane_next;
    uint32_t prev, next; /* fetch queue; free list */
    bool used;
    bool at_end;   /* in its lane, but not by seq: it was due out of turn */
    bool loaded;   /* fetched: item takes part in its lane */
    bool unsaved;  /* the next write has it */
    bool writing;  /* the write under way has it */
    bool queued;   /* waits for a fetch */
    bool fetching; /* the fetch under way has it */
    bool due;      /* its time has come */
    bool probe;    /* tries its topic */
    bool listed;   /* waits for the limit of its topic, by seq */
    bool released; /* by that limit, and not sent yet */
    bool unread;   /* of the load: its row is read once more, and maybe others
                      of its key before it */
};

/* A key with something in memory or held. */
struct ot_lane {
    uint64_t key;
    bool used;
    uint32_t first, last; /* items in order */
    uint32_t next;        /* the first that is not out */
    uint32_t out;         /* queued, offered or in flight */
    bool alone;           /* a careful one is out */
    bool draining;        /* one came back: wait for the rest */
    bool limited;         /* the last that is out waits for its topic */
    uint32_t held_first, held_last; /* entries that hold it, or wait */
    uint32_t unloaded;              /* of these, those not in memory */
};

/* A destination that refuses events. */
struct ot_topic {
    uint64_t hash;
    bool refused;     /* since the load, not only before it */
    int64_t probe_us; /* when to try again */
    int64_t delay_us;
};

struct ot_list {
    uint32_t first, last;
};

/* A topic with a limit of its own, or one that its broker slowed down. */
struct ot_limit {
    uint64_t hash;
    char name[OT_LIMIT_NAME]; /* for people, maybe cut */
    struct ot_limiter limiter;
    struct ot_limiter
        plan; /* with what is offered: what is not taken is free */
    struct ot_list waiting; /* items: short waits stay in memory */
    uint32_t nwaiting;
    int64_t waiting_bytes;
    struct ot_heap held; /* entries, by seq */
    uint32_t released;   /* entries: to be fetched and sent next */
    int64_t mean_bytes;  /* of its events, about */
};

/* A request of one kind to the store. */
struct ot_asked {
    bool under_way;
    uint64_t epoch;
    int64_t sent_us;
};
#define OT_REPLY_KINDS (OT_REPLY_PRUNE + 1)

enum ot_phase {
    OT_PHASE_LEASE, /* wants it */
    OT_PHASE_LOAD,  /* has it, wants the cursor */
    OT_PHASE_RUN,
    OT_PHASE_FINAL,   /* stopping: nothing is under way, write and release */
    OT_PHASE_RELEASE, /* asked for */
    OT_PHASE_DONE,
};

struct ot_engine {
    struct ot_engine_options opt;
    const struct ot_log *log;
    struct ot_rng rng;
    struct ot_lease lease;
    struct ot_breaker breaker;
    struct ot_limiter limiter;
    struct ot_retry retry;
    struct ot_gaps gaps;
    struct ot_cursor cursor;
    struct ot_engine_stats stats;
    struct outtray_error error;
    bool refused; /* the error is one that people must cure */

    int64_t now_us;
    enum ot_phase phase;
    uint64_t epoch; /* a reply to a request of an older one is void */
    struct ot_asked asked[OT_REPLY_KINDS];
    int64_t failed_us;  /* last pause after a failure */
    int64_t resumed_us; /* when it was last told that it relays */
    bool nomem;         /* state is damaged: reset before anything else */
    bool abandon;       /* the sink must give up what it has */
    bool abandoned;     /* stopping: it was told */
    bool stopping;
    int64_t soft_us, hard_us;
    bool taking;    /* the lease request under way takes; else it renews */
    char owner[37]; /* who else has the lease, "" nobody */

    /* the database, as it told last */
    struct ot_incarnation incarnation;
    uint64_t flush_lsn;
    int64_t db_us, db_at_us; /* its wall time, and when we heard it */
    bool want_commands;
    int64_t commands_us; /* ask for them without a read */
    bool paused;
    int set_paused;

    /* reading */
    int64_t read_position;
    int64_t next_read_us;
    int64_t poll_us;
    bool read_all; /* the last read covered everything, found nothing */
    int64_t barrier_us;

    /* the window */
    struct ot_item *items;
    size_t nitems, items_size;
    uint32_t free_item;
    uint32_t *ring; /* a power of two */
    size_t ring_size;
    uint64_t head, admit, tail;
    uint64_t written, writing; /* where head was at the last write, and at the
                                  one under way: what was read since then is
                                  read again after a crash */
    uint32_t late;             /* unsettled late rows */
    uint32_t pinned;
    size_t pinned_bytes;
    size_t read_bytes, fetch_bytes; /* budgets of the last requests */
    uint32_t in_memory;             /* items in use */
    uint32_t in_flight;
    bool slow; /* the last answer of the sink took OT_SLOW_US or more */
    uint32_t orphans;
    uint64_t order;
    uint32_t settled; /* since the last write */
    struct ot_list ready;
    struct ot_heap backoff;

    struct ot_lane *lanes;
    size_t nlanes, lanes_size;
    uint32_t free_lane;
    struct ot_index by_key;
    bool calm; /* no lane is needed, and there is none: see lane.c */

    struct ot_entry *entries;
    size_t nentries, entries_size;
    uint32_t free_entry;
    uint32_t held;   /* in use */
    uint32_t unread; /* of these */
    /* After a load: what comes out of gaps below unread_last may be of the key
     * of what is held, and before it. Read and admitted is all up to
     * unread_after, and once that place of the ring is, up to unread_next. */
    bool gaps_unread;
    int64_t unread_last, unread_after, unread_next;
    uint64_t unread_place;
    uint32_t held_loaded;
    uint32_t *skipped; /* of these, too */
    size_t nskipped, skipped_size;
    struct ot_index by_seq;
    struct ot_index let_go;  /* seqs that were unread when they were settled */
    struct ot_heap held_due; /* in wall time of the database */
    int64_t again_us;        /* when the last that was replayed is due */
    struct ot_list fetch;    /* entries that want their rows */
    int64_t *fetch_seqs;
    size_t nfetch, fetch_size;
    uint32_t fetched; /* items that are not of the window */
    uint32_t fetch_max;

    struct ot_topic *topics;
    size_t ntopics, topics_size;
    struct ot_limit *limits;
    size_t nlimits, limits_size;
    struct ot_index by_topic; /* of these */

    /* submitting */
    struct ot_send *sends;
    uint32_t *offered;
    uint32_t noffered;
    bool sink_full;
    int64_t limited_until_us;
    uint32_t *suspects;
    size_t nsuspects, suspects_size;
    bool bisecting;
    uint32_t bisect; /* how many suspects to send together */
    bool bisect_hit; /* one of them was rejected */

    /* writing */
    bool dirty;
    bool write_now;
    int64_t write_us; /* not before */
    uint64_t write_number;
    uint32_t *unsaved;
    size_t nunsaved, unsaved_size;
    int64_t *dels, *dels_writing;
    size_t ndels, dels_size, ndels_writing, dels_writing_size;
    int64_t *done, *done_writing;
    size_t ndone, done_size, ndone_writing, done_writing_size;
    struct ot_held *puts;
    size_t nputs, puts_size;
    int64_t *late_seqs;
    size_t late_size;
};

static inline struct ot_item *ot_item(struct ot_engine *e, uint32_t id)
{
    return &e->items[id];
}

/* So many events before it is needed. An item is two cache lines. */
#define OT_AHEAD 6

static inline void ot_prefetch_item(const struct ot_engine *e, uint32_t id)
{
    if (id < e->nitems) {
        OT_PREFETCH(&e->items[id]);
        OT_PREFETCH((const char *)&e->items[id] + 64);
    }
}

static inline struct ot_entry *ot_entry(struct ot_engine *e, uint32_t id)
{
    return &e->entries[id];
}

static inline struct ot_lane *ot_lane(struct ot_engine *e, uint32_t id)
{
    return &e->lanes[id];
}

static inline int64_t ot_db_now(const struct ot_engine *e)
{
    return e->db_us + (e->now_us - e->db_at_us);
}

static inline bool ot_pipelined(const struct ot_engine *e)
{
    return e->opt.sink_ordered && e->opt.ordering == OT_ORDER_KEY;
}

/* engine.c */
void ot_engine_reset(struct ot_engine *, int64_t pause_us);
void ot_engine_lost(struct ot_engine *, int64_t pause_us); /* the lease */
void ot_engine_fail(struct ot_engine *, int code,
                    const struct outtray_error *err);
void ot_engine_clock(struct ot_engine *, int64_t db_now_us);

/* window.c: items, the ring, what is pinned */
int ot_window_room(struct ot_engine *, uint32_t n); /* 0 or E_NOMEM */
/* Bytes that may still be asked for; the other request that brings rows (a
 * read, a fetch) counts as if it had brought all that it may. [INV-8] */
size_t ot_window_bytes_left(const struct ot_engine *, enum ot_reply_kind other);
uint32_t ot_window_item(struct ot_engine *, struct ot_rows *,
                        const struct ot_event *); /* after ot_window_room */
/* The next in read order, of a batch of that lsn; after ot_window_room. */
void ot_window_append(struct ot_engine *, struct ot_rows *,
                      const struct ot_event *, uint64_t lsn, bool late);
void ot_window_release(struct ot_engine *, uint32_t item);
void ot_window_settle(struct ot_engine *, uint32_t item);
void ot_window_admit(struct ot_engine *);
void ot_window_forget(struct ot_engine *);
uint32_t ot_window_left(const struct ot_engine *); /* events to read yet */
void ot_window_relieve(struct ot_engine *);

/* capture.c: replies that bring position, gaps and rows */
bool ot_capture_due(struct ot_engine *);
bool ot_capture_ask(struct ot_engine *, struct ot_read_request *);
bool ot_capture_blind(const struct ot_engine *); /* no read tells us news */
bool ot_capture_full(const struct ot_engine *);  /* the window has no room */
int64_t ot_capture_next(const struct ot_engine *);
void ot_capture_read(struct ot_engine *, const struct ot_reply *);
void ot_capture_load(struct ot_engine *, const struct ot_reply *);

/* lane.c */
uint64_t ot_lane_key(const struct ot_engine *, const struct ot_event *);
uint32_t ot_lane_of(struct ot_engine *, uint64_t key); /* makes it */
void ot_lane_join(struct ot_engine *, uint32_t lane, uint32_t item);
/* Ends the calm, if there is one: who has a key gets its lane. */
void ot_lane_all(struct ot_engine *);
/* A new one joins its lane: mostly all before it are out, and it follows. */
void ot_lane_admit(struct ot_engine *, uint32_t lane, uint32_t item);
void ot_lane_leave(struct ot_engine *, uint32_t item);
void ot_lane_done(struct ot_engine *, uint32_t item); /* from in flight */
void ot_lane_back(struct ot_engine *, uint32_t item); /* it was in flight */
void ot_lane_trouble(struct ot_engine *, uint32_t lane);
void ot_lane_limited(struct ot_engine *, uint32_t item);
void ot_lane_untaken(struct ot_engine *, uint32_t item);
void ot_lane_go(struct ot_engine *, uint32_t lane); /* may free it */
/* The same after one was settled: often all others are out. */
static inline void ot_lane_settled(struct ot_engine *e, uint32_t id)
{
    const struct ot_lane *lane = ot_lane(e, id);
    if (lane->next != OT_NIL || lane->first == OT_NIL || lane->draining)
        ot_lane_go(e, id);
}
void ot_lane_close(struct ot_engine *, uint32_t lane);
void ot_lane_forget(struct ot_engine *);
void ot_ready_push(struct ot_engine *, uint32_t item);
void ot_ready_push_first(struct ot_engine *, uint32_t item);
void ot_ready_remove(struct ot_engine *, uint32_t item);

/* held.c: entries, and their place in lanes */
uint32_t ot_held_find(const struct ot_engine *, int64_t seq);
void ot_held_load(struct ot_engine *, const struct ot_held *, size_t n);
void ot_held_gaps_read(struct ot_engine *); /* and admitted, up to _next */
bool ot_held_knows(struct ot_engine *, uint32_t item); /* of a row read again */
void ot_hold(struct ot_engine *, uint32_t item, enum ot_held_state,
             bool holds_key, int64_t next_us, const struct ot_completion *);
void ot_held_keep(struct ot_engine *, uint32_t item, enum ot_held_state,
                  bool holds_key, int64_t next_us,
                  const struct ot_completion *); /* leaves the lane open */
void ot_held_set(struct ot_engine *, uint32_t entry, enum ot_held_state,
                 bool holds_key, int64_t next_us);
void ot_held_save(struct ot_engine *, uint32_t entry);
void ot_held_error(struct ot_engine *, uint32_t entry, const char *text);
void ot_held_remove(struct ot_engine *, uint32_t entry); /* delete its row */
void ot_held_skip(struct ot_engine *, uint32_t entry);
/* One that was passed goes out again; without its key, whose order it cannot
 * keep any more, but after those that were asked for before it. */
void ot_held_again(struct ot_engine *, int64_t seq);
void ot_held_passed(struct ot_engine *); /* of the skipped, by the plan */
void ot_held_link(struct ot_engine *, uint32_t entry, bool at_end);
void ot_held_unlink(struct ot_engine *, uint32_t entry);
void ot_held_loaded(struct ot_engine *, uint32_t entry, bool loaded);
void ot_held_forget(struct ot_engine *);
void ot_held_clock_back(struct ot_engine *, int64_t by_us);

/* drain.c: held events that are sent again */
void ot_drain_due(struct ot_engine *);
void ot_drain_ready(struct ot_engine *, uint32_t entry);
bool ot_drain_eligible(const struct ot_engine *, const struct ot_entry *);
void ot_drain_lane(struct ot_engine *, uint32_t lane);
void ot_drain_unqueue(struct ot_engine *, uint32_t entry);
void ot_drain_unload(struct ot_engine *, uint32_t item);
bool ot_drain_ask(struct ot_engine *, struct ot_fetch_request *);
void ot_drain_fetched(struct ot_engine *, const struct ot_reply *);
int64_t ot_drain_next(const struct ot_engine *);

/* topic.c: destinations that refuse */
bool ot_topic_blocked(const struct ot_engine *, uint64_t hash);
uint64_t ot_topic_of(struct ot_engine *, uint32_t item);
void ot_topic_refused(struct ot_engine *, uint64_t hash, bool probed,
                      int64_t after_us);
void ot_topic_waiting(struct ot_engine *, uint64_t hash); /* after a load */
void ot_topic_open(struct ot_engine *, uint64_t hash);
void ot_topic_due(struct ot_engine *);
int64_t ot_topic_next(const struct ot_engine *);

/* limit.c: topics that are at their limit */
int ot_limit_prepare(struct ot_engine *);
void ot_limit_free(struct ot_engine *);
void ot_limit_plan(struct ot_engine *); /* a batch is put together */
bool ot_limit_stops(struct ot_engine *, uint32_t item); /* the first ready */
uint32_t ot_limit_first(struct ot_engine *); /* that may go now, or OT_NIL */
bool ot_limit_ready(const struct ot_engine *);
void ot_limit_leave(struct ot_engine *, uint32_t item); /* its list */
void ot_limit_take(struct ot_engine *, uint32_t item);  /* the sink did */
void ot_limit_push(struct ot_engine *, uint32_t item, int64_t until_us);
void ot_limit_list(struct ot_engine *, uint32_t entry); /* it waits, held */
void ot_limit_unlist(struct ot_engine *, uint32_t entry);
void ot_limit_return(struct ot_engine *, uint32_t entry);
bool ot_limit_holds(const struct ot_engine *, const struct ot_entry *);
bool ot_limit_follows(struct ot_engine *, uint32_t entry); /* its key's head */
void ot_limit_hold_all(struct ot_engine *); /* that wait in the window */
void ot_limit_due(struct ot_engine *);
int64_t ot_limit_next_item(const struct ot_engine *);
int64_t ot_limit_next_entry(const struct ot_engine *);
bool ot_limit_stall(const struct ot_engine *, int64_t now_us, char *detail,
                    size_t size);
void ot_limit_forget_items(struct ot_engine *);
void ot_limit_forget_held(struct ot_engine *);

/* submit.c */
bool ot_submit_ask(struct ot_engine *, const struct ot_send **, size_t *n);
bool ot_submit_allowed(const struct ot_engine *);
int64_t ot_submit_next(const struct ot_engine *);
void ot_submit_taken(struct ot_engine *, size_t n);
void ot_submit_due(struct ot_engine *); /* backoffs that end */

/* bisect.c */
void ot_bisect_suspect(struct ot_engine *, uint32_t item);
bool ot_bisect_blames(const struct ot_engine *);
uint32_t ot_bisect_offer(struct ot_engine *, uint32_t room);
void ot_bisect_done(struct ot_engine *); /* nothing is in flight any more */

/* outcome.c */
/* How long did the sink need for this one? */
void ot_outcome_pace(struct ot_engine *, const struct ot_completion *);
void ot_outcome(struct ot_engine *, const struct ot_completion *);

/* save.c: the write of the cursor and all that goes with it */
bool ot_save_ask(struct ot_engine *, struct ot_write_request *);
int64_t ot_save_next(const struct ot_engine *);
void ot_save_told(struct ot_engine *, const struct ot_reply *);
void ot_save_soon(struct ot_engine *);
void ot_save_free(struct ot_engine *);
void ot_save_forget(struct ot_engine *);
bool ot_save_pending(const struct ot_engine *);

/* command.c */
void ot_command_told(struct ot_engine *, const struct ot_reply *);

#endif
