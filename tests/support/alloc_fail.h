/* alloc_fail.h - fail the Nth allocation of the library.
 *
 *     static int run(void *ctx) { ...; return rc; }
 *     alloc_fail_each(run, ctx);
 *
 * calls run with the first, then the second, … allocation failing, until one
 * run gets through. run frees what it got and returns 0 or OUTTRAY_E_NOMEM;
 * anything else fails the test, and so does memory that run left behind.
 * For one executable: include it in one file.
 */
#ifndef SUPPORT_ALLOC_FAIL_H
#define SUPPORT_ALLOC_FAIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/base.h"

static struct {
    long left;  /* allocations that succeed before one fails; < 0: all do */
    long count; /* so far */
    long live;  /* handed out and not returned */
} alloc_fail;

static inline bool alloc_fail_now(void)
{
    alloc_fail.count++;
    return alloc_fail.left >= 0 && alloc_fail.left-- == 0;
}

static inline void *alloc_fail_alloc(size_t n)
{
    void *p = alloc_fail_now() ? NULL : malloc(n != 0 ? n : 1);

    alloc_fail.live += p != NULL;
    return p;
}

static inline void *alloc_fail_resize(void *old, size_t n)
{
    void *p = alloc_fail_now() ? NULL : realloc(old, n);

    alloc_fail.live += p != NULL && old == NULL;
    return p;
}

static inline void alloc_fail_free(void *p)
{
    alloc_fail.live -= p != NULL;
    free(p);
}

/* From now on the allocation after the next n fails (once); n < 0: none. */
static inline void alloc_fail_at(long n)
{
    outtray_set_allocator(alloc_fail_alloc, alloc_fail_resize, alloc_fail_free);
    alloc_fail.left = n;
    alloc_fail.count = 0;
}

/* Back to the C library's functions. */
static inline void alloc_fail_off(void)
{
    outtray_set_allocator(NULL, NULL, NULL);
    alloc_fail.left = -1;
}

static inline void alloc_fail_each(int (*run)(void *ctx), void *ctx)
{
    for (long n = 0;; n++) {
        long live = alloc_fail.live;
        bool reached;
        int rc;

        alloc_fail_at(n);
        rc = run(ctx);
        reached = alloc_fail.left < 0;
        alloc_fail_off();
        if (alloc_fail.live != live)
            fail_msg("%ld allocations left behind when number %ld failed",
                     alloc_fail.live - live, n);
        if (reached && rc != OUTTRAY_E_NOMEM)
            fail_msg("%s instead of NOMEM when allocation %ld failed",
                     outtray_error_name(rc), n);
        if (!reached) {
            if (rc != 0)
                fail_msg("%s without a failed allocation",
                         outtray_error_name(rc));
            return;
        }
    }
}

#endif
