/* rates.c - limits per topic: "orders=100, mail=20". */
#include "conf/object.h"

#include <stdio.h>

/* The last '=': a topic may have one. */
static size_t split(struct ot_slice term)
{
    size_t at = term.n;
    while (at > 0 && term.p[at - 1] != '=')
        at--;
    return at;
}

static int read_term(const struct ot_conf_key *each, const char *name,
                     struct ot_slice term, struct ot_conf_rate *out,
                     struct outtray_error *err)
{
    size_t at = split(term);
    char number[32];

    if (at == 0 ||
        (out->topic = ot_slice_trim(ot_slice(term.p, at - 1))).n == 0)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "%s: '%.*s' is not a topic and its limit: write "
                       "orders=100, and a comma before the next",
                       name, (int)term.n, term.p);
    if (out->topic.p[out->topic.n - 1] == '*')
        return ot_fail(err, OUTTRAY_E_CONF,
                       "%s: '%.*s': a limit is of one topic, without a *", name,
                       (int)out->topic.n, out->topic.p);
    term = ot_slice_trim(ot_slice(term.p + at, term.n - at));
    snprintf(number, sizeof(number), "%.*s", (int)term.n, term.p);
    if (ot_conf_value_parse(each, number, &out->per_s, err) == 0)
        return 0;
    return ot_fail_context(err, OUTTRAY_E_CONF, "%s: topic %.*s", name,
                           (int)out->topic.n, out->topic.p);
}

int ot_conf_rates(const struct outtray_conf *conf, const char *name,
                  ot_conf_rate_fn *each, void *ctx, struct outtray_error *err)
{
    /* The limit of all has the type and the range of those of one. */
    const char *all = strcmp(name, "limit.topic_bytes_per_s") == 0
                          ? "limit.bytes_per_s"
                          : "limit.events_per_s";
    const char *p = ot_conf_text(conf, name);
    int rc = 0;

    while (rc == 0 && p != NULL) {
        size_t n = strcspn(p, ",");
        struct ot_conf_rate rate = {.per_s = 0};

        rc = read_term(ot_conf_key_at((size_t)ot_conf_find(all)), name,
                       ot_slice_trim(ot_slice(p, n)), &rate, err);
        if (rc == 0 && each != NULL)
            rc = each(ctx, name, rate, err);
        p = p[n] == ',' ? p + n + 1 : NULL;
    }
    return rc;
}
