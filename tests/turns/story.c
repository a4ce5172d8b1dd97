/* story.c - the story: an application that enqueues, commits late and rolls
 * back; a broker that fails some events for a while, some for good, and refuses
 * a topic; an operator who pauses, redrives and skips; a relay that dies with
 * events under way, another that takes over and is stopped, a third that finds
 * nothing left. */
#include "turns.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/driver.h"
#include "relay/retention.h"

enum { EVENTS = 512, TRIES = 200, WINDOW = 16 };
static const int64_t TTL_US = 3000000;
static const int64_t PATIENCE_US = 300000000; /* leapt */

enum told { UNDER_WAY, COMMITTED, ROLLED_BACK };

struct event {
    char key[8], topic[8], payload[8];
    struct ot_event e;
    enum told told;
    bool poison;   /* no broker takes it */
    bool skip;     /* … so that the operator gives up on it */
    bool rejected; /* its last try */
    unsigned sent; /* arrived */
    struct turn_try try;
};

struct relay {
    struct ot_store *store;
    struct ot_sink *sink;
    struct ot_engine *engine;
    struct ot_driver driver;
    struct ot_retention retention;
};

static struct {
    const struct outbox *outbox;
    struct event events[EVENTS];
    int n;
    unsigned duplicates;
    bool refuse_topic;
    struct turn_try refusal, poison;
    uint8_t owners;
    struct relay relay;
} story;

int turn_number(struct ot_slice payload)
{
    int number = 0;

    if (payload.n == 0 || payload.n > 6)
        return -1;
    for (size_t i = 0; i < payload.n; i++)
        number = number * 10 + (payload.p[i] - '0');
    return number < story.n ? number : -1;
}

static struct event *event_of(const struct ot_event *e)
{
    int number = turn_number(e->payload);

    if (number < 0)
        turn_fail("an event that nobody has enqueued");
    return &story.events[number];
}

/* --- the broker -------------------------------------------------------------- */

static struct turn_try *try_of(const struct ot_event *e)
{
    struct event *event = event_of(e);

    if (event->poison) {
        story.poison = (struct turn_try){OT_REJECTED, 1};
        return &story.poison;
    }
    if (story.refuse_topic && strcmp(event->topic, "later") == 0) {
        story.refusal = (struct turn_try){OT_MISCONFIGURED, 1};
        return &story.refusal;
    }
    return &event->try;
}

static void answered(const struct ot_event *e, enum ot_outcome outcome,
                     bool delivered)
{
    struct event *event = event_of(e);

    event->rejected = outcome == OT_REJECTED;
    if (!delivered)
        return;
    if (event->told == ROLLED_BACK)
        turn_fail("event %s was rolled back, and arrived", event->payload);
    if (event->skip)
        turn_fail("event %s was skipped, and arrived", event->payload);
    story.duplicates += event->sent > 0;
    if (event->sent++ > 0 || event->key[0] == '\0')
        return;
    for (const struct event *x = story.events; x < event; x++)
        if (x->sent == 0 && x->told == COMMITTED && !x->skip &&
            strcmp(x->key, event->key) == 0)
            turn_fail("event %s of key %s arrived before %s", event->payload,
                      event->key, x->payload);
}

/* --- the application --------------------------------------------------------- */

static struct event *make_event(const char *key, const char *topic)
{
    struct event *event = &story.events[story.n];

    if (story.n == EVENTS)
        turn_fail("%d events were tried", EVENTS);
    memset(event, 0, sizeof(*event));
    snprintf(event->payload, sizeof(event->payload), "%d", story.n);
    snprintf(event->topic, sizeof(event->topic), "%s", topic);
    snprintf(event->key, sizeof(event->key), "%s", key);
    event->e.topic = ot_slice_of(event->topic);
    event->e.payload = ot_slice_of(event->payload);
    if (key[0] != '\0')
        event->e.key = ot_slice_of(event->key);
    story.n++;
    return event;
}

