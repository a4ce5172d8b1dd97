/* random_event.h - events that are hard to quote, from a seed. */
#ifndef SUPPORT_RANDOM_EVENT_H
#define SUPPORT_RANDOM_EVENT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "outtray/enqueue.h"

static inline struct outtray_slice random_keep(struct ot_buffer *b)
{
    struct outtray_slice s = {malloc(b->n + (b->n == 0)), b->n};

    if (b->n > 0)
        memcpy((char *)s.p, b->p, b->n);
    ot_buffer_free(b);
    return s;
}

/* Any bytes. */
static inline struct outtray_slice random_bytes(struct ot_rng *rng, size_t max)
{
    struct ot_buffer b = {0};

    for (int64_t n = ot_rng_between(rng, 0, (int64_t)max); n > 0; n--)
        ot_buffer_putc(&b, (char)ot_rng_between(rng, 0, 255));
    return random_keep(&b);
}

/* UTF-8 without NUL, rich in what quoting and drivers may trip over. */
static inline struct outtray_slice random_text(struct ot_rng *rng,
                                               size_t pieces)
{
    static const char *const hard[] = {
        "'",
        "''",
        "\\",
        "\\\\",
        "\"",
        "%",
        "%s",
        "%%",
        "$1",
        "$$",
        "?",
        ":x",
        "{",
        "}",
        ",",
        "NULL",
        "\\x00",
        "\\'",
        "--",
        "/*",
        "*/",
        ";",
        "\n",
        "\r\n",
        "\t",
        "\x01",
        "\x7f",
        " ",
        "E'",
        "U&'\\00",
        "\xc3\xa9",
        "\xc2\x80",
        "\\u0027",
        "(",
        "convert",
        "\xe8\xa1\xa8", /* its Shift-JIS form ends in a backslash */
        "\xef\xbc\x87",
        "\xf0\x9f\x98\x80",
        "\xf4\x8f\xbf\xbf",
        "\xed\x9f\xbf",
    };
    struct ot_buffer b = {0};

    for (int64_t n = ot_rng_between(rng, 1, (int64_t)pieces); n > 0; n--) {
        if (ot_rng_between(rng, 0, 2) != 0)
            ot_buffer_puts(
                &b, hard[ot_rng_between(rng, 0, (int64_t)OT_COUNT(hard) - 1)]);
        else
            ot_buffer_putc(&b, (char)ot_rng_between(rng, 32, 126));
    }
    return random_keep(&b);
}

static inline struct outtray_slice random_headers(struct ot_rng *rng)
{
    struct ot_buffer b = {0};
    int64_t n = ot_rng_between(rng, 0, 3);

    ot_buffer_puts(&b, ot_rng_between(rng, 0, 1) ? "{ " : "{");
    for (int64_t i = 0; i < n; i++) {
        struct outtray_slice value = random_text(rng, 6);
        ot_buffer_printf(&b, "%s\"h'%d\\\\\": \"", i > 0 ? "," : "", (int)i);
        for (size_t k = 0; k < value.n; k++) {
            unsigned char c = (unsigned char)value.p[k];
            if (c < 0x20)
                ot_buffer_printf(&b, "\\u%04x", c);
            else if (c == '"' || c == '\\')
                ot_buffer_printf(&b, "\\%c", c);
            else
                ot_buffer_putc(&b, (char)c);
        }
        ot_buffer_putc(&b, '"');
        free((char *)value.p);
    }
    ot_buffer_puts(&b, "}\n");
    return random_keep(&b);
}

static inline struct outtray_event random_event(struct ot_rng *rng)
{
    struct outtray_event e = {0};
    struct ot_uuid id;
    char text[37];

    e.topic = random_text(rng, 12);
    if (ot_rng_between(rng, 0, 3) != 0)
        e.key = random_text(rng, 20);
    if (ot_rng_between(rng, 0, 3) != 0)
        e.type = random_text(rng, 8);
    if (ot_rng_between(rng, 0, 3) != 0)
        e.headers = random_headers(rng);
    if (ot_rng_between(rng, 0, 3) != 0)
        e.payload = random_bytes(rng, 300);
    if (ot_rng_between(rng, 0, 1) != 0)
        e.deliver_at_us =
            ot_rng_between(rng, 946684800000000, 253402300799999999);
    if (ot_rng_between(rng, 0, 1) != 0) {
        for (size_t i = 0; i < sizeof(id.b); i++)
            id.b[i] = (uint8_t)ot_rng_next(rng);
        e.id = (struct outtray_slice){strdup(ot_uuid_text(id, text)), 36};
    }
    return e;
}

static inline void random_event_free(struct outtray_event *e)
{
    free((char *)e->topic.p);
    free((char *)e->key.p);
    free((char *)e->type.p);
    free((char *)e->headers.p);
    free((char *)e->payload.p);
    free((char *)e->id.p);
    *e = (struct outtray_event){0};
}

#endif
