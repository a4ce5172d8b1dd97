/* script.c - the relay's side of it. See script.h. */
#include "sink/script/script.h"

#include <stdio.h>
#include <unistd.h>

#include "sink/builtin.h"

enum { ALWAYS = 64 }; /* so many are taken though memory is out */

static struct ot_script *self(const struct ot_sink *sink)
{
    return (struct ot_script *)sink;
}

bool ot_script_is(const struct ot_sink *sink)
{
    return sink->ops == &ot_sink_script;
}

/* --- life ---------------------------------------------------------------- */

static void free_reasons(struct ot_script_reason *reason)
{
    while (reason != NULL) {
        struct ot_script_reason *next = reason->next;
        ot_free(reason);
        reason = next;
    }
}

static void script_free(struct ot_script *s)
{
    if (s->wake.read_fd >= 0)
        ot_wake_close(&s->wake);
    free_reasons(s->reasons);
    free_reasons(s->told);
    ot_script_keys_free(&s->keys);
    ot_free(s->failed.cells);
    ot_done_free(&s->done);
    ot_free(s->pending);
    pthread_mutex_destroy(&s->lock);
    ot_free(s);
}

void ot_script_leave(struct ot_script *s)
{
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last)
        script_free(s);
}

static int script_init(struct ot_script *s, struct outtray_error *err)
{
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        ot_free(s);
        return ot_fail_nomem(err);
    }
    s->wake = (struct ot_wake){-1, -1};
    ot_script_keys_init(&s->keys);
    s->pending = ot_alloc_zero(ALWAYS, sizeof(*s->pending));
    s->size = ALWAYS;
    if (s->pending == NULL || !ot_done_reserve(&s->done, ALWAYS)) {
        script_free(s);
        return ot_fail_nomem(err);
    }
    if (ot_wake_open(&s->wake) != 0) {
        s->wake = (struct ot_wake){-1, -1};
        script_free(s);
        return ot_fail(err, OUTTRAY_E_IO, "script: " OT_NO_WAKE);
    }
    return 0;
}

static int script_open(struct ot_sink **out, const struct outtray_conf *conf,
                       const struct ot_log *log, struct outtray_error *err)
{
    (void)log;
    *out = NULL;
    if (strcmp(ot_conf_secret(conf, "sink.url"), "script:") != 0)
        return ot_fail(err, OUTTRAY_E_URL,
                       "sink.url: script: takes nothing after the colon");
    struct ot_script *s = ot_alloc_zero(1, sizeof(*s));
    if (s == NULL)
        return ot_fail_nomem(err);
    int code = script_init(s, err);
    if (code != 0)
        return code;
    s->base.ops = &ot_sink_script;
    s->pid = getpid();
    s->refs = 1;
    s->keyed = strcmp(ot_conf_text(conf, "relay.ordering"), "none") != 0;
    *out = &s->base;
    return 0;
}

/* Batches may outlive it: they find that it is closed. */
static void script_close(struct ot_sink *sink)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    s->stopping = true;
    for (struct outtray_batch *b = s->batches; b != NULL; b = b->next)
        b->lost = true;
    s->n = 0;
    ot_script_leave(s);
}

/* --- events come ----------------------------------------------------------- */

static size_t owed(const struct ot_script *s)
{
    return s->n + s->in_hands + s->done.n;
}

static bool make_room(struct ot_script *s, size_t n)
{
    if (s->first + s->n + n <= s->size)
        return true;
    if (s->first > 0) {
        memmove(s->pending, s->pending + s->first, s->n * sizeof(*s->pending));
        s->first = 0;
    }
    size_t size = s->size;
    while (size < s->n + n)
        size *= 2;
    if (size == s->size)
        return true;
    struct ot_script_pending *pending =
        ot_resize(s->pending, size * sizeof(*s->pending));
    if (pending == NULL)
        return false;
    s->pending = pending;
    s->size = size;
    return true;
}

