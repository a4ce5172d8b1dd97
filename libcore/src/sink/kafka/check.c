/* check.c - can this topic be published to? With a producer of its own, so
 * that the relay's is left alone. */
#include "sink/kafka/kafka.h"

#include <poll.h>
#include <stdio.h>

static const int64_t END_US = 300000; /* for the producer to go */

struct check {
    struct ot_kafka *sink;
    struct ot_kafka_client *client;
    rd_kafka_resp_err_t err; /* the last trouble */
    char said[300];
};

static int rank(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
        return 3; /* waiting longer does not help */
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return 2;
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return 0;
    default:
        return 1;
    }
}

/* Keeps the trouble that tells most. */
static void hear(struct check *c)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(c->client->queue, 0)) != NULL) {
        rd_kafka_resp_err_t err = rd_kafka_event_error(event);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR &&
            rank(err) >= rank(c->err)) {
            c->err = err;
            snprintf(c->said, sizeof(c->said), "%s",
                     rd_kafka_event_error_string(event));
        }
        rd_kafka_event_destroy(event);
    }
}

static int fail_unreachable(const struct check *c, int timeout_ms,
                            struct outtray_error *err)
{
    const char *hosts = c->sink->hosts;
    const char *advice = ot_kafka_classify(c->err)->advice;
    int code = OUTTRAY_E_SINK_UNAVAILABLE;
    if (rank(c->err) == 3)
        code = OUTTRAY_E_SINK_MISCONFIGURED;
    if (advice == NULL)
        advice = "check that the broker runs, that sink.url has its host and "
                 "port, and that it speaks the security protocol set here";
    if (c->said[0] == '\0')
        code =
            ot_fail(err, code, "kafka: no broker of %s answered in %d ms: %s",
                    hosts, timeout_ms, advice);
    else
        code =
            ot_fail(err, code, "kafka: no broker of %s can be used: %.250s: %s",
                    hosts, c->said, advice);
    if (err != NULL)
        err->native = c->err;
    return code;
}

static int judge(const struct check *c, const struct ot_kafka_ask *answer,
                 struct outtray_error *err)
{
    const struct ot_kafka_class *class = ot_kafka_classify(answer->err);
    if (answer->err == RD_KAFKA_RESP_ERR_NO_ERROR ||
        class->outcome != OT_MISCONFIGURED) {
        if (answer->topic != NULL && answer->replicas == 1 &&
            answer->brokers > 1)
            ot_log(c->sink->log, OT_WARN, "kafka",
                   "topic %s has one replica: what is acknowledged is on one "
                   "broker only",
                   answer->topic);
        if (answer->leaderless > 0)
            return ot_fail(err, OUTTRAY_E_SINK_UNAVAILABLE,
                           "kafka: topic %s: %d of %d partitions have no "
                           "leader: look at the brokers",
                           answer->topic, answer->leaderless,
                           answer->partitions);
        return 0;
    }
    int code = ot_fail(err, OUTTRAY_E_SINK_MISCONFIGURED,
                       "kafka: topic %s on %s: %s (%s): %s", answer->topic,
                       c->sink->hosts, rd_kafka_err2str(answer->err),
                       rd_kafka_err2name(answer->err), class->advice);
    if (err != NULL)
        err->native = answer->err;
    return code;
}

static int wait_for_answer(struct check *c, const struct ot_wake *wake,
                           int timeout_ms, struct outtray_error *err)
{
    int64_t until_us = ot_now_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        hear(c);
        struct ot_kafka_ask *answer = ot_kafka_client_answer(c->client);
        if (answer != NULL) {
            int code = judge(c, answer, err);
            ot_kafka_ask_free(answer);
            return code;
        }
        int64_t left_us = until_us - ot_now_us();
        if (left_us <= 0 || rank(c->err) == 3)
            return fail_unreachable(c, timeout_ms, err);
        struct pollfd p = {.fd = wake->read_fd, .events = POLLIN};
        poll(&p, 1, (int)(left_us / 1000) + 1);
        ot_wake_clear(wake);
    }
}

int ot_kafka_check(struct ot_sink *sink, const char *destination,
                   int timeout_ms, struct outtray_error *err)
{
    struct check c = {.sink = (struct ot_kafka *)sink};
    struct ot_buffer name = {0};
    struct ot_wake wake;
    ot_error_clear(err);
    if (ot_wake_open(&wake) != 0)
        return ot_fail(err, OUTTRAY_E_IO, "kafka: no descriptors are left");
    if (destination != NULL)
        ot_sink_destination(c.sink->conf, ot_slice_of(destination), &name);
    int code = name.failed ? ot_fail_nomem(err) : 0;
    if (code == 0) {
        c.client = ot_kafka_client_new(c.sink->settings, c.sink->auto_create,
                                       &wake, err);
        if (c.client == NULL)
            code = err != NULL ? err->code : OUTTRAY_E_CONF;
        else if (!ot_kafka_client_ask(c.client, OT_ASK_ALIVE, name.p, NULL))
            code = ot_fail_nomem(err);
        else
            code = wait_for_answer(&c, &wake, timeout_ms, err);
    }
    if (c.client != NULL)
        ot_kafka_client_retire(c.client, END_US);
    ot_wake_close(&wake);
    ot_buffer_free(&name);
    return code;
}
