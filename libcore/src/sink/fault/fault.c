/* fault.c - a sink that misbehaves by script. See script.h for the language.
 *
 * What it delivers can be recorded in a file, one line per event as the file
 * sink writes them, at the moment it is taken: as with a real broker, an event
 * may be there although its completion never comes.
 */
#include "sink/builtin.h"
#include "sink/done.h"
#include "sink/fault/script.h"
#include "sink/lines.h"
#include "sink/reasons.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fault_pending {
    struct ot_completion c;
    int64_t due_us;
};

struct fault_sink {
    struct ot_sink base;
    struct ot_fault_script script;
    struct ot_rng rng;
    int record; /* descriptor, -1: none */
    size_t capacity;
    struct fault_pending *pending; /* in order of submission */
    size_t n;
    struct ot_done done;
    int64_t delay_us;
    int64_t held_until_us; /* nothing completes before */
    int64_t busy_until_us;
    bool shuffle;
    char trouble[200];
};

static struct fault_sink *self(struct ot_sink *sink)
{
    return (struct fault_sink *)sink;
}

static int read_script(const char *path, struct ot_buffer *out,
                       struct outtray_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ot_fail(err, OUTTRAY_E_URL,
                       "fault: script_file: cannot read %s: %s; name a file "
                       "with the steps",
                       path, strerror(errno));
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        for (ssize_t i = 0; i < n; i++)
            if ((unsigned char)piece[i] > ' ') /* one step a line is fine */
                ot_buffer_putc(out, piece[i]);
            else if (out->n > 0 && out->p[out->n - 1] != ',')
                ot_buffer_putc(out, ',');
    close(fd);
    if (n < 0)
        return ot_fail(err, OUTTRAY_E_URL, "fault: cannot read %s", path);
    if (out->n > 0 && out->p[out->n - 1] == ',')
        out->p[--out->n] = '\0';
    return out->failed ? ot_fail_nomem(err) : 0;
}

static int take_number(const char *name, const char *value, int64_t *out,
                       struct outtray_error *err)
{
    char *end;
    long long v = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || v < 1)
        return ot_fail(err, OUTTRAY_E_URL,
                       "fault: %s: \"%s\" is not a number from 1", name, value);
    *out = v;
    return 0;
}

