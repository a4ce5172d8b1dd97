/* validate.c - what may become a row. A poison row must not be created: the
 * caller that could still mend it is here, not at the broker. */
#include "enqueue/enqueue.h"
#include "event/headers.h"

#include <stdlib.h>

/* Whoever passes seconds, milliseconds or nanoseconds instead of microseconds
 * is outside of this: 2000-01-01 and 9999-12-31. */
#define MOMENT_MIN INT64_C(946684800000000)
#define MOMENT_MAX INT64_C(253402300799999999)

static int check_text(struct outtray_slice s, const char *member, size_t max,
                      struct outtray_error *err)
{
    size_t at;

    if (s.n > max)
        return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                       "%s: %zu bytes, at most %zu are allowed", member, s.n,
                       max);
    if (s.p == NULL || ot_utf8_valid(ot_borrow(s), &at))
        return 0;
    if (s.p[at] == '\0')
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "%s: a NUL at byte %zu, which a database's text cannot "
                       "hold",
                       member, at);
    return ot_fail(err, OUTTRAY_E_INVALID_UTF8, "%s: not UTF-8 at byte %zu",
                   member, at);
}

static int check_texts(const struct outtray_event *e, struct outtray_error *err)
{
    int rc;

    if (e->topic.p == NULL || e->topic.n == 0)
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "topic: it is empty, and every event needs one");
    if ((rc = check_text(e->topic, "topic", OT_TOPIC_MAX, err)) != 0 ||
        (rc = check_text(e->key, "key", OT_KEY_MAX, err)) != 0 ||
        (rc = check_text(e->type, "type", OT_TYPE_MAX, err)) != 0)
        return rc;
    return 0;
}

static int check_moment(int64_t us, struct outtray_error *err)
{
    if (us == 0 || (us >= MOMENT_MIN && us <= MOMENT_MAX))
        return 0;
    return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                   "deliver_at: %lld is not between the years 2000 and 9999 in "
                   "microseconds since 1970",
                   (long long)us);
}

static int check_members(const struct outtray_event *e,
                         const struct ot_enqueue_limits *limits,
                         struct outtray_error *err)
{
    struct ot_uuid id;
    int rc = check_texts(e, err);

    if (rc != 0)
        return rc;
    if (e->payload.n > limits->payload_bytes)
        return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                       "payload: %zu bytes, at most %zu are allowed: store it "
                       "elsewhere and send a reference",
                       e->payload.n, limits->payload_bytes);
    rc = ot_headers_check(ot_borrow(e->headers), limits->headers_bytes, err);
    if (rc != 0)
        return rc;
    if (e->id.p != NULL && !ot_uuid_parse(ot_borrow(e->id), &id))
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "id: not a UUID like "
                       "01912d68-783e-7a03-8467-5661c1243ad4");
    return check_moment(e->deliver_at_us, err);
}

/* A slice of no place but some length: the caller's own slip. */
static bool broken(struct outtray_slice s)
{
    return s.p == NULL && s.n != 0;
}

int ot_enqueue_check(const struct outtray_event *e, size_t index,
                     const struct ot_enqueue_limits *limits,
                     struct outtray_error *err)
{
    int rc;

    if (broken(e->topic) || broken(e->key) || broken(e->type) ||
        broken(e->headers) || broken(e->payload) || broken(e->id))
        rc =
            ot_fail(err, OUTTRAY_E_MISUSE, "a slice has a length and no bytes");
    else
        rc = check_members(e, limits, err);
    if (rc == 0 || rc == OUTTRAY_E_NOMEM)
        return rc;
    return ot_fail_context(err, rc, "event %zu", index);
}

/* --- the batch ----------------------------------------------------------- */

struct given_id {
    struct ot_uuid id;
    size_t index;
};

static int by_id(const void *a, const void *b)
{
    const struct given_id *x = a, *y = b;
    int order = memcmp(x->id.b, y->id.b, sizeof(x->id.b));

    if (order != 0)
        return order;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Consumers take the second event of an id for a repetition and drop it. */
static int check_ids(struct given_id *ids, size_t n, struct outtray_error *err)
{
    char text[37];

    qsort(ids, n, sizeof(*ids), by_id);
    for (size_t i = 1; i < n; i++)
        if (memcmp(ids[i - 1].id.b, ids[i].id.b, sizeof(ids[i].id.b)) == 0)
            return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                           "event %zu: id: %s is also that of event %zu",
                           ids[i].index, ot_uuid_text(ids[i].id, text),
                           ids[i - 1].index);
    return 0;
}

static int check_given_ids(const struct outtray_event *events, size_t n,
                           size_t given, struct outtray_error *err)
{
    if (given < 2)
        return 0;
    struct given_id *ids = ot_alloc_zero(given, sizeof(*ids));
    if (ids == NULL)
        return ot_fail_nomem(err);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (events[i].id.p == NULL)
            continue;
        ids[at].index = i;
        /* Parsed before: it was checked to be a UUID. */
        (void)ot_uuid_parse(ot_borrow(events[i].id), &ids[at].id);
        at++;
    }
    int rc = check_ids(ids, given, err);
    ot_free(ids);
    return rc;
}

int ot_enqueue_check_batch(const struct outtray_event *events, size_t n,
                           struct outtray_error *err)
{
    size_t bytes = 0, given = 0;

    for (size_t i = 0; i < n; i++) {
        const struct outtray_event *e = &events[i];
        bytes +=
            e->topic.n + e->key.n + e->type.n + e->headers.n + e->payload.n;
        given += e->id.p != NULL;
        /* Here and not after the loop: the sum must not wrap around. */
        if (bytes > OT_BATCH_BYTES_MAX)
            return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                           "%zu events have more than %zu bytes together: "
                           "enqueue them in several calls, one transaction can "
                           "hold all of them",
                           n, OT_BATCH_BYTES_MAX);
    }
    return check_given_ids(events, n, given, err);
}