/* How many of n can be taken so that nothing later lacks memory. */
static size_t room_for(struct ot_script *s, size_t n)
{
    size_t left = OT_SCRIPT_MOST > owed(s) ? OT_SCRIPT_MOST - owed(s) : 0;
    n = n < left ? n : left;
    while (n > 0 &&
           !(ot_done_reserve(&s->done, owed(s) + n) && make_room(s, n)))
        n /= 2;
    return n;
}

static uint64_t key_of(const struct ot_script *s, const struct ot_event *e)
{
    if (!s->keyed || e->key.p == NULL)
        return 0;
    uint64_t key = ot_hash(e->key);
    return key != 0 ? key : 1; /* as in the engine */
}

static void add(struct ot_script *s, const struct ot_send *send)
{
    s->pending[s->first + s->n++] = (struct ot_script_pending){
        .send = *send, .key = key_of(s, send->event)};
    s->bytes += ot_event_bytes(send->event);
}

static size_t script_submit(struct ot_sink *sink, const struct ot_send *sends,
                            size_t n)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    n = room_for(s, n);
    if (s->n == 0 && n > 0)
        s->since_us = ot_now_us();
    for (size_t i = 0; i < n; i++)
        add(s, &sends[i]);
    s->blocked = s->blocked && n == 0;
    if (s->stopping)
        ot_script_withdraw(s, "script: the relay is stopping");
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* --- the loop ------------------------------------------------------------- */

void ot_script_wake(struct ot_script *s)
{
    if (s->woken || s->closed)
        return;
    s->woken = true;
    ot_wake_up(&s->wake);
}

bool ot_script_can_give(const struct ot_script *s, int64_t now_us)
{
    if (s->n == 0 || s->blocked || s->stopping)
        return false;
    return s->limits.linger_ms <= 0 || s->n >= s->limits.max_events ||
           s->bytes >= s->limits.max_bytes ||
           now_us >= s->since_us + (int64_t)s->limits.linger_ms * 1000;
}

bool ot_script_ready(const struct ot_sink *sink)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    bool ready = ot_script_can_give(s, ot_now_us());
    pthread_mutex_unlock(&s->lock);
    return ready;
}

/* A batch that is ready is no work for the loop: the program knows of it when
 * the step returns. One that gets ready by time alone is. */
static int64_t script_service(struct ot_sink *sink, int64_t now_us)
{
    struct ot_script *s = self(sink);
    int64_t next_us = OT_NEVER;
    pthread_mutex_lock(&s->lock);
    if (s->woken) {
        s->woken = false;
        ot_wake_clear(&s->wake);
    }
    if (s->done.n > 0)
        next_us = now_us;
    else if (s->n > 0 && !s->blocked && !s->stopping &&
             !ot_script_can_give(s, now_us))
        next_us = s->since_us + (int64_t)s->limits.linger_ms * 1000;
    pthread_mutex_unlock(&s->lock);
    return next_us;
}

static size_t script_fds(const struct ot_sink *sink, struct ot_fd *out,
                         size_t max)
{
    if (max == 0)
        return 0;
    out[0] = (struct ot_fd){.fd = self(sink)->wake.read_fd, .read = true};
    return 1;
}

/* Its reason stays until the next completions(). */
static void tell_reason(struct ot_script *s, const struct ot_completion *c)
{
    struct ot_script_reason *reason = s->reasons;
    if (reason == NULL || c->reason != reason->text || --reason->uses > 0)
        return;
    s->reasons = reason->next;
    reason->next = s->told;
    s->told = reason;
}

static size_t script_completions(struct ot_sink *sink,
                                 struct ot_completion *out, size_t max)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    free_reasons(s->told);
    s->told = NULL;
    ot_script_sort_out(s);
    size_t n = ot_done_take(&s->done, out, max);
    for (size_t i = 0; i < n; i++)
        tell_reason(s, &out[i]);
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* --- giving up ------------------------------------------------------------ */

