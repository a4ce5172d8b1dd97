/* demo_run.c - one run of the demo: start, harm, drain, count. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/demo/chaos.h"
#include "cli/demo/demo.h"
#include "cli/demo/torture.h"
#include "cli/signals.h"
#include "sink/kafka/topic.h"

#define TICK_US     10000
#define PROGRESS_US 100000
#define DRAIN_US    60000000 /* the relay must end within */
#define READER_US   20000000
#define PARTITIONS  4
#define PAUSE_US    3000000 /* of a relay: its lease lasts a second */

struct run {
    struct demo *demo;
    struct demo_chaos chaos;
    struct demo_torture torture;
    struct ot_rng rng;
    struct demo_result *result;
    int64_t begun_us;
    int64_t drawn_us; /* when the progress line was */
    const char *doing;
};

static void tick(void)
{
    const struct timespec pause = {0, TICK_US * 1000};

    nanosleep(&pause, NULL);
}

/* Within 80 columns. */
static void progress(struct run *run, int64_t now_us)
{
    struct demo_board *board = run->demo->board;
    char done[32], of[32], committed[32], delivered[32];

    if (now_us - run->drawn_us < PROGRESS_US)
        return;
    run->drawn_us = now_us;
    if (run->demo->torture_us > 0) {
        char left[32];
        const int64_t us = run->torture.until_us - now_us;

        ot_progress(run->demo->cli,
                    "%-11s  %s left  committed %s  delivered %s  kills %d",
                    run->torture.up_us != 0 ? "broker down" : run->doing,
                    ot_duration_text(us > 0 ? us : 0, left),
                    ot_number_text(atomic_load(&board->committed), committed),
                    ot_number_text(atomic_load(&board->delivered), delivered),
                    run->result->relay_kills + run->result->writer_kills);
        return;
    }
    ot_progress(run->demo->cli,
                "%-11s  %s of %s  committed %s  delivered %s  kills %d",
                run->chaos.outage_end_us != 0 ? "broker down" : run->doing,
                ot_number_text(atomic_load(&board->done), done),
                ot_number_text(run->demo->transactions, of),
                ot_number_text(atomic_load(&board->committed), committed),
                ot_number_text(atomic_load(&board->delivered), delivered),
                run->chaos.killed);
}

static int interrupted(struct run *run)
{
    if (ot_cli_signals_caught() == 0)
        return 0;
    return ot_fail(&run->demo->cli->err, OUTTRAY_E_INTERRUPTED, "interrupted");
}

static int child_failed(struct run *run, const char *name)
{
    return ot_fail(&run->demo->cli->err, OUTTRAY_E_INTERNAL,
                   "the %s ended too early, see %s/%s.log", name,
                   run->demo->dir, name);
}

/* --- starting -------------------------------------------------------------- */

static int start_relay(struct demo *demo)
{
    atomic_store(&demo->board->relayed, 0);
    demo->relay = demo_spawn(demo, "relay", demo_relay, 0);
    return demo->relay > 0 ? 0 : demo->cli->err.code;
}

static int start_writer(struct demo *demo, int index)
{
    demo->writer[index] = demo_spawn(demo, "writer", demo_writer, index);
    return demo->writer[index] > 0 ? 0 : demo->cli->err.code;
}

static int start(struct demo *demo)
{
    int rc = 0;

    if (demo->own_broker)
        rc = demo_broker_start(demo);
    else
        rc = ot_kafka_topic_create(demo->conf, demo->topic, PARTITIONS, 10000,
                                   &demo->cli->err);
    if (rc == 0)
        rc = demo_shop_make(demo);
    if (rc != 0)
        return rc;
    demo->reader = demo_spawn(demo, "reader", demo_reader, 0);
    if (demo->reader < 0)
        return demo->cli->err.code;
    if (demo->mode == DEMO_OUTTRAY)
        rc = start_relay(demo);
    for (int i = 0; rc == 0 && i < demo->writers; i++) {
        atomic_store(&demo->board->left[i],
                     demo->transactions / demo->writers +
                         (i < demo->transactions % demo->writers));
        rc = start_writer(demo, i);
    }
    return rc;
}

