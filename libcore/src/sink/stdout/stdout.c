/* stdout.c - NDJSON on standard output. OK means that the line was written to
 * whatever is behind it. Nothing waits: a pipe that nobody reads is
 * back-pressure. */
#include "sink/builtin.h"
#include "sink/done.h"
#include "sink/lines.h"
#include "sink/reasons.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ROOM_EVENTS = 16384,
    ROOM_BYTES = 4 << 20,
    SAFE_PIECE = 4096, /* PIPE_BUF: fits whenever poll says writable */
};

struct stdout_sink {
    struct ot_sink base;
    const struct ot_log *log;
    int fd;
    bool careful; /* the descriptor blocks: ask poll before each piece */
    bool wait;    /* for room in the pipe */
    bool broken;  /* the engine has not seen all of a failure yet */
    struct ot_lines lines;
    size_t written;   /* bytes of lines.text */
    size_t completed; /* of lines.ends */
    uint64_t count;
    struct ot_done done;
    struct ot_reasons reasons;
    char trouble[200];
};

static struct stdout_sink *self(struct ot_sink *sink)
{
    return (struct stdout_sink *)sink;
}

/* A description of its own, so that making it non-blocking does not reach the
 * shell and whoever else shares ours. */
static int open_output(bool *careful)
{
    struct stat st;
    *careful = false;
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags < 0 || fstat(STDOUT_FILENO, &st) != 0)
        return -1;
    if ((flags & O_ACCMODE) == O_RDONLY) { /* opening it anew would hide that */
        errno = EBADF;
        return -1;
    }
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
        int fd = open("/proc/self/fd/1",
                      O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0)
            return fd;
    }
    *careful = !S_ISREG(st.st_mode);
    return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

static int stdout_open(struct ot_sink **out, const struct outtray_conf *conf,
                       const struct ot_log *log, struct outtray_error *err)
{
    *out = NULL;
    const char *url = ot_conf_secret(conf, "sink.url");
    if (strcmp(url, "stdout:") != 0)
        return ot_fail(err, OUTTRAY_E_URL,
                       "sink.url: standard output is written \"stdout:\"");
    struct stdout_sink *s = ot_alloc_zero(1, sizeof(*s));
    if (s == NULL || !ot_done_reserve(&s->done, 1)) {
        ot_free(s);
        return ot_fail_nomem(err);
    }
    s->base.ops = &ot_sink_stdout;
    s->log = log;
    s->fd = open_output(&s->careful);
    if (s->fd < 0) {
        int e = errno;
        ot_done_free(&s->done);
        ot_free(s);
        return ot_fail(err, OUTTRAY_E_IO,
                       "stdout: standard output cannot be used: %s; redirect "
                       "it, or write to a file: --sink file:PATH",
                       strerror(e));
    }
    *out = &s->base;
    return 0;
}

static size_t pending(const struct stdout_sink *s)
{
    return s->lines.n - s->completed;
}

/* A reader that went away must not kill the host: write, and eat the SIGPIPE
 * that the write itself raised. */
static ssize_t write_quietly(int fd, const char *p, size_t n)
{
    sigset_t pipe_set, old, before;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&before);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    ssize_t got = write(fd, p, n);
    int e = errno;
    if (got < 0 && e == EPIPE && !sigismember(&before, SIGPIPE)) {
        struct timespec now = {0};
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = e;
    return got;
}

/* As much as goes without waiting. 0 or an errno. */
static int write_some(struct stdout_sink *s)
{
    s->wait = false;
    while (s->written < s->lines.text.n) {
        size_t n = s->lines.text.n - s->written;
        if (s->careful) {
            struct pollfd p = {.fd = s->fd, .events = POLLOUT};
            /* Below 0, a signal came: nobody knows whether there is room. */
            if (poll(&p, 1, 0) <= 0) {
                s->wait = true;
                return 0;
            }
            if (n > SAFE_PIECE)
                n = SAFE_PIECE;
        }
        ssize_t got = write_quietly(s->fd, s->lines.text.p + s->written, n);
        if (got > 0)
            s->written += (size_t)got;
        else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            s->wait = true;
            return 0;
        } else if (got == 0 || errno != EINTR) {
            return got == 0 ? EIO : errno;
        }
    }
    return 0;
}

static void complete_written(struct stdout_sink *s)
{
    while (s->completed < s->lines.n &&
           s->lines.ends[s->completed].end <= s->written) {
        struct ot_completion c = {.ticket =
                                      s->lines.ends[s->completed++].ticket};
        s->count++;
        ot_done_push(&s->done, &c);
    }
}

/* All that is pending fails, in order; what was begun may have been read. */
static void complete_rest(struct stdout_sink *s, int error, const char *reason)
{
    size_t start = s->completed > 0 ? s->lines.ends[s->completed - 1].end : 0;
    while (s->completed < s->lines.n) {
        struct ot_lines_end *line = &s->lines.ends[s->completed++];
        bool begun = s->written > start;
        struct ot_completion c = {
            .ticket = line->ticket,
            .outcome = begun ? OT_UNKNOWN : OT_UNAVAILABLE,
            .scope = OT_THE_SINK,
            .maybe_persisted = begun,
            .native_code = error,
            .reason = reason,
        };
        ot_done_push(&s->done, &c);
        start = line->end;
    }
}