void ot_script_withdraw(struct ot_script *s, const char *why)
{
    for (size_t i = 0; i < s->n; i++) {
        struct ot_completion c = {.ticket =
                                      s->pending[s->first + i].send.ticket,
                                  .outcome = OT_UNAVAILABLE,
                                  .scope = OT_THE_SINK,
                                  .reason = why};
        ot_done_push(&s->done, &c);
    }
    if (s->n > 0)
        ot_script_wake(s);
    s->n = 0;
    s->first = 0;
    s->bytes = 0;
}

void ot_script_key_failed(struct ot_script *s, uint64_t key)
{
    if (ot_index_find(&s->failed, key) == OT_NIL &&
        ot_index_put(&s->failed, key, 0) != 0)
        ot_script_withdraw(s, "script: out of memory");
}

/* Their pending events go back, in the same order: the engine sends the one
 * that failed before them. */
void ot_script_sort_out(struct ot_script *s)
{
    struct ot_script_pending *pending = s->pending + s->first;
    size_t kept = 0;
    if (s->failed.n == 0)
        return;
    for (size_t i = 0; i < s->n; i++) {
        if (pending[i].key == 0 ||
            ot_index_find(&s->failed, pending[i].key) == OT_NIL) {
            pending[kept++] = pending[i];
            continue;
        }
        struct ot_completion c = {.ticket = pending[i].send.ticket,
                                  .outcome = OT_UNKNOWN,
                                  .reason = "script: behind an event of its "
                                            "key that failed"};
        s->bytes -= ot_event_bytes(pending[i].send.event);
        ot_done_push(&s->done, &c);
    }
    s->n = kept;
    ot_index_clear(&s->failed);
    if (s->done.n > 0)
        ot_script_wake(s);
}

/* The keys stay with the program until it settles or closes the batch: what
 * it does with them now must not meet their next try. [INV-3] */
static void lose(struct ot_script *s, struct outtray_batch *b)
{
    for (size_t i = 0; i < b->n && !b->lost; i++) {
        if (b->hands[i].state != OT_IN_HAND)
            continue;
        struct ot_completion c = {.ticket = b->hands[i].ticket,
                                  .outcome = OT_UNKNOWN,
                                  .maybe_persisted = true,
                                  .reason = "script: abandoned in the "
                                            "program's hands"};
        ot_done_push(&s->done, &c);
        s->in_hands--;
    }
    b->lost = true;
}

static void script_abandon(struct ot_sink *sink)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    for (struct outtray_batch *b = s->batches; b != NULL; b = b->next)
        lose(s, b);
    ot_script_withdraw(s, "script: abandoned before it was taken");
    pthread_mutex_unlock(&s->lock);
}

void ot_script_stop(struct ot_sink *sink)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    ot_script_withdraw(s, "script: the relay is stopping");
    pthread_mutex_unlock(&s->lock);
}

/* --- looking -------------------------------------------------------------- */

static int script_check(struct ot_sink *sink, const char *destination,
                        int timeout_ms, struct outtray_error *err)
{
    (void)sink;
    (void)destination;
    (void)timeout_ms;
    ot_error_clear(err); /* the program takes any topic */
    return 0;
}

static void script_health(const struct ot_sink *sink, struct ot_health *out)
{
    struct ot_script *s = self(sink);
    pthread_mutex_lock(&s->lock);
    *out = (struct ot_health){.state = OT_HEALTH_UP,
                              .in_flight = s->n + s->in_hands};
    if (s->number == 0)
        out->state = OT_HEALTH_UNKNOWN;
    if (s->n + s->in_hands > 0)
        snprintf(out->reason, sizeof(out->reason),
                 "script: %zu events are in the program's hands, %zu wait to "
                 "be taken",
                 s->in_hands, s->n);
    pthread_mutex_unlock(&s->lock);
}

const struct ot_sink_ops ot_sink_script = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED | OT_SINK_CHECKS,
    .scheme = "script",
    .open = script_open,
    .submit = script_submit,
    .service = script_service,
    .fds = script_fds,
    .completions = script_completions,
    .abandon = script_abandon,
    .check = script_check,
    .health = script_health,
    .close = script_close,
};
