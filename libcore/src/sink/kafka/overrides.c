/* overrides.c - what the operator says of single errors: sink.classify. */
#include "sink/kafka/overrides.h"

#include <stdio.h>
#include <strings.h>

#define E(name) RD_KAFKA_RESP_ERR_##name

enum { NAME = 64 };

static int fail_unknown(const char *name, struct outtray_error *err)
{
    const struct rd_kafka_err_desc *all;
    const char *nearest = NULL;
    size_t n, least = strlen(name) / 3 + 2;

    rd_kafka_get_err_descs(&all, &n);
    for (size_t i = 0; i < n; i++) {
        size_t d = all[i].name != NULL ? ot_distance(name, all[i].name) : least;

        if (d < least) {
            least = d;
            nearest = all[i].name;
        }
    }
    return ot_fail(err, OUTTRAY_E_CONF,
                   "sink.classify: librdkafka %s knows no error %s%s%s%s",
                   rd_kafka_version_str(), name,
                   nearest != NULL ? "; did you mean " : "",
                   nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
}

static int find_error(const char *name, rd_kafka_resp_err_t *out,
                      struct outtray_error *err)
{
    const struct rd_kafka_err_desc *all;
    size_t n;

    rd_kafka_get_err_descs(&all, &n);
    for (size_t i = 0; i < n; i++) {
        if (all[i].name != NULL && strcasecmp(all[i].name, name) == 0) {
            *out = all[i].code;
            return 0;
        }
    }
    return fail_unknown(name, err);
}

static int find_outcome(const char *error, const char *name,
                        enum ot_outcome *out, struct outtray_error *err)
{
    if (strcmp(name, "ok") == 0)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.classify: %s:ok: an event that the broker did not "
                       "take would count as delivered",
                       error);
    if (strcmp(name, "unknown") == 0)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.classify: %s:unknown: whether a copy may be there "
                       "is seen when it happens: write unavailable",
                       error);
    for (int i = OT_OK; i <= OT_UNKNOWN; i++) {
        *out = (enum ot_outcome)i;
        if (strcmp(ot_outcome_name(*out), name) == 0)
            return 0;
    }
    return ot_fail(err, OUTTRAY_E_CONF,
                   "sink.classify: %s:%s: a class is retry, rejected, "
                   "misconfigured or unavailable",
                   error, name);
}

/* What would lose, or use up the attempts of, events that are not to blame. */
static int check(const char *name, rd_kafka_resp_err_t error,
                 enum ot_outcome outcome, struct outtray_error *err)
{
    static const rd_kafka_resp_err_t of_producer[] = {
        E(OUT_OF_ORDER_SEQUENCE_NUMBER), E(INVALID_PRODUCER_EPOCH),
        E(UNKNOWN_PRODUCER_ID), E(INVALID_TXN_STATE)};
    bool own = outcome == OT_RETRY || outcome == OT_REJECTED;

    if (error == E(NO_ERROR) || error == E(DUPLICATE_SEQUENCE_NUMBER))
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.classify: %s is no error of an event: take it out",
                       name);
    if (error < E(UNKNOWN))
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.classify: %s is the client's own, not an answer "
                       "of the broker: take it out",
                       name);
    if (own && ot_kafka_is_outage(error))
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.classify: %s:%s: it is an outage, which must use "
                       "up no attempts: write misconfigured or unavailable",
                       name, ot_outcome_name(outcome));
    for (size_t i = 0; i < OT_COUNT(of_producer); i++)
        if (outcome == OT_REJECTED && of_producer[i] == error)
            return ot_fail(err, OUTTRAY_E_CONF,
                           "sink.classify: %s:rejected: it tells of the "
                           "producer, and events would die that are not to "
                           "blame",
                           name);
    return 0;
}

/* A message set fails as a whole: its neighbours are innocent. What a topic is
 * to blame for is the same for each of its events. */
