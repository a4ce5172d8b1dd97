/* conformance_parts.h - between the files of the battery. */
#ifndef TESTS_CONFORMANCE_PARTS_H
#define TESTS_CONFORMANCE_PARTS_H

#include "conformance.h"

#define LONG_US ((int64_t)60000000)

struct world {
    const struct adapter *ad;
    void *outbox;
    bool start_now;
    struct ot_store *stores[8]; /* closed at the end, if still open */
    size_t nstores;
};

int world_make(void **state);
int world_drop(void **state);
#define BATTERY(f) cmocka_unit_test_setup_teardown(f, world_make, world_drop)

struct ot_store *open_store(struct world *, const char *subscription,
                            const char *topics, uint8_t owner);
void close_store(struct world *, struct ot_store *);

/* Each asks, waits, and fails the test if there is no answer. */
struct ot_lease_reply lease(struct ot_store *, bool take, int64_t fence,
                            int64_t ttl_us);
int64_t take(struct ot_store *); /* the new fence */
struct ot_read_reply read_from(struct ot_store *, int64_t position,
                               uint32_t limit);
struct ot_read_reply read_with(struct ot_store *,
                               const struct ot_read_request *);
struct ot_cursor_reply load(struct ot_store *);
struct ot_write_reply write_with(struct ot_store *,
                                 const struct ot_write_request *);
void move_to(struct ot_store *, int64_t fence, int64_t position);
void must(const struct ot_reply *);

/* A committed event; key and payload may be NULL. Returns the seq. */
int64_t one(struct world *, const char *topic, const char *key,
            const char *payload);
int64_t in_tx(struct world *, void *tx, const char *topic, const char *key,
              const char *payload);
void nap(int64_t us);

int run_lease_tests(const char *name);
int run_read_tests(const char *name);
int run_write_tests(const char *name);
int run_gap_tests(const char *name);

#endif
