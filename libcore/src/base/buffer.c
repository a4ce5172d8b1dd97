/* buffer.c - bytes that grow; a failure sticks. */
#include "base/base.h"

#include <stdio.h>

/* Room for n more bytes and a NUL. */
static bool reserve(struct ot_buffer *b, size_t n)
{
    size_t size = b->size != 0 ? b->size : 64;
    char *p;

    if (b->failed)
        return false;
    if (b->p != NULL && n < b->size - b->n)
        return true;
    if (n > SIZE_MAX / 2 - b->n - 1) {
        b->failed = true;
        return false;
    }
    while (size < b->n + n + 1)
        size *= 2;
    p = ot_resize(b->p, size);
    if (p == NULL) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->size = size;
    return true;
}

bool ot_buffer_room(struct ot_buffer *b, size_t n)
{
    bool failed = b->failed;

    if (reserve(b, n))
        return true;
    b->failed = failed;
    return false;
}

void ot_buffer_add(struct ot_buffer *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void ot_buffer_puts(struct ot_buffer *b, const char *s)
{
    ot_buffer_add(b, s, strlen(s));
}

void ot_buffer_slice(struct ot_buffer *b, struct ot_slice s)
{
    ot_buffer_add(b, s.p, s.n);
}

void ot_buffer_putc(struct ot_buffer *b, char c)
{
    ot_buffer_add(b, &c, 1);
}

void ot_buffer_printf(struct ot_buffer *b, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    if (n < 0 || !reserve(b, (size_t)n))
        return;
    va_start(args, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, args);
    va_end(args);
    b->n += (size_t)n;
}

void ot_buffer_clear(struct ot_buffer *b)
{
    b->n = 0;
    b->failed = false;
    if (b->p != NULL)
        b->p[0] = '\0';
}

void ot_buffer_free(struct ot_buffer *b)
{
    ot_free(b->p);
    *b = (struct ot_buffer){0};
}
