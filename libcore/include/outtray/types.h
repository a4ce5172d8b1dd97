/** @file types.h - what every public header needs. */
#ifndef OUTTRAY_TYPES_H
#define OUTTRAY_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTTRAY_VERSION "0.1.0"

/** Marks the functions that the shared library exports. Who compiles the
 * library into something of their own defines it as nothing. */
#if defined(OUTTRAY_API)
#elif defined(__GNUC__)
#define OUTTRAY_API __attribute__((visibility("default")))
#else
#define OUTTRAY_API
#endif

#if defined(__GNUC__)
#define OUTTRAY_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define OUTTRAY_PRINTF(fmt, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Replace malloc, realloc and free, for all of the library.
 *
 * Call it once, before anything else; memory that was handed out by one
 * allocator and returned to another is undefined behaviour. NULL members keep
 * the C library's functions.
 * @thread any, but nobody else may use the library meanwhile
 */
OUTTRAY_API void outtray_set_allocator(void *(*alloc)(size_t),
                                       void *(*resize)(void *, size_t),
                                       void (*release)(void *));

/** The version of the library that is running, e.g. "0.1.0". @thread any */
OUTTRAY_API const char *outtray_version(void);

#ifdef __cplusplus
}
#endif
#endif
