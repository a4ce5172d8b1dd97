/* test_parts.c - the small nouns, each alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/array.h"
#include "engine/breaker.h"
#include "engine/cursor.h"
#include "engine/index.h"
#include "engine/limiter.h"
#include "engine/retry.h"

#define S INT64_C(1000000)

static void test_index(void **state)
{
    (void)state;
    struct ot_index index = {0};
    struct ot_rng rng;
    uint32_t at[500]; /* what it should say */
    ot_rng_seed(&rng, 3);
    for (int i = 0; i < 500; i++)
        at[i] = OT_NIL;
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t key = (uint64_t)ot_rng_between(&rng, 0, 499);
        assert_int_equal(ot_index_find(&index, key), at[key]);
        if (at[key] == OT_NIL) {
            assert_int_equal(ot_index_put(&index, key, i), 0);
            at[key] = i;
        } else {
            ot_index_del(&index, key);
            at[key] = OT_NIL;
        }
    }
    for (uint64_t key = 0; key < 500; key++)
        assert_int_equal(ot_index_find(&index, key), at[key]);
    ot_index_clear(&index);
    assert_int_equal(ot_index_find(&index, 1), OT_NIL);
    ot_free(index.cells);
}

static void test_heap(void **state)
{
    (void)state;
    struct ot_heap heap = {0};
    struct ot_rng rng;
    struct ot_due due;
    ot_rng_seed(&rng, 4);
    for (uint32_t i = 0; i < 1000; i++)
        ot_heap_push(&heap, ot_rng_between(&rng, 0, 5000), i);
    int64_t last = 0;
    assert_false(ot_heap_pop(&heap, -1, &due));
    for (int i = 0; i < 1000; i++) {
        int64_t next = ot_heap_next(&heap);
        assert_true(ot_heap_pop(&heap, 5000, &due));
        assert_true(due.at_us == next && next >= last);
        last = next;
    }
    assert_true(ot_heap_next(&heap) == OT_NEVER);
    ot_free(heap.v);
}

static void test_retry(void **state)
{
    (void)state;
    const struct ot_retry retry = {S / 10, 300 * S, 100 * S, 5};
    struct ot_rng rng;
    ot_rng_seed(&rng, 5);
    assert_int_equal(ot_retry_delay(&retry, &rng, 0, 0), S / 10);
    for (int i = 0; i < 1000; i++) {
        int64_t delay = ot_retry_delay(&retry, &rng, S, 0);
        assert_in_range(delay, S / 10, 3 * S);
        assert_true(ot_retry_delay(&retry, &rng, 299 * S, 0) <= 300 * S);
    }
    assert_int_equal(ot_retry_delay(&retry, &rng, 0, 7 * S), 7 * S);
    assert_false(ot_retry_exhausted(&retry, 4, 99 * S));
    assert_true(ot_retry_exhausted(&retry, 5, 0));
    assert_true(ot_retry_exhausted(&retry, 1, 100 * S));
    const struct ot_retry never = {S, S, 0, 0};
    assert_false(ot_retry_exhausted(&never, 1000000, INT64_MAX));
}

