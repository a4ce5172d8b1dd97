#include "cli/ndjson.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "cli/cli.h"

/* --- where a member stands in a line that is known to be JSON ------------- */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

/* From the opening quote to behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (depth > 0 && (*p == '}' || *p == ']')) {
            depth--;
            p++;
        } else if (depth == 0 && (*p == ',' || *p == '}' || *p == ' ' ||
                                  *p == '\t' || *p == '\r')) {
            return p;
        } else {
            p++;
            continue; /* inside of a number or a word */
        }
        if (depth == 0)
            return p;
    }
    return end;
}

/* The text of a member's value; p NULL if its name is written with escapes. */
static struct ot_slice member_text(struct ot_slice line, const char *name)
{
    const char *end = line.p + line.n;
    const char *p = skip_space(line.p, end);
    size_t n = strlen(name);
    for (p++; p < end;) {
        p = skip_space(p, end);
        if (p >= end || *p != '"')
            break;
        const char *key = p + 1;
        p = skip_string(p, end);
        size_t length = (size_t)(p - key) - 1;
        p = skip_space(p, end) + 1; /* the colon */
        p = skip_space(p, end);
        const char *value = p;
        p = skip_value(p, end);
        if (length == n && memcmp(key, name, n) == 0)
            return ot_slice(value, (size_t)(p - value));
        p = skip_space(p, end) + 1; /* the comma */
    }
    return ot_slice(NULL, 0);
}

/* --- one line ------------------------------------------------------------ */

static int own(struct ot_batch *batch, char *made, size_t n,
               struct outtray_slice *out, struct outtray_error *err)
{
    if (made == NULL)
        return ot_fail_nomem(err);
    batch->owned[batch->nowned++] = made;
    *out = (struct outtray_slice){made, n};
    return 0;
}

static int take_text(json_t *value, const char *member,
                     struct outtray_slice *out, struct outtray_error *err)
{
    if (json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT, "%s: not a string",
                       member);
    *out = (struct outtray_slice){json_string_value(value),
                                  json_string_length(value)};
    return 0;
}

static int take_headers(struct ot_batch *batch, json_t *value,
                        struct outtray_slice *out, struct outtray_error *err)
{
    if (json_is_null(value))
        return 0;
    if (!json_is_object(value))
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "headers: not an object of strings");
    char *dumped = json_dumps(value, JSON_COMPACT);
    char *copy = dumped != NULL ? ot_strdup(dumped) : NULL;
    free(dumped);
    return own(batch, copy, copy != NULL ? strlen(copy) : 0, out, err);
}

static int take_payload(struct ot_batch *batch, json_t *value,
                        struct ot_slice line, struct outtray_slice *out,
                        struct outtray_error *err)
{
    if (json_is_null(value) || json_is_string(value))
        return take_text(value, "payload", out, err);
    struct ot_slice text = member_text(line, "payload");
    if (text.p == NULL)
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "payload: its name must be written without escapes");
    return own(batch, ot_strndup(text.p, text.n), text.n, out, err);
}

static int take_base64(struct ot_batch *batch, json_t *value,
                       struct outtray_slice *out, struct outtray_error *err)
{
    if (json_is_null(value))
        return 0;
    struct ot_buffer bytes = {0};
    ot_buffer_puts(&bytes, "");
    bool good = json_is_string(value) &&
                ot_base64_decode(ot_slice(json_string_value(value),
                                          json_string_length(value)),
                                 &bytes);
    if (good && !bytes.failed)
        return own(batch, bytes.p, bytes.n, out, err);
    bool failed = bytes.failed;
    ot_buffer_free(&bytes);
    return failed ? ot_fail_nomem(err)
                  : ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                            "payload_base64: not a string of base64");
}

static int take_time(json_t *value, int64_t now_us, int64_t *out,
                     struct outtray_error *err)
{
    struct outtray_slice text = {0};
    int rc = take_text(value, "deliver_at", &text, err);
    if (rc != 0 || text.p == NULL)
        return rc;
    struct outtray_error inner = {0};
    if (ot_time_parse(text.p, now_us, out, &inner) != 0)
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT, "deliver_at: %s",
                       inner.text);
    return 0;
}

