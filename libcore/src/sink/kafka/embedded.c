/* embedded.c - see embedded.h. */
#include "sink/kafka/embedded.h"

#include <dlfcn.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <unistd.h>

#define EVERY_BROKER (-1)

struct mock {
    rd_kafka_mock_cluster_t *(*create)(rd_kafka_t *, int);
    void (*destroy)(rd_kafka_mock_cluster_t *);
    const char *(*bootstraps)(const rd_kafka_mock_cluster_t *);
    rd_kafka_resp_err_t (*topic_create)(rd_kafka_mock_cluster_t *, const char *,
                                        int, int);
    rd_kafka_resp_err_t (*set_down)(rd_kafka_mock_cluster_t *, int32_t);
    rd_kafka_resp_err_t (*set_up)(rd_kafka_mock_cluster_t *, int32_t);
};

/* ISO C has no conversion from void * to a function: through memcpy, as POSIX
 * suggests for dlsym. */
static bool look_up(void *function, const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static bool mock_find(struct mock *mock)
{
    return look_up(&mock->create, "rd_kafka_mock_cluster_new") &&
           look_up(&mock->destroy, "rd_kafka_mock_cluster_destroy") &&
           look_up(&mock->bootstraps, "rd_kafka_mock_cluster_bootstraps") &&
           look_up(&mock->topic_create, "rd_kafka_mock_topic_create") &&
           look_up(&mock->set_down, "rd_kafka_mock_broker_set_down") &&
           look_up(&mock->set_up, "rd_kafka_mock_broker_set_up");
}

static void obey(const struct mock *mock, rd_kafka_mock_cluster_t *cluster,
                 int control_fd)
{
    char order;
    ssize_t n;

    for (;;) {
        n = read(control_fd, &order, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        if (order == 'd')
            mock->set_down(cluster, EVERY_BROKER);
        else if (order == 'u')
            mock->set_up(cluster, EVERY_BROKER);
    }
}

static int announce(const char *bootstraps, int ready_fd,
                    struct outtray_error *err)
{
    struct ot_buffer line = {0};
    int rc = 0;

    ot_buffer_printf(&line, "%s\n", bootstraps);
    if (line.failed)
        rc = ot_fail_nomem(err);
    else if (write(ready_fd, line.p, line.n) != (ssize_t)line.n)
        rc = ot_fail(err, OUTTRAY_E_IO, "embedded broker: %s", strerror(errno));
    ot_buffer_free(&line);
    return rc;
}

/* The mock lives in a client handle; this one connects to nothing. */
static rd_kafka_t *host_new(struct outtray_error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    rd_kafka_t *host;

    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text));
    host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (host == NULL) {
        rd_kafka_conf_destroy(conf);
        ot_fail(err, OUTTRAY_E_SINK, "embedded broker: %s", text);
    }
    return host;
}

int ot_kafka_embedded_run(const char *topic, int partitions, int control_fd,
                          int ready_fd, struct outtray_error *err)
{
    rd_kafka_mock_cluster_t *cluster;
    struct mock mock;
    rd_kafka_t *host;
    int rc;

    if (!mock_find(&mock))
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "this librdkafka (%s) has no mock cluster to be the "
                       "demo's broker; name your own with --sink kafka://…",
                       rd_kafka_version_str());
    host = host_new(err);
    if (host == NULL)
        return OUTTRAY_E_SINK;
    cluster = mock.create(host, 1);
    if (cluster == NULL) {
        rd_kafka_destroy(host);
        return ot_fail(err, OUTTRAY_E_IO, "the embedded broker cannot listen");
    }
    mock.topic_create(cluster, topic, partitions, 1);
    rc = announce(mock.bootstraps(cluster), ready_fd, err);
    if (rc == 0)
        obey(&mock, cluster, control_fd);
    mock.destroy(cluster);
    rd_kafka_destroy(host);
    return rc;
}
