/* vector.h - the shared examples of tests/vectors, for C.
 *
 * tests/vectors/README.md describes the files. */
#ifndef SUPPORT_VECTOR_H
#define SUPPORT_VECTOR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/base.h"
#include "outtray/enqueue.h"

static const char *const vector_styles[] = {"dollar", "percent", "qmark",
                                            "literal", "copy"};
static const char *const vector_dialects[] = {"postgresql", "sqlite"};

/* The events and options of one case; every slice has its own memory, of
 * exactly its size, so that the sanitizer sees a read beyond it. */
struct vector_input {
    struct outtray_enqueue_options options;
    struct outtray_event *events;
    size_t n;
};

static inline void vector_path(const char *file, char path[1024])
{
    const char *root = getenv("OUTTRAY_SOURCE_DIR");

    snprintf(path, 1024, "%s/tests/vectors/%s", root != NULL ? root : ".",
             file);
}

static inline json_t *vector_load(const char *file)
{
    char path[1024];
    json_error_t err;

    vector_path(file, path);
    json_t *root = json_load_file(path, 0, &err);
    if (root == NULL)
        fail_msg("%s:%d: %s", path, err.line, err.text);
    return root;
}

static inline void vector_hex(const char *p, size_t n, struct ot_buffer *out)
{
    for (size_t i = 0; i < n; i++)
        ot_buffer_printf(out, "%02x", (unsigned char)p[i]);
}

/* null, "text", {"hex": "00ff"} or {"repeat": ["ab", 3]} */
static inline struct outtray_slice vector_slice(const json_t *value)
{
    struct outtray_slice s = {0};
    const json_t *hex = json_object_get(value, "hex");
    const json_t *repeat = json_object_get(value, "repeat");
    char *p = NULL;

    if (json_is_string(value)) {
        s.n = json_string_length(value);
        p = malloc(s.n + (s.n == 0));
        memcpy(p, json_string_value(value), s.n);
    } else if (hex != NULL) {
        s.n = json_string_length(hex) / 2;
        p = malloc(s.n + (s.n == 0));
        for (size_t i = 0; i < s.n; i++) {
            unsigned c = 0;
            sscanf(json_string_value(hex) + 2 * i, "%2x", &c);
            p[i] = (char)c;
        }
    } else if (repeat != NULL) {
        const json_t *unit = json_array_get(repeat, 0);
        size_t n = json_string_length(unit);
        size_t times = (size_t)json_integer_value(json_array_get(repeat, 1));
        s.n = n * times;
        p = malloc(s.n + (s.n == 0));
        for (size_t i = 0; i < times; i++)
            memcpy(p + i * n, json_string_value(unit), n);
    }
    s.p = p;
    return s;
}

static inline struct outtray_event vector_event(const json_t *e)
{
    return (struct outtray_event){
        .topic = vector_slice(json_object_get(e, "topic")),
        .key = vector_slice(json_object_get(e, "key")),
        .type = vector_slice(json_object_get(e, "type")),
        .headers = vector_slice(json_object_get(e, "headers")),
        .payload = vector_slice(json_object_get(e, "payload")),
        .id = vector_slice(json_object_get(e, "id")),
        .deliver_at_us =
            (int64_t)json_integer_value(json_object_get(e, "deliver_at_us")),
    };
}

static inline size_t vector_times(const json_t *e)
{
    const json_t *times = json_object_get(e, "times");

    return times != NULL ? (size_t)json_integer_value(times) : 1;
}

static inline struct vector_input vector_input(const json_t *c)
{
    const json_t *options = json_object_get(c, "options");
    const json_t *events = json_object_get(c, "events");
    struct vector_input in = {0};
    size_t i, at = 0;
    json_t *e;

    in.options.outbox = json_string_value(json_object_get(options, "outbox"));
    in.options.strict = json_is_true(json_object_get(options, "strict"));
    in.options.max_payload_bytes = (size_t)json_integer_value(
        json_object_get(options, "max_payload_bytes"));
    in.options.max_headers_bytes = (size_t)json_integer_value(
        json_object_get(options, "max_headers_bytes"));
    json_array_foreach(events, i, e) in.n += vector_times(e);
    in.events = calloc(in.n + 1, sizeof(*in.events));
    json_array_foreach(events, i, e) for (size_t t = vector_times(e); t > 0;
                                          t--) in.events[at++] =
        vector_event(e);
    return in;
}

static inline void vector_free(struct vector_input *in)
{
    for (size_t i = 0; i < in->n; i++) {
        struct outtray_event *e = &in->events[i];
        free((char *)e->topic.p);
        free((char *)e->key.p);
        free((char *)e->type.p);
        free((char *)e->headers.p);
        free((char *)e->payload.p);
        free((char *)e->id.p);
    }
    free(in->events);
    *in = (struct vector_input){0};
}

/* {"sql": …, "params": [null | {"text": …} | {"hex": …}]} */
static inline json_t *vector_statement(const struct outtray_statement *s)
{
    json_t *params = json_array();

    for (size_t i = 0; i < s->nparams; i++) {
        const struct outtray_param *p = &s->params[i];
        json_t *one = json_null();
        if (p->kind == OUTTRAY_PARAM_TEXT)
            one = json_pack("{s:s%}", "text", p->value.p, p->value.n);
        if (p->kind == OUTTRAY_PARAM_BYTES) {
            struct ot_buffer hex = {0};
            ot_buffer_puts(&hex, "");
            vector_hex(p->value.p, p->value.n, &hex);
            one = json_pack("{s:s}", "hex", hex.p);
            ot_buffer_free(&hex);
        }
        json_array_append_new(params, one);
    }
    return json_pack("{s:s%,s:o}", "sql", s->sql, s->sql_n, "params", params);
}

#endif
