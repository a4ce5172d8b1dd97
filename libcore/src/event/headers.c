/* headers.c - reads and checks a flat JSON object of strings [RFC 8259]. */
#include "event/headers.h"

#include <strings.h>

/* A string of the JSON text without its quotes, escapes and all. */
struct raw {
    struct ot_slice text;
    bool escaped;
};

bool ot_header_reserved(struct ot_slice name)
{
    static const char *const names[] = {OT_HEADER_ID, OT_HEADER_TYPE};
    size_t prefix = strlen(OT_HEADER_PREFIX);

    for (size_t i = 0; i < OT_COUNT(names); i++)
        if (name.n == strlen(names[i]) &&
            strncasecmp(name.p, names[i], name.n) == 0)
            return true;
    return name.n >= prefix &&
           strncasecmp(name.p, OT_HEADER_PREFIX, prefix) == 0;
}

void ot_headers_begin(struct ot_headers *it, struct ot_slice json)
{
    *it = (struct ot_headers){.p = json.p, .end = json.p};
    if (json.p == NULL)
        it->at = OT_HEADERS_END;
    else
        it->end = json.p + json.n;
}

static void skip_blanks(struct ot_headers *it)
{
    while (it->p < it->end && (*it->p == ' ' || *it->p == '\n' ||
                               *it->p == '\r' || *it->p == '\t'))
        it->p++;
}

/* Blanks, then this one character. */
static bool take(struct ot_headers *it, char c)
{
    skip_blanks(it);
    if (it->p == it->end || *it->p != c)
        return false;
    it->p++;
    return true;
}

static bool take_string(struct ot_headers *it, struct raw *out)
{
    if (!take(it, '"'))
        return false;
    const char *first = it->p;
    out->escaped = false;
    for (; it->p < it->end && *it->p != '"'; it->p++) {
        if ((unsigned char)*it->p < 0x20)
            return false;
        if (*it->p == '\\') {
            out->escaped = true;
            /* Whatever is escaped, it does not end the string. */
            if (++it->p == it->end)
                return false;
        }
    }
    if (it->p == it->end)
        return false;
    out->text = ot_slice(first, (size_t)(it->p - first));
    it->p++;
    return true;
}

static bool hex4(const char *p, const char *end, uint32_t *out)
{
    *out = 0;
    if (end - p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

static void add_utf8(struct ot_buffer *out, uint32_t c)
{
    if (c < 0x80) {
        ot_buffer_putc(out, (char)c);
        return;
    }
    if (c < 0x800) {
        ot_buffer_putc(out, (char)(0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            ot_buffer_putc(out, (char)(0xe0 | c >> 12));
        } else {
            ot_buffer_putc(out, (char)(0xf0 | c >> 18));
            ot_buffer_putc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        ot_buffer_putc(out, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    ot_buffer_putc(out, (char)(0x80 | (c & 0x3f)));
}

/* The character of \uXXXX or of a surrogate pair; p is after the 'u'. Returns
 * where it ends, NULL if it is none. A NUL is none: names are C strings in
 * broker clients, and PostgreSQL's text cannot hold it. */
static const char *unicode(const char *p, const char *end,
                           struct ot_buffer *out)
{
    uint32_t c, low;

    if (!hex4(p, end, &c) || c == 0 || (c >= 0xdc00 && c <= 0xdfff))
        return NULL;
    p += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u' ||
            !hex4(p + 2, end, &low) || low < 0xdc00 || low > 0xdfff)
            return NULL;
        p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    add_utf8(out, c);
    return p;
}

static bool unescape(struct ot_slice text, struct ot_buffer *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *p = text.p, *end = text.p + text.n;

    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        if (slash == NULL)
            slash = end;
        ot_buffer_add(out, p, (size_t)(slash - p));
        if (slash == end)
            break;
        p = slash + 1; /* never the end: take_string saw to that */
        if (*p == 'u') {
            p = unicode(p + 1, end, out);
            if (p == NULL)
                return false;
            continue;
        }
        const char *known = memchr(from, *p, sizeof(from) - 1);
        if (known == NULL)
            return false;
        ot_buffer_putc(out, to[known - from]);
        p++;
    }
    return true;
}

/* Reads one pair into name and value; without escapes nothing is copied. */
static int pair(struct ot_headers *it, struct ot_buffer *scratch,
                struct ot_slice *name, struct ot_slice *value)
{
    struct raw raw_name, raw_value;

    if (!take_string(it, &raw_name) || !take(it, ':') ||
        !take_string(it, &raw_value))
        return OUTTRAY_E_INVALID_EVENT;
    *name = raw_name.text;
    *value = raw_value.text;
    if (!raw_name.escaped && !raw_value.escaped)
        return 1;

    ot_buffer_clear(scratch);
    if (raw_name.escaped && !unescape(raw_name.text, scratch))
        return OUTTRAY_E_INVALID_EVENT;
    size_t split = scratch->n;
    if (raw_value.escaped && !unescape(raw_value.text, scratch))
        return OUTTRAY_E_INVALID_EVENT;
    if (scratch->failed)
        return OUTTRAY_E_NOMEM;
    /* Only now: the buffer may have moved while it grew. An escape always
     * leaves at least one byte, so p is not NULL. */
    if (raw_name.escaped)
        *name = ot_slice(scratch->p, split);
    if (raw_value.escaped)
        *value = ot_slice(scratch->p + split, scratch->n - split);
    return 1;
}

static int step(struct ot_headers *it, struct ot_buffer *scratch,
                struct ot_slice *name, struct ot_slice *value)
{
    if (it->at == OT_HEADERS_START) {
        if (!take(it, '{'))
            return OUTTRAY_E_INVALID_EVENT;
        it->at = OT_HEADERS_MORE;
        if (!take(it, '}'))
            return pair(it, scratch, name, value);
    } else if (take(it, ',')) {
        return pair(it, scratch, name, value);
    } else if (!take(it, '}')) {
        return OUTTRAY_E_INVALID_EVENT;
    }
    skip_blanks(it);
    if (it->p != it->end)
        return OUTTRAY_E_INVALID_EVENT;
    it->at = OT_HEADERS_END;
    return 0;
}

int ot_headers_next(struct ot_headers *it, struct ot_buffer *scratch,
                    struct ot_slice *name, struct ot_slice *value)
{
    *name = *value = ot_slice(NULL, 0);
    if (it->failed != 0)
        return it->failed;
    if (it->at == OT_HEADERS_END)
        return 0;

    int rc = step(it, scratch, name, value);
    if (rc < 0) {
        it->failed = rc;
        *name = *value = ot_slice(NULL, 0);
    }
    return rc;
}

/* --- check --------------------------------------------------------------- */

static int check_name(struct ot_slice name, size_t number,
                      struct outtray_error *err)
{
    if (name.n == 0)
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "headers: the name of header %zu is empty", number);
    if (name.n > OT_HEADER_NAME_MAX)
        return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                       "headers: the name of header %zu has %zu bytes, at most "
                       "%d are allowed",
                       number, name.n, OT_HEADER_NAME_MAX);
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] > '~')
            return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                           "headers: the name of header %zu has a character "
                           "that is not visible ASCII",
                           number);
    if (ot_header_reserved(name))
        return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                       "headers: %.*s is reserved, the relay writes it: choose "
                       "another name",
                       (int)name.n, name.p);
    return 0;
}

