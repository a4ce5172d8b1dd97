/* script.h - the sink whose events the program itself takes.
 *
 *     submit ─► pending ─► take ─► batch ─► settle ─► done ─► completions
 *
 * The relay's thread is on the left and on the right, the program's threads
 * are in the middle: one lock guards it all. A batch owns copies of its events,
 * because what was submitted lives only until its completion, and a lease that
 * is lost completes everything at once [INV-7] while the program still reads.
 */
#ifndef OT_SINK_SCRIPT_H
#define OT_SINK_SCRIPT_H

#include <pthread.h>
#include <sys/types.h>

#include "outtray/batch.h"
#include "sink/done.h"
#include "sink/script/keys.h"
#include "sink/thread.h"

enum { OT_SCRIPT_MOST = 16384 }; /* events that wait or are in hands */

struct ot_script_pending {
    struct ot_send send;
    uint64_t key; /* 0: none, or its order does not matter */
};

/* Why an event failed; for all events that one call settled. */
struct ot_script_reason {
    struct ot_script_reason *next;
    size_t uses; /* completions that point to it and were not told */
    char text[];
};

struct ot_script {
    struct ot_sink base;
    pthread_mutex_t lock;
    pid_t pid;     /* a forked child must not touch it */
    unsigned refs; /* the relay's, and one for each batch */
    bool closed;   /* the relay is gone */
    bool stopping; /* nothing is given out any more */
    bool keyed;    /* relay.ordering is not none */
    bool woken;    /* wake was written and not cleared */
    bool blocked;  /* the last take found only keys that others have */
    struct ot_wake wake;

    struct ot_script_pending *pending; /* in the order of submission */
    size_t first, n, size;
    size_t bytes;                       /* of pending events */
    int64_t since_us;                   /* when the oldest of them came */
    struct outtray_batch_limits limits; /* of the last take */

    struct outtray_batch *batches; /* not closed */
    uint64_t number;               /* of the last batch */
    size_t in_hands;               /* events that await their outcome */
    struct ot_script_keys keys;
    struct ot_index failed; /* keys whose pending events go back [INV-3] */

    struct ot_done done;
    struct ot_script_reason *reasons, *last_reason; /* in the order of done */
    struct ot_script_reason *told; /* until the next completions() */
};

enum ot_script_hand {
    OT_IN_HAND,
    OT_SETTLED_WELL,
    OT_SETTLED_BADLY, /* later ones of its key must wait */
};

struct outtray_batch {
    struct ot_script *script;
    struct outtray_batch *prev, *next;
    uint64_t number;
    bool lost; /* its events were completed without the program */
    size_t n;
    size_t open; /* not settled */
    size_t next_event;
    struct outtray_batch_event *events;
    struct ot_in_hand {
        uint64_t ticket;
        uint32_t key;    /* its slot, OT_NIL: none */
        uint32_t before; /* the event of its key before it, OT_NIL: none */
        uint32_t at;     /* where it was pending */
        enum ot_script_hand state;
    } hands[];
};

/* Of this sink? */
bool ot_script_is(const struct ot_sink *);

/* As outtray_relay_take and outtray_relay_ready. */
int ot_script_take(struct ot_sink *, const struct outtray_batch_limits *,
                   struct outtray_batch **out, struct outtray_error *err);
bool ot_script_ready(const struct ot_sink *);

/* Give nothing out any more; what was not taken completes. */
void ot_script_stop(struct ot_sink *);

/* --- with the lock held, between script.c and batch.c ---------------------- */

bool ot_script_can_give(const struct ot_script *, int64_t now_us);
void ot_script_wake(struct ot_script *);
/* An event of that key failed: those that nobody took must not overtake it. */
void ot_script_key_failed(struct ot_script *, uint64_t key);
/* Before anything is given out or told: what must go back goes back. */
void ot_script_sort_out(struct ot_script *);
/* Complete what nobody took. */
void ot_script_withdraw(struct ot_script *, const char *why);
/* Unlocks, and frees it with the last reference. */
void ot_script_leave(struct ot_script *);

#endif
