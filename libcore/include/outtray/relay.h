/** @file relay.h - the object that moves events from a store to a sink.
 *
 * One relay serves one subscription. Any number may run against an outbox:
 * one owns the subscription, the others wait for its lease.
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

/** Called on the thread that steps the relay; text has no newline, no payload
 * and no secret. */
typedef void outtray_log_fn(void *ctx, enum outtray_log_level,
                            const char *facility, const char *text);

/**
 * A relay for store.url, sink.url and relay.subscription of conf (copied).
 * Connects to nothing yet.
 * @return 0; OUTTRAY_E_CONF, _URL, _UNSUPPORTED, _NOMEM
 * @thread the relay belongs to the thread that opened it
 */
OUTTRAY_API int outtray_relay_open(struct outtray_relay **out,
                                   const struct outtray_conf *conf,
                                   outtray_log_fn *log, void *log_ctx,
                                   struct outtray_error *err);

/** Closes it at once: what is under way is abandoned, the lease is left to
 * expire unless outtray_relay_stop was stepped to its end. NULL is fine. */
OUTTRAY_API void outtray_relay_close(struct outtray_relay *);

/** Readable when outtray_relay_step(…, 0) has something to do, before
 * outtray_relay_timeout_ms has passed. Constant; never read it. */
OUTTRAY_API int outtray_relay_fd(const struct outtray_relay *);

/** How long the owner's loop may wait for the fd; -1: for ever. */
OUTTRAY_API int outtray_relay_timeout_ms(const struct outtray_relay *);

/**
 * Do what is due; wait up to timeout_ms for something to do (0: not at all,
 * -1: as long as it takes).
 * @return 1: goes on; 0: stopped (after outtray_relay_stop, or empty with
 *         until_empty); negative: a reason not to go on that time will not
 *         cure (err), e.g. OUTTRAY_E_STORE_NO_SCHEMA at start. A database or
 *         broker that is away is not one.
 */
OUTTRAY_API int outtray_relay_step(struct outtray_relay *, int timeout_ms,
                                   struct outtray_error *err);

/** Step until stopped. @return 0 or as outtray_relay_step */
OUTTRAY_API int outtray_relay_run(struct outtray_relay *,
                                  struct outtray_error *err);

/** Ask for a clean stop: drain for relay.stop_soft_ms, write the cursor,
 * release the lease. @thread any; safe in a signal handler */
OUTTRAY_API void outtray_relay_stop(struct outtray_relay *);

/** Stop by itself once nothing is left to deliver. */
OUTTRAY_API void outtray_relay_until_empty(struct outtray_relay *);

/** Numbers of one relay's life; see the reference page for each. */
struct outtray_relay_stats {
    uint64_t delivered;      /**< acknowledged by the broker */
    uint64_t failed;         /**< completions other than ok */
    uint64_t dead;           /**< given up on */
    uint64_t reads;          /**< polls of the database */
    uint64_t writes;         /**< cursor writes */
    uint64_t pruned;         /**< log rows deleted by retention */
    int64_t position;        /**< written cursor */
    int64_t last_seq;        /**< newest seq drawn, as of the last read */
    int64_t fence;           /**< 0: another relay owns the subscription */
    uint32_t window;         /**< events read and not settled */
    uint32_t in_flight;      /**< of these, with the broker client */
    uint32_t gaps;           /**< open gap ranges */
    uint32_t held;           /**< held events, all states */
    int64_t rtt_avg_us;      /**< round trip to the brokers, of the sink's last
                                 statistics (sink.statistics_ms); -1: unknown */
    int64_t rtt_p99_us;      /**< the slowest broker's 99th percentile; -1 */
    int64_t throttle_avg_ms; /**< brokers held answers back for so long; -1 */
    int64_t throttle_max_ms; /**< at most; -1 */
    int64_t queued_events;   /**< with the client, not acknowledged; -1 */
    int64_t queued_bytes;    /**< their payloads and headers; -1 */
    char stall[32];          /**< why nothing is moving; "none" */
    char stall_detail[200];  /**< for people */
};
OUTTRAY_API void outtray_relay_stats(const struct outtray_relay *,
                                     struct outtray_relay_stats *out);

#ifdef __cplusplus
}
#endif
#endif