static void commit(struct event *event, int writer)
{
    if (story.outbox->commit(writer) == 0)
        event->told = COMMITTED;
    else
        event->told =
            story.outbox->is_there(writer, &event->e) || event->sent > 0
                ? COMMITTED
                : ROLLED_BACK;
}

/* Begun and written. What fails is rolled back and tried again, as another
 * event. */
static struct event *write_event(int writer, const char *key, const char *topic)
{
    for (int i = 0; i < TRIES; i++) {
        struct event *event;

        if (story.outbox->begin(writer) != 0)
            continue;
        event = make_event(key, topic);
        if (story.outbox->put(writer, &event->e) == 0)
            return event;
        event->told = ROLLED_BACK;
        story.outbox->rollback(writer);
    }
    turn_fail("enqueue does not recover: %.300s", turn_error.text);
    return NULL;
}

static struct event *add(const char *key, const char *topic)
{
    for (int i = 0; i < TRIES; i++) {
        struct event *event = write_event(0, key, topic);

        commit(event, 0);
        if (event->told == COMMITTED)
            return event;
    }
    turn_fail("commit does not recover: %.300s", turn_error.text);
    return NULL;
}

static void add_many(int n)
{
    static const char *const keys[] = {"a", "b", ""};

    for (int i = 0; i < n; i++)
        add(keys[i % 3], "t");
}

static void roll_back(int writer, const char *key)
{
    struct event *event = write_event(writer, key, "t");

    event->told = ROLLED_BACK;
    story.outbox->rollback(writer);
}

static void ask(enum ot_verb verb, int64_t seq)
{
    for (int i = 0; i < TRIES; i++)
        if (story.outbox->command(verb, seq) == 0)
            return;
    turn_fail("the operator cannot ask: %.300s", turn_error.text);
}

/* --- the relay --------------------------------------------------------------- */

static void other_reply(void *ctx, const struct ot_reply *reply, int64_t now_us)
{
    struct relay *r = ctx;

    ot_retention_told(&r->retention, reply, now_us, NULL);
}

static const char *report(void *ctx, enum ot_wish wish, int64_t now_us)
{
    (void)ctx;
    (void)now_us;
    return wish == OT_DO_LEASE ? "{\"stall\": \"none\"}" : NULL;
}

static struct ot_engine_options options_for(const struct ot_store *store)
{
    struct ot_engine_options opt;

    ot_engine_defaults(&opt);
    opt.barrier_by_write = (store->ops->caps & OT_STORE_BARRIER_BY_WRITE) != 0;
    opt.batch_events = 4;
    opt.window_events = WINDOW;
    opt.lease_ttl_us = TTL_US;
    opt.cursor_us = 5000;
    opt.retry_min_us = 1500000; /* so long that it is held */
    opt.retry_max_us = 3000000;
    opt.probe_min_us = 400000;
    opt.breaker_min_us = 200000;
    opt.seed = 1;
    return opt;
}

static void relay_close(void)
{
    struct relay *r = &story.relay;
    struct ot_completion lost[8];

    if (r->sink != NULL) {
        r->sink->ops->abandon(r->sink);
        while (r->sink->ops->completions(r->sink, lost, OT_COUNT(lost)) > 0)
            continue;
        r->sink->ops->close(r->sink);
    }
    ot_engine_free(r->engine);
    if (r->store != NULL)
        r->store->ops->close(r->store);
    memset(r, 0, sizeof(*r));
}

static int relay_try_open(void)
{
    struct relay *r = &story.relay;
    struct ot_uuid owner = {{story.owners}};
    struct ot_engine_options opt;
    struct outtray_error err;
    struct ot_store *store;
    int code = story.outbox->open(&store, owner, &err);

    if (code != 0)
        return code;
    r->store = turn_store(store);
    r->sink = turn_sink(try_of, answered);
    opt = options_for(store);
    code = ot_engine_new(&r->engine, &opt, NULL);
    if (code != 0)
        return code;
    ot_driver_init(&r->driver, r->engine, r->store, r->sink);
    r->driver.other = other_reply;
    r->driver.report = report;
    r->driver.ctx = r;
    r->retention = (struct ot_retention){
        .enabled = true,
        .batch = 5,
        .pause_us = 20000,
        .idle_us = 200000,
    };
    return 0;
}

