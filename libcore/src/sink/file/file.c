/* file.c - NDJSON appended to a file. OK means that the line is in the file
 * (in the kernel's cache), with sink.fsync on the disk. */
#include "sink/builtin.h"
#include "sink/done.h"
#include "sink/file/writer.h"
#include "sink/reasons.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ROOM_EVENTS = 65536,
    ROOM_BYTES = 16 << 20, /* text that waits for the thread */
};
static const int64_t SLOW_US = 5000000;
static const int64_t CLOSE_US = 800000;

struct file_sink {
    struct ot_sink base;
    const struct ot_log *log;
    char *path;
    bool sync;
    pid_t pid; /* a thread does not survive a fork */
    struct ot_writer *writer;
    bool writing; /* a result is owed */
    int64_t writing_since;
    struct ot_lines waiting;     /* for the writer */
    struct ot_lines with_writer; /* its text is with the writer */
    struct ot_done done;
    struct ot_reasons reasons;
    bool broken; /* the engine has not seen all of a failure yet */
    enum ot_health_state state;
    char trouble[200]; /* "" if the last write went well */
};

static struct file_sink *self(struct ot_sink *sink)
{
    return (struct file_sink *)sink;
}

static int file_open(struct ot_sink **out, const struct outtray_conf *conf,
                     const struct ot_log *log, struct outtray_error *err)
{
    *out = NULL;
    struct ot_url url;
    int code = ot_url_parse(ot_conf_secret(conf, "sink.url"), &url, err);
    if (code != 0)
        return ot_fail_context(err, code, "sink.url");
    struct file_sink *s = NULL;
    if (url.path[0] == '\0' || strcmp(url.path, "/") == 0 ||
        url.hosts[0] != '\0' || url.nparams > 0) {
        code = ot_fail(err, OUTTRAY_E_URL,
                       "sink.url: a file is written file:///absolute/path");
        goto fail;
    }
    s = ot_alloc_zero(1, sizeof(*s));
    if (s == NULL || (s->path = ot_strdup(url.path)) == NULL ||
        !ot_done_reserve(&s->done, 1)) {
        code = ot_fail_nomem(err);
        goto fail;
    }
    s->base.ops = &ot_sink_file;
    s->log = log;
    s->sync = ot_conf_bool(conf, "sink.fsync");
    ot_url_free(&url);
    *out = &s->base;
    return 0;
fail:
    if (s != NULL)
        ot_free(s->path);
    ot_free(s);
    ot_url_free(&url);
    return code;
}

static size_t pending(const struct file_sink *s)
{
    return s->waiting.n + s->with_writer.n;
}

static void complete(struct file_sink *s, uint64_t ticket,
                     enum ot_outcome outcome, int error, const char *reason)
{
    struct ot_completion c = {
        .ticket = ticket,
        .outcome = outcome,
        .scope = outcome == OT_OK ? OT_THIS_EVENT : OT_THE_SINK,
        .maybe_persisted = outcome == OT_UNKNOWN,
        .native_code = error,
        .reason = reason,
    };
    ot_done_push(&s->done, &c);
}

static void settle(struct file_sink *s, const struct ot_written *r)
{
    const char *reason =
        r->error != 0 ? ot_reason(&s->reasons, r->reason) : NULL;
    if (r->error != 0 &&
        strncmp(s->trouble, r->reason, sizeof(s->trouble) - 1) != 0)
        ot_log(s->log, OT_WARN, "file", "%s", r->reason);
    else if (r->error == 0 && s->trouble[0] != '\0')
        ot_log(s->log, OT_INFO, "file", "%.200s: writing again", s->path);
    snprintf(s->trouble, sizeof(s->trouble), "%.199s", r->reason);
    s->state = r->error == 0 ? OT_HEALTH_UP : OT_HEALTH_DOWN;

    for (size_t i = 0; i < s->with_writer.n; i++) {
        const struct ot_lines_end *line = &s->with_writer.ends[i];
        if (line->end <= r->bytes) {
            struct ot_completion c = {.ticket = line->ticket};
            ot_done_push(&s->done, &c);
        } else {
            complete(s, line->ticket,
                     r->maybe_rest ? OT_UNKNOWN : OT_UNAVAILABLE, r->error,
                     reason);
        }
    }
    s->with_writer.n = 0;
    if (r->error == 0)
        return;
    /* What waits must not overtake what failed. */
    for (size_t i = 0; i < s->waiting.n; i++)
        complete(s, s->waiting.ends[i].ticket, OT_UNAVAILABLE, r->error,
                 reason);
    ot_lines_clear(&s->waiting);
    s->broken = true;
}

/* Hands the waiting lines over if the writer is free. */
static void feed(struct file_sink *s)
{
    struct ot_written result;
    if (s->writing && ot_writer_take(s->writer, &result)) {
        s->writing = false;
        settle(s, &result);
    }
    if (s->writing || s->waiting.n == 0)
        return;
    struct ot_lines lines = s->waiting;
    s->waiting = s->with_writer;
    s->with_writer = lines;
    ot_lines_clear(&s->waiting);
    ot_writer_put(s->writer, &s->with_writer.text);
    s->writing = true;
    s->writing_since = ot_now_us();
}

