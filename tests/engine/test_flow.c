/* test_flow.c - events on their way when all is well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/world.h"

static void test_moves_events(void **state)
{
    (void)state;
    struct world w;
    w_open(&w, NULL);
    for (int i = 0; i < 35; i++)
        w_add(&w, i % 2 ? "a" : "b");
    w_pass(&w, W_S);
    w_check_all(&w);
    assert_int_equal(w.position, 35);
    assert_int_equal(w.ngaps, 0);
    assert_true(ot_engine_empty(w.engine));
    struct ot_engine_stats stats = w_stats(&w);
    assert_int_equal(stats.ok, 35);
    assert_int_equal(stats.window, 0);
    assert_int_equal(stats.window_bytes, 0);
    w_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_events),
    };
    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