static void relay_open(void)
{
    story.owners++;
    for (int i = 0; i < TRIES; i++) {
        if (relay_try_open() == 0)
            return;
        relay_close();
    }
    turn_fail("no relay can be opened");
}

static struct ot_engine_stats stats(void)
{
    struct ot_engine_stats out;

    ot_engine_stats(story.relay.engine, &out);
    return out;
}

static void prune(struct relay *r)
{
    int64_t now_us = turn_clock();

    if (r->driver.db_offset_us == 0 || stats().fence == 0 || r->driver.done ||
        now_us < ot_retention_wake_us(&r->retention))
        return;
    if (ot_retention_turn(&r->retention, r->store, now_us,
                          now_us + r->driver.db_offset_us))
        r->driver.wake_us = 0;
}

static void wait_on(const struct ot_fd *fds, size_t n, int64_t us)
{
    struct pollfd polled[OT_DRIVER_FDS];

    for (size_t i = 0; i < n; i++)
        polled[i] = (struct pollfd){
            .fd = fds[i].fd,
            .events = (short)((fds[i].read ? POLLIN : 0) |
                              (fds[i].write ? POLLOUT : 0)),
        };
    (void)poll(polled, n, (int)(us / 1000) + 1);
}

/* Time that the database has to itself, if it is asked for something; else it
 * leaps. */
static void wait_for(struct relay *r)
{
    int64_t now_us = turn_clock(), until_us = r->driver.wake_us;
    int64_t most_us = now_us + 100000;
    struct ot_fd fds[OT_DRIVER_FDS];

    if (until_us > most_us)
        until_us = most_us;
    if (until_us <= now_us)
        until_us = now_us + 50;
    if (story.outbox->real_time && turn_store_asked(r->store) > 0)
        wait_on(fds, ot_driver_fds(&r->driver, fds), until_us - now_us);
    else
        turn_sleep_until(until_us);
}

static void step(void)
{
    struct relay *r = &story.relay;

    ot_driver_turn(&r->driver);
    prune(r);
    if (r->driver.done)
        return;
    if (story.outbox->expire != NULL && stats().fence == 0 &&
        ot_engine_stall(r->engine, turn_clock(), (char[200]){""}) ==
            OT_STALL_LEASE)
        story.outbox->expire();
    wait_for(r);
}

/* It waits for the operator, or for a dead event before it. */
static bool may_stay(const struct event *event)
{
    if (story.refuse_topic && strcmp(event->topic, "later") == 0)
        return true;
    for (const struct event *x = story.events; x <= event; x++)
        if (x->rejected && (x == event || (x->key[0] != '\0' &&
                                           strcmp(x->key, event->key) == 0)))
            return true;
    return false;
}

static bool all_arrived(void)
{
    for (int i = 0; i < story.n; i++) {
        const struct event *x = &story.events[i];

        if (x->told == COMMITTED && x->sent == 0 && !x->skip && !may_stay(x))
            return false;
    }
    return true;
}

/* By itself it comes no further, and the operator has been heard. */
static bool at_rest(void)
{
    return ot_engine_empty(story.relay.engine) && story.outbox->asked() == 0;
}

/* … and that is written down. */
static bool is_paused(void)
{
    return stats().paused && story.outbox->asked() == 0;
}

static bool under_way(void)
{
    return stats().in_flight > 0;
}

static bool has_ended(void)
{
    return story.relay.driver.done;
}

static void run_until(bool (*over)(void), const char *what)
{
    int64_t deadline_us = turn_clock() + PATIENCE_US;
    char detail[200];

    while (!over()) {
        const struct outtray_error *why = ot_engine_error(story.relay.engine);

        if (turn_clock() > deadline_us)
            turn_fail("%s: it does not come to that (%s: %s%s)", what,
                      ot_stall_name(ot_engine_stall(story.relay.engine,
                                                    turn_clock(), detail)),
                      detail, why->code != 0 ? why->text : "");
        step();
    }
}

