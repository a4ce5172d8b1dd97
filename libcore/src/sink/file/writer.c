/* writer.c - one file, written by a thread of its own, because a disk may
 * hang. */
#include "sink/file/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"

/* Who writes has the lock for as long as its disk takes. */
#define LOCK_US INT64_C(3000000)
#define LOOK_US 2000

struct ot_writer {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct ot_wake tell; /* the loop, that a result is there */
    pthread_t thread;
    char *path;
    bool sync;
    /* under lock */
    bool work; /* text belongs to the thread */
    bool result_there;
    bool stop; /* the loop wants the thread to end */
    bool left; /* the loop is gone: the thread frees */
    bool ended;
    struct ot_buffer text;
    struct ot_written result;
    /* of the thread */
    int fd;
    bool made; /* its folder is not synced yet */
    bool regular;
    int64_t end; /* where the last line ended; -1: not known */
};

static void release(struct ot_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    ot_wake_close(&w->tell);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    ot_buffer_free(&w->text);
    ot_free(w->path);
    ot_free(w);
}

static void fault(struct ot_written *r, int error, const char *what,
                  const char *path, const char *advice)
{
    char text[128] = "unknown error";
    r->error = error;
    if (strerror_r(error, text, sizeof(text)) != 0)
        snprintf(text, sizeof(text), "error %d", error);
    snprintf(r->reason, sizeof(r->reason), "%.200s: %s: %s%s", path, what, text,
             advice);
}

const char *ot_writer_advice(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return "; make room, delivery resumes by itself";
    case EFBIG:
        return "; raise the limit of a file's size (ulimit -f), or rotate it";
    case EACCES:
    case EPERM:
        return "; let the relay's user write there";
    case EROFS:
        return "; mount the file system for writing, or name another file";
    case ENOENT:
        return "; make the folder";
    case EIO:
        return "; look at the disk and the kernel log";
    case EWOULDBLOCK:
        return "; another process has it locked, perhaps a relay that is "
               "stopped: lsof or fuser says which";
    default:
        return "";
    }
}

/* Offset after the last newline before size; -1: cannot tell. */
static int64_t whole_lines(int fd, int64_t size)
{
    char piece[4096];
    while (size > 0) {
        int64_t from =
            size > (int64_t)sizeof(piece) ? size - (int64_t)sizeof(piece) : 0;
        ssize_t n = pread(fd, piece, (size_t)(size - from), from);
        if (n != (ssize_t)(size - from))
            return -1;
        for (ssize_t i = n; i > 0; i--)
            if (piece[i - 1] == '\n')
                return from + i;
        size = from;
    }
    return 0;
}

/* Relays of several subscriptions may write one file: one at a time, so that
 * each finds the end of it as somebody left it, alive or dead. One that is
 * stopped, or whose disk hangs, keeps the lock: that has to be told. Where
 * nothing can be locked they write all the same. */
static int lock(int fd)
{
    const int64_t until_us = ot_now_us() + LOCK_US;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            break;
        if (ot_now_us() >= until_us)
            return EWOULDBLOCK;
        usleep(LOOK_US);
    }
    return 0;
}

static void unlock(int fd)
{
    flock(fd, LOCK_UN);
}

/* A line without its end is what a crash left of an event that nobody was told
 * is delivered: take it away. What does not look like ours gets an end and
 * stays. */
static int repair(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return errno;
    if (st.st_size == 0)
        return 0;
    int64_t whole = whole_lines(fd, st.st_size);
    if (whole < 0)
        return EIO;
    if (whole == st.st_size)
        return 0;
    char head[sizeof(OT_LINE_BEGIN) - 1];
    ssize_t n = pread(fd, head, sizeof(head), whole);
    if (n > 0 && memcmp(head, OT_LINE_BEGIN, (size_t)n) == 0)
        return ftruncate(fd, whole) == 0 ? 0 : errno;
    return write(fd, "\n", 1) == 1 ? 0 : errno != 0 ? errno : EIO;
}

static int sync_folder(const char *path)
{
    char *folder = ot_strdup(path);
    if (folder == NULL)
        return ENOMEM;
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_CLOEXEC);
    ot_free(folder);
    if (fd < 0)
        return errno;
    int e = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return e;
}

static int open_file(struct ot_writer *w)
{
    int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY;
    int fd = open(w->path, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = open(w->path, flags | O_CREAT, 0640);
        w->made = w->made || fd >= 0;
    }
    if (fd < 0)
        return errno;
    struct stat st;
    int e = fstat(fd, &st) != 0 ? errno : 0;
    if (e == 0 && w->made && w->sync)
        e = sync_folder(w->path);
    if (e != 0) {
        close(fd);
        return e;
    }
    w->made = false;
    w->fd = fd;
    w->regular = S_ISREG(st.st_mode);
    w->end = -1;
    return 0;
}

/* The lock goes first: a process forked meanwhile has the file open, too. */
static void close_file(struct ot_writer *w)
{
    if (w->fd >= 0) {
        unlock(w->fd);
        close(w->fd);
    }
    w->fd = -1;
}

