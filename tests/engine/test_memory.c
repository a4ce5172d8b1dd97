/* test_memory.c - no allocation per event, and what happens without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"
#include "outtray/types.h"

static unsigned long allocations;
static unsigned long fail_at; /* the nth from here fails; 0: none */

static bool refuse(void)
{
    allocations++;
    return fail_at > 0 && --fail_at == 0;
}

static void *counting_alloc(size_t n)
{
    return refuse() ? NULL : malloc(n);
}

static void *counting_resize(void *p, size_t n)
{
    return refuse() ? NULL : realloc(p, n);
}

static void add_many(struct world *w, int n)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", NULL};
    for (int i = 0; i < n; i++)
        w_add(w, keys[i % 6]);
    w_pass(w, 10 * W_S);
}

static void test_none_per_event(void **state)
{
    (void)state;
    struct ot_engine_options opt = w_options();
    opt.batch_events = 200;
    opt.window_events = 2000;
    struct world w;
    w_open(&w, &opt);
    w.checks = false;
    add_many(&w, 5000); /* the arrays grow */
    unsigned long before = allocations;
    add_many(&w, 20000);
    assert_int_equal(w_stats(&w).ok, 25000);
    assert_int_equal(allocations, before);
    w_close(&w);
}

/* With the nth allocation failing, for every n: nothing is lost, nothing is
 * sent that must not be, and it goes on by itself. */
static void one_failure(unsigned long n, bool *more)
{
    struct ot_engine_options opt = w_options();
    opt.retry_min_us = 2 * W_S;
    opt.batch_events = 4;
    struct world w;
    w_open(&w, &opt);
    w.tainted_all = true;
    fail_at = n;
    w.sink = W_SINK_WAIT;
    int slow = w_begin(&w);
    w_put(&w, slow, "s");
    for (int i = 0; i < 9; i++)
        w_add(&w, i % 3 ? "a" : NULL);
    static const enum ot_outcome outcomes[] = {OT_RETRY, OT_REJECTED,
                                               OT_MISCONFIGURED, OT_UNKNOWN};
    for (int i = 0; i < 24; i++) {
        w_pass(&w, 100 * W_MS);
        if (w.nflight > 0)
            w_complete(&w, w.flight[0].event->e.seq, outcomes[i % 4]);
        if (i == 12)
            w_commit(&w, slow);
    }
    w.sink = W_SINK_OK;
    w_complete_all(&w, OT_OK);
    w_pass(&w, 60 * W_S);
    *more = fail_at == 0;
    fail_at = 0;
    for (size_t i = 0; i < w.nheld; i++)
        w_command(&w, OT_REDRIVE, w.held[i].seq);
    w_pass(&w, 60 * W_S);
    w_check_all(&w);
    assert_int_equal(w.nheld, 0);
    assert_int_equal(w.position, 10);
    w_close(&w);
}

static void test_nth_failure(void **state)
{
    (void)state;
    bool more = true;
    unsigned long n = 1;
    for (; more && n < 1000; n++)
        one_failure(n, &more);
    assert_true(n > 20 && n < 1000);
}

int main(void)
{
    outtray_set_allocator(counting_alloc, counting_resize, free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_per_event),
        cmocka_unit_test(test_nth_failure),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
