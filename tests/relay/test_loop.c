/* The loop waits for descriptors, times and other threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "relay/loop.h"

#define LONG_US 60000000 /* far more than anything here takes */

/* How long another process has the processor before libuv begins. */
static int64_t held_up_us;

int __real_uv_run(uv_loop_t *, uv_run_mode);
int __wrap_uv_run(uv_loop_t *, uv_run_mode);

int __wrap_uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    usleep((useconds_t)held_up_us);
    return __real_uv_run(loop, mode);
}

struct fixture {
    struct ot_loop *loop;
    int a[2], b[2]; /* pipes: [0] reads, [1] writes */
};

static int set_up(void **state)
{
    static struct fixture fixture;

    assert_int_equal(ot_loop_new(&fixture.loop, NULL), 0);
    assert_int_equal(pipe(fixture.a), 0);
    assert_int_equal(pipe(fixture.b), 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    ot_loop_free(fixture->loop);
    for (int i = 0; i < 2; i++) {
        close(fixture->a[i]);
        close(fixture->b[i]);
    }
    return 0;
}

static struct ot_fd reading(int fd, uint32_t generation)
{
    return (struct ot_fd){.fd = fd, .read = true, .generation = generation};
}

/* Waits until the loop returns by itself; how long that took. */
static int64_t wait_us(struct ot_loop *loop, int64_t limit_us)
{
    const int64_t begun_us = ot_now_us();

    ot_loop_wait(loop, begun_us + limit_us);
    return ot_now_us() - begun_us;
}

static void waits_until_its_time(void **state)
{
    struct fixture *fixture = *state;
    int64_t took_us = wait_us(fixture->loop, 30000);

    /* libuv counts whole milliseconds, and may see the clock one early. */
    assert_in_range(took_us, 28000, LONG_US);
}

#ifdef __linux__
/* The shortest of many, as other processes make any of them longer. */
static void waits_no_whole_millisecond_more(void **state)
{
    static const int64_t waits_us[] = {200, 1100, 4200};
    struct fixture *fixture = *state;

    wait_us(fixture->loop, 1000); /* libuv begins to watch */
    for (size_t w = 0; w < sizeof(waits_us) / sizeof(waits_us[0]); w++) {
        const int64_t most_us = waits_us[w] + 699;
        int64_t least_us = LONG_US;

        for (int i = 0; i < 2000 && least_us > most_us; i++) {
            int64_t took_us = wait_us(fixture->loop, waits_us[w]);

            least_us = took_us < least_us ? took_us : least_us;
        }
        assert_in_range(least_us, waits_us[w], most_us);
    }
}

static void sees_what_moves_in_a_short_wait(void **state)
{
    struct fixture *fixture = *state;
    struct ot_fd fd = reading(fixture->a[0], 0);
    struct ot_fd none = {.fd = fixture->a[0]};
    int64_t least_us = LONG_US;

    ot_loop_watch(fixture->loop, &fd, 1);
    ot_loop_wait(fixture->loop, 0); /* libuv begins to watch */
    assert_int_equal(write(fixture->a[1], "x", 1), 1);
    for (int i = 0; i < 100; i++) {
        int64_t took_us = wait_us(fixture->loop, 10000);

        least_us = took_us < least_us ? took_us : least_us;
    }
    assert_in_range(least_us, 0, 5000);
    /* What nobody waits for any longer ends no wait, however short. */
    ot_loop_watch(fixture->loop, &none, 1);
    assert_in_range(wait_us(fixture->loop, 5000), 4000, LONG_US);
    assert_in_range(wait_us(fixture->loop, 5000), 4000, LONG_US);
}
#endif

static void a_process_held_up_past_its_time_does_not_wait_for_ever(void **state)
{
    struct fixture *fixture = *state;

    alarm(60); /* nothing else would end it */
    held_up_us = 20000;
    assert_in_range(wait_us(fixture->loop, 1000), 20000, LONG_US);
    held_up_us = 0;
    /* and the next wait waits */
    assert_in_range(wait_us(fixture->loop, 30000), 28000, LONG_US);
    alarm(0);
}

static void a_time_that_has_passed_only_looks(void **state)
{
    struct fixture *fixture = *state;

    ot_loop_wait(fixture->loop, 0);
    assert_in_range(wait_us(fixture->loop, 0), 0, LONG_US / 10);
}

static void returns_when_readable(void **state)
{
    struct fixture *fixture = *state;
    struct ot_fd fd = reading(fixture->a[0], 0);

    ot_loop_watch(fixture->loop, &fd, 1);
    assert_int_equal(write(fixture->a[1], "x", 1), 1);
    assert_in_range(wait_us(fixture->loop, LONG_US), 0, LONG_US / 2);
}

static void is_silent_about_what_it_no_longer_watches(void **state)
{
    struct fixture *fixture = *state;
    struct ot_fd fd = reading(fixture->a[0], 0);

    ot_loop_watch(fixture->loop, &fd, 1);
    ot_loop_wait(fixture->loop, 0);
    ot_loop_watch(fixture->loop, NULL, 0);
    ot_loop_wait(fixture->loop, 0); /* lets it go */
    assert_int_equal(write(fixture->a[1], "x", 1), 1);
    assert_in_range(wait_us(fixture->loop, 30000), 28000, LONG_US);
}

/* A connection that was closed and opened again often has the same number. */
static void sees_another_file_behind_the_same_number(void **state)
{
    struct fixture *fixture = *state;
    struct ot_fd fd = reading(fixture->a[0], 1);

    ot_loop_watch(fixture->loop, &fd, 1);
    ot_loop_wait(fixture->loop, 0);
    assert_int_equal(dup2(fixture->b[0], fixture->a[0]), fixture->a[0]);
    fd.generation = 2;
    ot_loop_watch(fixture->loop, &fd, 1);
    ot_loop_wait(fixture->loop, 0);
    assert_int_equal(write(fixture->b[1], "x", 1), 1);
    assert_in_range(wait_us(fixture->loop, LONG_US), 0, LONG_US / 2);
}

static void changes_what_it_waits_for(void **state)
{
    struct fixture *fixture = *state;
    struct ot_fd fd = {.fd = fixture->a[1], .write = true};

    ot_loop_watch(fixture->loop, &fd, 1);
    assert_in_range(wait_us(fixture->loop, LONG_US), 0, LONG_US / 2);
    fd.write = false;
    ot_loop_watch(fixture->loop, &fd, 1);
    assert_in_range(wait_us(fixture->loop, 30000), 28000, LONG_US);
}

/* A regular file cannot be polled: the loop looks often instead. */
static void a_file_that_cannot_be_waited_on_is_looked_at_often(void **state)
{
    struct fixture *fixture = *state;
    char path[] = "/tmp/outtray-loop-XXXXXX";
    struct ot_fd fd = reading(mkstemp(path), 0);

    assert_true(fd.fd >= 0);
    unlink(path);
    ot_loop_watch(fixture->loop, &fd, 1);
    assert_in_range(wait_us(fixture->loop, LONG_US), 0, LONG_US / 2);
    close(fd.fd);
}

static void *wake_soon(void *loop)
{
    usleep(20000);
    ot_loop_wake(loop);
    return NULL;
}

static void another_thread_wakes_it(void **state)
{
    struct fixture *fixture = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wake_soon, fixture->loop),
                     0);
    assert_in_range(wait_us(fixture->loop, LONG_US), 0, LONG_US / 2);
    pthread_join(thread, NULL);
}

