/* relay_steps.c - a relay that a spec leads by the hand: the real engine, the
 * real driver and the real PostgreSQL store, one step for one line of standard
 * input. Each line is answered by one line of key=value.
 *
 *   open URL OUTBOX [batch=N] [topics=T] [leave_out=N] [ordering=O]
 *        [barrier=1] [pooler=1]        a relay of its own; connects to nothing
 *   lease      take the lease and load the cursor
 *   read       one poll: takes the lease first if there is none
 *   ask, hear  the same in two: the answer is kept in between
 *   settle [N] the sink acknowledges the N oldest (all)
 *   write      the cursor is written as it is now
 *   poll       read, settle, write
 *   prune      retention, with nothing young
 *   reload     forget all, take the lease anew, load
 *   state      only the answer
 *   stop       an orderly end
 *   crash      an end without a word
 *   close      the same, but the next open with the same arguments has its
 *              connections
 *   quit
 *
 * OUTTRAY_MUTANT=NAME makes it wrong, in one of the ways of gate.h.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/internal.h"
#include "gate.h"
#include "outtray/conf.h"
#include "relay/driver.h"
#include "relay/options.h"
#include "steps_sink.h"

#define PATIENCE_US INT64_C(60000000)
#define LINE        8192

struct steps {
    struct outtray_conf *conf;
    struct gate gate;
    struct steps_sink sink;
    struct ot_engine *engine;
    struct ot_driver driver;
    struct ot_log log;
    bool open;
    char url[1024];
    char outbox[128];
    struct ot_store *kept; /* connected, of a relay that is closed */
    char kept_for[LINE];   /* the arguments of its open */
    char opened_with[LINE];
    char mutant[64];
};

/* --- waiting ------------------------------------------------------------- */

static void wait_for_fds(struct steps *s, int64_t until_us)
{
    struct ot_fd fds[OT_DRIVER_FDS];
    struct pollfd polled[OT_DRIVER_FDS];
    size_t n = ot_driver_fds(&s->driver, fds);
    int64_t left_us = until_us - ot_now_us();

    for (size_t i = 0; i < n; i++)
        polled[i] = (struct pollfd){
            .fd = fds[i].fd,
            .events = (short)((fds[i].read ? POLLIN : 0) |
                              (fds[i].write ? POLLOUT : 0)),
        };
    if (left_us < 0)
        left_us = 0;
    if (left_us > 1000000)
        left_us = 1000000;
    poll(polled, n, (int)((left_us + 999) / 1000));
}

/* Writes are asked for by steps alone. */
static void turn(struct steps *s)
{
    if (s->engine->phase == OT_PHASE_RUN && !s->engine->write_now)
        s->engine->write_us = OT_NEVER;
    ot_driver_turn(&s->driver);
}

/* Until *count has moved, something failed, or time is up (false). */
static bool turn_until(struct steps *s, const unsigned *count, unsigned old)
{
    int64_t end_us = ot_now_us() + PATIENCE_US;
    unsigned leases = s->gate.leases;

    while (true) {
        turn(s);
        if (*count != old || s->driver.done)
            return true;
        if (s->gate.leases != leases && !s->gate.granted)
            return true;
        if (s->gate.error[0] != '\0')
            return true;
        if (ot_now_us() > end_us) {
            snprintf(s->gate.error, sizeof(s->gate.error), "no answer");
            return false;
        }
        wait_for_fds(s, s->driver.wake_us);
    }
}

/* --- steps --------------------------------------------------------------- */

static bool owns(const struct steps *s)
{
    return s->engine->phase == OT_PHASE_RUN && s->engine->lease.fence != 0;
}

/* A read that was asked for in another life, and never left: it failed. */
static void drop_stale_read(struct steps *s)
{
    struct ot_reply reply = {.kind = OT_REPLY_READ,
                             .code = OUTTRAY_E_INTERRUPTED};

    if (!s->gate.has_read ||
        s->engine->asked[OT_REPLY_READ].epoch == s->engine->epoch)
        return;
    s->gate.has_read = false;
    ot_engine_told(s->engine, &reply, ot_now_us());
}

