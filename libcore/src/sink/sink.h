/* sink.h - what a broker client must be able to do.
 *
 * A sink sends and classifies; it never decides. Order, retry, limits, the
 * breaker and dead letters belong to the engine, which sees only outcomes.
 * Every member runs on the relay's loop thread and returns at once: a client
 * library that blocks gets a thread of its own behind these calls. No member
 * may call back into the engine.
 */
#ifndef OT_SINK_H
#define OT_SINK_H

#include "base/base.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "event/event.h"

#define OT_SINK_ABI 1

enum ot_outcome {
    OT_OK,            /* the broker took it, as durably as its page says */
    OT_RETRY,         /* this event, for now */
    OT_REJECTED,      /* this event, for good */
    OT_MISCONFIGURED, /* its destination: unknown topic, no right */
    OT_UNAVAILABLE,   /* the sink itself */
    OT_UNKNOWN,       /* sent, answer lost: it may be there */
};
const char *ot_outcome_name(enum ot_outcome); /* "ok", "retry", … */

/* How far an outcome other than OT_OK reaches beyond its event. */
enum ot_scope {
    OT_THIS_EVENT,
    OT_ITS_BATCH, /* rejected together with its neighbours: bisect */
    OT_ITS_TOPIC,
    OT_THE_SINK,
};

/* One event on its way. event and what it points to stay valid until the
 * completion of ticket. */
struct ot_send {
    const struct ot_event *event;
    uint64_t ticket;      /* the engine's handle, echoed in the completion */
    int64_t fence;        /* of the lease it is sent under: the header
                             outtray-order is "fence.seq" */
    uint32_t attempts;    /* failed tries of its own before this one */
    bool maybe_duplicate; /* an earlier try may have been persisted, as this
                             relay and the held row know. What was under way
                             when a relay died, or lost its cursor, is sent
                             again without: nobody remembers that window */
};

struct ot_completion {
    uint64_t ticket;
    enum ot_outcome outcome;
    enum ot_scope scope;
    bool maybe_persisted;   /* a copy may be there: say so when sending again */
    int32_t native_code;    /* the client's own code, for people */
    int64_t retry_after_us; /* 0: the broker did not say */
    const char *reason;     /* NULL or text valid until the next completions()
                               or close() */
};

enum ot_health_state {
    OT_HEALTH_UNKNOWN, /* nothing tried yet */
    OT_HEALTH_UP,
    OT_HEALTH_DEGRADED, /* works, but see reason */
    OT_HEALTH_DOWN,
};
struct ot_health {
    enum ot_health_state state;
    size_t in_flight;
    char reason[256]; /* "" when up */
};

/* What a broker client measures of itself; each number is of the time between
 * its last two measurements. */
struct ot_sink_stats {
    int64_t rtt_avg_us;      /* from a request to its answer; -1: none came */
    int64_t rtt_p99_us;      /* of the broker where it is the longest; -1 */
    int64_t throttle_avg_ms; /* a broker held its answers back for so long */
    int64_t throttle_max_ms;
    int64_t queued_events; /* given to the client and not acknowledged, now */
    int64_t queued_bytes;
};

enum ot_sink_caps {
    OT_SINK_ORDERED = 1, /* keeps the order of submission per key */
    OT_SINK_BATCHES = 2, /* a rejection can hit innocent neighbours */
    OT_SINK_CHECKS = 4,  /* implements check */
};

struct ot_sink; /* defined by each sink; the first member is
                   const struct ot_sink_ops *ops */

struct ot_sink_ops {
    uint32_t abi;       /* OT_SINK_ABI; members are only ever appended */
    uint32_t caps;      /* enum ot_sink_caps */
    const char *scheme; /* "kafka": the first part of a sink URL */

    /* Connects to nothing yet. log may be NULL and outlives the sink. On
     * failure *out is NULL and err says why; close is not called for a sink
     * that did not open. */
    int (*open)(struct ot_sink **out, const struct outtray_conf *conf,
                const struct ot_log *log, struct outtray_error *err);

    /* Takes a prefix of the batch and returns its length; fewer than n is
     * back-pressure, not an error, and happens only while a completion is
     * owed: the engine submits again after it. An event that fails at once is
     * the last of its prefix, so that the engine learns of it before the next
     * of its key is sent. Every event taken gets exactly one completion
     * [INV-7], whatever happens to the connection. */
    size_t (*submit)(struct ot_sink *, const struct ot_send *sends, size_t n);

    /* Does the I/O that is due, never waits. Returns the time of the next
     * call if no fd becomes ready before, OT_NEVER for none. */
    int64_t (*service)(struct ot_sink *, int64_t now_us);

    /* The descriptors to wait on, at most max; returns their number. Asked
     * again after every service: they may change. */
    size_t (*fds)(const struct ot_sink *, struct ot_fd *out, size_t max);

    /* Moves up to max finished events into out, in any order. */
    size_t (*completions)(struct ot_sink *, struct ot_completion *out,
                          size_t max);

    /* Gives up on all that is pending: each completes (through completions),
     * OT_UNKNOWN if it may have left the process, else OT_UNAVAILABLE. Used
     * when the lease is gone. */
    void (*abandon)(struct ot_sink *);

    /* Can this destination (a topic, as an event names it) be published to?
     * Blocks at most timeout_ms: for `outtray check` and `doctor`, never on
     * the loop. destination NULL: can the broker be reached and logged in to?
     * Returns 0 or a code. NULL if the sink cannot tell. */
    int (*check)(struct ot_sink *, const char *destination, int timeout_ms,
                 struct outtray_error *err);

    void (*health)(const struct ot_sink *, struct ot_health *out);

    /* Only with nothing pending, or after abandon. Returns within 1 s whatever
     * the network does. */
    void (*close)(struct ot_sink *);

    /* What was measured last; false: nothing yet, or it was not asked to
     * measure. NULL if the sink cannot. */
    bool (*stats)(const struct ot_sink *, struct ot_sink_stats *out);
};

struct ot_sink {
    const struct ot_sink_ops *ops;
};

/* The sink for the scheme of conf's sink.url; E_URL with the known schemes if
 * there is none, E_UNSUPPORTED if it was not built in. */
int ot_sink_open(struct ot_sink **out, const struct outtray_conf *conf,
                 const struct ot_log *log, struct outtray_error *err);

/* As its stats; false also if it has none. */
bool ot_sink_stats(const struct ot_sink *, struct ot_sink_stats *out);

/* The broker-side name of a topic: sink.topic with ${topic} replaced. Appends
 * to out (NUL-terminated). */
void ot_sink_destination(const struct outtray_conf *conf, struct ot_slice topic,
                         struct ot_buffer *out);

#endif
