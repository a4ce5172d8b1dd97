/* batch.c - the program's side of it. See script.h. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "sink/script/script.h"

#define DEFAULT_EVENTS 500
#define DEFAULT_BYTES  (1024 * 1024)
#define REASON_TEXT    400
#define ORDER_TEXT     42 /* two numbers, a point, a NUL */

/* --- which events --------------------------------------------------------- */

static struct outtray_batch_limits
resolve(const struct outtray_batch_limits *limits)
{
    struct outtray_batch_limits l = {0};
    if (limits != NULL)
        l = *limits;
    if (l.max_events == 0)
        l.max_events = DEFAULT_EVENTS;
    if (l.max_events > OT_SCRIPT_MOST)
        l.max_events = OT_SCRIPT_MOST;
    if (l.max_bytes == 0)
        l.max_bytes = DEFAULT_BYTES;
    return l;
}

/* Hold the key of the next event of the batch. As ot_script_keys_hold. */
static int hold(struct ot_script *s, struct outtray_batch *b, uint64_t key)
{
    struct ot_in_hand *hand = &b->hands[b->n];
    hand->key = OT_NIL;
    hand->before = OT_NIL;
    if (key == 0)
        return 0;
    return ot_script_keys_hold(&s->keys, key, b->number, (uint32_t)b->n,
                               &hand->key, &hand->before);
}

/* The oldest whose keys nobody has. Returns how many of the pending were
 * looked at. */
static size_t choose(struct ot_script *s, struct outtray_batch *b, size_t room)
{
    const struct ot_script_pending *pending = s->pending + s->first;
    size_t bytes = 0, at;
    for (at = 0; at < s->n && b->n < room; at++) {
        size_t more = ot_event_bytes(pending[at].send.event);
        if (b->n > 0 && bytes + more > s->limits.max_bytes)
            break;
        int rc = hold(s, b, pending[at].key);
        if (rc < 0)
            break; /* no memory: what there is */
        if (rc > 0)
            continue;
        bytes += more;
        b->hands[b->n].ticket = pending[at].send.ticket;
        b->hands[b->n].at = (uint32_t)at;
        b->hands[b->n].state = OT_IN_HAND;
        b->n++;
    }
    return at;
}

static void let_go(struct ot_script *s, struct ot_in_hand *hand)
{
    if (hand->key == OT_NIL)
        return;
    ot_script_keys_let_go(&s->keys, hand->key);
    hand->key = OT_NIL;
    s->blocked = false;
}

/* --- their copies --------------------------------------------------------- */

static size_t copied_bytes(const struct ot_event *e)
{
    return e->topic.n + e->key.n + e->type.n + e->headers.n + e->payload.n + 5 +
           37 + ORDER_TEXT;
}

static struct outtray_slice keep(char **to, struct ot_slice from)
{
    if (from.p == NULL)
        return (struct outtray_slice){NULL, 0};
    char *p = *to;
    memcpy(p, from.p, from.n);
    p[from.n] = '\0';
    *to += from.n + 1;
    return (struct outtray_slice){p, from.n};
}

static void copy(struct outtray_batch_event *out, const struct ot_send *send,
                 char **to)
{
    const struct ot_event *e = send->event;
    char *id = *to, *order = *to + 37;
    *to += 37 + ORDER_TEXT;
    int n = snprintf(order, ORDER_TEXT, "%" PRId64 ".%" PRId64, send->fence,
                     e->seq);
    *out = (struct outtray_batch_event){
        .event =
            {
                .topic = keep(to, e->topic),
                .key = keep(to, e->key),
                .type = keep(to, e->type),
                .headers = keep(to, e->headers),
                .payload = keep(to, e->payload),
                .id = {ot_uuid_text(e->id, id), 36},
            },
        .order = {order, (size_t)n},
        .created_us = e->created_us,
        .attempts = send->attempts,
        .maybe_duplicate = send->maybe_duplicate,
    };
}

static bool copy_all(struct ot_script *s, struct outtray_batch *b)
{
    const struct ot_script_pending *pending = s->pending + s->first;
    size_t bytes = b->n * sizeof(*b->events);
    for (size_t i = 0; i < b->n; i++)
        bytes += copied_bytes(pending[b->hands[i].at].send.event);
    b->events = ot_alloc(bytes);
    if (b->events == NULL)
        return false;
    char *to = (char *)(b->events + b->n);
    for (size_t i = 0; i < b->n; i++)
        copy(&b->events[i], &pending[b->hands[i].at].send, &to);
    return true;
}

/* --- taking --------------------------------------------------------------- */