static void a_wake_before_the_wait_is_not_lost(void **state)
{
    struct fixture *fixture = *state;

    ot_loop_wake(fixture->loop);
    assert_in_range(wait_us(fixture->loop, LONG_US), 0, LONG_US / 2);
}

static void tells_an_outer_loop_when_to_come(void **state)
{
    struct fixture *fixture = *state;
    struct ot_fd fd = reading(fixture->a[0], 0);
    char byte;

    assert_true(ot_loop_fd(fixture->loop) >= 0);
    ot_loop_watch(fixture->loop, &fd, 1);
    /* What libuv has not told the kernel yet needs one more call. */
    assert_int_equal(ot_loop_timeout_ms(fixture->loop), 0);
    ot_loop_wait(fixture->loop, 0);
    assert_int_equal(ot_loop_timeout_ms(fixture->loop), -1);
    /* The time of a wait that something else ended is none of the next one. */
    assert_int_equal(write(fixture->a[1], "x", 1), 1);
    wait_us(fixture->loop, LONG_US);
    assert_true(ot_loop_timeout_ms(fixture->loop) > 0);
    assert_int_equal(read(fixture->a[0], &byte, 1), 1);
    wait_us(fixture->loop, 5000);
    assert_int_equal(ot_loop_timeout_ms(fixture->loop), -1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(waits_until_its_time),
#ifdef __linux__
        TEST(waits_no_whole_millisecond_more),
        TEST(sees_what_moves_in_a_short_wait),
#endif
        TEST(a_process_held_up_past_its_time_does_not_wait_for_ever),
        TEST(a_time_that_has_passed_only_looks),
        TEST(returns_when_readable),
        TEST(is_silent_about_what_it_no_longer_watches),
        TEST(sees_another_file_behind_the_same_number),
        TEST(changes_what_it_waits_for),
        TEST(a_file_that_cannot_be_waited_on_is_looked_at_often),
        TEST(another_thread_wakes_it),
        TEST(a_wake_before_the_wait_is_not_lost),
        TEST(tells_an_outer_loop_when_to_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