static void do_lease(struct steps *s)
{
    int64_t end_us = ot_now_us() + PATIENCE_US;

    drop_stale_read(s);
    if (owns(s))
        return;
    s->engine->lease.ask_us = 0; /* no pause after a failure */
    gate_let_lease(&s->gate);
    while (!owns(s) && s->gate.error[0] == '\0') {
        unsigned leases = s->gate.leases;

        turn(s);
        if (s->gate.leases != leases && !s->gate.granted)
            break;
        if (owns(s))
            break;
        if (ot_now_us() > end_us) {
            snprintf(s->gate.error, sizeof(s->gate.error), "no answer");
            break;
        }
        wait_for_fds(s, s->driver.wake_us);
    }
}

static void do_ask(struct steps *s, bool hold)
{
    do_lease(s);
    if (!owns(s))
        return;
    s->gate.hold_reply = hold;
    s->engine->next_read_us = 0;
    gate_let_read(&s->gate);
    if (hold) {
        int64_t end_us = ot_now_us() + PATIENCE_US;

        while (!s->gate.has_reply && ot_now_us() < end_us) {
            turn(s);
            if (!s->gate.has_reply)
                wait_for_fds(s, s->driver.wake_us);
        }
    }
}

static void do_hear(struct steps *s)
{
    unsigned reads = s->gate.reads;

    gate_let_reply(&s->gate);
    turn_until(s, &s->gate.reads, reads);
}

static void do_read(struct steps *s)
{
    unsigned reads = s->gate.reads;

    do_ask(s, false);
    if (owns(s))
        turn_until(s, &s->gate.reads, reads);
}

static void do_settle(struct steps *s, size_t n)
{
    s->sink.settle = n < s->sink.n ? n : s->sink.n;
    turn(s);
}

static void do_write(struct steps *s)
{
    unsigned writes = s->gate.writes;

    if (!owns(s))
        return;
    ot_save_soon(s->engine);
    s->engine->barrier_us = 0; /* it has waited for the flush long enough */
    gate_let_write(&s->gate);
    turn(s);
    if (s->engine->asked[OT_REPLY_WRITE].under_way)
        turn_until(s, &s->gate.writes, writes);
}

static void do_prune(struct steps *s)
{
    struct ot_prune_request q = {.older_than_us = INT64_C(4000000000000000),
                                 .limit = 1000};
    unsigned prunes = s->gate.prunes;

    s->gate.base.ops->prune(&s->gate.base, &q);
    turn_until(s, &s->gate.prunes, prunes);
}

static void do_stop(struct steps *s)
{
    int64_t now_us = ot_now_us(), end_us = now_us + PATIENCE_US;

    do_settle(s, s->sink.n);
    gate_let_write(&s->gate);
    ot_engine_stop(s->engine, now_us + PATIENCE_US, now_us + PATIENCE_US);
    gate_let_read(&s->gate); /* what was asked for before */
    while (!s->driver.done && ot_now_us() < end_us) {
        s->sink.settle = s->sink.n;
        turn(s);
        if (!s->driver.done)
            wait_for_fds(s, s->driver.wake_us);
    }
}

/* --- answers ------------------------------------------------------------- */

static void say_gaps(const struct steps *s, char *out, size_t size)
{
    const struct ot_gaps *gaps = &s->engine->gaps;
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < gaps->n && at + 48 < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld-%lld",
                               i > 0 ? "," : "", (long long)gaps->v[i].first,
                               (long long)gaps->v[i].last);
}

static const char *fate_name(const struct steps *s, unsigned writes)
{
    static const char *const names[] = {"written", "refused", "unknown"};

    return s->gate.writes == writes ? "none" : names[s->gate.fate];
}