/* What was passed over stays, in its order, in front of the rest. */
static void remove_chosen(struct ot_script *s, const struct outtray_batch *b,
                          size_t looked_at)
{
    struct ot_script_pending *pending = s->pending + s->first;
    size_t to = looked_at, chosen = b->n;
    for (size_t at = looked_at; at-- > 0;) {
        if (chosen > 0 && b->hands[chosen - 1].at == at) {
            chosen--;
            s->bytes -= ot_event_bytes(pending[at].send.event);
        } else if (--to != at) {
            pending[to] = pending[at];
        }
    }
    s->first += b->n;
    s->n -= b->n;
    if (s->n == 0)
        s->first = 0;
}

static void link_batch(struct ot_script *s, struct outtray_batch *b)
{
    b->next = s->batches;
    if (b->next != NULL)
        b->next->prev = b;
    s->batches = b;
    s->refs++;
    s->in_hands += b->n;
}

static void unlink_batch(struct ot_script *s, struct outtray_batch *b)
{
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        s->batches = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
}

/* 1, 0 or E_NOMEM; b then keeps nothing. */
static int fill(struct ot_script *s, struct outtray_batch *b, size_t room)
{
    size_t looked_at = choose(s, b, room);
    if (b->n == 0 && looked_at < s->n)
        return OUTTRAY_E_NOMEM;
    if (b->n == 0) {
        s->blocked = true;
        return 0;
    }
    if (!copy_all(s, b)) {
        while (b->n > 0)
            let_go(s, &b->hands[--b->n]);
        return OUTTRAY_E_NOMEM;
    }
    b->open = b->n;
    remove_chosen(s, b, looked_at);
    link_batch(s, b);
    return 1;
}

static int take(struct ot_script *s, struct outtray_batch **out)
{
    if (!ot_script_can_give(s, ot_now_us()))
        return 0;
    size_t room = s->n < s->limits.max_events ? s->n : s->limits.max_events;
    struct outtray_batch *b = ot_alloc(sizeof(*b) + room * sizeof(b->hands[0]));
    if (b == NULL)
        return OUTTRAY_E_NOMEM;
    memset(b, 0, sizeof(*b));
    b->script = s;
    b->number = ++s->number;
    int rc = fill(s, b, room);
    if (rc == 1)
        *out = b;
    else
        ot_free(b);
    return rc;
}

int ot_script_take(struct ot_sink *sink,
                   const struct outtray_batch_limits *limits,
                   struct outtray_batch **out, struct outtray_error *err)
{
    struct ot_script *s = (struct ot_script *)sink;
    *out = NULL;
    pthread_mutex_lock(&s->lock);
    s->limits = resolve(limits);
    ot_script_sort_out(s);
    int rc = take(s, out);
    if (rc == 0 && s->n > 0 && s->limits.linger_ms > 0)
        ot_script_wake(s); /* so that the loop learns when it is time */
    pthread_mutex_unlock(&s->lock);
    return rc < 0 ? ot_fail_nomem(err) : rc;
}

/* --- settling ------------------------------------------------------------- */

static const struct {
    enum ot_outcome outcome;
    enum ot_scope scope;
    const char *reason;
} meanings[] = {
    [OUTTRAY_OUTCOME_OK] = {OT_OK, OT_THIS_EVENT, NULL},
    [OUTTRAY_OUTCOME_RETRY] = {OT_RETRY, OT_THIS_EVENT,
                               "script: the program wants to try again"},
    [OUTTRAY_OUTCOME_REJECTED] = {OT_REJECTED, OT_THIS_EVENT,
                                  "script: the program refuses it"},
    [OUTTRAY_OUTCOME_MISCONFIGURED] =
        {OT_MISCONFIGURED, OT_ITS_TOPIC,
         "script: the program cannot deliver this topic"},
    [OUTTRAY_OUTCOME_UNAVAILABLE] = {OT_UNAVAILABLE, OT_THE_SINK,
                                     "script: the program cannot deliver"},
    [OUTTRAY_OUTCOME_UNKNOWN] = {OT_UNKNOWN, OT_THIS_EVENT,
                                 "script: the program gave it back"},
};

/* For the next `uses` completions; NULL: the general one will do. */
static const char *keep_reason(struct ot_script *s, const char *text,
                               size_t uses)
{
    size_t n = text != NULL ? strnlen(text, REASON_TEXT) : 0;
    if (n == 0 || uses == 0)
        return NULL;
    struct ot_script_reason *reason = ot_alloc(sizeof(*reason) + n + 1);
    if (reason == NULL)
        return NULL;
    memcpy(reason->text, text, n);
    reason->text[n] = '\0';
    ot_utf8_mend(reason->text, n == REASON_TEXT);
    reason->uses = uses;
    reason->next = NULL;
    if (s->reasons == NULL)
        s->reasons = reason;
    else
        s->last_reason->next = reason;
    s->last_reason = reason;
    return reason->text;
}

