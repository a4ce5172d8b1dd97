/* rig.h - a sink under test, and events that notice misuse.
 *
 * The memory of an event is freed at its completion, so that the sanitizer
 * catches a sink that looks at it later; a second completion, one for an event
 * that was not taken, or none at all fails the test. [INV-7]
 */
#ifndef RIG_H
#define RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sink/sink.h"
#include "support/lateness.h"

struct rig_event {
    struct ot_event event; /* its slices are owned */
    enum { RIG_FREE, RIG_SENT, RIG_DONE } state;
    struct ot_completion completion;
    char reason[400];
};

struct rig {
    struct outtray_conf *conf;
    struct ot_log log;
    struct ot_sink *sink;
    struct rig_event *events; /* ticket = index */
    size_t n, sent, done;
    int64_t fence; /* of what is submitted */
    size_t outcome[6];
    char logged[4000];
};

static inline struct ot_slice rig_slice(const char *p, size_t n)
{
    if (p == NULL)
        return ot_slice(NULL, 0);
    char *copy = malloc(n + 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    copy[n] = '\0';
    return ot_slice(copy, n);
}

static inline struct ot_slice rig_text(const char *p)
{
    return rig_slice(p, p != NULL ? strlen(p) : 0);
}

static inline void rig_forget(struct ot_event *e)
{
    free((char *)e->topic.p);
    free((char *)e->key.p);
    free((char *)e->type.p);
    free((char *)e->headers.p);
    free((char *)e->payload.p);
    memset(e, 0xa5, sizeof(*e));
}

static inline void rig_log(void *ctx, enum ot_level level, const char *facility,
                           const char *text)
{
    struct rig *r = ctx;
    size_t n = strlen(r->logged);
    (void)level;
    snprintf(r->logged + n, sizeof(r->logged) - n, "%s: %s\n", facility, text);
}

/* settings: "name=value" …, NULL. */
static inline void rig_conf(struct rig *r, const char *url,
                            const char *const *settings)
{
    struct outtray_error err = {0};
    memset(r, 0, sizeof(*r));
    r->fence = 7;
    r->log = (struct ot_log){OT_INFO, rig_log, r};
    r->conf = outtray_conf_new();
    assert_non_null(r->conf);
    assert_int_equal(outtray_conf_set(r->conf, "sink.url", url, &err), 0);
    for (; settings != NULL && *settings != NULL; settings++) {
        char name[100];
        const char *eq = strchr(*settings, '=');
        snprintf(name, sizeof(name), "%.*s", (int)(eq - *settings), *settings);
        if (outtray_conf_set(r->conf, name, eq + 1, &err) != 0)
            fail_msg("%s", err.text);
    }
}

static inline void rig_open(struct rig *r, const char *url,
                            const char *const *settings)
{
    struct outtray_error err = {0};
    rig_conf(r, url, settings);
    if (ot_sink_open(&r->sink, r->conf, &r->log, &err) != 0)
        fail_msg("%s: %s", url, err.text);
}

/* Opening must fail so. */
static inline void rig_refused(const char *url, const char *const *settings,
                               int code, const char *says)
{
    struct rig r;
    struct outtray_error err = {0};
    rig_conf(&r, url, settings);
    assert_int_equal(ot_sink_open(&r.sink, r.conf, &r.log, &err), code);
    assert_null(r.sink);
    if (strstr(err.text, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
    outtray_conf_free(r.conf);
}

/* This process may open no more files, or as many as before. */
static inline void rig_no_files(bool none)
{
    static rlim_t before;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (none)
        before = limit.rlim_cur;
    limit.rlim_cur = none ? 0 : before;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static inline struct ot_event *rig_event(struct rig *r, const char *topic,
                                         const char *key, const char *payload)
{
    if (r->n % 1024 == 0) {
        r->events = realloc(r->events, (r->n + 1024) * sizeof(*r->events));
        assert_non_null(r->events);
    }
    struct rig_event *e = &r->events[r->n++];
    memset(e, 0, sizeof(*e));
    e->event.seq = (int64_t)r->n;
    for (size_t i = 0; i < 8; i++)
        e->event.id.b[15 - i] = (uint8_t)(r->n >> (8 * i));
    e->event.topic = rig_text(topic);
    e->event.key = rig_text(key);
    e->event.payload = rig_text(payload);
    e->event.created_us = 1764000000000000 + (int64_t)r->n;
    return &e->event;
}

/* Submits up to n of the events that were not sent, as one batch. Do not add
 * events while some are under way: they would move. */
static inline size_t rig_submit_flagged(struct rig *r, size_t n, bool duplicate)
{
    size_t left = r->n - r->sent;
    n = n < left ? n : left;
    struct ot_send *sends = calloc(n + 1, sizeof(*sends));
    assert_non_null(sends);
    for (size_t i = 0; i < n; i++)
        sends[i] = (struct ot_send){.event = &r->events[r->sent + i].event,
                                    .ticket = r->sent + i,
                                    .fence = r->fence,
                                    .maybe_duplicate = duplicate};
    size_t taken = r->sink->ops->submit(r->sink, sends, n);
    free(sends);
    assert_true(taken <= n);
    for (size_t i = 0; i < taken; i++)
        r->events[r->sent + i].state = RIG_SENT;
    r->sent += taken;
    if (taken < n)
        assert_true(r->sent > r->done); /* so that a completion will come */
    return taken;
}

static inline size_t rig_submit(struct rig *r, size_t n)
{
    return rig_submit_flagged(r, n, false);
}

static inline size_t rig_take(struct rig *r)
{
    struct ot_completion out[200];
    size_t n = r->sink->ops->completions(r->sink, out, 200);
    for (size_t i = 0; i < n; i++) {
        assert_true(out[i].ticket < r->n);
        struct rig_event *e = &r->events[out[i].ticket];
        assert_int_equal(e->state, RIG_SENT);
        e->state = RIG_DONE;
        e->completion = out[i];
        if (out[i].outcome != OT_OK)
            assert_non_null(out[i].reason);
        if (out[i].reason != NULL)
            snprintf(e->reason, sizeof(e->reason), "%s", out[i].reason);
        rig_forget(&e->event);
        assert_true((size_t)out[i].outcome < 6);
        r->outcome[out[i].outcome]++;
    }
    r->done += n;
    return n;
}

/* One turn of a loop: service, wait for descriptors, completions. */
static inline void rig_turn(struct rig *r, int wait_ms)
{
    int64_t now_us = ot_now_us();
    int64_t next_us = r->sink->ops->service(r->sink, now_us);
    struct ot_fd fds[8];
    struct pollfd polls[8];
    size_t n = r->sink->ops->fds(r->sink, fds, 8);
    for (size_t i = 0; i < n; i++)
        polls[i] =
            (struct pollfd){.fd = fds[i].fd,
                            .events = (short)((fds[i].read ? POLLIN : 0) |
                                              (fds[i].write ? POLLOUT : 0))};
    if (next_us - now_us < (int64_t)wait_ms * 1000)
        wait_ms = (int)((next_us - now_us + 999) / 1000);
    poll(polls, n, wait_ms < 0 ? 0 : wait_ms);
    r->sink->ops->service(r->sink, ot_now_us());
    while (rig_take(r) > 0)
        ;
}

/* Who waits for what must come has patience: a slow machine takes longer. */
enum { RIG_PATIENCE = 12 };

static inline bool rig_wait_exactly(struct rig *r, size_t n, int ms)
{
    int64_t until_us = ot_now_us() + (int64_t)ms * 1000;
    while (r->done < n && ot_now_us() < until_us)
        rig_turn(r, 50);
    return r->done >= n;
}

/* Until n events are done in all; false: they are not after that time. */
static inline bool rig_wait(struct rig *r, size_t n, int ms)
{
    return rig_wait_exactly(r, n, ms * RIG_PATIENCE);
}

/* n events are never done, or not before that time. */
static inline void rig_waits_in_vain(struct rig *r, size_t n, int ms)
{
    assert_false(rig_wait_exactly(r, n, ms));
}

/* Everything there is, in batches, and all of it done. */
static inline void rig_run(struct rig *r, size_t batch, int ms)
{
    int64_t until_us = ot_now_us() + (int64_t)ms * 1000 * RIG_PATIENCE;
    while (r->done < r->n && ot_now_us() < until_us) {
        if (r->sent < r->n)
            rig_submit(r, batch);
        rig_turn(r, r->sent < r->n ? 0 : 50);
    }
    if (r->done != r->n) {
        struct ot_health h;
        r->sink->ops->health(r->sink, &h);
        fail_msg("%zu of %zu done, %zu sent: %s\n%s", r->done, r->n, r->sent,
                 h.reason, r->logged);
    }
}

/* All that were not sent, each once the one before it is done: so it shares a
 * batch with nobody. */
static inline void rig_run_singly(struct rig *r, int ms)
{
    while (r->sent < r->n) {
        assert_int_equal(rig_submit(r, 1), 1);
        assert_true(rig_wait(r, r->sent, ms));
    }
}

/* Within a second; it may wait for its own threads until shortly before, and
 * with sanitizers they are slow. */
#ifdef __SANITIZE_THREAD__
#define RIG_CLOSE_US 10000000
#else
#define RIG_CLOSE_US 1500000
#endif

static inline void rig_close(struct rig *r)
{
    struct promise soon = promise_us(RIG_CLOSE_US);
    r->sink->ops->close(r->sink);
    promise_kept(&soon, "close");
    for (size_t i = 0; i < r->n; i++)
        if (r->events[i].state != RIG_DONE)
            rig_forget(&r->events[i].event);
    free(r->events);
    outtray_conf_free(r->conf);
}

#endif
