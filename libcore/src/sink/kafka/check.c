/* check.c - can this topic be published to? With a producer of its own, so
 * that the relay's is left alone. */
#include "sink/kafka/kafka.h"

#include <poll.h>
#include <stdio.h>

/* For the producer to go. A program that ends before it has gone would take
 * the ground from under its threads. */
static const int64_t END_US = 3000000;
/* Once every broker has refused: somebody waits, and one that comes up just
 * now is found by the next check. */
static const int64_t DOWN_US = 2000000;

struct check {
    struct ot_kafka *sink;
    struct ot_kafka_client *client;
    rd_kafka_resp_err_t err; /* the trouble that tells most */
    struct ot_kafka_trouble trouble;
    char certificate[160];
    int64_t down_us; /* since when no broker is left to try; 0: some are */
};

static int rank(rd_kafka_resp_err_t err, const struct ot_kafka_trouble *trouble)
{
    if (trouble->lasting)
        return 3;
    switch (err) {
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return 2;
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return 0;
    default:
        return 1;
    }
}

static void hear_error(struct check *c, rd_kafka_resp_err_t err,
                       const char *said)
{
    struct ot_kafka_trouble trouble;

    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && c->down_us == 0)
        c->down_us = ot_now_us();
    ot_kafka_trouble_of(err, said, c->certificate, c->sink->settings, &trouble);
    if (rank(err, &trouble) < rank(c->err, &c->trouble))
        return;
    c->err = err;
    c->trouble = trouble;
}

static void hear_log(struct check *c, rd_kafka_event_t *event)
{
    const char *facility, *text;
    int level;

    if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
        ot_kafka_trouble_certificate(text, c->certificate,
                                     sizeof(c->certificate));
}

static void hear(struct check *c)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(c->client->queue, 0)) != NULL) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
            hear_error(c, rd_kafka_event_error(event),
                       rd_kafka_event_error_string(event));
        else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
            hear_log(c, event);
        rd_kafka_event_destroy(event);
    }
}

static int fail_unreachable(const struct check *c, int timeout_ms,
                            struct outtray_error *err)
{
    const char *hosts = c->sink->hosts;
    int code = c->trouble.lasting ? OUTTRAY_E_SINK_MISCONFIGURED
                                  : OUTTRAY_E_SINK_UNAVAILABLE;
    if (c->trouble.text[0] == '\0')
        code = ot_fail(err, code,
                       "kafka: no broker of %s answered in %d ms: check host "
                       "and port in sink.url",
                       hosts, timeout_ms);
    else
        code = ot_fail(err, code, "kafka: no broker of %s can be used: %s",
                       hosts, c->trouble.text);
    if (err != NULL)
        err->native = c->err;
    return code;
}

static int judge(const struct check *c, const struct ot_kafka_ask *answer,
                 int left_ms, struct outtray_error *err)
{
    const struct ot_kafka_class *class = ot_kafka_classify(answer->err);
    if (answer->err == RD_KAFKA_RESP_ERR_NO_ERROR ||
        class->outcome != OT_MISCONFIGURED) {
        if (answer->leaderless > 0)
            return ot_fail(err, OUTTRAY_E_SINK_UNAVAILABLE,
                           "kafka: topic %s: %d of %d partitions have no "
                           "leader: look at the brokers",
                           answer->topic, answer->leaderless,
                           answer->partitions);
        if (answer->topic != NULL && left_ms > 0)
            ot_kafka_hint(c->sink, c->client->rk, answer, left_ms);
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
            int left_ms = (int)((until_us - ot_now_us()) / 1000);
            int code = judge(c, answer, left_ms, err);
            ot_kafka_ask_free(answer);
            return code;
        }
        int64_t left_us = until_us - ot_now_us();
        if (c->down_us != 0 && left_us > c->down_us + DOWN_US - ot_now_us())
            left_us = c->down_us + DOWN_US - ot_now_us();
        if (left_us <= 0 || c->trouble.lasting)
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
        return ot_fail(err, OUTTRAY_E_IO, "kafka: " OT_NO_WAKE);
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
