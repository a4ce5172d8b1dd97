/* pump.h - a thread that steps a relay, for a language whose own code runs for
 * long between two steps: the lease is renewed and the cursor written meanwhile.
 *
 * It calls nothing of the language and wants none of its locks. What it has to
 * tell, a batch that may be taken, a line of the log, its end, makes pump_fd
 * readable. While it runs the relay is its own: others call what batch.h and
 * relay.h allow on any thread.
 */
#ifndef OUTTRAY_BINDINGS_PUMP_H
#define OUTTRAY_BINDINGS_PUMP_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"

#define PUMP_STATS_AGE_MS 50

struct outtray_pump {
    struct outtray_handle *handle;
    pthread_t thread;
    bool joined;
    int fds[2]; /* a pipe: to read, to write */
    /* Under the lock of the handle: */
    bool quit;   /* end now, not cleanly */
    bool told;   /* a byte is in the pipe */
    bool ended;  /* the thread does not touch the relay any more */
    bool orphan; /* nobody has the handle: the thread frees it */
    int rc;      /* once it has ended: as outtray_relay_step */
    struct outtray_error err;
    struct outtray_relay_stats stats;
    int64_t stats_ms; /* when they were taken */
};

static int64_t pump_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* With the lock. */
static void pump_tell(struct outtray_pump *p)
{
    ssize_t n;

    if (p->told)
        return;
    do
        n = write(p->fds[1], "", 1);
    while (n < 0 && errno == EINTR);
    p->told = true;
}

/* After a step, with the lock. */
static void pump_note(struct outtray_pump *p, int rc,
                      const struct outtray_error *err)
{
    struct outtray_relay *relay = p->handle->relay;
    int64_t now_ms = pump_now_ms();

    if (rc != 1 || p->quit) {
        p->rc = rc;
        p->err = *err;
        p->ended = true;
    }
    if (p->ended || now_ms - p->stats_ms >= PUMP_STATS_AGE_MS) {
        outtray_relay_stats(relay, &p->stats);
        p->stats_ms = now_ms;
    }
    if (p->ended || p->handle->n > 0 || outtray_relay_ready(relay))
        pump_tell(p);
}

static void pump_free(struct outtray_pump *p)
{
    for (int i = 0; i < 2; i++)
        if (p->fds[i] >= 0)
            close(p->fds[i]);
    free(p);
}

static void *pump_main(void *arg)
{
    struct outtray_pump *p = arg;
    struct outtray_handle *h = p->handle;
    struct outtray_error err = {0};
    bool ended = false, orphan = false;
    int rc;

    while (!ended) {
        rc = outtray_relay_step(h->relay, -1, &err);
        pthread_mutex_lock(&h->lock);
        pump_note(p, rc, &err);
        ended = p->ended;
        orphan = p->orphan;
        pthread_mutex_unlock(&h->lock);
    }
    if (orphan) {
        pump_free(p);
        handle_release(h);
    }
    return NULL;
}

static bool pump_pipe(struct outtray_pump *p)
{
    p->fds[0] = p->fds[1] = -1;
    if (pipe(p->fds) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        if (fcntl(p->fds[i], F_SETFD, FD_CLOEXEC) != 0 ||
            fcntl(p->fds[i], F_SETFL, O_NONBLOCK) != 0)
            return false;
    return true;
}

/* Signals are for the threads of the program. 0 or errno. */
static int pump_thread(struct outtray_pump *p)
{
    sigset_t all, before;
    int e;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    e = pthread_create(&p->thread, NULL, pump_main, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e;
}

/* From now on the relay is stepped by a thread of its own. */
static void pump_begin(struct outtray_handle *h, struct outtray_error *err)
{
    struct outtray_pump *p = calloc(1, sizeof(*p));
    int e = ENOMEM;

    if (p != NULL) {
        p->handle = h;
        outtray_relay_stats(h->relay, &p->stats);
        e = pump_pipe(p) ? pump_thread(p) : errno;
    }
    if (e == 0) {
        h->pump = p;
        return;
    }
    if (p != NULL)
        pump_free(p);
    err->code = e == ENOMEM ? OUTTRAY_E_NOMEM : OUTTRAY_E_IO;
    snprintf(err->text, sizeof(err->text),
             "no thread for the relay (error %d): raise the limits of this "
             "process for threads and open files",
             e);
}

/* End it without a clean stop; what is under way is abandoned. */
static void pump_quit(struct outtray_pump *p)
{
    pthread_mutex_lock(&p->handle->lock);
    p->quit = true;
    pthread_mutex_unlock(&p->handle->lock);
    outtray_relay_stop(p->handle->relay); /* wakes it */
}

static void pump_join(struct outtray_pump *p)
{
    if (!p->joined)
        pthread_join(p->thread, NULL);
    p->joined = true;
}

/* The language has dropped the handle: wait for nothing. */
static void handle_drop(struct outtray_handle *h)
{
    struct outtray_pump *p = h->pump;
    bool ended;

    if (h->pid != getpid())
        return; /* a forked child: the parent's thread may hold the lock */
    if (p != NULL && !p->joined) {
        pthread_mutex_lock(&h->lock);
        ended = p->ended;
        if (!ended) {
            p->quit = true;
            p->orphan = true;
            pthread_detach(p->thread);
            outtray_relay_stop(h->relay);
        }
        pthread_mutex_unlock(&h->lock);
        if (!ended)
            return;
        pump_join(p);
    }
    if (p != NULL)
        pump_free(p);
    handle_release(h);
}

#endif
