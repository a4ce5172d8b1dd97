/* handle.h - a relay with its log as a queue, for languages that C shall not
 * call. The relay belongs to whoever steps it; stop alone is for anybody. */
#ifndef OUTTRAY_BINDINGS_HANDLE_H
#define OUTTRAY_BINDINGS_HANDLE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "outtray.h"
#include "signals.h"

enum { HANDLE_LINES = 256 }; /* more are counted, not kept */

struct outtray_log_line {
    int level;
    char facility[32];
    char text[480];
};

struct outtray_pump;

struct outtray_handle {
    struct outtray_relay *relay; /* NULL once it is closed */
    struct outtray_pump *pump;   /* its thread, if it has one: pump.h */
    pid_t pid;
    pthread_mutex_t lock; /* of the lines, which another thread may write */
    struct outtray_log_line *lines; /* a ring */
    unsigned first;
    unsigned n;
    unsigned lost;
};

/* A batch that a language holds. */
struct outtray_taken {
    struct outtray_batch *batch; /* NULL once it is closed */
};

static void taken_close(struct outtray_taken *t)
{
    outtray_batch_close(t->batch);
    t->batch = NULL;
}

static struct outtray_taken *handle_take(struct outtray_handle *h,
                                         struct outtray_batch_limits limits,
                                         struct outtray_error *err)
{
    struct outtray_taken *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        err->code = OUTTRAY_E_NOMEM;
        snprintf(err->text, sizeof(err->text), "%s",
                 outtray_error_text(err->code));
        return NULL;
    }
    if (h->relay == NULL) {
        free(t);
        return NULL;
    }
    if (outtray_relay_take(h->relay, &limits, &t->batch, err) == 1)
        return t;
    free(t);
    return NULL;
}

static void handle_log(void *ctx, enum outtray_log_level level,
                       const char *facility, const char *text)
{
    struct outtray_handle *h = ctx;
    struct outtray_log_line *line;

    pthread_mutex_lock(&h->lock);
    if (h->n == HANDLE_LINES) {
        h->lost++;
    } else {
        line = &h->lines[(h->first + h->n++) % HANDLE_LINES];
        line->level = (int)level;
        snprintf(line->facility, sizeof(line->facility), "%s", facility);
        snprintf(line->text, sizeof(line->text), "%s", text);
    }
    pthread_mutex_unlock(&h->lock);
}

/* With the lock. */
static bool next_line(struct outtray_handle *h, struct outtray_log_line *out)
{
    if (h->n == 0 && h->lost > 0) {
        *out = (struct outtray_log_line){OUTTRAY_LOG_WARN, "log", ""};
        snprintf(out->text, sizeof(out->text), "%u lines are left out",
                 h->lost);
        h->lost = 0;
        return true;
    }
    if (h->n == 0)
        return false;
    *out = h->lines[h->first];
    h->first = (h->first + 1) % HANDLE_LINES;
    h->n--;
    return true;
}

/* The oldest line into out; false: there is none. */
static bool handle_log_next(struct outtray_handle *h,
                            struct outtray_log_line *out)
{
    bool found;

    pthread_mutex_lock(&h->lock);
    found = next_line(h, out);
    pthread_mutex_unlock(&h->lock);
    return found;
}

static void handle_release(struct outtray_handle *h)
{
    signals_release(h->relay);
    outtray_relay_close(h->relay);
    pthread_mutex_destroy(&h->lock);
    free(h->lines);
    free(h);
}

static struct outtray_handle *handle_open(const struct outtray_conf *conf,
                                          struct outtray_error *err)
{
    struct outtray_handle *h = calloc(1, sizeof(*h));
    struct outtray_log_line *lines = calloc(HANDLE_LINES, sizeof(*lines));

    if (h == NULL || lines == NULL || pthread_mutex_init(&h->lock, NULL) != 0) {
        free(lines);
        free(h);
        err->code = OUTTRAY_E_NOMEM;
        snprintf(err->text, sizeof(err->text), "%s",
                 outtray_error_text(err->code));
        return NULL;
    }
    h->lines = lines;
    h->pid = getpid();
    if (outtray_relay_open(&h->relay, conf, handle_log, h, err) == 0)
        return h;
    handle_release(h);
    return NULL;
}

#endif
