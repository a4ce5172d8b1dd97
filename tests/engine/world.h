/* world.h - a database, a sink and a clock around one engine.
 *
 * The database has writers that draw seqs, insert, prepare, commit and let go
 * of their locks in steps of their own; the sink has whatever was submitted
 * until somebody says what became of it. Time is a number. Every promise that
 * can be checked at a step is checked at that step, and fails the test.
 *
 * By default the world answers at once and every event is acknowledged;
 * w->keep[kind] makes it hold back answers of a kind, w->sink makes the sink
 * wait. The random walk of test_random.c is built from the same calls.
 */
#ifndef WORLD_H
#define WORLD_H

#include "engine/engine.h"

#define W_KINDS (OT_REPLY_PRUNE + 1)
#define W_MS    INT64_C(1000)
#define W_S     INT64_C(1000000)

enum w_state { W_ACTIVE, W_PREPARED, W_COMMITTED, W_ABORTED };

struct w_tx {
    enum w_state state;
    bool locks; /* holds RowExclusiveLock on the log */
    uint64_t lock;
    uint64_t xid;
    uint64_t lsn;   /* of its commit */
    uint64_t order; /* of its commit */
};

struct w_event {
    struct ot_event e;
    int tx;
    bool inserted;
    bool gone;          /* lost by a crash, or the row was deleted */
    bool skipped;       /* by a command: nobody expects it */
    bool let_go;        /* given up on, and its key may go on */
    bool dead;          /* the database has it as dead */
    unsigned in_flight; /* copies with the sink */
    unsigned sent, ok;
    unsigned failures; /* RETRY and REJECTED completions */
    uint64_t order;    /* of its first publication */
    char key[16], topic[16];
};

struct w_flight {
    uint64_t ticket;
    struct w_event *event;
};

/* What the sink does with an event: a completion at once, or none yet. */
enum w_sink { W_SINK_OK, W_SINK_WAIT };

struct world {
    struct ot_engine *engine;
    struct ot_engine_options opt;
    int64_t now_us;
    int64_t wall_us; /* of the database at now_us = 0 */
    bool checks;     /* the costly ones */

    struct w_tx *txs;
    int ntxs;
    struct w_event **events;
    size_t nevents;
    struct w_event **by_seq; /* the newest of that seq */
    size_t by_seq_size;
    int64_t last_seq;
    uint64_t next_lock, next_xid, lsn, flush_lsn, commits;
    struct ot_incarnation incarnation;

    int64_t position;
    struct ot_range *gaps;
    size_t ngaps;
    struct ot_held *held;
    size_t nheld;
    bool paused;
    int me, owner; /* who asks; who has the lease, 0 nobody */
    int64_t fence, expires_us;
    struct ot_command *commands;
    size_t ncommands;
    int64_t next_command;

    bool keep[W_KINDS];
    bool asked[W_KINDS];
    int fail[W_KINDS]; /* answer with this code, once; -1 for good: see .c */
    bool down;         /* every request fails */
    struct ot_lease_request lease;
    struct ot_read_request read;
    struct ot_fetch_request fetch;
    struct ot_write_request write;
    int64_t release;
    struct ot_holder *holders; /* of the read, once taken */
    size_t nholders;
    bool locked;
    unsigned count[W_KINDS]; /* requests so far */
    size_t widest;           /* most events in one submit */

    enum w_sink sink;
    size_t capacity; /* of the sink */
    struct w_flight *flight;
    size_t nflight;
    bool tell_abandon; /* complete what is abandoned at once (default) */
    unsigned abandons;
    uint64_t published;
    bool tainted_all;     /* order is not checked any more … */
    char tainted[32][16]; /* … of these keys */
    size_t ntainted;
    bool done; /* OT_DONE was said */
    int64_t wait_until_us;
};

void w_open(struct world *, const struct ot_engine_options *);
struct ot_engine_options w_options(void); /* small, quick defaults */
void w_close(struct world *);
void w_start_engine(struct world *); /* after w_crash_relay */
void w_crash_relay(struct world *);
int64_t w_db_now(const struct world *);

/* --- writers --- */
int w_begin(struct world *);
int64_t w_draw(struct world *, int tx, const char *key); /* nextval */
void w_insert(struct world *, int64_t seq);              /* and the xid */
int64_t w_put(struct world *, int tx, const char *key);  /* both */
void w_visible(struct world *, int tx);                  /* commit … */
void w_release(struct world *, int tx);                  /* … locks gone */
void w_commit(struct world *, int tx);                   /* both, flushed */
void w_rollback(struct world *, int tx);
void w_prepare(struct world *, int tx);
int64_t w_add(struct world *, const char *key); /* a whole transaction */
struct w_event *w_event(struct world *, int64_t seq);
void w_crash_server(struct world *); /* also loses what is not flushed */
void w_command(struct world *, enum ot_verb, int64_t seq);
const struct ot_held *w_held(const struct world *, int64_t seq);

/* --- the relay --- */
enum ot_wish w_step(struct world *);     /* one wish, done */
void w_run(struct world *);              /* until it waits */
void w_pass(struct world *, int64_t us); /* run, and let time pass */
void w_locks(struct world *); /* of the read that is kept: first half */
void w_answer(struct world *, enum ot_reply_kind); /* of a kept request */
void w_refuse(struct world *, enum ot_reply_kind, int code);
bool w_apply_write(struct world *, const struct ot_write_request *);

/* --- the sink --- */
void w_complete(struct world *, int64_t seq, enum ot_outcome);
void w_complete_with(struct world *, int64_t seq, struct ot_completion);
void w_complete_all(struct world *, enum ot_outcome);
bool w_in_flight(const struct world *, int64_t seq);
bool w_has_gap(const struct world *, int64_t seq); /* in the database */
struct ot_engine_stats w_stats(const struct world *);

/* Everything that was committed arrived, is dead or skipped. */
void w_check_all(struct world *);

#endif
