/* relay.c - the public relay: one subscription from a store to a sink. */
#include "outtray/relay.h"
#include "outtray/batch.h"

#include <stdatomic.h>
#include <unistd.h>

#include "relay/driver.h"
#include "relay/loop.h"
#include "relay/options.h"
#include "relay/report.h"
#include "relay/report_text.h"
#include "relay/retention.h"
#include "sink/script/script.h"

struct outtray_relay {
    struct outtray_conf *conf;
    struct ot_log log;
    outtray_log_fn *log_fn;
    void *log_ctx;
    pid_t pid; /* a forked child must not touch the parent's handles */

    struct ot_loop *loop;
    struct ot_store *store;
    struct ot_sink *sink;
    struct ot_engine *engine;
    struct ot_driver driver;
    struct ot_retention retention;
    struct ot_report report;
    struct ot_report_text report_text;

    atomic_bool stop_asked;
    bool stopping;
    bool until_empty;
    bool owned;                 /* the lease was ours once */
    struct outtray_error fatal; /* why it ends, code 0: it was asked to */
};

/* --- open and close ------------------------------------------------------ */

static void pass_log(void *ctx, enum ot_level level, const char *facility,
                     const char *text)
{
    struct outtray_relay *relay = ctx;

    relay->log_fn(relay->log_ctx, (enum outtray_log_level)level, facility,
                  text);
}

static enum ot_level level_of(const char *text)
{
    if (strcmp(text, "debug") == 0)
        return OT_DEBUG;
    if (strcmp(text, "warn") == 0)
        return OT_WARN;
    return strcmp(text, "error") == 0 ? OT_ERROR : OT_INFO;
}

static void relay_log_init(struct outtray_relay *relay, outtray_log_fn *log,
                           void *log_ctx)
{
    relay->log_fn = log;
    relay->log_ctx = log_ctx;
    relay->log.least = level_of(ot_conf_text(relay->conf, "log.level"));
    relay->log.write = log != NULL ? pass_log : NULL;
    relay->log.ctx = relay;
}

static void other_reply(void *ctx, const struct ot_reply *reply, int64_t now_us)
{
    struct outtray_relay *relay = ctx;

    ot_retention_told(&relay->retention, reply, now_us, &relay->log);
}

/* With every renewal, and with a write if the renewal would bring news. */
static const char *write_report(void *ctx, enum ot_wish wish, int64_t now_us)
{
    struct outtray_relay *relay = ctx;

    if (wish != OT_DO_LEASE && !relay->report.news)
        return NULL;
    relay->report.news = false;
    return ot_report_text(&relay->report_text, &relay->report, &relay->driver,
                          now_us);
}

static int relay_join(struct outtray_relay *relay, struct outtray_error *err)
{
    struct ot_engine_options options;
    int rc;

    rc = ot_relay_options(relay->conf, relay->store->ops->caps,
                          relay->sink->ops->caps, &options, err);
    if (rc != 0)
        return rc;
    if (ot_engine_new(&relay->engine, &options, &relay->log) != 0)
        return ot_fail_nomem(err);
    ot_driver_init(&relay->driver, relay->engine, relay->store, relay->sink);
    relay->driver.other = other_reply;
    relay->driver.report = write_report;
    relay->driver.ctx = relay;
    ot_retention_init(&relay->retention, relay->conf);
    ot_report_init(&relay->report, &relay->log);
    ot_report_text_init(&relay->report_text, relay->conf);
    return 0;
}

int outtray_relay_open(struct outtray_relay **out,
                       const struct outtray_conf *conf, outtray_log_fn *log,
                       void *log_ctx, struct outtray_error *err)
{
    struct outtray_relay *relay;
    struct ot_uuid_source source = {0};
    struct ot_uuid owner;
    int rc;

    *out = NULL;
    rc = outtray_conf_check(conf, err);
    if (rc != 0)
        return rc;
    relay = ot_alloc_zero(1, sizeof(*relay));
    if (relay == NULL)
        return ot_fail_nomem(err);
    relay->pid = getpid();
    relay->conf = outtray_conf_copy(conf);
    if (relay->conf == NULL) {
        rc = ot_fail_nomem(err);
        goto fail;
    }
    relay_log_init(relay, log, log_ctx);
    if (ot_uuid_next(&source, &owner) != 0) {
        rc = ot_fail_random(err);
        goto fail;
    }
    rc = ot_loop_new(&relay->loop, err);
    if (rc == 0)
        rc = ot_store_open(&relay->store, relay->conf, owner, &relay->log, err);
    if (rc == 0)
        rc = ot_sink_open(&relay->sink, relay->conf, &relay->log, err);
    if (rc == 0)
        rc = relay_join(relay, err);
    if (rc != 0)
        goto fail;
    *out = relay;
    return 0;

fail:
    outtray_relay_close(relay);
    return rc;
}

