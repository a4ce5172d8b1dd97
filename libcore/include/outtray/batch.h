/** @file batch.h - events that the program itself delivers.
 *
 * With sink.url "script:" a relay sends nothing anywhere: the program takes
 * its events in batches, does with them what it likes, and says what became of
 * each. Everything else is as with a broker: order, retries, dead letters, the
 * breaker, the lease. No function of the program is called.
 *
 *     while ((rc = outtray_relay_step(relay, -1, &err)) == 1)
 *         while (outtray_relay_take(relay, NULL, &batch, &err) == 1) {
 *             for (size_t i; outtray_batch_next(batch, &i);)
 *                 outtray_batch_settle(batch, i, 1, deliver(batch, i), 0, "");
 *             outtray_batch_close(batch);
 *         }
 *
 * **Order.** A batch has the events of a key in their order. While an event is
 * in a program's hands its key is: no other batch has one of it, so batches
 * may be handled side by side. With relay.ordering = strict a batch has one
 * event of a key, with none anything goes.
 *
 * **Time.** The lease is renewed in outtray_relay_step. Who delivers for longer
 * than a third of relay.lease_ttl_ms steps between two events or on a thread of
 * its own; a batch that is settled after the lease was lost is delivered once
 * more.
 */
#ifndef OUTTRAY_BATCH_H
#define OUTTRAY_BATCH_H

#include "enqueue.h"
#include "error.h"
#include "relay.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Some events of a relay, taken and not yet settled. */
struct outtray_batch;

/** How large a batch gets. Zero is the default of every member. */
struct outtray_batch_limits {
    size_t max_events; /**< 0: 500; at most 16,384 */
    size_t max_bytes;  /**< payloads, keys, headers and 64 bytes an event; one
                            event may be larger. 0: 1 MiB */
    int linger_ms;     /**< wait for a batch to fill up for so long after its
                            first event came; 0: take what is there */
};

/** One event as it is to be delivered. */
struct outtray_batch_event {
    struct outtray_event event; /**< every slice ends with a NUL that does not
                                      count; id is set; deliver_at_us is 0 */
    struct outtray_slice order; /**< "fence.seq": grows per key, so that a
                                      consumer can drop what comes late */
    int64_t created_us;         /**< microseconds since 1970, by the database's
                                      clock */
    uint32_t attempts;          /**< failed tries before this one */
    bool maybe_duplicate;       /**< an earlier try may have succeeded */
};

/** What became of an event. */
enum outtray_outcome {
    OUTTRAY_OUTCOME_OK,            /**< delivered */
    OUTTRAY_OUTCOME_RETRY,         /**< not now: a try of its own, counted;
                                        again after a growing pause */
    OUTTRAY_OUTCOME_REJECTED,      /**< never: relay.on_reject decides */
    OUTTRAY_OUTCOME_MISCONFIGURED, /**< its topic cannot be delivered: the
                                        topic's events wait, no try is counted
                                        */
    OUTTRAY_OUTCOME_UNAVAILABLE,   /**< nothing can be delivered: the breaker
                                        opens, no try is counted */
    OUTTRAY_OUTCOME_UNKNOWN,       /**< given back: delivered again, marked as
                                        maybe_duplicate, no try is counted */
};

/**
 * The next batch, if there is one now; never waits. The events are copied:
 * they stay valid until the batch is closed, whatever becomes of the relay.
 * After outtray_relay_stop there is none any more.
 *
 * @param limits  NULL: the defaults. Those of the last call hold until the
 *                next, for the time at which the relay wakes.
 * @param out     to be closed with outtray_batch_close
 * @return 1: *out is a batch; 0: nothing to take now, step the relay; negative:
 *         OUTTRAY_E_MISUSE (the sink is not script:), _FORKED, _NOMEM
 * @thread any, as long as the relay is not closed meanwhile
 */
OUTTRAY_API int outtray_relay_take(struct outtray_relay *,
                                   const struct outtray_batch_limits *limits,
                                   struct outtray_batch **out,
                                   struct outtray_error *err);

/** Is its sink script:, so that its events are for outtray_relay_take?
 * @thread any, as outtray_relay_take */
OUTTRAY_API bool outtray_relay_scripted(const struct outtray_relay *);

/** Would outtray_relay_take give a batch now, with the limits of its last call?
 * @thread any, as outtray_relay_take */
OUTTRAY_API bool outtray_relay_ready(const struct outtray_relay *);

/** How many events it was taken with; never 0.
 * @thread any, as long as the batch is not closed meanwhile */
OUTTRAY_API size_t outtray_batch_size(const struct outtray_batch *);

/** One of them; valid until the batch is closed, also once it is settled.
 * NULL: there are not so many.
 * @thread as outtray_batch_size */
OUTTRAY_API const struct outtray_batch_event *
outtray_batch_event(const struct outtray_batch *, size_t index);

/**
 * The next event to deliver, one after the other, in order. One whose key has
 * failed earlier in this batch is left out and given back: delivered now, it
 * would come before its predecessor.
 * @param index  its place in the batch; outtray_batch_size after the last
 * @return false: there are no more, or the batch is lost
 * @thread as outtray_batch_settle
 */
OUTTRAY_API bool outtray_batch_next(struct outtray_batch *, size_t *index);

/**
 * Say what became of the events first … first + n - 1. Those that are settled
 * already are left alone.
 *
 * @param retry_after_ms  for all outcomes but OK and REJECTED: not before; 0:
 *                        the relay's own pause
 * @param reason  why, for people: it is kept with the event, up to 400 bytes;
 *                NULL or "" is fine. No secrets.
 * @return how many were counted: less than n where some were settled before,
 *         or where the lease or the relay is gone: these will be delivered
 *         again
 * @thread any; one at a time for a batch
 */
OUTTRAY_API size_t outtray_batch_settle(struct outtray_batch *, size_t first,
                                        size_t n, enum outtray_outcome,
                                        int64_t retry_after_ms,
                                        const char *reason);

/** Is it of no use to go on, because the lease or the relay is gone? What is not
 * settled is delivered again, by whoever has the lease then.
 * @thread any, as long as the batch is not closed meanwhile */
OUTTRAY_API bool outtray_batch_lost(const struct outtray_batch *);

/** How many are not settled. @thread as outtray_batch_settle */
OUTTRAY_API size_t outtray_batch_open(const struct outtray_batch *);

/** Free it; what is not settled is given back (OUTTRAY_OUTCOME_UNKNOWN). NULL is
 * fine, and so is a relay that was closed before.
 * @thread any, but nobody else may use the batch meanwhile or later */
OUTTRAY_API void outtray_batch_close(struct outtray_batch *);

#ifdef __cplusplus
}
#endif
#endif