static void relay_stop(void)
{
    int64_t now_us = turn_clock();

    ot_engine_stop(story.relay.engine, now_us + 1000000, now_us + 2000000);
    story.relay.driver.wake_us = 0;
    run_until(has_ended, "the relay stops");
    relay_close();
}

/* --- the operator ------------------------------------------------------------ */

/* Sends again what is dead, and gives up on what no broker takes, until nothing
 * is dead. */
static void clear_dead(void)
{
    int64_t seqs[EVENTS];
    int numbers[EVENTS];

    for (int round = 0; round < TRIES; round++) {
        size_t n;

        run_until(at_rest, "the relay comes to rest");
        n = story.outbox->dead(seqs, numbers, EVENTS);
        if (n == 0)
            return;
        for (size_t i = 0; i < n; i++) {
            struct event *event = &story.events[numbers[i]];

            event->skip = event->poison;
            event->rejected = event->rejected && !event->skip;
            ask(event->skip ? OT_SKIP : OT_REDRIVE, seqs[i]);
        }
    }
    turn_fail("events are dead for ever");
}

/* --- the story --------------------------------------------------------------- */

static void failures_and_holds(void)
{
    add("a", "t")->try = (struct turn_try){OT_RETRY, 2};
    add("b", "t")->poison = true;
    add("c", "later");
    add_many(4);
    roll_back(0, "a");
    add("", "t")->try = (struct turn_try){OT_UNKNOWN, 1};
    add("d", "t")->try = (struct turn_try){OT_REJECTED, 1};
    add("d", "t");
    relay_open();
    run_until(all_arrived, "all but what is dead arrives");
}

/* Two writers at a time: seqs become visible out of order, or never. */
static void gaps(void)
{
    struct event *late = write_event(1, "late", "t"), *lost;

    add("a", "t");
    run_until(all_arrived, "what is after a gap arrives");
    commit(late, 1);
    lost = write_event(1, "lost", "t");
    add("a", "t");
    run_until(all_arrived, "a late event arrives");
    lost->told = ROLLED_BACK;
    story.outbox->rollback(1);
}

static void operators(void)
{
    struct event *paused;

    ask(OT_PAUSE, 0);
    run_until(is_paused, "the relay pauses");
    paused = add("a", "t");
    for (int i = 0; i < 20; i++)
        step();
    if (paused->sent > 0 && is_paused())
        turn_fail("event %s arrived through a pause", paused->payload);
    ask(OT_RESUME, 0);
    story.refuse_topic = false;
    clear_dead();
    if (!all_arrived())
        turn_fail("at rest, and not all arrived");
}

/* One dies with events under way, the next takes over. */
static void takeover(void)
{
    add_many(9);
    run_until(under_way, "events are under way");
    relay_close();
    add_many(3);
    relay_open();
    run_until(all_arrived, "all arrives after a takeover");
    add("c", "later")->try = (struct turn_try){OT_RETRY, 1};
    add_many(3);
    run_until(under_way, "events are under way");
    relay_stop();
}

static void the_end(void)
{
    relay_open();
    clear_dead();
    if (!all_arrived())
        turn_fail("at rest, and not all arrived");
    relay_stop();
    if (story.outbox->left() != 0)
        turn_fail("%lld rows of gaps, held events and commands are left",
                  (long long)story.outbox->left());
    /* What the dead relay had under way, and what a fault made unknown. */
    if (story.duplicates > 3 * WINDOW)
        turn_fail("%u duplicates", story.duplicates);
}

void turn_story(const struct outbox *outbox)
{
    memset(&story, 0, sizeof(story));
    story.outbox = outbox;
    story.refuse_topic = true;
    failures_and_holds();
    if (outbox->gaps)
        gaps();
    operators();
    takeover();
    the_end();
}