static enum ot_scope scope_of(enum ot_scope usual, enum ot_outcome outcome)
{
    switch (outcome) {
    case OT_REJECTED:
        return usual == OT_ITS_TOPIC ? OT_THIS_EVENT : OT_ITS_BATCH;
    case OT_MISCONFIGURED:
        return OT_ITS_TOPIC;
    case OT_UNAVAILABLE:
        return OT_THE_SINK;
    default:
        return OT_THIS_EVENT;
    }
}

static int add(struct ot_kafka_overrides *out, const char *name,
               rd_kafka_resp_err_t error, enum ot_outcome outcome,
               struct outtray_error *err)
{
    const struct ot_kafka_class *usual = ot_kafka_classify(error);
    struct ot_kafka_class *of;

    if (ot_kafka_override(out, error) != NULL)
        return ot_fail(err, OUTTRAY_E_CONF, "sink.classify: %s stands twice",
                       name);
    of = ot_resize(out->of, (out->n + 1) * sizeof(*of));
    if (of == NULL)
        return ot_fail_nomem(err);
    out->of = of;
    of[out->n++] = (struct ot_kafka_class){
        .err = error,
        .outcome = outcome,
        .scope = scope_of(usual->scope, outcome),
        .advice = usual->advice,
    };
    return 0;
}

static int read_term(struct ot_kafka_overrides *out, struct ot_slice term,
                     struct outtray_error *err)
{
    const char *colon = term.n > 0 ? memchr(term.p, ':', term.n) : NULL;
    size_t at = colon != NULL ? (size_t)(colon - term.p) : 0;
    struct ot_slice name = ot_slice_trim(ot_slice(term.p, at));
    struct ot_slice class = {0};
    char error[NAME], outcome[NAME];
    enum ot_outcome to = OT_OK;
    rd_kafka_resp_err_t of = E(NO_ERROR);

    if (colon != NULL)
        class = ot_slice_trim(ot_slice(colon + 1, term.n - at - 1));
    if (name.n == 0 || name.n >= NAME || class.n == 0 || class.n >= NAME)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.classify: '%.*s' is not an error and its class: "
                       "write POLICY_VIOLATION:retry, and a comma before the "
                       "next",
                       (int)(term.n < 100 ? term.n : 100), term.p);
    snprintf(error, sizeof(error), "%.*s", (int)name.n, name.p);
    snprintf(outcome, sizeof(outcome), "%.*s", (int)class.n, class.p);
    int code = find_error(error, &of, err);
    if (code == 0)
        code = find_outcome(error, outcome, &to, err);
    if (code == 0)
        code = check(error, of, to, err);
    return code != 0 ? code : add(out, error, of, to, err);
}

int ot_kafka_overrides_read(struct ot_kafka_overrides *out, const char *text,
                            struct outtray_error *err)
{
    int code = 0;

    *out = (struct ot_kafka_overrides){0};
    if (text != NULL && text[strspn(text, " \t")] == '\0')
        return 0;
    while (code == 0 && text != NULL) {
        size_t n = strcspn(text, ",");

        code = read_term(out, ot_slice_trim(ot_slice(text, n)), err);
        text = text[n] == ',' ? text + n + 1 : NULL;
    }
    if (code != 0)
        ot_kafka_overrides_free(out);
    return code;
}

void ot_kafka_overrides_free(struct ot_kafka_overrides *overrides)
{
    ot_free(overrides->of);
    *overrides = (struct ot_kafka_overrides){0};
}

/* The client has names of its own for a topic that the broker does not know. */
static rd_kafka_resp_err_t brokers_name(rd_kafka_resp_err_t err)
{
    return err == E(_UNKNOWN_TOPIC) || err == E(_UNKNOWN_PARTITION)
               ? E(UNKNOWN_TOPIC_OR_PART)
               : err;
}

const struct ot_kafka_class *
ot_kafka_override(const struct ot_kafka_overrides *overrides,
                  rd_kafka_resp_err_t err)
{
    err = brokers_name(err);
    for (size_t i = 0; i < overrides->n; i++)
        if (overrides->of[i].err == err)
            return &overrides->of[i];
    return NULL;
}
