/* conformance.h - what every store must do, against an adapter.
 *
 * An adapter makes scratch outboxes and plays the application on connections
 * of its own; the battery is the relay. A function that cannot do its work
 * fails the test.
 */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "store/store.h"

struct adapter {
    const char *name;
    uint32_t caps; /* that the store must have */

    /* A new, empty outbox. */
    void *(*make)(void);
    void (*drop)(void *outbox);
    /* The settings of the outbox; the battery frees them. */
    struct outtray_conf *(*conf)(void *outbox);
    struct ot_store *(*open)(void *outbox, const struct outtray_conf *,
                             struct ot_uuid owner);

    /* A transaction of the application; with OT_STORE_GAPS any number may be
     * open. enqueue returns the seq. */
    void *(*begin)(void *outbox);
    int64_t (*enqueue)(void *tx, const struct ot_event *);
    void (*commit)(void *tx);
    void (*rollback)(void *tx);

    void (*command)(void *outbox, const char *subscription, enum ot_verb,
                    int64_t seq);
    /* What the owner said of itself last; "" nothing yet. */
    void (*report)(void *outbox, const char *subscription, char *out,
                   size_t size);
    /* The text of the error of a held event; "" none. */
    void (*error)(void *outbox, const char *subscription, int64_t seq,
                  char *out, size_t size);
    /* The store's next request fails; after mend it works again. */
    void (*cut)(void *outbox, struct ot_store *);
    void (*mend)(void *outbox);
};

/* Runs all of it; the result is main's. */
int conformance_run(const struct adapter *);

/* For tests of one store alone: start a request, wait up to 10 s for the reply
 * of that kind. */
void conformance_await(struct ot_store *, enum ot_reply_kind,
                       struct ot_reply *out);

#endif
