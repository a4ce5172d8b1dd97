/* sim.h - a world around real engines, in virtual time.
 *
 * One database row log, writers, several relays (each a real engine) that
 * serve one or two subscriptions, a sink per relay, one broker. Nothing
 * happens but by a choice of the tape, one at a time. Everything lies in
 * arrays of fixed size and sets of 64 events.
 *
 *     life.c    a schedule: trouble first, then calm until all is at rest
 *     writer.c  transactions          database.c  rows, crashes, restores
 *     cursor.c  leases and the write
 *     link.c    requests on their way between a relay and the database
 *     relay.c   an engine's wishes    sink.c      events on their way
 *     check.c   the invariants        plan.c      what a schedule is made of
 */
#ifndef SIM_H
#define SIM_H

#include "engine/internal.h"
#include "tape.h"

#include <setjmp.h>
#include <stdio.h>

#define EVENTS   64  /* a set of events is a word */
#define SEQS     400 /* seqs drawn in a schedule, at most */
#define TXS      64
#define OPEN     6 /* transactions at a time */
#define RELAYS   3
#define SUBS     2
#define KEYS     3  /* and events without */
#define TOPICS   2  /* "t" and "u" */
#define RANGES   64 /* gaps of a cursor */
#define COMMANDS 8
#define FLIGHTS  40
#define WIRE     48
#define LATE     4
#define KINDS    (OT_REPLY_PRUNE + 1)
#define MS       INT64_C(1000)
#define SECOND   INT64_C(1000000)
#define WALL     INT64_C(1790000000000000)

typedef uint64_t set; /* of events */
#define BIT(i) (UINT64_C(1) << (i))

/* --- what was reached ----------------------------------------------------- */

enum cover {
#define COVER(name, text) C_##name,
#include "cover.def"
#undef COVER
    COVERS,
};

/* --- the database --------------------------------------------------------- */

enum tx_state { TX_ACTIVE, TX_PREPARED, TX_COMMITTED, TX_ABORTED };

struct tx {
    enum tx_state state;
    bool locks; /* RowExclusiveLock on the log */
    uint64_t lock, xid, lsn;
    int key;           /* whose row it has locked; KEYS: none */
    int drawn;         /* an event drawn and not inserted; -1 */
    set events, since; /* inserted; those after the savepoint */
    bool savepoint;
    int64_t first_seq; /* embedded: where a rollback sets the sequence */
};

enum verdict { GOOD, FLAKY, POISON };

struct event {
    int64_t seq;
    int64_t deliver_us; /* 0: at once */
    uint64_t lsn;       /* of its commit */
    set before;         /* of its key: those that cause it */
    int tx, key, topic;
    enum verdict verdict;
    unsigned payload; /* bytes */
};

/* A row of held. */
struct hold {
    int64_t next_us, first_us, last_us, retried_us;
    int event;
    enum ot_held_state state;
    uint32_t attempts;
    bool holds_key, maybe_duplicate;
};

struct cursor {
    int64_t position;
    struct ot_range gaps[RANGES];
    size_t ngaps;
    struct hold held[EVENTS]; /* by seq */
    size_t nheld;
    bool paused;
    int owner; /* 0: nobody */
    int64_t fence, expires_us;
    set skipped; /* by commands that were carried out */
};

struct command {
    int64_t id;
    enum ot_verb verb;
    int event, sub;
};

/* What a restore brings back. */
struct state {
    struct cursor cur[SUBS];
    struct command commands[COMMANDS];
    size_t ncommands;
    int64_t last_seq, logged_seq;
    uint64_t lsn;
    set pruned;
};

struct database {
    struct state now;
    struct state flushed; /* embedded: of the last flush */
    struct state backup;
    bool has_backup, behind;
    int64_t skew_us, most_us; /* of its clock, now and at most so far */
    unsigned jumps;           /* of it, so far */
    struct ot_incarnation incarnation;
    uint64_t flush_lsn, told_flush, mark_lsn;
    int64_t flushed_seq, mark_seq; /* logged_seq at flush_lsn, mark_lsn */
    uint64_t next_lock, next_xid, done_xid; /* done: latest completed + 1 */
    int64_t next_command;
    int8_t at[SEQS + 1]; /* the event of a seq, in this line of history */
    struct event events[EVENTS];
    int nevents;
    struct tx txs[TXS];
    int ntxs;
    int open[OPEN], nopen; /* not ended, or with locks */
    int savings;           /* seqs that a crash may jump over */
    int64_t top_seq;       /* ever drawn */
    set committed;         /* visible, and not lost since; also if pruned */
    set durable;           /* were flushed once */
    set gone;              /* lost by a crash or a restore */
    set keys[KEYS + 1];
};

/* --- relays ---------------------------------------------------------------- */

enum stage { IDLE, ASKED, LOCKED, ANSWERED };

struct write_copy {
    struct ot_write_request q;
    struct ot_range gaps_put[RANGES];
    int64_t gaps_del[RANGES];
    struct ot_held held_put[EVENTS];
    int64_t held_del[EVENTS];
    int64_t commands_done[COMMANDS];
};

