/* thread.c - a thread that leaves the host's signals alone. */
#include "sink/thread.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

static_assert(sizeof(sigset_t) <= sizeof(struct ot_signals),
              "a sigset_t has room");

void ot_signals_block(struct ot_signals *s)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    memcpy(s->saved, &old, sizeof(old));
}

void ot_signals_restore(const struct ot_signals *s)
{
    sigset_t old;
    memcpy(&old, s->saved, sizeof(old));
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int ot_thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    struct ot_signals s;
    ot_signals_block(&s);
    int e = pthread_create(thread, NULL, run, arg);
    ot_signals_restore(&s);
    return e;
}

int ot_wake_open(struct ot_wake *w)
{
#ifdef __linux__
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return errno;
    *w = (struct ot_wake){fd, fd};
#else
    int fds[2];
    if (pipe(fds) != 0)
        return errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    *w = (struct ot_wake){fds[0], fds[1]};
#endif
    return 0;
}

void ot_wake_close(struct ot_wake *w)
{
    close(w->read_fd);
    if (w->write_fd != w->read_fd)
        close(w->write_fd);
    *w = (struct ot_wake){-1, -1};
}

void ot_wake_up(const struct ot_wake *w)
{
    uint64_t one = 1; /* a full pipe is awake already */
    while (write(w->write_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void ot_wake_clear(const struct ot_wake *w)
{
    char waste[256];
    ssize_t n;
    do
        n = read(w->read_fd, waste, sizeof(waste));
    while (n == (ssize_t)sizeof(waste) || (n < 0 && errno == EINTR));
}

int ot_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int e = pthread_condattr_init(&attr);
    if (e != 0)
        return e;
    e = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (e == 0)
        e = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return e;
}

bool ot_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock,
                        int64_t until_us)
{
    struct timespec t = {.tv_sec = (time_t)(until_us / 1000000),
                         .tv_nsec = (long)(until_us % 1000000) * 1000};
    return pthread_cond_timedwait(cond, lock, &t) != ETIMEDOUT;
}
