/* conformance.c - running the battery, and what its parts share. */
#include "conformance_parts.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "event/event.h"

static const struct adapter *adapter;

/* --- one request, one reply ------------------------------------------------ */

static void wait_for(struct ot_store *s, int64_t until_us)
{
    struct ot_fd fds[8];
    struct pollfd polls[8];
    size_t n = s->ops->fds(s, fds, 8);
    int64_t now = ot_now_us();
    int64_t ms = until_us > now ? (until_us - now + 999) / 1000 : 0;

    for (size_t i = 0; i < n; i++) {
        polls[i].fd = fds[i].fd;
        polls[i].events =
            (short)((fds[i].read ? POLLIN : 0) | (fds[i].write ? POLLOUT : 0));
    }
    poll(polls, n, ms < 100 ? (int)ms : 100);
}

void conformance_await(struct ot_store *s, enum ot_reply_kind kind,
                       struct ot_reply *out)
{
    int64_t deadline = ot_now_us() + 60000000;

    while (ot_now_us() < deadline) {
        int64_t next;

        while (s->ops->next(s, out)) {
            if (out->kind == kind)
                return;
            fail_msg("a reply of kind %d came, %d was asked for", out->kind,
                     kind);
        }
        next = s->ops->service(s, ot_now_us());
        if (s->ops->next(s, out)) {
            assert_int_equal(out->kind, kind);
            return;
        }
        wait_for(s, next < deadline ? next : deadline);
    }
    fail_msg("no reply of kind %d within 60 s", kind);
}

void must(const struct ot_reply *reply)
{
    if (reply->code != 0)
        fail_msg("request of kind %d: %s: %s", reply->kind,
                 outtray_error_name(reply->code), reply->err.text);
}

/* --- the world ------------------------------------------------------------- */

struct ot_store *open_store(struct world *w, const char *subscription,
                            const char *topics, uint8_t owner)
{
    struct outtray_conf *conf = w->ad->conf(w->outbox);
    struct outtray_error err = {0};
    struct ot_store *s;
    /* Versions and variants do not matter to a store. */
    struct ot_uuid uuid = {{owner, owner, owner, owner}};

    if (outtray_conf_set(conf, "relay.subscription", subscription, &err) != 0 ||
        (topics != NULL &&
         outtray_conf_set(conf, "relay.topics", topics, &err) != 0) ||
        (w->start_now &&
         outtray_conf_set(conf, "relay.start", "now", &err) != 0))
        fail_msg("%s", err.text);
    s = w->ad->open(w->outbox, conf, uuid);
    outtray_conf_free(conf);
    assert_non_null(s);
    assert_true(w->nstores < OT_COUNT(w->stores));
    w->stores[w->nstores++] = s;
    return s;
}

void close_store(struct world *w, struct ot_store *s)
{
    for (size_t i = 0; i < w->nstores; i++)
        if (w->stores[i] == s)
            w->stores[i] = w->stores[--w->nstores];
    s->ops->close(s);
}

struct ot_lease_reply lease(struct ot_store *s, bool take, int64_t fence,
                            int64_t ttl_us)
{
    struct ot_lease_request q = {take, fence, ttl_us, NULL};
    struct ot_reply reply;

    s->ops->lease(s, &q);
    conformance_await(s, OT_REPLY_LEASE, &reply);
    must(&reply);
    return reply.lease;
}

int64_t take(struct ot_store *s)
{
    struct ot_lease_reply r = lease(s, true, 0, LONG_US);

    assert_true(r.granted);
    assert_true(r.fence > 0);
    return r.fence;
}

struct ot_read_reply read_from(struct ot_store *s, int64_t position,
                               uint32_t limit)
{
    struct ot_read_request q = {
        .position = position, .limit = limit, .budget = 64 << 20};

    return read_with(s, &q);
}

struct ot_read_reply read_with(struct ot_store *s,
                               const struct ot_read_request *q)
{
    struct ot_reply reply;

    s->ops->read(s, q);
    conformance_await(s, OT_REPLY_READ, &reply);
    must(&reply);
    assert_non_null(reply.read.rows);
    return reply.read;
}

struct ot_cursor_reply load(struct ot_store *s)
{
    struct ot_reply reply;

    s->ops->load(s);
    conformance_await(s, OT_REPLY_CURSOR, &reply);
    must(&reply);
    return reply.cursor;
}

struct ot_write_reply write_with(struct ot_store *s,
                                 const struct ot_write_request *q)
{
    struct ot_reply reply;

    s->ops->write(s, q);
    conformance_await(s, OT_REPLY_WRITE, &reply);
    must(&reply);
    assert_int_equal(reply.write.number, q->number);
    return reply.write;
}

void move_to(struct ot_store *s, int64_t fence, int64_t position)
{
    struct ot_write_request q = {
        .number = 1, .fence = fence, .position = position, .set_paused = -1};

    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
}

int64_t one(struct world *w, const char *topic, const char *key,
            const char *payload)
{
    void *tx = w->ad->begin(w->outbox);
    int64_t seq = in_tx(w, tx, topic, key, payload);

    w->ad->commit(tx);
    return seq;
}

int64_t in_tx(struct world *w, void *tx, const char *topic, const char *key,
              const char *payload)
{
    struct ot_event e = {.topic = ot_slice_of(topic),
                         .key = ot_slice_of(key),
                         .payload = ot_slice_of(payload)};

    return w->ad->enqueue(tx, &e);
}

void nap(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};

    nanosleep(&t, NULL);
}

int world_make(void **state)
{
    struct world *w = ot_alloc_zero(1, sizeof(*w));

    w->ad = adapter;
    w->outbox = adapter->make();
    *state = w;
    return w->outbox != NULL ? 0 : -1;
}

int world_drop(void **state)
{
    struct world *w = *state;

    while (w->nstores > 0)
        close_store(w, w->stores[0]);
    w->ad->drop(w->outbox);
    ot_free(w);
    return 0;
}

int conformance_run(const struct adapter *a)
{
    int failed;

    adapter = a;
    failed = run_lease_tests(a->name) + run_read_tests(a->name) +
             run_write_tests(a->name);
    if (a->caps & OT_STORE_GAPS)
        failed += run_gap_tests(a->name);
    return failed;
}
