/* thread.h - a thread that leaves the host's signals alone. */
#ifndef OT_SINK_THREAD_H
#define OT_SINK_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Every thread started between the two has all signals blocked: handlers of
 * the host run on threads the host knows. */
struct ot_signals {
    uint64_t saved[16]; /* a sigset_t */
};
void ot_signals_block(struct ot_signals *);
void ot_signals_restore(const struct ot_signals *);

/* 0 or an errno. The thread has all signals blocked. */
int ot_thread_start(pthread_t *, void *(*run)(void *), void *arg);

/* An eventfd or the two ends of a pipe, all non-blocking. */
struct ot_wake {
    int read_fd;
    int write_fd; /* may be the same */
};
int ot_wake_open(struct ot_wake *); /* 0 or an errno */
/* What to say if that fails. */
#define OT_NO_WAKE                                                           \
    "no file descriptor is left: raise the limit of open files (ulimit -n, " \
    "or LimitNOFILE= of the service)"
void ot_wake_close(struct ot_wake *);
void ot_wake_up(const struct ot_wake *);
void ot_wake_clear(const struct ot_wake *);

/* Waits on cond until that monotonic time; the cond was made by
 * ot_cond_init. False: time is up. */
int ot_cond_init(pthread_cond_t *);
bool ot_cond_wait_until(pthread_cond_t *, pthread_mutex_t *, int64_t until_us);

#endif