static void test_breaker(void **state)
{
    (void)state;
    struct ot_breaker b = {.min_us = S, .max_us = 8 * S};
    struct ot_rng rng;
    ot_rng_seed(&rng, 6);
    int64_t now = 100 * S;
    assert_true(ot_breaker_room(&b, 1000, now) == UINT32_MAX);
    int64_t longest = 0;
    for (int i = 0; i < 10; i++) {
        ot_breaker_down(&b, &rng, 0, now);
        int64_t until = b.until_us;
        ot_breaker_down(&b, &rng, 0, now); /* the same outage */
        assert_int_equal(b.until_us, until);
        assert_int_equal(ot_breaker_room(&b, 0, until - 1), 0);
        longest = until - now > longest ? until - now : longest;
        now = until;
        assert_int_equal(ot_breaker_room(&b, 50, now), 1);
        ot_breaker_sent(&b);
        assert_int_equal(ot_breaker_room(&b, 50, now), 0);
    }
    assert_in_range(longest, 4 * S, 8 * S);
    ot_breaker_up(&b, 100);
    uint32_t room = ot_breaker_room(&b, 0, now);
    assert_in_range(room, 2, 50); /* not all at once */
    for (int i = 0; i < 100; i++)
        ot_breaker_up(&b, 100);
    assert_true(ot_breaker_room(&b, 0, now) == UINT32_MAX);
    ot_breaker_down(&b, &rng, 0, now);
    assert_true(b.until_us - now <= S); /* short again */
    ot_breaker_down(&b, &rng, 60 * S, now);
    assert_int_equal(b.until_us, now + 60 * S); /* as it was asked */
    now = b.until_us;
    ot_breaker_down(&b, &rng, 0, now); /* of one sent earlier: not back yet */
    assert_int_equal(ot_breaker_room(&b, 0, now), 0);
}

static void test_limiter(void **state)
{
    (void)state;
    struct ot_limiter l = {.events_per_s = 100, .bytes_per_s = 1000};
    int64_t now = 50 * S;
    int n = 0;
    for (; now < 60 * S; now += 1000)
        for (; ot_limiter_at(&l) <= now; n++)
            ot_limiter_take(&l, 1, now);
    assert_in_range(n, 990, 1015);
    size_t bytes = 0;
    for (; now < 70 * S; now += 1000)
        for (; ot_limiter_at(&l) <= now; bytes += 500)
            ot_limiter_take(&l, 500, now);
    assert_in_range(bytes, 9500, 10700);
    ot_limiter_push(&l, now + 9 * S);
    assert_int_equal(ot_limiter_at(&l), now + 9 * S);
    assert_int_equal(ot_limiter_events(&l, 1000), 100);
    const struct ot_limiter none = {0};
    assert_int_equal(ot_limiter_events(&none, 1000), 1000);
}

static void test_cursor_difference(void **state)
{
    (void)state;
    struct ot_cursor c = {0};
    const struct ot_range old[] = {{2, 3}, {5, 9}, {20, 30}};
    assert_int_equal(ot_cursor_load(&c, 40, old, 3), 0);
    ot_cursor_plan(&c, 50);
    ot_cursor_add(&c, 2, 3);   /* stays */
    ot_cursor_add(&c, 5, 7);   /* shrank */
    ot_cursor_add(&c, 41, 42); /* new … */
    ot_cursor_add(&c, 43, 43); /* … and touching */
    ot_cursor_add(&c, 49, 60); /* cut at the position */
    ot_cursor_add(&c, 55, 56); /* above it */
    assert_int_equal(ot_cursor_difference(&c), 0);
    assert_true(ot_cursor_differs(&c));
    assert_int_equal(c.ndel, 2);
    assert_int_equal(c.del[0], 5);
    assert_int_equal(c.del[1], 20);
    assert_int_equal(c.put.n, 3);
    assert_true(c.put.v[0].first == 5 && c.put.v[0].last == 7);
    assert_true(c.put.v[1].first == 41 && c.put.v[1].last == 43);
    assert_true(c.put.v[2].first == 49 && c.put.v[2].last == 50);
    ot_cursor_written(&c);
    assert_int_equal(c.position, 50);
    assert_int_equal(c.gaps.n, 4);
    ot_cursor_plan(&c, 50);
    for (size_t i = 0; i < c.gaps.n; i++)
        ot_cursor_add(&c, c.gaps.v[i].first, c.gaps.v[i].last);
    assert_int_equal(ot_cursor_difference(&c), 0);
    assert_false(ot_cursor_differs(&c));
    ot_cursor_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_heap),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_breaker),
        cmocka_unit_test(test_limiter),
        cmocka_unit_test(test_cursor_difference),
    };
    return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