static int take_params(struct fault_sink *s, const struct ot_url *url,
                       struct outtray_error *err)
{
    int64_t seed = 1, capacity = 10000;
    const char *script = "";
    struct ot_buffer file = {0};
    int code = 0;
    for (size_t i = 0; i < url->nparams && code == 0; i++) {
        const char *name = url->params[i].name, *value = url->params[i].value;
        if (strcmp(name, "script") == 0) {
            script = value;
        } else if (strcmp(name, "script_file") == 0) {
            code = read_script(value, &file, err);
        } else if (strcmp(name, "seed") == 0) {
            code = take_number(name, value, &seed, err);
        } else if (strcmp(name, "capacity") == 0) {
            code = take_number(name, value, &capacity, err);
        } else if (strcmp(name, "record") == 0) {
            s->record =
                open(value, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
            if (s->record < 0)
                code =
                    ot_fail(err, OUTTRAY_E_URL,
                            "fault: record: cannot write %s: %s; name a file "
                            "that can be made",
                            value, strerror(errno));
        } else {
            code = ot_fail(err, OUTTRAY_E_URL,
                           "fault: there is no option \"%s\": take script, "
                           "script_file, seed, capacity, record",
                           name);
        }
    }
    if (code == 0)
        code = ot_fault_parse(&s->script, file.n > 0 ? file.p : script, err);
    ot_buffer_free(&file);
    if (code != 0)
        return code;
    s->capacity = capacity > 1000000 ? 1000000 : (size_t)capacity;
    ot_rng_seed(&s->rng, (uint64_t)seed);
    return 0;
}

static void fault_close(struct ot_sink *sink)
{
    struct fault_sink *s = self(sink);
    if (s->record >= 0)
        close(s->record);
    ot_fault_free(&s->script);
    ot_done_free(&s->done);
    ot_free(s->pending);
    ot_free(s);
}

static int fault_open(struct ot_sink **out, const struct outtray_conf *conf,
                      const struct ot_log *log, struct outtray_error *err)
{
    (void)log;
    *out = NULL;
    struct ot_url url;
    int code = ot_url_parse(ot_conf_secret(conf, "sink.url"), &url, err);
    if (code != 0)
        return ot_fail_context(err, code, "sink.url");
    struct fault_sink *s = ot_alloc_zero(1, sizeof(*s));
    if (s == NULL) {
        ot_url_free(&url);
        return ot_fail_nomem(err);
    }
    s->base.ops = &ot_sink_fault;
    s->record = -1;
    code = take_params(s, &url, err);
    ot_url_free(&url);
    if (code == 0) {
        s->pending = ot_alloc_zero(s->capacity, sizeof(*s->pending));
        if (s->pending == NULL || !ot_done_reserve(&s->done, s->capacity))
            code = ot_fail_nomem(err);
    }
    if (code != 0) {
        fault_close(&s->base);
        return code;
    }
    *out = &s->base;
    return 0;
}

static int64_t later(int64_t now_us, int64_t time_us)
{
    return time_us < 0 ? OT_NEVER : now_us + time_us;
}

/* The outcome of this event; settings on the way to it take effect. */
static enum ot_fault_verb judge(struct fault_sink *s, const struct ot_event *e,
                                int64_t now_us)
{
    for (bool ruled = false;;) {
        const struct ot_fault_step *step =
            ot_fault_next(&s->script, e, now_us, &s->rng, ruled);
        ruled = ruled || step->field != OT_ANYONE || step->one_in > 0;
        switch (step->verb) {
        case OT_FAULT_HANG:
            s->held_until_us = later(now_us, step->time_us);
            break;
        case OT_FAULT_BUSY:
            s->busy_until_us = later(now_us, step->time_us);
            s->held_until_us = s->busy_until_us;
            break;
        case OT_FAULT_DELAY:
            s->delay_us = step->time_us < 0 ? 0 : step->time_us;
            break;
        case OT_FAULT_SHUFFLE:
            s->shuffle = true;
            break;
        case OT_FAULT_INORDER:
            s->shuffle = false;
            break;
        default:
            return step->verb;
        }
    }
}

static void fill(struct ot_completion *c, enum ot_fault_verb verb)
{
    static const struct {
        enum ot_outcome outcome;
        enum ot_scope scope;
        const char *reason;
    } table[] = {
        [OT_FAULT_OK] = {OT_OK, OT_THIS_EVENT, NULL},
        [OT_FAULT_RETRY] = {OT_RETRY, OT_THIS_EVENT, "fault: scripted retry"},
        [OT_FAULT_REJECT] = {OT_REJECTED, OT_THIS_EVENT,
                             "fault: scripted rejection"},
        [OT_FAULT_POISON] = {OT_REJECTED, OT_ITS_BATCH,
                             "fault: scripted rejection of a batch"},
        [OT_FAULT_MISCONFIGURED] = {OT_MISCONFIGURED, OT_ITS_TOPIC,
                                    "fault: scripted refusal of the topic"},
        [OT_FAULT_UNAVAILABLE] = {OT_UNAVAILABLE, OT_THE_SINK,
                                  "fault: scripted outage"},
        [OT_FAULT_UNKNOWN] = {OT_UNKNOWN, OT_THIS_EVENT,
                              "fault: scripted loss of the event"},
        [OT_FAULT_LOST] = {OT_UNKNOWN, OT_THIS_EVENT,
                           "fault: scripted loss of the answer"},
    };
    c->outcome = table[verb].outcome;
    c->scope = table[verb].scope;
    c->reason = table[verb].reason;
    c->maybe_persisted = c->outcome == OT_UNKNOWN;
}

/* False: the record cannot be written, so the event was not delivered. */
static bool keep(struct fault_sink *s, const struct ot_send *send)
{
    if (s->record < 0)
        return true;
    struct ot_buffer line = {0};
    ot_line_add(&line, send);
    bool good =
        !line.failed && write(s->record, line.p, line.n) == (ssize_t)line.n;
    ot_buffer_free(&line);
    return good;
}

static void settle_batch(struct fault_sink *s, const struct ot_send *sends,
                         const enum ot_fault_verb *verbs, size_t n,
                         bool poisoned, int64_t now_us)
{
    for (size_t i = 0; i < n; i++) {
        struct fault_pending *p = &s->pending[s->n++];
        *p = (struct fault_pending){.due_us = now_us + s->delay_us};
        p->c.ticket = sends[i].ticket;
        enum ot_fault_verb verb = poisoned ? OT_FAULT_POISON : verbs[i];
        if ((verb == OT_FAULT_OK || verb == OT_FAULT_LOST) &&
            !keep(s, &sends[i]))
            verb = OT_FAULT_UNAVAILABLE;
        fill(&p->c, verb);
        if (verb == OT_FAULT_POISON && n == 1)
            p->c.scope = OT_THIS_EVENT; /* it was alone: it is the one */
    }
}

enum { BATCH = 512 }; /* events that a poison takes with it at most */

static size_t fault_submit(struct ot_sink *sink, const struct ot_send *sends,
                           size_t n)
{
    struct fault_sink *s = self(sink);
    int64_t now_us = ot_now_us();
    size_t taken = 0;
    while (taken < n) {
        enum ot_fault_verb verbs[BATCH];
        size_t owed = s->n + s->done.n, m = 0;
        bool poisoned = false;
        while (taken + m < n && m < BATCH && owed + m < s->capacity) {
            if (now_us < s->busy_until_us && owed + m > 0)
                break;
            verbs[m] = judge(s, sends[taken + m].event, now_us);
            poisoned = poisoned || verbs[m] == OT_FAULT_POISON;
            m++;
        }
        if (m == 0)
            break;
        settle_batch(s, sends + taken, verbs, m, poisoned, now_us);
        taken += m;
    }
    return taken;
}

/* Moves what is due to done; returns when more will be. */
static int64_t ripen(struct fault_sink *s, int64_t now_us)
{
    if (s->n == 0)
        return OT_NEVER;
    if (now_us < s->held_until_us)
        return s->held_until_us;
    size_t due = 0;
    while (due < s->n && s->pending[due].due_us <= now_us)
        due++;
    for (size_t i = 0; s->shuffle && i + 1 < due; i++) {
        size_t j =
            (size_t)ot_rng_between(&s->rng, (int64_t)i, (int64_t)due - 1);
        struct fault_pending p = s->pending[i];
        s->pending[i] = s->pending[j];
        s->pending[j] = p;
    }
    for (size_t i = 0; i < due; i++)
        ot_done_push(&s->done, &s->pending[i].c);
    s->n -= due;
    memmove(s->pending, s->pending + due, s->n * sizeof(*s->pending));
    return s->n > 0 ? s->pending[0].due_us : OT_NEVER;
}

static int64_t fault_service(struct ot_sink *sink, int64_t now_us)
{
    struct fault_sink *s = self(sink);
    int64_t next_us = ripen(s, now_us);
    return s->done.n > 0 ? now_us : next_us;
}

static size_t fault_fds(const struct ot_sink *sink, struct ot_fd *out,
                        size_t max)
{
    (void)sink;
    (void)out;
    (void)max;
    return 0;
}

static size_t fault_completions(struct ot_sink *sink, struct ot_completion *out,
                                size_t max)
{
    ripen(self(sink), ot_now_us());
    return ot_done_take(&self(sink)->done, out, max);
}

static void fault_abandon(struct ot_sink *sink)
{
    struct fault_sink *s = self(sink);
    for (size_t i = 0; i < s->n; i++) {
        struct ot_completion c = s->pending[i].c;
        fill(&c, OT_FAULT_LOST);
        c.reason = "fault: abandoned";
        ot_done_push(&s->done, &c);
    }
    s->n = 0;
    s->held_until_us = 0;
    s->busy_until_us = 0;
}

static int fault_check(struct ot_sink *sink, const char *destination,
                       int timeout_ms, struct outtray_error *err)
{
    (void)sink;
    (void)destination;
    (void)timeout_ms;
    ot_error_clear(err);
    return 0;
}

static void fault_health(const struct ot_sink *sink, struct ot_health *out)
{
    const struct fault_sink *s = (const struct fault_sink *)sink;
    *out = (struct ot_health){.state = OT_HEALTH_UP, .in_flight = s->n};
    if (s->n > 0 && ot_now_us() < s->held_until_us) {
        out->state = OT_HEALTH_DOWN;
        snprintf(out->reason, sizeof(out->reason), "fault: scripted hang");
    }
}

const struct ot_sink_ops ot_sink_fault = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED | OT_SINK_BATCHES | OT_SINK_CHECKS,
    .scheme = "fault",
    .open = fault_open,
    .submit = fault_submit,
    .service = fault_service,
    .fds = fault_fds,
    .completions = fault_completions,
    .abandon = fault_abandon,
    .check = fault_check,
    .health = fault_health,
    .close = fault_close,
};