/* Half a line stays on its way: its rest is written before anything else, so
 * that the reader sees whole lines only. */
static void keep_tail(struct stdout_sink *s)
{
    size_t end = s->written;
    for (size_t i = 0; i < s->lines.n; i++) {
        size_t start = i > 0 ? s->lines.ends[i - 1].end : 0;
        if (start < s->written && s->written < s->lines.ends[i].end)
            end = s->lines.ends[i].end;
    }
    size_t left = end - s->written;
    if (left > 0)
        memmove(s->lines.text.p, s->lines.text.p + s->written, left);
    s->lines.text.n = left;
    s->lines.n = 0;
    s->completed = 0;
    s->written = 0;
}

static void push(struct stdout_sink *s)
{
    int e = write_some(s);
    complete_written(s);
    if (e != 0) {
        char text[200], why[100] = "unknown error";
        (void)!strerror_r(e, why, sizeof(why));
        snprintf(text, sizeof(text), "cannot write standard output: %s%s", why,
                 e == EPIPE ? "; whoever read it is gone" : "");
        if (strcmp(text, s->trouble) != 0)
            ot_log(s->log, OT_WARN, "stdout", "%s", text);
        snprintf(s->trouble, sizeof(s->trouble), "%s", text);
        complete_rest(s, e, ot_reason(&s->reasons, text));
        s->broken = true;
        keep_tail(s);
    } else if (s->written > 0) {
        s->trouble[0] = '\0';
    }
    if (s->completed == s->lines.n && s->written == s->lines.text.n) {
        ot_lines_clear(&s->lines);
        s->completed = 0;
        s->written = 0;
    }
}

static size_t stdout_submit(struct ot_sink *sink, const struct ot_send *sends,
                            size_t n)
{
    struct stdout_sink *s = self(sink);
    size_t i;
    s->broken = s->broken && s->done.n > 0;
    for (i = 0; i < n && !s->broken; i++) {
        size_t owed = pending(s) + s->done.n;
        if (owed > 0 && (owed >= ROOM_EVENTS || s->lines.text.n >= ROOM_BYTES))
            break;
        if (!ot_done_reserve(&s->done, owed + 1))
            break;
        if (ot_lines_add(&s->lines, &sends[i]))
            continue;
        if (owed > 0)
            break;
        struct ot_completion c = {.ticket = sends[i].ticket,
                                  .outcome = OT_UNAVAILABLE,
                                  .scope = OT_THE_SINK,
                                  .reason = "stdout: out of memory"};
        ot_done_push(&s->done, &c);
        i++;
        break;
    }
    push(s);
    return i;
}

static int64_t stdout_service(struct ot_sink *sink, int64_t now_us)
{
    struct stdout_sink *s = self(sink);
    push(s);
    return s->done.n > 0 ? now_us : OT_NEVER;
}

static size_t stdout_fds(const struct ot_sink *sink, struct ot_fd *out,
                         size_t max)
{
    const struct stdout_sink *s = (const struct stdout_sink *)sink;
    if (!s->wait || max == 0)
        return 0;
    out[0] = (struct ot_fd){.fd = s->fd, .write = true};
    return 1;
}

static size_t stdout_completions(struct ot_sink *sink,
                                 struct ot_completion *out, size_t max)
{
    return ot_done_take(&self(sink)->done, out, max);
}

static void stdout_abandon(struct ot_sink *sink)
{
    struct stdout_sink *s = self(sink);
    complete_rest(s, 0, "stdout: abandoned");
    keep_tail(s);
}

static int stdout_check(struct ot_sink *sink, const char *destination,
                        int timeout_ms, struct outtray_error *err)
{
    (void)destination;
    (void)timeout_ms;
    struct pollfd p = {.fd = self(sink)->fd, .events = POLLOUT};
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLNVAL)) != 0)
        return ot_fail(err, OUTTRAY_E_SINK_UNAVAILABLE,
                       "stdout: nobody reads standard output any more");
    return 0;
}

static void stdout_health(const struct ot_sink *sink, struct ot_health *out)
{
    const struct stdout_sink *s = (const struct stdout_sink *)sink;
    *out = (struct ot_health){
        .state = s->trouble[0] != '\0' ? OT_HEALTH_DOWN
                 : s->wait             ? OT_HEALTH_DEGRADED
                 : s->count > 0        ? OT_HEALTH_UP
                                       : OT_HEALTH_UNKNOWN,
        .in_flight = pending(s),
    };
    snprintf(out->reason, sizeof(out->reason), "%s",
             s->trouble[0] != '\0' ? s->trouble
             : s->wait             ? "whoever reads standard output is slow"
                                   : "");
}

static void stdout_close(struct ot_sink *sink)
{
    struct stdout_sink *s = self(sink);
    close(s->fd);
    ot_lines_free(&s->lines);
    ot_done_free(&s->done);
    ot_reasons_forget(&s->reasons);
    ot_free(s);
}

const struct ot_sink_ops ot_sink_stdout = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED | OT_SINK_CHECKS,
    .scheme = "stdout",
    .open = stdout_open,
    .submit = stdout_submit,
    .service = stdout_service,
    .fds = stdout_fds,
    .completions = stdout_completions,
    .abandon = stdout_abandon,
    .check = stdout_check,
    .health = stdout_health,
    .close = stdout_close,
};
