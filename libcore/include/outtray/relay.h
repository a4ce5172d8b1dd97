/** @file relay.h - the object that moves events from a store to a sink.
 *
 * One relay serves one subscription. Any number may run against an outbox:
 * one owns the subscription, the others wait for its lease.
 *
 * **Threads.** One at a time uses a relay; it need not be the one that opened
 * it. What may be called beside it says so. A relay that was opened before
 * fork() is of no use in the child.
 */
#ifndef OUTTRAY_RELAY_H
#define OUTTRAY_RELAY_H

#include "conf.h"
#include "error.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct outtray_relay;

/** Importance of a log line. */
enum outtray_log_level {
    OUTTRAY_LOG_DEBUG,
    OUTTRAY_LOG_INFO,
    OUTTRAY_LOG_WARN,
    OUTTRAY_LOG_ERROR,
};

/** A line for the log. text has no newline, no payload and no secret, and is
 * valid until the function returns. It must not step or close the relay.
 * @thread the one that opens, steps or closes the relay */
typedef void outtray_log_fn(void *ctx, enum outtray_log_level,
                            const char *facility, const char *text);

/**
 * A relay for store.url, sink.url and relay.subscription of conf (copied).
 * Connects to nothing yet.
 *
 * @param log  NULL: none. It and log_ctx are used until the relay is closed.
 * @return 0; OUTTRAY_E_CONF, _URL, _UNSUPPORTED, _IO (no randomness, no more
 *         descriptors), _NOMEM. On failure *out is NULL.
 * @thread any, as long as nobody changes conf meanwhile
 */
OUTTRAY_API int outtray_relay_open(struct outtray_relay **out,
                                   const struct outtray_conf *conf,
                                   outtray_log_fn *log, void *log_ctx,
                                   struct outtray_error *err);

/** Closes it at once: what is under way is abandoned, the lease is left to
 * expire unless outtray_relay_stop was stepped to its end. NULL is fine. In a
 * child of fork() it does nothing: the handles are the parent's.
 * @thread the relay's; nobody may call anything with it meanwhile or later */
OUTTRAY_API void outtray_relay_close(struct outtray_relay *);

/** Readable when outtray_relay_step(…, 0) has something to do, before
 * outtray_relay_timeout_ms has passed. Constant, and the relay's: never read
 * or close it.
 * @thread any, as long as the relay is not closed meanwhile */
OUTTRAY_API int outtray_relay_fd(const struct outtray_relay *);

/** How many milliseconds the owner's loop may wait for the fd; -1: for ever.
 * To be asked anew after each step.
 * @thread the relay's */
OUTTRAY_API int outtray_relay_timeout_ms(const struct outtray_relay *);

/**
 * Do what is due; wait up to timeout_ms for something to do (0: not at all,
 * -1: as long as it takes).
 * @return 1: goes on; 0: stopped (after outtray_relay_stop, or empty with
 *         until_empty); negative: a reason not to go on that time will not
 *         cure (err), e.g. OUTTRAY_E_STORE_NO_SCHEMA at start, or
 *         OUTTRAY_E_FORKED. A database or broker that is away is not one.
 * @thread the relay's
 */
OUTTRAY_API int outtray_relay_step(struct outtray_relay *, int timeout_ms,
                                   struct outtray_error *err);

/** Step until stopped. @return 0, or negative as outtray_relay_step
 * @thread the relay's, until it returns */
OUTTRAY_API int outtray_relay_run(struct outtray_relay *,
                                  struct outtray_error *err);

/** Ask for a clean stop: drain for relay.stop_soft_ms, write the cursor,
 * release the lease. Steps do that, until one returns 0.
 * @thread any, as long as the relay is not closed meanwhile; safe in a signal
 *         handler */
OUTTRAY_API void outtray_relay_stop(struct outtray_relay *);

/** Stop by itself once nothing is left to deliver. What is dead, scheduled for
 * later, or behind a dead one of its key is not waited for: held counts it in
 * outtray_relay_stats.
 * @thread the relay's */
OUTTRAY_API void outtray_relay_until_empty(struct outtray_relay *);

/** Numbers of one relay. Those that count do so from 0, from when it was
 * opened. */
struct outtray_relay_stats {
    uint64_t delivered;      /**< events that the sink acknowledged */
    uint64_t failed;         /**< answers of the sink of any other kind; an
                                  event may have many */
    uint64_t dead;           /**< events given up on */
    uint64_t reads;          /**< polls that the database answered */
    uint64_t writes;         /**< writes of the cursor that it took */
    uint64_t pruned;         /**< log rows deleted by retention */
    int64_t position;        /**< a seq: the cursor, as last written */
    int64_t last_seq;        /**< newest seq drawn, as of the last read */
    int64_t fence;           /**< fencing number of the lease; 0: not held */
    uint32_t window;         /**< events read and not settled */
    uint32_t in_flight;      /**< events with the sink, not answered yet; held
                                  ones that are tried again count here too */
    uint32_t gaps;           /**< open gap ranges */
    uint32_t held;           /**< held events: retrying, waiting, blocked,
                                  scheduled and dead together */
    int64_t rtt_avg_us;      /**< microseconds a round trip to the brokers
                                  took. This and the next five are of a kafka:
                                  sink's last statistics (every
                                  sink.statistics_ms); -1: none came */
    int64_t rtt_p99_us;      /**< microseconds: the 99th percentile of the
                                  slowest broker; -1 */
    int64_t throttle_avg_ms; /**< milliseconds for which brokers held answers
                                  back, on average; -1 */
    int64_t throttle_max_ms; /**< the longest of them; -1 */
    int64_t queued_events;   /**< with the client, not acknowledged; -1 */
    int64_t queued_bytes;    /**< the same in bytes; -1 */
    char stall[32];          /**< why nothing is moving: stopped, store,
                                  refused, lease, paused, breaker, sink,
                                  limit, barrier, held_full, gap; or "none" */
    char stall_detail[200];  /**< the same for people */
};

/** Its numbers now. Asks neither the database nor the broker.
 * @param out  all of it is set
 * @thread the relay's */
OUTTRAY_API void outtray_relay_stats(const struct outtray_relay *,
                                     struct outtray_relay_stats *out);

#ifdef __cplusplus
}
#endif
#endif
