#include "cli/recent.h"

#include <stdlib.h>

#include "store/filter.h"

struct look {
    struct ot_recent *out;
    struct ot_filter filter;
    struct outtray_error *err;
};

static struct ot_recent_topic *find(struct ot_recent *recent,
                                    struct ot_slice name)
{
    for (size_t i = 0; i < recent->n; i++)
        if (ot_slice_equal(ot_slice_of(recent->topics[i].name), name))
            return &recent->topics[i];
    return NULL;
}

static int add(struct look *look, struct ot_slice name,
               struct ot_recent_topic **out)
{
    struct ot_recent *recent = look->out;
    *out = NULL;
    if (recent->n == OT_COUNT(recent->topics))
        return 0;
    struct ot_recent_topic *topic = &recent->topics[recent->n];
    topic->name = ot_strndup(name.p, name.n);
    if (topic->name == NULL)
        return ot_fail_nomem(look->err);
    recent->n++;
    *out = topic;
    return 0;
}

static int each(void *ctx, const struct ot_event_info *info)
{
    struct look *look = ctx;
    struct ot_slice name = info->event.topic;
    if (!ot_filter_match(&look->filter, name))
        return 0;
    struct ot_recent_topic *topic = find(look->out, name);
    int code = topic == NULL ? add(look, name, &topic) : 0;
    if (topic == NULL)
        return code;
    topic->waits |=
        info->fate == OT_FATE_PENDING ||
        (info->fate == OT_FATE_HELD && info->held.state != OT_HELD_SKIPPED);
    if (info->event.seq > topic->last)
        topic->last = info->event.seq;
    return 0;
}

static int keep_filter(void *ctx, const struct ot_status *status)
{
    struct look *look = ctx;
    return ot_filter_parse(&look->filter, status->topics, look->err);
}

/* As the relay will have it, or has it. */
static int read_filter(struct ot_cli *cli, struct look *look)
{
    const char *topics = ot_conf_text(cli->conf, "relay.topics");
    if (topics != NULL)
        return ot_filter_parse(&look->filter, topics, look->err);
    return cli->admin->ops->status(
        cli->admin, ot_conf_text(cli->conf, "relay.subscription"), keep_filter,
        look, look->err);
}

static int read_events(struct ot_cli *cli, struct look *look, bool held)
{
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .after_seq = -OT_RECENT_EVENTS,
        .limit = OT_RECENT_EVENTS,
        .held_only = held,
        .held_state = -1,
    };
    return cli->admin->ops->events(cli->admin, &query, each, look, look->err);
}

static int by_need(const void *a, const void *b)
{
    const struct ot_recent_topic *x = a, *y = b;
    if (x->waits != y->waits)
        return x->waits ? -1 : 1;
    return x->last > y->last ? -1 : x->last < y->last;
}

int ot_recent_topics(struct ot_cli *cli, struct ot_recent *out,
                     struct outtray_error *err)
{
    struct look look = {.out = out, .err = err};
    memset(out, 0, sizeof(*out));
    int code = read_filter(cli, &look);
    if (code == 0)
        code = read_events(cli, &look, false);
    if (code == 0)
        code = read_events(cli, &look, true);
    ot_filter_free(&look.filter);
    if (code == 0 && out->n > 1)
        qsort(out->topics, out->n, sizeof(out->topics[0]), by_need);
    return code;
}

void ot_recent_free(struct ot_recent *recent)
{
    for (size_t i = 0; i < recent->n; i++)
        ot_free(recent->topics[i].name);
    recent->n = 0;
}
