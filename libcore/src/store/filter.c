/* filter.c - matching topics against relay.topics. */
#include "store/filter.h"

static int add(struct ot_filter *f, struct ot_slice term,
               struct outtray_error *err)
{
    struct ot_filter_term *t = &f->terms[f->n];
    const char *star;

    term = ot_slice_trim(term);
    if (term.n == 0)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "relay.topics: a name is missing before or after a "
                       "comma; leave the setting out for all topics");
    t->prefix = term.p[term.n - 1] == '*';
    term.n -= t->prefix;
    star = memchr(term.p, '*', term.n);
    if (star != NULL)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "relay.topics: \"%.*s\": a * is only allowed at the "
                       "end of a name",
                       (int)(term.n + t->prefix), term.p);
    t->text = term;
    f->n++;
    return 0;
}

int ot_filter_parse(struct ot_filter *out, const char *topics,
                    struct outtray_error *err)
{
    size_t most = 1;
    int code = 0;

    memset(out, 0, sizeof(*out));
    if (topics == NULL || ot_slice_trim(ot_slice_of(topics)).n == 0)
        return 0;
    for (const char *p = topics; *p != '\0'; p++)
        most += *p == ',';
    out->memory = ot_strdup(topics);
    out->terms = ot_alloc_zero(most, sizeof(*out->terms));
    if (out->memory == NULL || out->terms == NULL)
        code = ot_fail_nomem(err);
    for (const char *p = out->memory; code == 0 && p != NULL;) {
        const char *comma = strchr(p, ',');

        code = add(out,
                   ot_slice(p, comma != NULL ? (size_t)(comma - p) : strlen(p)),
                   err);
        p = comma != NULL ? comma + 1 : NULL;
    }
    if (code != 0)
        ot_filter_free(out);
    return code;
}

bool ot_filter_match(const struct ot_filter *f, struct ot_slice topic)
{
    for (size_t i = 0; i < f->n; i++) {
        struct ot_slice text = f->terms[i].text;

        if (f->terms[i].prefix) {
            if (topic.n >= text.n &&
                (text.n == 0 || memcmp(topic.p, text.p, text.n) == 0))
                return true;
        } else if (ot_slice_equal(topic, text)) {
            return true;
        }
    }
    return f->n == 0;
}

void ot_filter_free(struct ot_filter *f)
{
    ot_free(f->memory);
    ot_free(f->terms);
    memset(f, 0, sizeof(*f));
}