/* Is name among the first n of json? Comparing as bytes is enough: names are
 * ASCII. Quadratic, and n is at most OT_HEADERS_MAX. */
static int seen(struct ot_slice json, size_t n, struct ot_slice name,
                struct ot_buffer *scratch, struct outtray_error *err)
{
    struct ot_headers it;
    struct ot_slice other, value;

    ot_headers_begin(&it, json);
    for (size_t i = 0; i < n; i++) {
        int rc = ot_headers_next(&it, scratch, &other, &value);
        if (rc < 0)
            return ot_fail_nomem(err); /* the form was good before */
        if (ot_slice_equal(other, name))
            return ot_fail(err, OUTTRAY_E_INVALID_EVENT,
                           "headers: %.*s is there twice", (int)name.n, name.p);
    }
    return 0;
}

static int check_all(struct ot_slice json, struct ot_buffer scratch[2],
                     struct outtray_error *err)
{
    struct ot_headers it;
    struct ot_slice name, value;
    size_t n = 0;
    int rc;

    ot_headers_begin(&it, json);
    while ((rc = ot_headers_next(&it, &scratch[0], &name, &value)) == 1) {
        if (n == OT_HEADERS_MAX)
            return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                           "headers: at most %d are allowed", OT_HEADERS_MAX);
        rc = check_name(name, n + 1, err);
        if (rc == 0)
            rc = seen(json, n, name, &scratch[1], err);
        if (rc != 0)
            return rc;
        n++;
    }
    if (rc == OUTTRAY_E_NOMEM)
        return ot_fail_nomem(err);
    if (rc != 0)
        return ot_fail(err, rc,
                       "headers: not a flat JSON object of strings, see byte "
                       "%zu: give {\"name\": \"value\"}",
                       (size_t)(it.p - json.p));
    return 0;
}

int ot_headers_check(struct ot_slice json, size_t max_bytes,
                     struct outtray_error *err)
{
    struct ot_buffer scratch[2] = {{0}, {0}};
    size_t at;

    if (json.n > max_bytes)
        return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                       "headers: %zu bytes, at most %zu are allowed", json.n,
                       max_bytes);
    if (json.p != NULL && !ot_utf8_valid(json, &at) && json.p[at] != '\0')
        return ot_fail(err, OUTTRAY_E_INVALID_UTF8,
                       "headers: not UTF-8 at byte %zu", at);
    int rc = check_all(json, scratch, err);
    ot_buffer_free(&scratch[0]);
    ot_buffer_free(&scratch[1]);
    return rc;
}