/* Was the file rotated away? */
static bool moved(const struct ot_writer *w)
{
    struct stat here, there;
    return fstat(w->fd, &here) != 0 || stat(w->path, &there) != 0 ||
           here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

static size_t last_end(const char *p, size_t n)
{
    while (n > 0 && p[n - 1] != '\n')
        n--;
    return n;
}

/* The file must never keep half a line in its middle: take the half away now,
 * or leave it to whoever writes next. */
static void cut_tail(struct ot_writer *w, int64_t start, size_t written,
                     size_t whole)
{
    struct stat st;
    if (written == whole)
        return;
    if (!w->regular || fstat(w->fd, &st) != 0 ||
        st.st_size != start + (int64_t)written ||
        ftruncate(w->fd, start + (int64_t)whole) != 0)
        close_file(w);
}

static int64_t file_end(const struct ot_writer *w)
{
    return w->regular ? (int64_t)lseek(w->fd, 0, SEEK_END) : 0;
}

static void write_lines(struct ot_writer *w, struct ot_written *r)
{
    const struct ot_buffer *text = &w->text;
    int e = 0;
    int64_t start = file_end(w);
    size_t written = 0;
    while (written < text->n) {
        ot_crash_point("file.write");
        ssize_t n = write(w->fd, text->p + written, text->n - written);
        ot_crash_point("file.written");
        if (n > 0)
            written += (size_t)n;
        else if (n == 0 || errno != EINTR) {
            e = n == 0 ? EIO : errno;
            break;
        }
    }
    size_t whole = last_end(text->p, written);
    r->bytes = whole;
    if (e != 0)
        fault(r, e, "cannot write", w->path, ot_writer_advice(e));
    if (w->sync && w->regular && whole > 0 && fsync(w->fd) != 0) {
        /* The kernel forgets what it could not write: nobody knows what is
         * there, so open it again and say so. */
        e = errno;
        r->bytes = 0;
        r->maybe_rest = true;
        fault(r, e, "cannot sync", w->path, ot_writer_advice(e));
        close_file(w);
        return;
    }
    w->end = start + (int64_t)whole;
    /* Behind the sync: it may close the file. */
    cut_tail(w, start, written, whole);
}

static void write_text(struct ot_writer *w, struct ot_written *r)
{
    *r = (struct ot_written){0};
    if (w->fd >= 0 && moved(w))
        close_file(w);
    int e = w->fd >= 0 ? 0 : open_file(w);
    if (e != 0) {
        fault(r, e, "cannot open", w->path, ot_writer_advice(e));
        return;
    }
    if (w->regular)
        e = lock(w->fd);
    if (e != 0) {
        fault(r, e, "cannot lock", w->path, ot_writer_advice(e));
        return;
    }
    /* Somebody else wrote since, and may have died in the middle of a line. */
    if (w->regular && file_end(w) != w->end)
        e = repair(w->fd);
    if (e == 0)
        write_lines(w, r);
    else
        fault(r, e, "cannot mend", w->path, ot_writer_advice(e));
    if (w->regular && w->fd >= 0)
        unlock(w->fd);
}

static void *run(void *arg)
{
    struct ot_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->work && !w->stop)
            pthread_cond_wait(&w->wake, &w->lock);
        if (w->stop)
            break;
        pthread_mutex_unlock(&w->lock);
        struct ot_written result;
        write_text(w, &result);
        pthread_mutex_lock(&w->lock);
        w->result = result;
        w->work = false;
        w->result_there = true;
        ot_wake_up(&w->tell);
    }
    w->ended = true;
    pthread_cond_broadcast(&w->wake);
    bool left = w->left;
    pthread_mutex_unlock(&w->lock);
    if (left)
        release(w);
    return NULL;
}

struct ot_writer *ot_writer_new(const char *path, bool sync)
{
    struct ot_writer *w = ot_alloc_zero(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->fd = -1;
    w->sync = sync;
    w->path = ot_strdup(path);
    if (w->path == NULL || ot_wake_open(&w->tell) != 0) {
        ot_free(w->path);
        ot_free(w);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    ot_cond_init(&w->wake);
    if (ot_thread_start(&w->thread, run, w) != 0) {
        release(w);
        return NULL;
    }
    return w;
}

int ot_writer_fd(const struct ot_writer *w)
{
    return w->tell.read_fd;
}

void ot_writer_put(struct ot_writer *w, struct ot_buffer *text)
{
    pthread_mutex_lock(&w->lock);
    struct ot_buffer spare = w->text;
    w->text = *text;
    *text = spare;
    ot_buffer_clear(text);
    w->work = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

bool ot_writer_take(struct ot_writer *w, struct ot_written *out)
{
    ot_wake_clear(&w->tell);
    pthread_mutex_lock(&w->lock);
    bool there = w->result_there;
    w->result_there = false;
    if (there)
        *out = w->result;
    pthread_mutex_unlock(&w->lock);
    return there;
}

void ot_writer_free(struct ot_writer *w, int64_t wait_us)
{
    int64_t until = ot_now_us() + wait_us;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    while (!w->ended && ot_cond_wait_until(&w->wake, &w->lock, until))
        ;
    bool ended = w->ended;
    w->left = !ended;
    if (!ended)
        pthread_detach(w->thread);
    pthread_mutex_unlock(&w->lock);
    if (ended) {
        pthread_join(w->thread, NULL);
        release(w);
    }
}
