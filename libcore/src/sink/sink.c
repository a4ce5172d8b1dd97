/* sink.c - from a sink URL to a sink. */
#include "sink/sink.h"
#include "sink/builtin.h"

/* Every scheme there is; ops NULL: left out of this build. */
static const struct {
    const char *scheme;
    const struct ot_sink_ops *ops;
} known[] = {
#ifdef OUTTRAY_WITH_KAFKA
    {"kafka", &ot_sink_kafka},
#else
    {"kafka", NULL},
#endif

    {"file", &ot_sink_file},     {"stdout", &ot_sink_stdout},
    {"null", &ot_sink_null},     {"fault", &ot_sink_fault},
    {"script", &ot_sink_script},
};

static const char known_text[] =
    "kafka://host:port,host:port, file:///path, stdout:, null:, "
    "script:, fault:?script=...";

const char *ot_outcome_name(enum ot_outcome outcome)
{
    static const char *const names[] = {
        "ok", "retry", "rejected", "misconfigured", "unavailable", "unknown"};
    return (size_t)outcome < OT_COUNT(names) ? names[outcome] : "?";
}

bool ot_sink_stats(const struct ot_sink *sink, struct ot_sink_stats *out)
{
    return sink->ops->stats != NULL && sink->ops->stats(sink, out);
}

int ot_sink_open(struct ot_sink **out, const struct outtray_conf *conf,
                 const struct ot_log *log, struct outtray_error *err)
{
    *out = NULL;
    const char *text = ot_conf_secret(conf, "sink.url");
    if (text == NULL || *text == '\0')
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.url is not set: give one of %s", known_text);
    size_t n = strcspn(text, ":/?@");
    if (n == 0 || text[n] != ':')
        return ot_fail(err, OUTTRAY_E_URL,
                       "sink.url has no scheme: give one of %s", known_text);
    for (size_t i = 0; i < OT_COUNT(known); i++) {
        if (strlen(known[i].scheme) != n ||
            memcmp(known[i].scheme, text, n) != 0)
            continue;
        if (known[i].ops == NULL)
            return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                           "sink.url: this build has no %s sink; install or "
                           "build outtray with it",
                           known[i].scheme);
        return known[i].ops->open(out, conf, log, err);
    }
    return ot_fail(err, OUTTRAY_E_URL,
                   "sink.url: no sink has the scheme \"%.*s\": give one of %s",
                   n > 40 ? 40 : (int)n, text, known_text);
}

void ot_sink_destination(const struct outtray_conf *conf, struct ot_slice topic,
                         struct ot_buffer *out)
{
    static const char mark[] = "${topic}";
    const char *form = ot_conf_text(conf, "sink.topic");
    if (form == NULL || *form == '\0')
        form = mark;
    const char *at;
    while ((at = strstr(form, mark)) != NULL) {
        ot_buffer_add(out, form, (size_t)(at - form));
        ot_buffer_slice(out, topic);
        form = at + sizeof(mark) - 1;
    }
    ot_buffer_puts(out, form);
}