static void say(struct steps *s, unsigned writes, unsigned leases)
{
    struct ot_engine_stats stats;
    char gaps[2048];

    ot_engine_stats(s->engine, &stats);
    say_gaps(s, gaps, sizeof(gaps));
    printf("got=%s sent=%s ok=%s flight=%zu window=%u read=%lld position=%lld "
           "gaps=%s fence=%lld write=%s lease=%s pruned=%u done=%d error=",
           s->gate.rows, s->sink.sent, s->sink.ok, s->sink.n, stats.window,
           (long long)stats.read_position, (long long)stats.position, gaps,
           (long long)(owns(s) ? stats.fence : 0), fate_name(s, writes),
           s->gate.leases == leases ? "none"
           : s->gate.granted        ? "granted"
                                    : "refused",
           s->gate.pruned.deleted, s->driver.done);
    for (const char *p = s->gate.error; *p != '\0'; p++) /* one line */
        putchar(*p == '\n' ? ' ' : *p);
    putchar('\n');
}

/* --- the relay ----------------------------------------------------------- */

static void close_kept(struct steps *s)
{
    if (s->kept != NULL)
        s->kept->ops->close(s->kept);
    s->kept = NULL;
}

/* Connecting costs more than all steps of a spec. */
static void close_relay(struct steps *s, bool keep)
{
    struct ot_completion lost[64];

    if (!s->open)
        return;
    close_kept(s);
    s->open = false;
    s->sink.base.ops->abandon(&s->sink.base);
    while (s->sink.base.ops->completions(&s->sink.base, lost, OT_COUNT(lost)) >
           0)
        continue;
    ot_engine_free(s->engine);
    s->kept = gate_leave(&s->gate);
    if (!keep)
        close_kept(s);
    memcpy(s->kept_for, s->opened_with, sizeof(s->kept_for));
    outtray_conf_free(s->conf);
}

static void fatal(const char *what, const struct outtray_error *err)
{
    fprintf(stderr, "relay_steps: %s: %s\n", what, err->text);
    exit(2);
}

static void set(struct outtray_conf *conf, const char *name, const char *value)
{
    struct outtray_error err = {0};

    if (outtray_conf_set(conf, name, value, &err) != 0)
        fatal(name, &err);
}

/* What a step does must not depend on the time that it takes. */
static void still(struct ot_engine_options *o)
{
    o->poll_min_us = o->poll_max_us = 0;
    o->cursor_us = INT64_C(1) << 60;
    o->lease_ttl_us = INT64_C(3600000000);
}

static void configure(struct steps *s, char *options,
                      struct ot_engine_options *o, bool *barrier, bool *pooler)
{
    char *save = NULL;

