/* report_text.c - see report_text.h. */
#include "relay/report_text.h"

#include <stdio.h>
#include <unistd.h>

#define MEASURE_US 1000000 /* a rate over less says nothing */

void ot_report_text_init(struct ot_report_text *t,
                         const struct outtray_conf *conf)
{
    struct ot_buffer sink = {0};

    memset(t, 0, sizeof(*t));
    if (ot_conf_is_set(conf, "sink.url"))
        ot_url_print(ot_conf_text(conf, "sink.url"), &sink);
    if (sink.p != NULL && !sink.failed)
        snprintf(t->sink, sizeof(t->sink), "%s", sink.p);
    ot_buffer_free(&sink);
    if (gethostname(t->host, sizeof(t->host) - 1) != 0)
        t->host[0] = '\0';
    t->pid = (int64_t)getpid();
    t->ttl_us = ot_conf_us(conf, "relay.lease_ttl_ms");
}

/* --- writing ------------------------------------------------------------- */

/* Appends at most what fits; texts are short, so that it does. */
struct out {
    char *p;
    size_t n, size;
};

static void put(struct out *o, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
static void put(struct out *o, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(o->p + o->n, o->size - o->n, fmt, args);
    va_end(args);
    o->n += n > 0 ? (size_t)n : 0;
    if (o->n >= o->size)
        o->n = o->size - 1;
}

/* A broker's words may be anything. What is no UTF-8 becomes a question mark;
 * what would need an escape is written without, so that the whole stays as short
 * as it looks. */
static void put_text(struct out *o, const char *name, const char *text)
{
    char copy[OT_REPORT_DETAIL];

    snprintf(copy, sizeof(copy), "%s", text);
    ot_utf8_mend(copy, true);
    put(o, ",\"%s\":\"", name);
    for (const char *c = copy; *c != '\0'; c++) {
        if (*c == '"')
            put(o, "'");
        else
            put(o, "%c", (unsigned char)*c < ' ' || *c == '\\' ? ' ' : *c);
    }
    put(o, "\"");
}

static void measure(struct ot_report_text *t, const struct ot_engine_stats *s,
                    int64_t now_us)
{
    int64_t passed_us = now_us - t->measured_us;

    if (t->measured_us != 0 && passed_us < MEASURE_US)
        return;
    if (t->measured_us != 0)
        t->rate = (double)(s->ok - t->delivered) * 1e6 / (double)passed_us;
    t->delivered = s->ok;
    t->measured_us = now_us;
}

static void put_numbers(struct out *o, const struct ot_report_text *t,
                        const struct ot_engine_stats *s)
{
    long long tenths = (long long)(t->rate * 10); /* %f has a locale */
    uint64_t failed =
        s->retry + s->rejected + s->misconfigured + s->unavailable + s->unknown;
    uint64_t held = 0;

    for (size_t i = 0; i < OT_COUNT(s->held); i++)
        held += s->held[i];
    put(o,
        ",\"rate\":%lld.%lld,\"delivered\":%llu,\"failed\":%llu,\"dead\":%llu"
        ",\"window\":%lu,\"in_flight\":%lu,\"held\":%llu,\"gaps\":%lu"
        ",\"breaker\":\"%s\"",
        tenths / 10, tenths % 10, (unsigned long long)s->ok,
        (unsigned long long)failed, (unsigned long long)s->dead,
        (unsigned long)s->window, (unsigned long)s->in_flight,
        (unsigned long long)held, (unsigned long)s->gaps, s->breaker);
}

static void put_broker(struct out *o, const struct ot_sink *sink)
{
    struct ot_sink_stats s;

    if (sink == NULL || !ot_sink_stats(sink, &s))
        return;
    put(o,
        ",\"broker\":{\"rtt_avg_us\":%lld,\"rtt_p99_us\":%lld"
        ",\"throttle_avg_ms\":%lld,\"throttle_max_ms\":%lld"
        ",\"queued_events\":%lld,\"queued_bytes\":%lld}",
        (long long)s.rtt_avg_us, (long long)s.rtt_p99_us,
        (long long)s.throttle_avg_ms, (long long)s.throttle_max_ms,
        (long long)s.queued_events, (long long)s.queued_bytes);
}

const char *ot_report_text(struct ot_report_text *t,
                           const struct ot_report *report,
                           const struct ot_driver *driver, int64_t now_us)
{
    struct out o = {t->text, 0, sizeof(t->text)};
    struct ot_engine_stats stats;

    ot_engine_stats(driver->engine, &stats);
    measure(t, &stats, now_us);
    put(&o, "{\"reason\":\"%s\"", ot_stall_name(report->shown));
    put_text(&o, "detail",
             report->shown == report->stall ? report->detail : "");
    put(&o, ",\"since_us\":%lld", (long long)report->shown_since_us);
    put_text(&o, "sink", t->sink);
    put_numbers(&o, t, &stats);
    put_broker(&o, driver->sink);
    if (driver->failure[0] != '\0') {
        put_text(&o, "failure", driver->failure);
        put(&o, ",\"failure_us\":%lld", (long long)driver->failure_us);
    }
    put_text(&o, "host", t->host);
    put(&o, ",\"pid\":%lld,\"ttl_us\":%lld}", (long long)t->pid,
        (long long)t->ttl_us);
    return t->text;
}
