/* steps_sink.c - see steps_sink.h. */
#include "steps_sink.h"

#include <stdio.h>

static struct steps_sink *sink_of(struct ot_sink *sink)
{
    return (struct steps_sink *)(void *)sink;
}

static void say(char *list, size_t size, const struct ot_event *event)
{
    size_t at = strlen(list);

    if (at + event->payload.n + 2 < size)
        snprintf(list + at, size - at, "%s%.*s", at > 0 ? "," : "",
                 (int)event->payload.n, event->payload.p);
}

static size_t op_submit(struct ot_sink *sink, const struct ot_send *sends,
                        size_t n)
{
    struct steps_sink *s = sink_of(sink);
    size_t took = 0;

    for (; took < n && s->n < STEPS_SINK_MOST; took++) {
        s->flight[s->n++] = sends[took];
        say(s->sent, sizeof(s->sent), sends[took].event);
    }
    return took;
}

static int64_t op_service(struct ot_sink *sink, int64_t now_us)
{
    (void)sink;
    (void)now_us;
    return OT_NEVER;
}

static size_t op_fds(const struct ot_sink *sink, struct ot_fd *out, size_t max)
{
    (void)sink;
    (void)out;
    (void)max;
    return 0;
}

static size_t op_completions(struct ot_sink *sink, struct ot_completion *out,
                             size_t max)
{
    struct steps_sink *s = sink_of(sink);
    size_t ready = s->lost ? s->n : s->settle < s->n ? s->settle : s->n;
    size_t n = ready < max ? ready : max;

    for (size_t i = 0; i < n; i++) {
        out[i] = (struct ot_completion){
            .ticket = s->flight[i].ticket,
            .outcome = i < s->settle ? OT_OK : OT_UNKNOWN,
        };
        if (i < s->settle)
            say(s->ok, sizeof(s->ok), s->flight[i].event);
    }
    memmove(s->flight, s->flight + n, (s->n - n) * sizeof(*s->flight));
    s->n -= n;
    s->settle -= n < s->settle ? n : s->settle;
    if (s->n == 0)
        s->lost = false;
    return n;
}

static void op_abandon(struct ot_sink *sink)
{
    sink_of(sink)->lost = true;
}

static void op_health(const struct ot_sink *sink, struct ot_health *out)
{
    (void)sink;
    memset(out, 0, sizeof(*out));
    out->state = OT_HEALTH_UP;
}

static const struct ot_sink_ops steps_ops = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED,
    .scheme = "steps",
    .submit = op_submit,
    .service = op_service,
    .fds = op_fds,
    .completions = op_completions,
    .abandon = op_abandon,
    .health = op_health,
};

void steps_sink_init(struct steps_sink *s)
{
    memset(s, 0, sizeof(*s));
    s->base.ops = &steps_ops;
}