static size_t count_open(const struct outtray_batch *b, size_t first,
                         size_t end)
{
    size_t n = 0;
    for (size_t i = first; i < end; i++)
        n += b->hands[i].state == OT_IN_HAND;
    return n;
}

/* With the lock. n of these events are open. */
static size_t settle(struct outtray_batch *b, size_t first, size_t end,
                     size_t n, const struct ot_completion *like)
{
    struct ot_script *s = b->script;
    for (size_t i = first; i < end; i++) {
        struct ot_in_hand *hand = &b->hands[i];
        if (hand->state != OT_IN_HAND)
            continue;
        hand->state =
            like->outcome == OT_OK ? OT_SETTLED_WELL : OT_SETTLED_BADLY;
        if (like->outcome != OT_OK && !b->lost && hand->key != OT_NIL)
            ot_script_key_failed(s, s->keys.pool[hand->key].hash);
        let_go(s, hand);
        if (b->lost)
            continue;
        struct ot_completion c = *like;
        c.ticket = hand->ticket;
        ot_done_push(&s->done, &c);
    }
    b->open -= n;
    if (b->lost)
        return 0;
    s->in_hands -= n;
    if (like->outcome == OT_UNAVAILABLE)
        ot_script_withdraw(s, meanings[OUTTRAY_OUTCOME_UNAVAILABLE].reason);
    if (n > 0)
        ot_script_wake(s);
    return n;
}

static bool forked(const struct outtray_batch *b)
{
    return b->script->pid != getpid();
}

size_t outtray_batch_settle(struct outtray_batch *b, size_t first, size_t n,
                            enum outtray_outcome outcome,
                            int64_t retry_after_ms, const char *reason)
{
    if (first >= b->n || forked(b) || (size_t)outcome >= OT_COUNT(meanings))
        return 0;
    size_t end = n < b->n - first ? first + n : b->n;
    struct ot_completion like = {.outcome = meanings[outcome].outcome,
                                 .scope = meanings[outcome].scope,
                                 .reason = meanings[outcome].reason};
    if (retry_after_ms > 0 && outcome != OUTTRAY_OUTCOME_OK &&
        outcome != OUTTRAY_OUTCOME_REJECTED)
        like.retry_after_us = retry_after_ms * 1000;
    like.maybe_persisted = outcome == OUTTRAY_OUTCOME_UNKNOWN;
    pthread_mutex_lock(&b->script->lock);
    n = count_open(b, first, end);
    if (outcome != OUTTRAY_OUTCOME_OK && !b->lost) {
        const char *kept = keep_reason(b->script, reason, n);
        like.reason = kept != NULL ? kept : like.reason;
    }
    n = settle(b, first, end, n, &like);
    pthread_mutex_unlock(&b->script->lock);
    return n;
}

/* --- looking, and closing -------------------------------------------------- */

size_t outtray_batch_size(const struct outtray_batch *b)
{
    return b->n;
}

const struct outtray_batch_event *
outtray_batch_event(const struct outtray_batch *b, size_t index)
{
    return index < b->n ? &b->events[index] : NULL;
}

size_t outtray_batch_open(const struct outtray_batch *b)
{
    return b->open;
}

static bool behind_a_failed_one(const struct outtray_batch *b, size_t i)
{
    uint32_t before = b->hands[i].before;
    return before != OT_NIL && b->hands[before].state == OT_SETTLED_BADLY;
}

bool outtray_batch_lost(const struct outtray_batch *b)
{
    if (forked(b))
        return true;
    pthread_mutex_lock(&b->script->lock);
    bool lost = b->lost;
    pthread_mutex_unlock(&b->script->lock);
    return lost;
}

bool outtray_batch_next(struct outtray_batch *b, size_t *index)
{
    while (b->next_event < b->n && !outtray_batch_lost(b)) {
        size_t i = b->next_event++;
        if (b->hands[i].state != OT_IN_HAND)
            continue;
        if (!behind_a_failed_one(b, i)) {
            *index = i;
            return true;
        }
        outtray_batch_settle(b, i, 1, OUTTRAY_OUTCOME_UNKNOWN, 0,
                             "script: behind an event of its key that failed");
    }
    *index = b->n;
    return false;
}

void outtray_batch_close(struct outtray_batch *b)
{
    if (b == NULL || forked(b))
        return;
    struct ot_script *s = b->script;
    if (b->open > 0)
        outtray_batch_settle(b, 0, b->n, OUTTRAY_OUTCOME_UNKNOWN, 0, NULL);
    pthread_mutex_lock(&s->lock);
    unlink_batch(s, b);
    ot_script_leave(s);
    ot_free(b->events);
    ot_free(b);
}