/* --- harming --------------------------------------------------------------- */

static int kill_writer(struct run *run)
{
    struct demo *demo = run->demo;
    const int victim = (int)ot_rng_between(&run->rng, 0, demo->writers - 1);

    if (demo->writer[victim] <= 0)
        return 0;
    demo_kill(&demo->writer[victim]);
    run->result->writer_kills++;
    return start_writer(demo, victim);
}

static int kill_relay(struct run *run)
{
    demo_kill(&run->demo->relay);
    run->result->relay_kills++;
    return start_relay(run->demo);
}

/* The same in both modes: one of the writers, in mid-transaction or between
 * commit and publication. With the outbox also the relay. */
static int kill_something(struct run *run)
{
    int rc = kill_writer(run);

    return rc == 0 && run->demo->mode == DEMO_OUTTRAY ? kill_relay(run) : rc;
}

static int torture_one(struct run *run, enum demo_harm harm)
{
    struct demo *demo = run->demo;

    switch (harm) {
    case HARM_WRITER:
        return kill_writer(run);
    case HARM_RELAY:
        return kill_relay(run);
    case HARM_PAUSE:
        run->result->relay_pauses++;
        demo->zombie = demo->relay;
        kill(demo->zombie, SIGSTOP);
        return start_relay(demo);
    case HARM_WAKE:
        kill(demo->zombie, SIGCONT);
        return 0;
    case HARM_BURY:
        demo_kill(&demo->zombie);
        return 0;
    case HARM_BROKER_DOWN:
        run->result->broker_outages++;
        return demo_broker_down(demo);
    case HARM_BROKER_UP:
        return demo_broker_up(demo);
    case HARM_NOTHING:
        break;
    }
    return 0;
}

/* The writers stop once the time is over. */
static int torture(struct run *run, int64_t now_us)
{
    struct demo *demo = run->demo;
    enum demo_harm harm;
    int rc = 0;

    do {
        harm = demo_torture_next(&run->torture, &run->rng, now_us);
        rc = torture_one(run, harm);
    } while (rc == 0 && harm != HARM_NOTHING);
    if (now_us >= run->torture.until_us)
        for (int i = 0; i < demo->writers; i++)
            atomic_store(&demo->board->left[i], 0);
    return rc;
}

static int harm(struct run *run, int64_t now_us)
{
    struct demo *demo = run->demo;
    const int64_t done = atomic_load(&demo->board->done);
    const bool working =
        demo->mode != DEMO_OUTTRAY || atomic_load(&demo->board->relayed) > 0;
    int rc;

    if (demo->torture_us > 0)
        return torture(run, now_us);
    switch (demo_chaos_outage(&run->chaos, done, now_us)) {
    case OUTAGE_BEGIN:
        run->result->broker_outages++;
        rc = demo_broker_down(demo);
        break;
    case OUTAGE_END:
        rc = demo_broker_up(demo);
        break;
    default:
        rc = 0;
    }
    if (rc == 0 &&
        demo_chaos_kill(&run->chaos, &run->rng, done, working, now_us))
        rc = kill_something(run);
    return rc;
}

/* --- watching -------------------------------------------------------------- */

/* How many writers still work; < 0: one failed. */
static int reap_writers(struct run *run)
{
    struct demo *demo = run->demo;
    int status, working = 0;

    for (int i = 0; i < demo->writers; i++) {
        if (demo_ended(demo->writer[i], &status)) {
            demo->writer[i] = 0;
            if (status != 0)
                return child_failed(run, "writer");
        }
        working += demo->writer[i] > 0;
    }
    return working;
}

static int check_helpers(struct run *run)
{
    struct demo *demo = run->demo;
    int status;

    if (demo_ended(demo->relay, &status)) {
        demo->relay = 0;
        return child_failed(run, "relay");
    }
    if (demo_ended(demo->reader, &status)) {
        demo->reader = 0;
        return child_failed(run, "reader");
    }
    if (demo_ended(demo->broker, &status)) {
        demo->broker = 0;
        return child_failed(run, "broker");
    }
    return interrupted(run);
}

