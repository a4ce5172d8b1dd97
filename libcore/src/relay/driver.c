/* driver.c - see driver.h. */
#include "relay/driver.h"

#include <assert.h>
#include <stdio.h>

#include "base/crash.h"

#define COMPLETIONS 256
/* Rounds of one turn. Enough to empty the queues; bounded, so that a loop
 * around this one gets its turn too. */
#define ROUNDS 64

void ot_driver_init(struct ot_driver *driver, struct ot_engine *engine,
                    struct ot_store *store, struct ot_sink *sink)
{
    memset(driver, 0, sizeof(*driver));
    driver->engine = engine;
    driver->store = store;
    driver->sink = sink;
}

int64_t ot_driver_wall_us(const struct ot_driver *driver, int64_t now_us)
{
    return driver->db_offset_us != 0 ? now_us + driver->db_offset_us
                                     : ot_wall_us();
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void learn_time(struct ot_driver *driver, const struct ot_reply *reply,
                       int64_t now_us)
{
    if (reply->code != 0)
        return;
    if (reply->kind == OT_REPLY_READ)
        driver->db_offset_us = reply->read.db_now_us - now_us;
    else if (reply->kind == OT_REPLY_CURSOR)
        driver->db_offset_us = reply->cursor.db_now_us - now_us;
}

/* Before and after the engine learns of a reply. */
static void crash_told(enum ot_reply_kind kind, bool after)
{
    static const char *const names[][2] = {
        [OT_REPLY_LEASE] = {"lease.answered", "lease.told"},
        [OT_REPLY_CURSOR] = {"load.answered", "load.told"},
        [OT_REPLY_READ] = {"read.answered", "read.told"},
        [OT_REPLY_FETCH] = {"fetch.answered", "fetch.told"},
        [OT_REPLY_WRITE] = {"write.answered", "write.told"},
        [OT_REPLY_COMMANDS] = {"commands.answered", "commands.told"},
        [OT_REPLY_RELEASE] = {"release.answered", "release.told"},
        [OT_REPLY_PRUNE] = {"prune.answered", "prune.told"},
    };

    ot_crash_point(names[kind][after]);
}

static bool hear_store(struct ot_driver *driver, int64_t now_us)
{
    struct ot_reply reply;
    bool moved = false;

    while (driver->store->ops->next(driver->store, &reply)) {
        moved = true;
        crash_told(reply.kind, false);
        learn_time(driver, &reply, now_us);
        if (reply.kind != OT_REPLY_PRUNE)
            ot_engine_told(driver->engine, &reply, now_us);
        else if (driver->other != NULL)
            driver->other(driver->ctx, &reply, now_us);
        crash_told(reply.kind, true);
    }
    return moved;
}

static void keep_failure(struct ot_driver *driver,
                         const struct ot_completion *done, size_t n,
                         int64_t now_us)
{
    const char *reason = NULL;

    for (size_t i = 0; i < n; i++)
        if (done[i].outcome != OT_OK && done[i].reason != NULL)
            reason = done[i].reason;
    if (reason == NULL)
        return;
    snprintf(driver->failure, sizeof(driver->failure), "%s", reason);
    driver->failure_us = ot_driver_wall_us(driver, now_us);
}

static bool hear_sink(struct ot_driver *driver, int64_t now_us)
{
    struct ot_completion done[COMPLETIONS];
    bool moved = false;
    size_t n;

    do {
        n = driver->sink->ops->completions(driver->sink, done, COMPLETIONS);
        if (n > 0) {
            ot_crash_point("publish.answered");
            if (!ot_engine_completed(driver->engine, done, n, now_us))
                keep_failure(driver, done, n, now_us);
            ot_crash_point("publish.told");
            moved = true;
        }
    } while (n == COMPLETIONS);
    return moved;
}

static void submit(struct ot_driver *driver, const struct ot_send *sends,
                   size_t n, int64_t now_us)
{
    size_t took;

    assert(driver->sink != NULL); /* else the engine only applies commands */
    took = driver->sink->ops->submit(driver->sink, sends, n);

    driver->short_submit = took < n;
    ot_engine_submitted(driver->engine, took, now_us);
}

/* Before and after a wish is carried out. */
static void crash_asked(enum ot_wish wish, bool after)
{
    static const char *const names[][2] = {
        [OT_DO_LEASE] = {"lease.wanted", "lease.asked"},
        [OT_DO_LOAD] = {"load.wanted", "load.asked"},
        [OT_DO_READ] = {"read.wanted", "read.asked"},
        [OT_DO_FETCH] = {"fetch.wanted", "fetch.asked"},
        [OT_DO_COMMANDS] = {"commands.wanted", "commands.asked"},
        [OT_DO_SUBMIT] = {"publish.wanted", "publish.asked"},
        [OT_DO_WRITE] = {"write.wanted", "write.asked"},
        [OT_DO_RELEASE] = {"release.wanted", "release.asked"},
        [OT_DO_ABANDON] = {"abandon.wanted", "abandon.asked"},
        [OT_DONE] = {"end.wanted", "end.told"},
    };

    ot_crash_point(names[wish][after]);
}

static const char *report(struct ot_driver *driver, enum ot_wish wish,
                          int64_t now_us)
{
    return driver->report != NULL ? driver->report(driver->ctx, wish, now_us)
                                  : NULL;
}

/* Carry out one wish. */
static void grant(struct ot_driver *driver, enum ot_wish wish,
                  union ot_wish_args *args, int64_t now_us)
{
    const struct ot_store_ops *store = driver->store->ops;

    switch (wish) {
    case OT_DO_LEASE:
        args->lease.report = report(driver, wish, now_us);
        store->lease(driver->store, &args->lease);
        break;
    case OT_DO_LOAD:
        store->load(driver->store);
        break;
    case OT_DO_READ:
        store->read(driver->store, &args->read);
        break;
    case OT_DO_FETCH:
        store->fetch(driver->store, &args->fetch);
        break;
    case OT_DO_COMMANDS:
        store->commands(driver->store);
        break;
    case OT_DO_WRITE:
        args->write.report = report(driver, wish, now_us);
        store->write(driver->store, &args->write);
        break;
    case OT_DO_RELEASE:
        store->release(driver->store, args->release_fence);
        break;
    case OT_DO_SUBMIT:
        submit(driver, args->submit.sends, args->submit.n, now_us);
        break;
    case OT_DO_ABANDON:
        if (driver->sink != NULL)
            driver->sink->ops->abandon(driver->sink);
        break;
    case OT_DONE:
        driver->done = true;
        break;
    case OT_WAIT:
        break;
    }
}

static bool grant_wishes(struct ot_driver *driver, int64_t *wait_until_us)
{
    union ot_wish_args args;
    enum ot_wish wish;
    bool moved = false;
    int64_t now_us;

    while (!driver->done) {
        now_us = ot_now_us();
        wish = ot_engine_next(driver->engine, now_us, &args);
        if (wish == OT_WAIT) {
            *wait_until_us = args.wait_until_us;
            break;
        }
        crash_asked(wish, false);
        grant(driver, wish, &args, now_us);
        crash_asked(wish, true);
        moved = true;
    }
    return moved;
}

void ot_driver_turn(struct ot_driver *driver)
{
    int64_t store_us = OT_NEVER, sink_us = OT_NEVER, engine_us = OT_NEVER;
    int64_t now_us;
    bool moved;

    for (int round = 0; round < ROUNDS && !driver->done; round++) {
        now_us = ot_now_us();
        store_us = driver->store->ops->service(driver->store, now_us);
        moved = hear_store(driver, now_us);
        if (driver->sink != NULL) {
            sink_us = driver->sink->ops->service(driver->sink, now_us);
            moved |= hear_sink(driver, now_us);
            if (driver->short_submit && round == 0) {
                driver->short_submit = false;
                ot_engine_room(driver->engine);
            }
        }
        moved |= grant_wishes(driver, &engine_us);
        if (!moved) {
            driver->wake_us = earlier(engine_us, earlier(store_us, sink_us));
            return;
        }
    }
    driver->wake_us = 0;
}

size_t ot_driver_fds(const struct ot_driver *driver,
                     struct ot_fd out[OT_DRIVER_FDS])
{
    size_t n;

    memset(out, 0, OT_DRIVER_FDS * sizeof(*out));
    n = driver->store->ops->fds(driver->store, out, OT_DRIVER_FDS);

    if (driver->sink != NULL && n < OT_DRIVER_FDS)
        n += driver->sink->ops->fds(driver->sink, out + n, OT_DRIVER_FDS - n);
    return n;
}
