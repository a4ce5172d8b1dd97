/* lines.c - events as NDJSON, for sinks that write text. */
#include "sink/lines.h"

#include "base/base64.h"

#include <inttypes.h>

/* The UTF-8 part of a string, which has no NUL. */
static void add_clean(struct ot_buffer *b, struct ot_slice s)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        ot_buffer_add(b, s.p + from, i - from);
        from = i + 1;
        char escape[6] = {'\\', (char)c, '0', '0', hex[c >> 4], hex[c & 15]};
        if (c >= 0x20) {
            ot_buffer_add(b, escape, 2);
        } else if (c == '\n') {
            ot_buffer_puts(b, "\\n");
        } else if (c == '\t') {
            ot_buffer_puts(b, "\\t");
        } else {
            escape[1] = 'u';
            ot_buffer_add(b, escape, 6);
        }
    }
    ot_buffer_add(b, s.p + from, s.n - from);
}

/* A JSON string; what is not UTF-8 (a plain INSERT can bring it in) becomes
 * U+FFFD, so that the line can always be read. */
static void add_string(struct ot_buffer *b, struct ot_slice s)
{
    if (s.p == NULL) {
        ot_buffer_puts(b, "null");
        return;
    }
    ot_buffer_putc(b, '"');
    size_t bad;
    while (!ot_utf8_valid(s, &bad)) {
        add_clean(b, ot_slice(s.p, bad));
        ot_buffer_puts(b, s.p[bad] == '\0' ? "\\u0000" : "\\ufffd");
        s = ot_slice(s.p + bad + 1, s.n - bad - 1);
    }
    add_clean(b, s);
    ot_buffer_putc(b, '"');
}

/* The object as it was stored, on one line: in valid JSON a control character
 * can stand between tokens only, and what is not UTF-8 within strings only. */
static void add_object(struct ot_buffer *b, struct ot_slice s)
{
    if (s.p == NULL) {
        ot_buffer_puts(b, "null");
        return;
    }
    size_t from = b->n, bad;
    while (!ot_utf8_valid(s, &bad)) {
        ot_buffer_add(b, s.p, bad);
        ot_buffer_puts(b, "\\ufffd");
        s = ot_slice(s.p + bad + 1, s.n - bad - 1);
    }
    ot_buffer_slice(b, s);
    for (size_t i = from; !b->failed && i < b->n; i++)
        if ((unsigned char)b->p[i] < 0x20)
            b->p[i] = ' ';
}

void ot_line_add(struct ot_buffer *b, const struct ot_send *send)
{
    const struct ot_event *e = send->event;
    char id[37], time[32];
    ot_buffer_printf(b,
                     OT_LINE_BEGIN "%s\",\"order\":\"%" PRId64 ".%" PRId64
                                   "\",\"topic\":",
                     ot_uuid_text(e->id, id), send->fence, e->seq);
    add_string(b, e->topic);
    ot_buffer_puts(b, ",\"key\":");
    add_string(b, e->key);
    ot_buffer_puts(b, ",\"type\":");
    add_string(b, e->type);
    ot_buffer_puts(b, ",\"headers\":");
    add_object(b, e->headers);
    if (e->payload.p == NULL || ot_utf8_valid(e->payload, NULL)) {
        ot_buffer_puts(b, ",\"payload\":");
        add_string(b, e->payload);
    } else {
        ot_buffer_puts(b, ",\"payload_base64\":\"");
        ot_base64_add(b, e->payload);
        ot_buffer_putc(b, '"');
    }
    ot_buffer_printf(b, ",\"created_at\":\"%s\"%s}\n",
                     ot_time_text(e->created_us, time),
                     send->maybe_duplicate ? ",\"maybe_duplicate\":true" : "");
}

bool ot_lines_add(struct ot_lines *l, const struct ot_send *send)
{
    if (l->n == l->size) {
        size_t size = l->size == 0 ? 64 : l->size * 2;
        void *ends = ot_resize(l->ends, size * sizeof(*l->ends));
        if (ends == NULL)
            return false;
        l->ends = ends;
        l->size = size;
    }
    size_t before = l->text.n;
    ot_line_add(&l->text, send);
    if (l->text.failed) {
        l->text.failed = false;
        l->text.n = before;
        return false;
    }
    l->ends[l->n++] = (struct ot_lines_end){send->ticket, l->text.n};
    return true;
}

void ot_lines_clear(struct ot_lines *l)
{
    ot_buffer_clear(&l->text);
    l->n = 0;
}

void ot_lines_free(struct ot_lines *l)
{
    ot_buffer_free(&l->text);
    ot_free(l->ends);
    *l = (struct ot_lines){0};
}