struct flight {
    uint64_t ticket;
    int event;
    unsigned group; /* the batch it went with */
    bool decided;   /* the broker has spoken; the engine has not heard it */
    bool was_held, alone, abandoned;
    int64_t sent_us;
    struct ot_completion c;
};

/* Requests and their answers, by kind. */
struct link {
    enum stage stage[KINDS];
    struct ot_lease_request lease;
    struct ot_read_request read;
    struct ot_range read_gaps[RANGES];
    int64_t fetch[EVENTS];
    size_t nfetch;
    struct write_copy write;
    int64_t release;
    int64_t lease_asked_us; /* own clock */
    /* answers */
    struct ot_lease_reply lease_said;
    unsigned lease_jumps; /* of the database's clock, when it was granted */
    struct cursor loaded;
    struct ot_incarnation loaded_incarnation;
    int64_t loaded_last, loaded_now;
    uint64_t loaded_flush;
    struct ot_read_reply read_said;
    struct ot_holder holders[OPEN];
    size_t nholders;
    uint64_t xip[OPEN];
    struct ot_rows *fetched;
    struct ot_write_reply write_said;
    struct ot_command commands[COMMANDS];
    size_t ncommands;
};

struct relay {
    struct ot_engine *engine; /* NULL: it is not running */
    int id, owner, sub;
    bool frozen, stopping, apply_only, done, short_submit;
    int64_t born_us, base_us, rate, ttl_us; /* its clock */
    int64_t wait_us;                        /* own clock; 0: has wishes */
    int64_t hard_us;
    struct link link;
    struct flight flights[FLIGHTS];
    size_t nflights;
    unsigned groups;
    set out;                 /* with the sink */
    set ok;                  /* since the last reset: acknowledged, … */
    set maybe;               /* … perhaps persisted, and … */
    set given;               /* … read */
    set again;               /* taken up as replays */
    uint64_t resets;         /* as of these */
    uint32_t held;           /* at the last load */
    int64_t until_us, fence; /* own clock: of the lease; last sent under */
    enum ot_breaker_state breaker;
    uint64_t reads;  /* when calm began */
    uint32_t pinned; /* rows of reads … */
    uint32_t alive;  /* … and of fetches, not given back */
    /* the sink's view of limits */
    int64_t not_before_us, limit_tat_ns, down_us, up_us;
    int64_t doubt_us; /* first failure since up_us of one sent before; 0 */
    int64_t topic_pause_us[TOPICS], topic_tat_ns[TOPICS],
        topic_bytes_ns[TOPICS];
    bool probing, down;
};

/* --- the broker -------------------------------------------------------------- */

/* A copy under way whose sender is gone. */
struct loose {
    int event, sub, owner;
};

struct sub {
    set published, let_go, skipping, redriven, filtered, dead_ok;
    set after[EVENTS];      /* may be published before these, which failed while
                           it was out too */
    uint8_t failed[EVENTS]; /* RETRY and REJECTED that were its own */
    uint8_t flaky[EVENTS];  /* RETRY to come */
    set owed;               /* taken up as replays, and did not arrive since */
    set ahead[EVENTS]; /* of its key, to be replayed before it; none failed */
    unsigned replays;  /* taken up, by whomever */
    unsigned again;    /* arrivals but the first */
    unsigned taken;    /* leases */
    unsigned unknown;  /* answers that told nothing */
};

struct plan {
    unsigned steps;
    int nrelays, nsubs;
    bool embedded;
    uint8_t table[256]; /* what a step does */
    uint8_t trouble[64];
    unsigned ntrouble;
    bool slow_commit, prepare, savepoints, bulk, filter, schedule, faults,
        poison, flaky, topics, batches, lost_acks, partial, idle, large, clocks,
        commands, crowd, throttle, replays;
    unsigned rare; /* faults are once in so many */
    struct ot_engine_options opt;
};

struct sim {
    struct tape tape;
    struct plan plan;
    int64_t now_us;
    bool calm, talk;
    struct database db;
    struct relay relays[RELAYS];
    int owners; /* ids given so far */
    struct sub subs[SUBS];
    struct loose wire[WIRE];
    size_t nwire;
    struct write_copy late_write;
    int late_owner, late_sub; /* owner 0: none */
    struct {
        int owner, sub;
        struct ot_lease_request q;
    } late_lease;
    bool sink_down, sink_hangs, topic_bad[TOPICS], topic_away[TOPICS];
    bool cured; /* no event is poison any more */
    unsigned trouble_left;
    unsigned step;
    struct ot_reply reply;
    /* a broken invariant */
    jmp_buf broken;
    char law[16];
    char why[400];
    int guilty; /* the event, -1 none */
    /* over all schedules */
    uint64_t cover[COVERS];
    uint64_t steps, events, published, virtual_us, wishes;
    struct ot_log log;
};

/* --- memory.c: all of a schedule's memory goes at once ------------------------- */

void memory_install(void);
void memory_reset(void);
size_t memory_live(void); /* blocks that were not freed */

/* --- plan.c -------------------------------------------------------------------- */