/* Why the sink cannot take an event at all; NULL: it can. */
static const char *refusal(struct file_sink *s)
{
    if (s->writer == NULL) {
        s->writer = ot_writer_new(s->path, s->sync);
        s->pid = getpid();
        if (s->writer == NULL)
            return "file: " OT_NO_WRITER;
    }
    if (s->pid != getpid())
        return "file: the sink was used before this process forked";
    return NULL;
}

static size_t file_submit(struct ot_sink *sink, const struct ot_send *sends,
                          size_t n)
{
    struct file_sink *s = self(sink);
    const char *why = n > 0 ? refusal(s) : NULL;
    size_t i;
    s->broken = s->broken && s->done.n > 0;
    for (i = 0; i < n && !s->broken; i++) {
        size_t owed = pending(s) + s->done.n;
        if (owed > 0 &&
            (owed >= ROOM_EVENTS || s->waiting.text.n >= ROOM_BYTES))
            break;
        if (!ot_done_reserve(&s->done, owed + 1))
            break;
        if (why == NULL && ot_lines_add(&s->waiting, &sends[i]))
            continue;
        if (why == NULL && owed > 0)
            break; /* no memory: there may be some once these are done */
        complete(s, sends[i].ticket, OT_UNAVAILABLE, 0,
                 why != NULL ? why : "file: out of memory");
        i++;
        break;
    }
    if (why == NULL && s->writer != NULL)
        feed(s);
    return i;
}

static int64_t file_service(struct ot_sink *sink, int64_t now_us)
{
    struct file_sink *s = self(sink);
    if (s->writer != NULL && s->pid == getpid())
        feed(s);
    return s->done.n > 0 ? now_us : OT_NEVER;
}

static size_t file_fds(const struct ot_sink *sink, struct ot_fd *out,
                       size_t max)
{
    const struct file_sink *s = (const struct file_sink *)sink;
    if (s->writer == NULL || max == 0)
        return 0;
    out[0] = (struct ot_fd){.fd = ot_writer_fd(s->writer), .read = true};
    return 1;
}

static size_t file_completions(struct ot_sink *sink, struct ot_completion *out,
                               size_t max)
{
    return ot_done_take(&self(sink)->done, out, max);
}

static void file_abandon(struct ot_sink *sink)
{
    struct file_sink *s = self(sink);
    if (s->writer != NULL && s->pid == getpid())
        feed(s);
    for (size_t i = 0; i < s->with_writer.n; i++)
        complete(s, s->with_writer.ends[i].ticket, OT_UNKNOWN, 0,
                 "file: abandoned while it was written");
    for (size_t i = 0; i < s->waiting.n; i++)
        complete(s, s->waiting.ends[i].ticket, OT_UNAVAILABLE, 0,
                 "file: abandoned before it was written");
    s->with_writer.n = 0;
    ot_lines_clear(&s->waiting);
}

static int file_check(struct ot_sink *sink, const char *destination,
                      int timeout_ms, struct outtray_error *err)
{
    struct file_sink *s = self(sink);
    (void)destination;
    (void)timeout_ms;
    struct stat st;
    if (stat(s->path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return ot_fail(err, OUTTRAY_E_SINK_MISCONFIGURED,
                           "%s is a folder: name a file in it", s->path);
        if (access(s->path, W_OK) != 0)
            return ot_fail(err, OUTTRAY_E_SINK_MISCONFIGURED,
                           "%s cannot be written: %s%s", s->path,
                           strerror(errno), ot_writer_advice(errno));
        return 0;
    }
    const char *slash = strrchr(s->path, '/');
    char *folder = slash == NULL || slash == s->path
                       ? ot_strdup(slash == NULL ? "." : "/")
                       : ot_strndup(s->path, (size_t)(slash - s->path));
    if (folder == NULL)
        return ot_fail_nomem(err);
    int code = 0;
    if (access(folder, W_OK | X_OK) != 0)
        code = ot_fail(err, OUTTRAY_E_SINK_MISCONFIGURED,
                       "%s cannot be made in %s: %s%s", s->path, folder,
                       strerror(errno), ot_writer_advice(errno));
    ot_free(folder);
    return code;
}

static void file_health(const struct ot_sink *sink, struct ot_health *out)
{
    const struct file_sink *s = (const struct file_sink *)sink;
    *out = (struct ot_health){.state = s->state, .in_flight = pending(s)};
    snprintf(out->reason, sizeof(out->reason), "%s", s->trouble);
    int64_t us = s->writing ? ot_now_us() - s->writing_since : 0;
    if (us > SLOW_US) {
        char text[32];
        out->state = OT_HEALTH_DEGRADED;
        snprintf(out->reason, sizeof(out->reason),
                 "%.120s: the disk has not answered for %s", s->path,
                 ot_duration_text(us, text));
    }
}

static void file_close(struct ot_sink *sink)
{
    struct file_sink *s = self(sink);
    if (s->writer != NULL && s->pid == getpid())
        ot_writer_free(s->writer, CLOSE_US);
    ot_lines_free(&s->waiting);
    ot_lines_free(&s->with_writer);
    ot_done_free(&s->done);
    ot_reasons_forget(&s->reasons);
    ot_free(s->path);
    ot_free(s);
}

const struct ot_sink_ops ot_sink_file = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED | OT_SINK_CHECKS,
    .scheme = "file",
    .open = file_open,
    .submit = file_submit,
    .service = file_service,
    .fds = file_fds,
    .completions = file_completions,
    .abandon = file_abandon,
    .check = file_check,
    .health = file_health,
    .close = file_close,
};
