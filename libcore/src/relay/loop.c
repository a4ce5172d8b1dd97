/* loop.c - libuv behind loop.h. */
#define _GNU_SOURCE /* ppoll */
#include "relay/loop.h"

#include <poll.h>
#include <uv.h>

#define MAX_WAIT_MS   86400000 /* one day */
#define BLIND_WAIT_US 10000    /* when a descriptor cannot be waited on */
#ifdef __linux__
#define EXACT_WAIT_US 20000 /* above it a millisecond makes no difference */
#else
#define EXACT_WAIT_US 0 /* never: ppoll may be missing */
#endif

/* One descriptor; libuv owns it from uv_close until watch_closed. */
struct watch {
    uv_poll_t poll;
    struct watch *next;
    struct ot_fd fd;
    int events; /* what libuv watches now; 0: nothing */
    bool wanted;
};

struct ot_loop {
    uv_loop_t uv;
    uv_timer_t timer;
    uv_async_t wake;
    struct watch *watches;
    bool blind; /* some descriptor cannot be waited on */
    bool stale; /* what libuv watches has changed since it ran */
};

/* libuv before 1.45 runs the timers before it waits. A process that was held
 * up between the start of the timer and that moment has its time come there,
 * and would then wait without any: for ever, if no descriptor moves. A loop
 * that is told to stop only looks. */
static void on_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Nothing to do in it: that uv_run returns is the news. */
static void on_wake(uv_async_t *wake)
{
    (void)wake;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)events;
    /* On an error libuv has stopped the handle: it is started again if its
     * owner still lists it. */
    if (status < 0)
        ((struct watch *)poll->data)->events = 0;
}

static void watch_closed(uv_handle_t *handle)
{
    ot_free(handle->data);
}

int ot_loop_new(struct ot_loop **out, struct outtray_error *err)
{
    struct ot_loop *loop = ot_alloc_zero(1, sizeof(*loop));
    int rc;

    *out = NULL;
    if (loop == NULL)
        return ot_fail_nomem(err);
    rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        ot_free(loop);
        return ot_fail(err, OUTTRAY_E_IO, "event loop: %s", uv_strerror(rc));
    }
    uv_timer_init(&loop->uv, &loop->timer);
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (rc != 0) {
        uv_close((uv_handle_t *)&loop->timer, NULL);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        uv_loop_close(&loop->uv);
        ot_free(loop);
        return ot_fail(err, OUTTRAY_E_IO, "event loop: %s", uv_strerror(rc));
    }
    loop->stale = true;
    *out = loop;
    return 0;
}

static void watch_drop(struct watch *watch)
{
    uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, watch_closed);
}

void ot_loop_free(struct ot_loop *loop)
{
    if (loop == NULL)
        return;
    ot_loop_watch(loop, NULL, 0);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    ot_free(loop);
}

static struct watch *watch_find(struct ot_loop *loop, const struct ot_fd *fd)
{
    struct watch *watch = loop->watches;

    while (watch != NULL &&
           (watch->fd.fd != fd->fd || watch->fd.generation != fd->generation))
        watch = watch->next;
    return watch;
}

static void watch_add(struct ot_loop *loop, const struct ot_fd *fd)
{
    struct watch *watch = ot_alloc_zero(1, sizeof(*watch));

    if (watch == NULL) {
        loop->blind = true;
        return;
    }
    if (uv_poll_init(&loop->uv, &watch->poll, fd->fd) != 0) {
        ot_free(watch);
        loop->blind = true;
        return;
    }
    watch->poll.data = watch;
    watch->fd = *fd;
    watch->wanted = true;
    watch->next = loop->watches;
    loop->watches = watch;
}

void ot_loop_watch(struct ot_loop *loop, const struct ot_fd *fds, size_t n)
{
    struct watch **at, *watch;
    int events;

    loop->blind = false;
    for (watch = loop->watches; watch != NULL; watch = watch->next)
        watch->wanted = false;
    for (size_t i = 0; i < n; i++) {
        watch = watch_find(loop, &fds[i]);
        if (watch != NULL) {
            watch->wanted = true;
            watch->fd = fds[i];
        }
    }
    /* The old ones go first: a new one may have the same number. */
    for (at = &loop->watches; (watch = *at) != NULL;) {
        if (watch->wanted) {
            at = &watch->next;
        } else {
            *at = watch->next;
            watch_drop(watch);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (watch_find(loop, &fds[i]) == NULL)
            watch_add(loop, &fds[i]);
    }
    for (watch = loop->watches; watch != NULL; watch = watch->next) {
        events = (watch->fd.read ? UV_READABLE : 0) |
                 (watch->fd.write ? UV_WRITABLE : 0);
        if (events == watch->events)
            continue;
        if (events == 0)
            uv_poll_stop(&watch->poll);
        else if (uv_poll_start(&watch->poll, events, on_ready) != 0)
            loop->blind = true;
        watch->events = events;
        loop->stale = true;
    }
}

/* libuv counts in milliseconds: rounded up, or it would spin at the end. */
static uint64_t ms_until(int64_t until_us, int64_t now_us)
{
    int64_t ms;

    if (until_us <= now_us)
        return 0;
    if (until_us - now_us > (int64_t)MAX_WAIT_MS * 1000)
        return MAX_WAIT_MS;
    ms = (until_us - now_us + 999) / 1000;
    return (uint64_t)ms;
}

/* Less than EXACT_WAIT_US, in nanoseconds: of 1.1 ms libuv would make 2. Is
 * there something for it to do? It need not run when the time has come. */
static bool wait_exactly(struct ot_loop *loop, int64_t us)
{
#ifdef __linux__
    struct pollfd fd = {.fd = uv_backend_fd(&loop->uv), .events = POLLIN};
    struct timespec time = {.tv_nsec = (long)us * 1000};

    return ppoll(&fd, 1, &time, NULL) != 0;
#else
    (void)loop;
    (void)us;
    return true;
#endif
}

void ot_loop_wait(struct ot_loop *loop, int64_t until_us)
{
    int64_t now_us = ot_now_us();

    if (loop->blind && until_us > now_us + BLIND_WAIT_US)
        until_us = now_us + BLIND_WAIT_US;
    if (!loop->stale && until_us > now_us &&
        until_us < now_us + EXACT_WAIT_US) {
        if (!wait_exactly(loop, until_us - now_us)) {
            uv_timer_stop(&loop->timer); /* that of an earlier wait */
            return;
        }
        until_us = now_us; /* libuv only looks who is ready */
    }
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->timer, on_timer, ms_until(until_us, now_us), 0);
    loop->stale = false;
    uv_run(&loop->uv, until_us <= now_us ? UV_RUN_NOWAIT : UV_RUN_ONCE);
}

void ot_loop_wake(struct ot_loop *loop)
{
    uv_async_send(&loop->wake);
}

int ot_loop_fd(const struct ot_loop *loop)
{
    return uv_backend_fd(&loop->uv);
}

int ot_loop_timeout_ms(const struct ot_loop *loop)
{
    return uv_backend_timeout(&loop->uv);
}
