/* The battery for the sinks that need no server. */
#include "battery.h"

#include <fcntl.h>
#include <pthread.h>

static char folder[] = "/tmp/outtray-sink-XXXXXX";
static char path[100], url[200];

static void clear_file(void)
{
    unlink(path);
}

/* "payload":"123" of every line; every line must be whole. */
static struct arrived read_lines(size_t expected)
{
    struct arrived a = {calloc(expected + 1, sizeof(long)), 0};
    FILE *f = fopen(path, "r");
    char line[2000];
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        const char *at = strstr(line, "\"payload\":\"");
        assert_non_null(at);
        assert_int_equal(line[strlen(line) - 1], '\n');
        if (a.n < expected)
            a.at[a.n] = strtol(at + 11, NULL, 10);
        a.n++;
    }
    fclose(f);
    return a;
}

static void open_null(struct rig *r)
{
    rig_open(r, "null:", NULL);
}

static void open_file(struct rig *r)
{
    snprintf(url, sizeof(url), "file://%s", path);
    rig_open(r, url, NULL);
}

static void open_file_synced(struct rig *r)
{
    static const char *const settings[] = {"sink.fsync=true", NULL};
    snprintf(url, sizeof(url), "file://%s", path);
    rig_open(r, url, settings);
}

static void open_fault(struct rig *r)
{
    snprintf(url, sizeof(url), "fault:?script=delay:1ms,shuffle&record=%s",
             path);
    rig_open(r, url, NULL);
}

/* Standard output is a pipe whose reader is a slow thread that writes what it
 * reads to the file. */
static int real_stdout = -1;
static pthread_t reader;
static int pipe_out;

static void *copy_slowly(void *arg)
{
    (void)arg;
    char piece[20000];
    ssize_t n;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while ((n = read(pipe_out, piece, sizeof(piece))) > 0) {
        usleep(200);
        if (write(fd, piece, (size_t)n) != n)
            abort();
    }
    close(fd);
    close(pipe_out);
    return NULL;
}

static void stop_pipe(void)
{
    if (real_stdout < 0)
        return;
    fflush(stdout);
    dup2(real_stdout, 1);
    close(real_stdout);
    real_stdout = -1;
    pthread_join(reader, NULL);
}

static void clear_stdout(void)
{
    stop_pipe();
    clear_file();
}

static void open_stdout(struct rig *r)
{
    int ends[2];
    fflush(stdout);
    assert_int_equal(pipe(ends), 0);
    pipe_out = ends[0];
    real_stdout = dup(1);
    dup2(ends[1], 1);
    close(ends[1]);
    rig_open(r, "stdout:", NULL);
    /* The sink has its own descriptor: the tests' output goes home. */
    dup2(real_stdout, 1);
    assert_int_equal(pthread_create(&reader, NULL, copy_slowly, NULL), 0);
}

static struct arrived read_stdout(size_t expected)
{
    for (int i = 0; i < 6000; i++) {
        struct arrived a = {0};
        FILE *f = fopen(path, "r");
        size_t lines = 0;
        int c;
        while (f != NULL && (c = fgetc(f)) != EOF)
            lines += c == '\n';
        if (f != NULL)
            fclose(f);
        if (lines >= expected)
            return read_lines(expected);
        free(a.at);
        usleep(10000);
    }
    fail_msg("not all lines came through the pipe");
    return (struct arrived){0};
}

int main(void)
{
    static const struct subject subjects[] = {
        {"null", "orders", open_null, NULL, NULL},
        {"file", "orders", open_file, read_lines, clear_file},
        {"file, synced", "orders", open_file_synced, read_lines, clear_file},
        {"fault", "orders", open_fault, read_lines, clear_file},
        {"stdout", "orders", open_stdout, read_stdout, clear_stdout},
    };
    int failed = 0;
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/out", folder);
    for (size_t i = 0; i < OT_COUNT(subjects); i++)
        failed += run_battery(&subjects[i]);
    stop_pipe();
    clear_file();
    rmdir(folder);
    return failed;
}
