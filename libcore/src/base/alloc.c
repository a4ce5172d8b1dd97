/* alloc.c - the one door to memory. */
#include "base/base.h"

#include <stdlib.h>

/* Set once, before anything else. */
static struct {
    void *(*alloc)(size_t);
    void *(*resize)(void *, size_t);
    void (*release)(void *);
} memory = {malloc, realloc, free};

void outtray_set_allocator(void *(*alloc)(size_t),
                           void *(*resize)(void *, size_t),
                           void (*release)(void *))
{
    memory.alloc = alloc != NULL ? alloc : malloc;
    memory.resize = resize != NULL ? resize : realloc;
    memory.release = release != NULL ? release : free;
}

void *ot_alloc(size_t n)
{
    return memory.alloc(n);
}

void *ot_alloc_zero(size_t count, size_t size)
{
    void *p;

    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    if (memory.alloc == malloc) /* fresh pages need no memset */
        return calloc(count, size);
    p = memory.alloc(count * size);
    if (p != NULL)
        memset(p, 0, count * size);
    return p;
}

void *ot_resize(void *p, size_t n)
{
    /* realloc(p, 0) may free p or not. */
    return memory.resize(p, n != 0 ? n : 1);
}

void ot_free(void *p)
{
    if (p != NULL)
        memory.release(p);
}

char *ot_strdup(const char *s)
{
    return ot_strndup(s, strlen(s));
}

char *ot_strndup(const char *s, size_t n)
{
    char *copy = n < SIZE_MAX ? ot_alloc(n + 1) : NULL;

    if (copy == NULL)
        return NULL;
    if (n != 0)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}
