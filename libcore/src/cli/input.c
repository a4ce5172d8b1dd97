#include "cli/input.h"

#include <errno.h>
#include <unistd.h>

#include "cli/signals.h"

enum { CHUNK = 64 * 1024 };

/* read(2) that ends when somebody presses Ctrl-C. */
static ssize_t read_some(int fd, const char *name, void *p, size_t n,
                         struct outtray_error *err)
{
    for (;;) {
        if (ot_cli_signals_caught() != 0)
            return ot_fail(err, OUTTRAY_E_INTERRUPTED, "%s: interrupted", name);
        ssize_t got = read(fd, p, n);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return ot_fail(err, OUTTRAY_E_IO, "%s: %s", name, strerror(errno));
    }
}

static int make_room(struct ot_input *lines, struct outtray_error *err)
{
    if (lines->start > 0) {
        memmove(lines->p, lines->p + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    if (lines->end > lines->most)
        return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                       "line %lld: longer than %zu bytes",
                       (long long)lines->number + 1, lines->most);
    if (lines->size - lines->end >= CHUNK)
        return 0;
    size_t size = lines->size * 2 + CHUNK;
    char *p = ot_resize(lines->p, size);
    if (p == NULL)
        return ot_fail_nomem(err);
    lines->p = p;
    lines->size = size;
    return 0;
}

int ot_input_line(struct ot_input *lines, struct ot_slice *out,
                  struct outtray_error *err)
{
    size_t looked = 0; /* bytes known to hold no line end */
    for (;;) {
        char *from = lines->p + lines->start;
        size_t n = lines->end - lines->start;
        char *at = n > looked ? memchr(from + looked, '\n', n - looked) : NULL;
        if (at != NULL || (lines->eof && n > 0)) {
            size_t length = at != NULL ? (size_t)(at - from) : n;
            lines->start += length + (at != NULL);
            lines->number++;
            if (length > 0 && from[length - 1] == '\r')
                length--;
            *out = ot_slice(from, length);
            return 1;
        }
        if (lines->eof)
            return 0;
        looked = n;
        int rc = make_room(lines, err);
        if (rc != 0)
            return rc;
        ssize_t got = read_some(lines->fd, lines->name, lines->p + lines->end,
                                lines->size - lines->end, err);
        if (got < 0)
            return (int)got;
        lines->eof = got == 0;
        lines->end += (size_t)got;
    }
}

void ot_input_free(struct ot_input *lines)
{
    ot_free(lines->p);
    lines->p = NULL;
}

int ot_input_all(int fd, const char *name, size_t most, struct ot_buffer *out,
                 struct outtray_error *err)
{
    char chunk[CHUNK];
    for (;;) {
        ssize_t got = read_some(fd, name, chunk, sizeof chunk, err);
        if (got < 0)
            return (int)got;
        if (got == 0)
            break;
        ot_buffer_add(out, chunk, (size_t)got);
        if (out->n > most)
            return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                           "%s: more than the %zu bytes a payload may have: "
                           "store it elsewhere and send a reference",
                           name, most);
    }
    ot_buffer_puts(out, ""); /* empty, not absent */
    return out->failed ? ot_fail_nomem(err) : 0;
}
