/* demo_broker.c - the broker of the demo, and how it is taken away. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/demo/demo.h"
#include "sink/kafka/embedded.h"

#define PARTITIONS 4

struct pipes {
    int orders[2]; /* parent to broker */
    int ready[2];  /* broker to parent */
};

/* The child's body: its orders come from demo->broker_orders. */
static int be_broker(struct demo *demo, int ready_fd)
{
    struct outtray_error err;
    int rc;

    rc = ot_kafka_embedded_run(demo->topic, PARTITIONS, demo->broker_orders,
                               ready_fd, &err);
    if (rc != 0)
        dprintf(ready_fd, "!%s\n", err.text);
    return rc == 0 ? 0 : 1;
}

static void close_both(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static int read_line(int fd, char *out, size_t size)
{
    size_t n = 0;
    ssize_t got;

    while (n + 1 < size) {
        got = read(fd, out + n, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        if (out[n] == '\n')
            break;
        n++;
    }
    out[n] = '\0';
    return 0;
}

static int set_sink(struct demo *demo, const char *hosts)
{
    char url[512];

    snprintf(url, sizeof(url), "kafka://%s", hosts);
    return outtray_conf_set(demo->conf, "sink.url", url, &demo->cli->err);
}

int demo_broker_start(struct demo *demo)
{
    struct outtray_error *err = &demo->cli->err;
    struct pipes pipes;
    char line[400];

    if (pipe(pipes.orders) != 0)
        return ot_fail(err, OUTTRAY_E_IO, "pipe: %s", strerror(errno));
    if (pipe(pipes.ready) != 0) {
        close_both(pipes.orders);
        return ot_fail(err, OUTTRAY_E_IO, "pipe: %s", strerror(errno));
    }
    demo->broker_orders = pipes.orders[0];
    demo->broker = demo_spawn(demo, "broker", be_broker, pipes.ready[1]);
    demo->broker_orders = pipes.orders[1];
    close(pipes.orders[0]);
    close(pipes.ready[1]);
    if (demo->broker < 0) {
        close(pipes.ready[0]);
        return err->code;
    }
    if (read_line(pipes.ready[0], line, sizeof(line)) != 0)
        snprintf(line, sizeof(line),
                 "!the embedded broker did not start, see "
                 "its log");
    close(pipes.ready[0]);
    if (line[0] == '!')
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED, "%s", line + 1);
    return set_sink(demo, line);
}

static int run_command(struct demo *demo, const char *command)
{
    int status = system(command); /* NOLINT: it is the user's own command */

    if (status == 0)
        return 0;
    return ot_fail(&demo->cli->err, OUTTRAY_E_IO,
                   "the command \"%s\" ended with status %d", command,
                   WIFEXITED(status) ? WEXITSTATUS(status) : status);
}

static int order(struct demo *demo, char what)
{
    if (write(demo->broker_orders, &what, 1) == 1)
        return 0;
    return ot_fail(&demo->cli->err, OUTTRAY_E_IO,
                   "the embedded broker has ended: %s", strerror(errno));
}

int demo_broker_down(struct demo *demo)
{
    return demo->own_broker ? order(demo, 'd') : run_command(demo, demo->down);
}

int demo_broker_up(struct demo *demo)
{
    return demo->own_broker ? order(demo, 'u') : run_command(demo, demo->up);
}