static bool over(const struct run *run, int64_t now_us)
{
    return run->demo->torture_us > 0 ? demo_torture_over(&run->torture, now_us)
                                     : demo_chaos_over(&run->chaos);
}

static int work_and_harm(struct run *run)
{
    int working = 1, rc = 0;
    int64_t now_us;

    run->doing = "working";
    while (rc == 0 && (working > 0 || !over(run, ot_now_us()))) {
        now_us = ot_now_us();
        working = reap_writers(run);
        rc = working < 0 ? working : check_helpers(run);
        if (rc == 0)
            rc = harm(run, now_us);
        progress(run, now_us);
        tick();
    }
    return rc;
}

/* Wait for a child that was asked to end. */
static int await(struct run *run, pid_t *pid, const char *name,
                 int64_t limit_us)
{
    const int64_t until_us = ot_now_us() + limit_us;
    int status, rc;

    while (*pid > 0) {
        if (demo_ended(*pid, &status)) {
            *pid = 0;
            return status == 0 ? 0 : child_failed(run, name);
        }
        rc = interrupted(run);
        if (rc != 0)
            return rc;
        if (ot_now_us() > until_us)
            return ot_fail(&run->demo->cli->err, OUTTRAY_E_INTERNAL,
                           "the %s did not come to its end, see %s/%s.log",
                           name, run->demo->dir, name);
        progress(run, ot_now_us());
        tick();
    }
    return 0;
}

static int drain(struct run *run)
{
    struct demo_board *board = run->demo->board;
    int rc;

    run->doing = "draining";
    atomic_store(&board->drain, true);
    rc = await(run, &run->demo->relay, "relay", DRAIN_US);
    run->result->seconds = (double)(ot_now_us() - run->begun_us) / 1e6;
    if (rc != 0)
        return rc;
    run->doing = "counting";
    atomic_store(&board->finish, true);
    return await(run, &run->demo->reader, "reader", READER_US);
}

/* --- the whole ------------------------------------------------------------- */

static void stop_children(struct demo *demo)
{
    for (int i = 0; i < demo->writers; i++)
        demo_kill(&demo->writer[i]);
    demo_kill(&demo->relay);
    demo_kill(&demo->zombie);
    demo_kill(&demo->reader);
    demo_kill(&demo->broker);
}

static int run_all(struct run *run)
{
    struct demo *demo = run->demo;
    int rc = start(demo);

    run->begun_us = ot_now_us();
    if (demo->torture_us > 0)
        demo_torture_plan(&run->torture, &run->rng, run->begun_us,
                          demo->torture_us, PAUSE_US, demo->outage_us);
    if (rc == 0)
        rc = work_and_harm(run);
    if (rc == 0)
        rc = drain(run);
    if (run->chaos.outage_end_us != 0 || run->torture.up_us != 0)
        demo_broker_up(demo); /* never leave the user's broker down */
    return rc;
}

int demo_run(struct demo *demo, struct demo_result *out)
{
    struct run run = {.demo = demo, .result = out, .doing = "starting"};
    struct outtray_error failed = {0}, ignored;
    int rc;

    memset(out, 0, sizeof(*out));
    memset(demo->board, 0, sizeof(*demo->board));
    ot_rng_seed(&run.rng, demo->seed);
    demo_chaos_plan(&run.chaos, &run.rng, demo->transactions, demo->kills,
                    demo->torture_us > 0 ? 0 : demo->outage_us);
    rc = run_all(&run);
    ot_progress_end(demo->cli);
    stop_children(demo);
    if (rc == 0)
        rc = demo_reconcile(demo, out);
    out->rolled_back = atomic_load(&demo->board->rolled_back);
    out->savepoints = atomic_load(&demo->board->savepoints);
    if (out->seconds > 0)
        out->events_per_s = (double)out->delivered / out->seconds;
    /* Clean up in any case, and tell the first error. */
    if (rc != 0)
        failed = demo->cli->err;
    if (!demo->own_store)
        demo_shop_drop(demo);
    if (!demo->own_broker)
        ot_kafka_topic_delete(demo->conf, demo->topic, 10000, &ignored);
    if (rc != 0)
        demo->cli->err = failed;
    return rc;
}
