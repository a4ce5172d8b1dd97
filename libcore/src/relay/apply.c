/* apply.c - see apply.h. */
#include "relay/apply.h"

#include "relay/driver.h"
#include "relay/loop.h"
#include "relay/options.h"

struct apply {
    struct ot_loop *loop;
    struct ot_store *store;
    struct ot_engine *engine;
};

static int apply_open(struct apply *apply, const struct outtray_conf *conf,
                      struct outtray_error *err)
{
    struct ot_uuid_source source = {0};
    struct ot_engine_options options;
    struct ot_uuid owner;
    int rc;

    if (ot_uuid_next(&source, &owner) != 0)
        return ot_fail_random(err);
    rc = ot_loop_new(&apply->loop, err);
    if (rc == 0)
        rc = ot_store_open(&apply->store, conf, owner, NULL, err);
    if (rc != 0)
        return rc;
    rc = ot_relay_options(conf, apply->store->ops->caps, 0, &options, err);
    if (rc != 0)
        return rc;
    options.apply_only = true;
    rc = ot_engine_new(&apply->engine, &options, NULL);
    return rc == 0 ? 0 : ot_fail_nomem(err);
}

static void apply_close(struct apply *apply)
{
    ot_engine_free(apply->engine);
    if (apply->store != NULL)
        apply->store->ops->close(apply->store);
    ot_loop_free(apply->loop);
}

/* How often somebody looks whether it was interrupted. */
static const int64_t TICK_US = 250000;

static int apply_run(struct apply *apply, int timeout_ms,
                     const struct ot_patience *patience,
                     struct outtray_error *err)
{
    const int64_t began_us = ot_now_us();
    const int64_t deadline_us = began_us + (int64_t)timeout_ms * 1000;
    int64_t look_us = began_us + OT_PATIENCE_US, now_us, until_us;
    const struct outtray_error *why;
    struct ot_driver driver;
    struct ot_fd fds[OT_DRIVER_FDS];

    ot_driver_init(&driver, apply->engine, apply->store, NULL);
    for (;;) {
        ot_driver_turn(&driver);
        why = ot_engine_error(apply->engine);
        if (driver.done ||
            (why->code != 0 && !outtray_error_retryable(why->code)))
            break;
        now_us = ot_now_us();
        if (patience != NULL && patience->interrupted(patience->ctx))
            return ot_fail(err, OUTTRAY_E_INTERRUPTED,
                           "interrupted: the request is kept, and the next "
                           "relay carries it out if it is not done yet");
        if (patience != NULL && now_us >= look_us) {
            patience->waits(patience->ctx, now_us - began_us);
            look_us = began_us + (now_us - began_us) * 2;
        }
        if (now_us >= deadline_us) {
            if (why->code != 0)
                break;
            return ot_fail(err, OUTTRAY_E_INTERRUPTED,
                           "the database did not answer within %d ms; the "
                           "request is kept, the next relay carries it out",
                           timeout_ms);
        }
        ot_loop_watch(apply->loop, fds, ot_driver_fds(&driver, fds));
        until_us = patience != NULL ? now_us + TICK_US : deadline_us;
        ot_loop_wait(apply->loop,
                     driver.wake_us < until_us ? driver.wake_us : until_us);
    }
    if (why->code == 0)
        return 0;
    if (err != NULL)
        *err = *why;
    return why->code;
}

int ot_relay_apply(const struct outtray_conf *conf, int timeout_ms,
                   const struct ot_patience *patience,
                   struct outtray_error *err)
{
    struct apply apply = {NULL, NULL, NULL};
    int rc = apply_open(&apply, conf, err);

    if (rc == 0)
        rc = apply_run(&apply, timeout_ms, patience, err);
    apply_close(&apply);
    return rc;
}
