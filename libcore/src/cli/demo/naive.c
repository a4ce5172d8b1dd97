/* naive.c - see naive.h. */
#include "cli/demo/naive.h"

#include <poll.h>

#include "sink/sink.h"

#define GIVE_UP_US 1000000
#define FDS        8

struct demo_naive {
    struct ot_sink *sink;
    uint64_t ticket; /* of the last publish */
};

int demo_naive_open(struct demo_naive **out, const struct outtray_conf *conf,
                    struct outtray_error *err)
{
    struct demo_naive *naive = ot_alloc_zero(1, sizeof(*naive));
    int rc;

    *out = NULL;
    if (naive == NULL)
        return ot_fail_nomem(err);
    rc = ot_sink_open(&naive->sink, conf, NULL, err);
    if (rc != 0) {
        ot_free(naive);
        return rc;
    }
    *out = naive;
    return 0;
}

static void wait_for_sink(struct demo_naive *naive, int64_t until_us)
{
    struct ot_fd fds[FDS];
    struct pollfd polls[FDS];
    const int64_t left_us = until_us - ot_now_us();
    size_t n = naive->sink->ops->fds(naive->sink, fds, FDS);

    for (size_t i = 0; i < n; i++) {
        polls[i].fd = fds[i].fd;
        polls[i].events =
            (short)((fds[i].read ? POLLIN : 0) | (fds[i].write ? POLLOUT : 0));
    }
    poll(polls, n, left_us > 0 ? (int)(left_us / 1000 + 1) : 0);
}

/* Has the last publish ended? */
static bool ended(struct demo_naive *naive, enum ot_outcome *outcome)
{
    struct ot_completion done[16];
    bool found = false;
    size_t n;

    naive->sink->ops->service(naive->sink, ot_now_us());
    do {
        n = naive->sink->ops->completions(naive->sink, done, OT_COUNT(done));
        for (size_t i = 0; i < n; i++) {
            if (done[i].ticket == naive->ticket) {
                *outcome = done[i].outcome;
                found = true;
            }
        }
    } while (n == OT_COUNT(done));
    return found;
}

static void event_of(const struct outtray_event *in, struct ot_event *out)
{
    memset(out, 0, sizeof(*out));
    ot_uuid_parse(ot_slice(in->id.p, in->id.n), &out->id);
    out->topic = ot_slice(in->topic.p, in->topic.n);
    out->key = ot_slice(in->key.p, in->key.n);
    out->type = ot_slice(in->type.p, in->type.n);
    out->payload = ot_slice(in->payload.p, in->payload.n);
    out->created_us = ot_wall_us();
}

bool demo_naive_publish(struct demo_naive *naive,
                        const struct outtray_event *event)
{
    const int64_t until_us = ot_now_us() + GIVE_UP_US;
    enum ot_outcome outcome = OT_UNAVAILABLE;
    struct ot_event sent;
    struct ot_send send = {.event = &sent, .ticket = ++naive->ticket};

    event_of(event, &sent);
    if (naive->sink->ops->submit(naive->sink, &send, 1) != 1)
        return false;
    while (!ended(naive, &outcome)) {
        if (ot_now_us() >= until_us) {
            /* The bytes are about to go: so must what reads them. */
            naive->sink->ops->abandon(naive->sink);
            while (!ended(naive, &outcome))
                wait_for_sink(naive, ot_now_us() + 10000);
            break;
        }
        wait_for_sink(naive, until_us);
    }
    return outcome == OT_OK;
}

void demo_naive_close(struct demo_naive *naive)
{
    if (naive == NULL)
        return;
    naive->sink->ops->abandon(naive->sink);
    naive->sink->ops->close(naive->sink);
    ot_free(naive);
}
