/* input.h - the bytes of a fuzzer, taken as what a target needs. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must be so. */
#define CHECK(x)                                                    \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)

struct input {
    const uint8_t *p;
    size_t n;
};

static inline uint8_t take_byte(struct input *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

/* Up to the next newline, or the rest. In memory of its own, so that reading
 * one byte too many is seen. Free it. */
static inline char *take_line(struct input *in, size_t *n)
{
    const uint8_t *end = in->n > 0 ? memchr(in->p, '\n', in->n) : NULL;
    char *line;

    *n = end != NULL ? (size_t)(end - in->p) : in->n;
    line = malloc(*n + 1);
    CHECK(line != NULL);
    if (*n > 0)
        memcpy(line, in->p, *n);
    line[*n] = '\0';
    in->p += *n + (end != NULL);
    in->n -= *n + (end != NULL);
    return line;
}

static inline char *take_rest(struct input *in)
{
    char *text = malloc(in->n + 1);

    CHECK(text != NULL);
    if (in->n > 0)
        memcpy(text, in->p, in->n);
    text[in->n] = '\0';
    in->n = 0;
    return text;
}

#endif
