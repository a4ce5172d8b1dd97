/* options.c - see options.h. */
#include "relay/options.h"

static enum ot_ordering ordering_of(const char *text)
{
    if (strcmp(text, "none") == 0)
        return OT_ORDER_NONE;
    return strcmp(text, "strict") == 0 ? OT_ORDER_STRICT : OT_ORDER_KEY;
}

static enum ot_policy policy_of(const char *text)
{
    if (strcmp(text, "park") == 0)
        return OT_PARK;
    if (strcmp(text, "dead_letter") == 0)
        return OT_DEAD_LETTER;
    return strcmp(text, "block") == 0 ? OT_BLOCK : OT_POLICY_AUTO;
}

static void read_window(const struct outtray_conf *conf,
                        struct ot_engine_options *out)
{
    out->batch_events = (uint32_t)ot_conf_int(conf, "relay.batch_events");
    out->batch_bytes = (size_t)ot_conf_int(conf, "relay.batch_bytes");
    out->window_events = (uint32_t)ot_conf_int(conf, "relay.window_events");
    out->window_bytes = (size_t)ot_conf_int(conf, "relay.window_bytes");
    out->held_max = (uint32_t)ot_conf_int(conf, "relay.held_max");
}

/* ctx: the engine's options. */
static int add_limit(void *ctx, const char *name, struct ot_conf_rate rate,
                     struct outtray_error *err)
{
    struct ot_engine_options *out = ctx;
    uint32_t i = 0;

    while (i < out->ntopic_limits &&
           !ot_slice_equal(out->topic_limits[i].topic, rate.topic))
        i++;
    if (i == OT_TOPIC_LIMITS)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "%s: %d topics have a limit of their own, more are not "
                       "possible",
                       name, OT_TOPIC_LIMITS);
    if (i == out->ntopic_limits)
        out->topic_limits[out->ntopic_limits++].topic = rate.topic;
    if (strcmp(name, "limit.topic_bytes_per_s") == 0)
        out->topic_limits[i].bytes_per_s = rate.per_s;
    else
        out->topic_limits[i].events_per_s = rate.per_s;
    return 0;
}

static int read_limits(const struct outtray_conf *conf,
                       struct ot_engine_options *out, struct outtray_error *err)
{
    int rc =
        ot_conf_rates(conf, "limit.topic_events_per_s", add_limit, out, err);

    out->limit_events_per_s = ot_conf_int(conf, "limit.events_per_s");
    out->limit_bytes_per_s = ot_conf_int(conf, "limit.bytes_per_s");
    return rc != 0 ? rc
                   : ot_conf_rates(conf, "limit.topic_bytes_per_s", add_limit,
                                   out, err);
}

static void read_pace(const struct outtray_conf *conf,
                      struct ot_engine_options *out)
{
    out->lease_ttl_us = ot_conf_us(conf, "relay.lease_ttl_ms");
    out->poll_min_us = ot_conf_us(conf, "relay.poll_min_ms");
    out->poll_max_us = ot_conf_us(conf, "relay.poll_max_ms");
    out->cursor_us = ot_conf_us(conf, "relay.cursor_ms");
}

static void read_retry(const struct outtray_conf *conf,
                       struct ot_engine_options *out)
{
    out->retry_min_us = ot_conf_us(conf, "retry.min_ms");
    out->retry_max_us = ot_conf_us(conf, "retry.max_ms");
    out->retry_max_age_us = ot_conf_us(conf, "retry.max_age_ms");
    out->retry_max_attempts = (uint32_t)ot_conf_int(conf, "retry.max_attempts");
    out->block_retry_us = ot_conf_us(conf, "relay.block_retry_ms");
    out->probe_min_us = ot_conf_us(conf, "probe.min_ms");
    out->probe_max_us = ot_conf_us(conf, "probe.max_ms");
    out->breaker_min_us = ot_conf_us(conf, "breaker.min_ms");
    out->breaker_max_us = ot_conf_us(conf, "breaker.max_ms");
}

int ot_relay_options(const struct outtray_conf *conf, uint32_t store_caps,
                     uint32_t sink_caps, struct ot_engine_options *out,
                     struct outtray_error *err)
{
    ot_engine_defaults(out);
    out->ordering = ordering_of(ot_conf_text(conf, "relay.ordering"));
    out->on_reject = policy_of(ot_conf_text(conf, "relay.on_reject"));
    out->sink_ordered = (sink_caps & OT_SINK_ORDERED) != 0;
    out->barrier_by_write = (store_caps & OT_STORE_BARRIER_BY_WRITE) != 0;
    read_window(conf, out);
    read_pace(conf, out);
    read_retry(conf, out);
    int rc = read_limits(conf, out, err);
    if (rc != 0)
        return rc;
    if (ot_random_bytes(&out->seed, sizeof(out->seed)) != 0)
        return ot_fail_random(err);
    return 0;
}
