/* demo.h - an order service that is killed while it works, and the count of
 * what arrived.
 *
 * The parent forks writers (business transactions with events), a relay, a
 * broker and a reader, kills and restarts them, and reconciles at the end. It
 * holds no connection while it forks: none survives that.
 */
#ifndef OT_DEMO_H
#define OT_DEMO_H

#include <stdatomic.h>
#include <sys/types.h>

#include "cli/cli.h"

#define DEMO_WRITERS_MAX 16
#define DEMO_ORDERS      200 /* business objects, each an ordering key */

/* What children tell the parent: memory that they share. */
struct demo_board {
    atomic_llong done;        /* transactions that ended, either way */
    atomic_llong committed;   /* events in committed transactions */
    atomic_llong rolled_back; /* transactions */
    atomic_llong savepoints;  /* rolled back inside a committed transaction */
    atomic_llong delivered;   /* records that the reader saw */
    atomic_llong relayed;     /* acknowledged to the relay that runs now */
    atomic_llong left[DEMO_WRITERS_MAX]; /* transactions a writer still owes */
    atomic_bool drain;  /* to the relay: stop once nothing is left */
    atomic_bool finish; /* to the reader: stop at the end of the topic */
};

enum demo_mode {
    DEMO_OUTTRAY,
    DEMO_DUAL_WRITE, /* commit, then publish: what the outbox replaces */
};

/* What happened, counted. */
struct demo_result {
    int64_t committed, delivered, lost, ghosts, duplicates, out_of_order;
    int64_t rolled_back, savepoints;
    int relay_kills, writer_kills, relay_pauses, broker_outages;
    double seconds, events_per_s, p50_ms, p99_ms;
};

struct demo {
    struct ot_cli *cli;
    struct outtray_conf *conf; /* of this run: store, sink, outbox */
    enum demo_mode mode;
    struct demo_board *board;

    int64_t transactions;
    int64_t
        per_s; /* transactions a second, all writers together; 0: no limit */
    int writers;
    int kills;
    int64_t outage_us;  /* 0: none */
    int64_t torture_us; /* go on for so long; 0: for so many transactions */
    uint64_t seed;
    const char *down, *up; /* commands that end and start the user's broker */

    bool own_store;  /* SQLite in dir, not the user's database */
    bool own_broker; /* embedded, not the user's */
    char dir[256];   /* scratch */
    char outbox[32];
    char topic[32];

    pid_t writer[DEMO_WRITERS_MAX]; /* 0: not running */
    pid_t relay, broker, reader;
    pid_t zombie;      /* a relay that was paused beyond its lease */
    int broker_orders; /* pipe to the embedded broker */
};

/* --- children (demo_process.c) ------------------------------------------- */

typedef int demo_role(struct demo *, int index);

/* Run role in a child; its messages go to dir/NAME.log. -1: cli->err says why.
 * Children die with the parent. */
pid_t demo_spawn(struct demo *, const char *name, demo_role *role, int index);
/* Has it ended? *status as waitpid. pid 0 counts as not ended. */
bool demo_ended(pid_t pid, int *status);
/* SIGKILL and reap; 0 is fine. Sets *pid to 0. */
void demo_kill(pid_t *pid);

/* --- roles: each is the body of a child, returns its exit status ---------- */

int demo_writer(struct demo *, int index); /* demo_writer.c */
int demo_relay(struct demo *, int index);  /* demo_relay.c */
int demo_reader(struct demo *, int index); /* demo_reader.c */

/* --- the run (demo_run.c) ------------------------------------------------- */

/* One whole run in the mode: 0 or a code with cli->err. */
int demo_run(struct demo *, struct demo_result *out);

/* Start the embedded broker, set sink.url (demo_broker.c). */
int demo_broker_start(struct demo *);
int demo_broker_down(struct demo *);
int demo_broker_up(struct demo *);

/* --- business data (demo_shop.c) ------------------------------------------ */

bool demo_on_postgres(const struct demo *);

/* "outbox.shop_order" or "outbox_shop_order", as the database wants it. The
 * outbox of a demo is a plain identifier. */
void demo_table(const struct demo *, const char *name, char out[80]);

/* Make outbox and tables; remove them again. */
int demo_shop_make(struct demo *);
int demo_shop_drop(struct demo *);

/* The verb, once its arguments are checked (demo_main.c). */
int demo_main(struct ot_cli *);
/* naive NULL: there was no other run to compare with (demo_tell.c). */
void demo_tell(struct ot_cli *, const struct demo *,
               const struct demo_result *ours, const struct demo_result *naive);

/* A record that the reader saw, in its file dir/delivered, in order of
 * arrival. */
struct demo_record {
    int64_t latency_us; /* from enqueue to the reader */
    int32_t order;
    int32_t version;
    char id[37];
};

/* Compare the business tables with dir/delivered (demo_reconcile.c). */
int demo_reconcile(struct demo *, struct demo_result *out);

#endif
