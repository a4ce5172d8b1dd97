/* render.c - a value as placeholder and parameter, or as a literal.
 *
 * Literals must mean the same under every setting of the session they meet.
 * PostgreSQL reads a backslash in '…' according to standard_conforming_strings
 * and bytes above 127 according to client_encoding (in some encodings the
 * second byte of a character can be a quote), so only plain ASCII without
 * backslash is written as '…', bytes too; everything else goes as hexadecimal
 * digits, which no setting touches.
 */
#include "enqueue/enqueue.h"

void ot_render_sql(struct ot_render *r, const char *sql)
{
    ot_buffer_puts(&r->sql, sql);
}

static void add_hex(struct ot_buffer *out, struct ot_slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    char chunk[512];
    const char *p = bytes.p;

    for (size_t left = bytes.n; left > 0;) {
        size_t n = left < sizeof(chunk) / 2 ? left : sizeof(chunk) / 2;

        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)p[i];
            chunk[2 * i] = digits[c >> 4];
            chunk[2 * i + 1] = digits[c & 15];
        }
        ot_buffer_add(out, chunk, 2 * n);
        p += n;
        left -= n;
    }
}

/* '…' with every quote doubled. */
static void add_quoted(struct ot_buffer *out, struct ot_slice text)
{
    const char *p = text.p, *end = text.p + text.n;

    ot_buffer_putc(out, '\'');
    while (p < end) {
        const char *quote = memchr(p, '\'', (size_t)(end - p));
        const char *upto = quote != NULL ? quote + 1 : end;
        ot_buffer_add(out, p, (size_t)(upto - p));
        if (quote != NULL)
            ot_buffer_putc(out, '\'');
        p = upto;
    }
    ot_buffer_putc(out, '\'');
}

static bool plain(struct ot_slice s)
{
    return ot_ascii(s) == s.n && (s.n == 0 || memchr(s.p, '\\', s.n) == NULL);
}

static void literal_text(struct ot_render *r, struct ot_slice text)
{
    /* SQLite knows one encoding here and no escapes. */
    if (r->dialect == OUTTRAY_SQLITE || plain(text)) {
        add_quoted(&r->sql, text);
        return;
    }
    ot_buffer_puts(&r->sql, "convert_from(decode('");
    add_hex(&r->sql, text);
    ot_buffer_puts(&r->sql, "', 'hex'), 'UTF8')");
}

static void literal_bytes(struct ot_render *r, struct ot_slice bytes)
{
    bool sqlite = r->dialect == OUTTRAY_SQLITE;

    if (!sqlite && plain(bytes)) {
        add_quoted(&r->sql, bytes);
        return;
    }
    ot_buffer_puts(&r->sql, sqlite ? "X'" : "decode('");
    add_hex(&r->sql, bytes);
    ot_buffer_puts(&r->sql, sqlite ? "'" : "', 'hex')");
}

static void add_param(struct ot_render *r, enum outtray_param_kind kind,
                      struct ot_slice value)
{
    if (value.p == NULL)
        kind = OUTTRAY_PARAM_NULL;
    r->params[r->nparams++] = (struct outtray_param){kind, {value.p, value.n}};
}

static void placeholder(struct ot_render *r, enum outtray_param_kind kind,
                        struct ot_slice value)
{
    add_param(r, kind, value);
    switch (r->style) {
    case OUTTRAY_DOLLAR:
        /* printf costs more than the rest of a statement. */
        if (r->nparams < 10)
            ot_buffer_add(&r->sql, (char[]){'$', (char)('0' + r->nparams)}, 2);
        else
            ot_buffer_printf(&r->sql, "$%zu", r->nparams);
        break;
    case OUTTRAY_PERCENT:
        ot_buffer_puts(&r->sql, "%s");
        break;
    case OUTTRAY_QMARK:
    case OUTTRAY_LITERAL:
    case OUTTRAY_COPY:
        ot_buffer_putc(&r->sql, '?');
        break;
    }
}

void ot_render_text(struct ot_render *r, struct ot_slice value)
{
    if (r->style != OUTTRAY_LITERAL)
        placeholder(r, OUTTRAY_PARAM_TEXT, value);
    else if (value.p == NULL)
        ot_buffer_puts(&r->sql, "NULL");
    else
        literal_text(r, value);
}

void ot_render_bytes(struct ot_render *r, struct ot_slice value)
{
    if (r->style != OUTTRAY_LITERAL)
        placeholder(r, OUTTRAY_PARAM_BYTES, value);
    else if (value.p == NULL)
        ot_buffer_puts(&r->sql, "NULL");
    else
        literal_bytes(r, value);
}

void ot_render_data(struct ot_render *r, struct ot_slice value)
{
    add_param(r, OUTTRAY_PARAM_BYTES, value);
}