void outtray_relay_close(struct outtray_relay *relay)
{
    struct ot_completion lost[64];

    if (relay == NULL)
        return;
    /* In a forked child the handles are the parent's: closing them would end
     * the parent's sessions. */
    if (relay->pid != getpid())
        return;
    if (relay->sink != NULL) {
        relay->sink->ops->abandon(relay->sink);
        while (relay->sink->ops->completions(relay->sink, lost,
                                             OT_COUNT(lost)) > 0)
            continue;
        relay->sink->ops->close(relay->sink);
    }
    /* The engine pins the rows that the sink was reading: after it. */
    ot_engine_free(relay->engine);
    if (relay->store != NULL)
        relay->store->ops->close(relay->store);
    ot_loop_free(relay->loop);
    outtray_conf_free(relay->conf);
    ot_free(relay);
}

/* --- stepping ------------------------------------------------------------ */

static void begin_stop(struct outtray_relay *relay, int64_t now_us)
{
    int64_t soft_us = ot_conf_us(relay->conf, "relay.stop_soft_ms");

    if (relay->stopping)
        return;
    relay->stopping = true;
    relay->driver.wake_us = 0;
    /* A program that asks to stop wants no more events, only to settle those
     * that it has. */
    if (ot_script_is(relay->sink))
        soft_us = 0;
    ot_engine_stop(relay->engine, now_us + soft_us,
                   now_us + ot_conf_us(relay->conf, "relay.stop_hard_ms"));
    if (ot_script_is(relay->sink))
        ot_script_stop(relay->sink);
}

/* What time will not cure ends the relay while it starts, so that whoever
 * started it sees why. Later it waits for somebody to mend it. A log behind
 * its cursor ends it at any time: going on would need a decision. */
static void judge_error(struct outtray_relay *relay, int64_t now_us)
{
    const struct outtray_error *why = ot_engine_error(relay->engine);

    if (why->code == 0 || relay->fatal.code != 0 ||
        outtray_error_retryable(why->code))
        return;
    if (relay->owned && why->code != OUTTRAY_E_STORE_BEHIND)
        return;
    relay->fatal = *why;
    begin_stop(relay, now_us);
}

/* Only the owner prunes, and once it knows what time it is in the database.
 * Nobody else wakes up for it: a relay without the lease would do nothing but
 * that, all the time. */
static bool may_prune(const struct outtray_relay *relay)
{
    return !relay->stopping && relay->driver.db_offset_us != 0 &&
           ot_engine_fence(relay->engine) != 0;
}

static void prune(struct outtray_relay *relay, int64_t now_us)
{
    if (may_prune(relay) &&
        ot_retention_turn(&relay->retention, relay->store, now_us,
                          now_us + relay->driver.db_offset_us))
        relay->driver.wake_us = 0; /* the request wants to be sent */
}

static void turn(struct outtray_relay *relay)
{
    struct ot_fd fds[OT_DRIVER_FDS];
    int64_t now_us = ot_now_us();

    if (atomic_load(&relay->stop_asked))
        begin_stop(relay, now_us);
    ot_driver_turn(&relay->driver);
    now_us = ot_now_us();
    relay->owned |= ot_engine_fence(relay->engine) != 0;
    judge_error(relay, now_us);
    if (relay->until_empty && !relay->stopping &&
        ot_engine_empty(relay->engine))
        begin_stop(relay, now_us);
    prune(relay, now_us);
    if (ot_report_turn(&relay->report, &relay->driver, now_us)) {
        ot_engine_news(relay->engine);
        relay->driver.wake_us = 0;
    }
    ot_loop_watch(relay->loop, fds, ot_driver_fds(&relay->driver, fds));
}

static int64_t wake_us(const struct outtray_relay *relay)
{
    int64_t prune_us =
        may_prune(relay) ? ot_retention_wake_us(&relay->retention) : OT_NEVER;
    int64_t report_us = ot_report_wake_us(&relay->report);
    int64_t at_us = relay->driver.wake_us;

    at_us = at_us < prune_us ? at_us : prune_us;
    return at_us < report_us ? at_us : report_us;
}