enum member { TOPIC, KEY, TYPE, HEADERS, PAYLOAD, BASE64, TIME, ID };
static const char *const members[] = {
    "topic",          "key",        "type", "headers", "payload",
    "payload_base64", "deliver_at", "id",   NULL,
};

static int take_member(struct ot_batch *batch, struct outtray_event *e,
                       const char *name, json_t *value, struct ot_slice line,
                       int64_t now_us, struct outtray_error *err)
{
    size_t i = 0;
    while (members[i] != NULL && strcmp(members[i], name) != 0)
        i++;
    switch (i) {
    case TOPIC:
        return take_text(value, name, &e->topic, err);
    case KEY:
        return take_text(value, name, &e->key, err);
    case TYPE:
        return take_text(value, name, &e->type, err);
    case HEADERS:
        return take_headers(batch, value, &e->headers, err);
    case PAYLOAD:
        return take_payload(batch, value, line, &e->payload, err);
    case BASE64:
        return take_base64(batch, value, &e->payload, err);
    case TIME:
        return take_time(value, now_us, &e->deliver_at_us, err);
    case ID:
        return take_text(value, name, &e->id, err);
    default:
        break;
    }
    const char *near = ot_cli_nearest(name, members);
    return ot_fail(err, OUTTRAY_E_INVALID_EVENT, "%.60s: unknown member%s%s%s",
                   name, near != NULL ? ", did you mean " : "",
                   near != NULL ? near : "", near != NULL ? "?" : "");
}

static int take_line(struct ot_batch *batch, json_t *doc, struct ot_slice line,
                     int64_t now_us, const struct ot_enqueue_limits *limits,
                     struct outtray_error *err)
{
    struct outtray_event *e = &batch->events[batch->n];
    const char *name;
    json_t *value;
    if (!json_is_object(doc))
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT, "not an object");
    if (json_object_get(doc, "topic") == NULL)
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "topic: it is missing, and every event needs one");
    if (json_object_get(doc, "payload") != NULL &&
        json_object_get(doc, "payload_base64") != NULL)
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "payload_base64: there is a payload already");
    json_object_foreach(doc, name, value)
    {
        int rc = take_member(batch, e, name, value, line, now_us, err);
        if (rc != 0)
            return rc;
    }
    struct outtray_error inner = {0};
    int rc = ot_enqueue_check(e, 0, limits, &inner);
    if (rc == 0)
        return 0;
    const char *text =
        strncmp(inner.text, "event 0: ", 9) == 0 ? inner.text + 9 : inner.text;
    return ot_fail(err, rc, "%s", text);
}

int ot_batch_add(struct ot_batch *batch, struct ot_slice line, int64_t number,
                 int64_t now_us, const struct ot_enqueue_limits *limits,
                 struct outtray_error *err)
{
    /* Integers as reals: a payload's numbers are copied as text, and may be
     * larger than a C integer. */
    const size_t flags =
        JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    json_error_t where;
    int rc;
    memset(&batch->events[batch->n], 0, sizeof batch->events[0]);
    json_t *doc = json_loadb(line.p, line.n, flags, &where);
    batch->docs[batch->n] = doc;
    if (doc == NULL)
        rc = ot_fail(err, OUTTRAY_E_INVALID_EVENT, "byte %d: not JSON: %s",
                     where.position, where.text);
    else
        rc = take_line(batch, doc, line, now_us, limits, err);
    if (rc != 0) {
        json_decref(doc);
        return ot_fail_context(err, rc, "line %lld", (long long)number);
    }
    const struct outtray_event *e = &batch->events[batch->n];
    batch->lines[batch->n++] = number;
    batch->bytes += line.n + e->payload.n;
    return 0;
}

void ot_batch_clear(struct ot_batch *batch)
{
    for (size_t i = 0; i < batch->n; i++)
        json_decref(batch->docs[i]);
    for (size_t i = 0; i < batch->nowned; i++)
        ot_free(batch->owned[i]);
    batch->n = batch->nowned = batch->bytes = 0;
}
