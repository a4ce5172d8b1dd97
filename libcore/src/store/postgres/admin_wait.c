/* admin_wait.c - what PQexec does, with patience that can end.
 *
 * libpq takes no notice of a signal, and says nothing while it waits.
 */
#include "store/postgres/admin.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>

/* A signal that comes just before poll does not end it. */
enum { TICK_MS = 250 };

/* Who was asked to stop is given so long to say that it did. */
static const int64_t FAREWELL_US = 5000000;

struct wait {
    struct ot_pga *a;
    int64_t began_us;
    int64_t look_us;
};

/* --- to stop --------------------------------------------------------------- */

/* PQcancel blocks, for ever where a server that hangs takes its connection. */
static void *cancel(void *arg)
{
    PGcancel *what = arg;
    char text[256];

    (void)PQcancel(what, text, sizeof(text));
    PQfreeCancel(what);
    return NULL;
}

/* Signals are for the thread that asks whether one came. */
static bool run_apart(void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    pthread_t thread;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(&thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed == 0)
        pthread_detach(thread);
    return failed == 0;
}

static void stop(struct ot_pga *a)
{
    PGcancel *what = PQgetCancel(a->c);

    a->cancelled = true;
    a->leave_us = ot_now_us() + FAREWELL_US;
    if (what != NULL && !run_apart(cancel, what))
        PQfreeCancel(what);
}

/* --- to wait --------------------------------------------------------------- */

/* False: it is no use to wait any longer. */
static bool tick(struct wait *wait)
{
    const struct ot_patience *patience = wait->a->base.patience;
    struct ot_pga *a = wait->a;
    struct pollfd fd = {.fd = PQsocket(a->c), .events = POLLIN};
    int64_t now_us;

    if (poll(&fd, 1, patience != NULL ? TICK_MS : -1) > 0 || patience == NULL)
        return true;
    now_us = ot_now_us();
    if (a->cancelled)
        return now_us < a->leave_us;
    if (patience->interrupted(patience->ctx)) {
        stop(a);
    } else if (a->writes && now_us >= wait->look_us) {
        patience->waits(patience->ctx, now_us - wait->began_us);
        wait->look_us = now_us + (now_us - wait->began_us);
    }
    return true;
}

PGresult *ot_pga_answer(struct ot_pga *a, int sent)
{
    int64_t now_us = ot_now_us();
    struct wait wait = {a, now_us, now_us + OT_PATIENCE_US};
    PGresult *last = NULL, *next;

    if (sent != 1)
        return NULL;
    for (;;) {
        while (PQisBusy(a->c) == 1) {
            if (!tick(&wait)) {
                a->silent = true;
                PQclear(last);
                return NULL;
            }
            /* A failure is what PQgetResult returns. */
            if (PQconsumeInput(a->c) != 1)
                break;
        }
        next = PQgetResult(a->c);
        if (next == NULL)
            return last;
        PQclear(last);
        last = next;
    }
}