    *barrier = *pooler = false;
    set(s->conf, "store.url", s->url);
    set(s->conf, "store.outbox", s->outbox);
    for (char *word = strtok_r(options, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        char *value = strchr(word, '=');

        if (value == NULL) {
            fprintf(stderr, "relay_steps: option '%s'\n", word);
            exit(2);
        }
        *value++ = '\0';
        if (strcmp(word, "batch") == 0)
            set(s->conf, "relay.batch_events", value);
        else if (strcmp(word, "topics") == 0)
            set(s->conf, "relay.topics", value);
        else if (strcmp(word, "ordering") == 0)
            set(s->conf, "relay.ordering", value);
        else if (strcmp(word, "leave_out") == 0)
            o->leave_out_seqs = strtol(value, NULL, 10);
        else if (strcmp(word, "barrier") == 0)
            *barrier = value[0] == '1';
        else if (strcmp(word, "pooler") == 0)
            *pooler = value[0] == '1';
        else {
            fprintf(stderr, "relay_steps: option '%s'\n", word);
            exit(2);
        }
    }
}

static void open_relay(struct steps *s, char *arguments)
{
    struct outtray_error err = {0};
    struct ot_uuid_source source = {0};
    struct ot_engine_options o, given = {.leave_out_seqs = -1};
    struct ot_store *store;
    struct ot_uuid owner;
    bool barrier, pooler;
    int used = 0;

    close_relay(s, false);
    snprintf(s->opened_with, sizeof(s->opened_with), "%s", arguments);
    if (sscanf(arguments, "%1000s %100s%n", s->url, s->outbox, &used) < 2) {
        fprintf(stderr, "relay_steps: open URL OUTBOX\n");
        exit(2);
    }
    s->conf = outtray_conf_new();
    configure(s, arguments + used, &given, &barrier, &pooler);
    if (strcmp(s->kept_for, s->opened_with) != 0)
        close_kept(s);
    store = s->kept;
    s->kept = NULL;
    if (store == NULL &&
        (ot_uuid_next(&source, &owner) != 0 ||
         ot_store_open(&store, s->conf, owner, &s->log, &err) != 0))
        fatal("store", &err);
    gate_open(&s->gate, store, mutant_of(s->mutant));
    steps_sink_init(&s->sink);
    if (ot_relay_options(s->conf, s->gate.base.ops->caps,
                         s->sink.base.ops->caps, &o, &err) != 0)
        fatal("options", &err);
    still(&o);
    if (given.leave_out_seqs >= 0)
        o.leave_out_seqs = given.leave_out_seqs;
    if (ot_engine_new(&s->engine, &o, &s->log) != 0)
        fatal("engine", &err);
    s->gate.engine = s->engine;
    s->gate.barrier = barrier;
    s->gate.pooler = pooler;
    s->gate.url = s->url;
    s->gate.outbox = s->outbox;
    ot_driver_init(&s->driver, s->engine, &s->gate.base, &s->sink.base);
    s->open = true;
}

/* --- lines --------------------------------------------------------------- */

static void obey(struct steps *s, const char *verb, const char *argument)
{
    if (strcmp(verb, "lease") == 0) {
        do_lease(s);
    } else if (strcmp(verb, "read") == 0) {
        do_read(s);
    } else if (strcmp(verb, "ask") == 0) {
        do_ask(s, true);
    } else if (strcmp(verb, "hear") == 0) {
        do_hear(s);
    } else if (strcmp(verb, "settle") == 0) {
        do_settle(s, argument[0] != '\0' ? strtoul(argument, NULL, 10)
                                         : s->sink.n);
    } else if (strcmp(verb, "write") == 0) {
        do_write(s);
    } else if (strcmp(verb, "poll") == 0) {
        do_read(s);
        do_settle(s, s->sink.n);
        do_write(s);
        do_settle(s, s->sink.n); /* what a durable write let through */
    } else if (strcmp(verb, "prune") == 0) {
        do_prune(s);
    } else if (strcmp(verb, "reload") == 0) {
        ot_engine_reset(s->engine, 0);
        do_settle(s, s->sink.n);
        do_lease(s);
    } else if (strcmp(verb, "stop") == 0) {
        do_stop(s);
    } else if (strcmp(verb, "state") != 0) {
        fprintf(stderr, "relay_steps: no step '%s'\n", verb);
        exit(2);
    }
}

static void step(struct steps *s, const char *verb, const char *argument)
{
    unsigned writes = s->gate.writes, leases = s->gate.leases;

    s->gate.rows[0] = s->gate.error[0] = '\0';
    s->sink.sent[0] = s->sink.ok[0] = '\0';
    s->gate.pruned.deleted = 0;
    obey(s, verb, argument);
    gate_shut(&s->gate);
    say(s, writes, leases);
}

static void pass_log(void *ctx, enum ot_level level, const char *facility,
                     const char *text)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "%s: %s\n", facility, text);
}

int main(void)
{
    static struct steps s;
    static char line[LINE];
    const char *mutant = getenv("OUTTRAY_MUTANT");

    snprintf(s.mutant, sizeof(s.mutant), "%s", mutant != NULL ? mutant : "");
    mutant_of(s.mutant);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("OUTTRAY_STEPS_LOG") != NULL) {
        s.log.write = pass_log;
        s.log.least = OT_DEBUG;
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *argument;

        line[strcspn(line, "\n")] = '\0';
        argument = line + strcspn(line, " ");
        if (*argument != '\0')
            *argument++ = '\0';
        if (strcmp(line, "quit") == 0)
            break;
        if (strcmp(line, "open") == 0 || strcmp(line, "crash") == 0 ||
            strcmp(line, "close") == 0) {
            if (line[0] == 'o')
                open_relay(&s, argument);
            else
                close_relay(&s, line[1] == 'l');
            printf("ok=1\n");
        } else if (!s.open) {
            printf("error=no relay is open\n");
        } else {
            step(&s, line, argument);
        }
    }
    close_relay(&s, false);
    close_kept(&s);
    return 0;
}