enum op {
    OP_RELAY,
    OP_LINK,
    OP_WRITER,
    OP_UNLOCK,
    OP_SINK,
    OP_TIME,
    OP_FLUSH,
    OP_WIRE,
    OP_OPERATOR,
    OP_PRUNE,
    OP_LATE,
    OP_TROUBLE,
    OPS,
};
enum trouble {
    T_SERVER,
    T_BACKEND,
    T_RESTORE,
    T_SETVAL,
    T_KILL,
    T_FREEZE,
    T_CLOCK,
    T_BREAK,
    T_STOP,
    T_OUTAGE,
    T_HANG,
    T_TOPIC,
    T_DBCLOCK,
    TROUBLES,
};
void plan_choose(struct sim *);

/* --- life.c --------------------------------------------------------------------- */

/* Runs the schedule of the tape. True if all went well; else law, why and
 * guilty are filled. */
bool life_run(struct sim *);

/* --- writer.c ------------------------------------------------------------------- */

void writer_step(struct sim *);
void writer_unlock(struct sim *, int open);
void writer_end(struct sim *, int open, bool commit); /* and unlocks */

/* --- database.c, cursor.c --------------------------------------------------------- */

int64_t db_now(const struct sim *);
set db_visible(const struct sim *);
void db_flush(struct sim *);
void db_written(struct sim *,
                bool durable); /* a statement of the relay is done */
void db_flush_step(struct sim *);
void db_crash(struct sim *, bool backend);
void db_backup(struct sim *);
void db_restore(struct sim *);
void db_prune(struct sim *);
bool db_in_gap(const struct cursor *, int64_t seq);
struct hold *db_held(struct sim *, int sub, int event);
void db_command(struct sim *, int sub, enum ot_verb, int event);
struct ot_lease_reply db_lease(struct sim *, int owner, int sub,
                               const struct ot_lease_request *);
void db_release(struct sim *, int owner, int sub, int64_t fence);
struct ot_write_reply db_write(struct sim *, int owner, int sub,
                               const struct ot_write_request *);
void db_locks(struct sim *, struct relay *);
void db_read(struct sim *, struct relay *);
void db_fetch(struct sim *, struct relay *);
void db_load(struct sim *, struct relay *);
struct ot_rows *db_rows(struct sim *, struct relay *, const int *events,
                        size_t n, bool window);

/* --- link.c --------------------------------------------------------------------- */

void link_ask(struct sim *, struct relay *, enum ot_reply_kind,
              const union ot_wish_args *);
bool link_step(struct sim *, struct relay *, enum ot_reply_kind); /* moved? */
void link_fail(struct sim *, struct relay *, enum ot_reply_kind, int code);
void link_break(struct sim *, struct relay *, bool server_gone);
void link_cut(struct sim *, struct relay *); /* the relay is gone: no answers */
void link_late(struct sim *);                /* what was sent lands */

/* --- relay.c -------------------------------------------------------------------- */

void relay_start(struct sim *, struct relay *, bool apply_only);
void relay_kill(struct sim *, struct relay *);
void relay_stop(struct sim *, struct relay *, int64_t soft, int64_t hard);
int64_t relay_clock(const struct sim *, const struct relay *);
int64_t relay_wake(const struct sim *, const struct relay *); /* world's time */
bool relay_step(struct sim *, struct relay *); /* one wish; false: waits */

/* --- sink.c --------------------------------------------------------------------- */

size_t sink_submit(struct sim *, struct relay *, const struct ot_send *,
                   size_t n);
bool sink_arrive(struct sim *, struct relay *, size_t chosen);
bool sink_complete(struct sim *, struct relay *, size_t chosen);
void sink_abandon(struct sim *, struct relay *);
void sink_lose(struct sim *, struct relay *); /* its process is gone */
bool sink_wire(struct sim *, size_t chosen);
void sink_step(struct sim *, struct relay *);

/* --- check.c -------------------------------------------------------------------- */

void broken(struct sim *, const char *law, int event, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), noreturn));
void say(struct sim *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#define SAY(s, ...)              \
    do {                         \
        if ((s)->talk)           \
            say(s, __VA_ARGS__); \
    } while (0)
#define REACH(s, what) ((s)->cover[C_##what]++)

void check_read(struct sim *, struct relay *, const struct ot_read_request *);
void check_given(struct relay *, set events);
void check_fetch(struct sim *, struct relay *, const struct ot_fetch_request *);
void check_asked(struct sim *, struct relay *, const struct ot_write_request *);
void check_excuse(struct sim *, int sub, int event); /* of its order, it failed
                                                      */
void check_relay(struct sim *, struct relay *);
void check_wait(struct sim *, struct relay *, int64_t wait_us);
void check_send(struct sim *, struct relay *, const struct ot_send *,
                int event);
void check_batch(struct sim *, struct relay *, size_t n);
void check_arrival(struct sim *, int sub, int event);
void check_write(struct sim *, int sub, const struct ot_write_request *);
void check_cursor(struct sim *, int sub);
void check_prune(struct sim *, int event);
void check_rest(struct sim *);
bool check_quiet(struct sim *); /* nothing is left to do */
const char *cover_text(enum cover);

#endif
