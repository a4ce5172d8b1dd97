/* null.c - the sink that forgets: every event is delivered at once. For
 * measuring everything before it. */
#include "sink/builtin.h"
#include "sink/done.h"

enum { CAPACITY = 65536 };

struct null_sink {
    struct ot_sink base;
    struct ot_done done;
};

static struct null_sink *self(struct ot_sink *sink)
{
    return (struct null_sink *)sink;
}

static int null_open(struct ot_sink **out, const struct outtray_conf *conf,
                     const struct ot_log *log, struct outtray_error *err)
{
    (void)conf;
    (void)log;
    struct null_sink *s = ot_alloc_zero(1, sizeof(*s));
    *out = NULL;
    if (s == NULL)
        return ot_fail_nomem(err);
    s->base.ops = &ot_sink_null;
    if (!ot_done_reserve(&s->done, 1)) { /* so that submit can take one */
        ot_free(s);
        return ot_fail_nomem(err);
    }
    *out = &s->base;
    return 0;
}

static size_t null_submit(struct ot_sink *sink, const struct ot_send *sends,
                          size_t n)
{
    struct null_sink *s = self(sink);
    size_t i;
    for (i = 0; i < n && s->done.n < CAPACITY; i++) {
        if (!ot_done_reserve(&s->done, s->done.n + 1))
            break;
        struct ot_completion c = {.ticket = sends[i].ticket};
        ot_done_push(&s->done, &c);
    }
    return i;
}

static int64_t null_service(struct ot_sink *sink, int64_t now_us)
{
    return self(sink)->done.n > 0 ? now_us : OT_NEVER;
}

static size_t null_fds(const struct ot_sink *sink, struct ot_fd *out,
                       size_t max)
{
    (void)sink;
    (void)out;
    (void)max;
    return 0;
}

static size_t null_completions(struct ot_sink *sink, struct ot_completion *out,
                               size_t max)
{
    return ot_done_take(&self(sink)->done, out, max);
}

static void null_abandon(struct ot_sink *sink)
{
    (void)sink; /* nothing is ever pending but what is done */
}

static int null_check(struct ot_sink *sink, const char *destination,
                      int timeout_ms, struct outtray_error *err)
{
    (void)sink;
    (void)destination;
    (void)timeout_ms;
    ot_error_clear(err);
    return 0;
}

static void null_health(const struct ot_sink *sink, struct ot_health *out)
{
    *out = (struct ot_health){
        .state = OT_HEALTH_UP,
        .in_flight = ((const struct null_sink *)sink)->done.n,
    };
}

static void null_close(struct ot_sink *sink)
{
    ot_done_free(&self(sink)->done);
    ot_free(sink);
}

const struct ot_sink_ops ot_sink_null = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED | OT_SINK_CHECKS,
    .scheme = "null",
    .open = null_open,
    .submit = null_submit,
    .service = null_service,
    .fds = null_fds,
    .completions = null_completions,
    .abandon = null_abandon,
    .check = null_check,
    .health = null_health,
    .close = null_close,
};