static int64_t step_until_us(const struct outtray_relay *relay, int timeout_ms)
{
    int64_t until_us = wake_us(relay);
    int64_t limit_us;

    if (timeout_ms < 0)
        return until_us;
    limit_us = ot_now_us() + (int64_t)timeout_ms * 1000;
    return until_us < limit_us ? until_us : limit_us;
}

static int fail_forked(struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_FORKED,
                   "this relay was opened before fork(); open one in the "
                   "child instead");
}

int outtray_relay_step(struct outtray_relay *relay, int timeout_ms,
                       struct outtray_error *err)
{
    if (relay->pid != getpid())
        return fail_forked(err);
    if (!relay->driver.done) {
        ot_loop_wait(relay->loop, step_until_us(relay, timeout_ms));
        turn(relay);
    }
    if (!relay->driver.done)
        return 1;
    if (relay->fatal.code != 0 && err != NULL)
        *err = relay->fatal;
    return relay->fatal.code;
}

int outtray_relay_run(struct outtray_relay *relay, struct outtray_error *err)
{
    int rc;

    do {
        rc = outtray_relay_step(relay, -1, err);
    } while (rc == 1);
    return rc;
}

void outtray_relay_stop(struct outtray_relay *relay)
{
    atomic_store(&relay->stop_asked, true);
    ot_loop_wake(relay->loop);
}

int outtray_relay_take(struct outtray_relay *relay,
                       const struct outtray_batch_limits *limits,
                       struct outtray_batch **out, struct outtray_error *err)
{
    *out = NULL;
    if (relay->pid != getpid())
        return fail_forked(err);
    if (!ot_script_is(relay->sink))
        return ot_fail(err, OUTTRAY_E_MISUSE,
                       "this relay has a sink of its own that takes the "
                       "events: set sink.url to script: to take them here");
    return ot_script_take(relay->sink, limits, out, err);
}

bool outtray_relay_scripted(const struct outtray_relay *relay)
{
    return ot_script_is(relay->sink);
}

bool outtray_relay_ready(const struct outtray_relay *relay)
{
    return relay->pid == getpid() && ot_script_is(relay->sink) &&
           ot_script_ready(relay->sink);
}

void outtray_relay_until_empty(struct outtray_relay *relay)
{
    relay->until_empty = true;
}

int outtray_relay_fd(const struct outtray_relay *relay)
{
    return ot_loop_fd(relay->loop);
}

int outtray_relay_timeout_ms(const struct outtray_relay *relay)
{
    const int64_t left_us = wake_us(relay) - ot_now_us();
    int loop_ms = ot_loop_timeout_ms(relay->loop);
    int64_t ms;

    if (relay->driver.done || left_us <= 0)
        return 0;
    /* wake_us may be OT_NEVER: the loop's own word then. */
    ms = left_us / 1000 + 1;
    if (ms > INT32_MAX)
        return loop_ms;
    return loop_ms >= 0 && loop_ms < ms ? loop_ms : (int)ms;
}

/* --- numbers ------------------------------------------------------------- */

static void measured(const struct outtray_relay *relay,
                     struct outtray_relay_stats *out)
{
    struct ot_sink_stats s = {-1, -1, -1, -1, -1, -1};

    if (relay->sink != NULL)
        (void)ot_sink_stats(relay->sink, &s);
    out->rtt_avg_us = s.rtt_avg_us;
    out->rtt_p99_us = s.rtt_p99_us;
    out->throttle_avg_ms = s.throttle_avg_ms;
    out->throttle_max_ms = s.throttle_max_ms;
    out->queued_events = s.queued_events;
    out->queued_bytes = s.queued_bytes;
}

void outtray_relay_stats(const struct outtray_relay *relay,
                         struct outtray_relay_stats *out)
{
    struct ot_engine_stats stats;

    memset(out, 0, sizeof(*out));
    ot_engine_stats(relay->engine, &stats);
    out->delivered = stats.ok;
    out->failed = stats.retry + stats.rejected + stats.misconfigured +
                  stats.unavailable + stats.unknown;
    out->dead = stats.dead;
    out->reads = stats.reads;
    out->writes = stats.writes;
    out->pruned = relay->retention.deleted;
    out->position = stats.position;
    out->last_seq = stats.last_seq;
    out->fence = stats.fence;
    out->window = stats.window;
    out->in_flight = stats.in_flight;
    out->gaps = stats.gaps;
    for (size_t i = 0; i < OT_COUNT(stats.held); i++)
        out->held += stats.held[i];
    measured(relay, out);
    strncpy(out->stall,
            ot_stall_name(
                ot_engine_stall(relay->engine, ot_now_us(), out->stall_detail)),
            sizeof(out->stall) - 1);
}
