/* The Kafka sink against librdkafka's mock: errors as they are injected. */
#include "kafka_mock.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

enum { PRODUCE = 0 };

/* So that the topic is known and the connection is there; as if each partition
 * had taken something, or one event of each would go first. */
static void warm_up(struct rig *r)
{
    add_numbered(r, 1);
    rig_run(r, 1, 10000);
    assert_int_equal(r->outcome[OT_OK], 1);
    inside(r)->topics.newest->unproven = 0;
}

static void inject(rd_kafka_resp_err_t err, int times)
{
    for (int i = 0; i < times; i++)
        rd_kafka_mock_push_request_errors(broker.mock, PRODUCE, 1, err);
}

/* --- what errors become -------------------------------------------------- */

static void test_outcomes(void **state)
{
    static const struct {
        rd_kafka_resp_err_t err;
        enum ot_outcome outcome;
        enum ot_scope scope;
        const char *says;
    } cases[] = {
        {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, OT_OK, 0, NULL},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, OT_OK, 0, NULL},
        {RD_KAFKA_RESP_ERR__TRANSPORT, OT_OK, 0, NULL},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, OT_REJECTED, OT_THIS_EVENT,
         "max.message.bytes"},
        {RD_KAFKA_RESP_ERR_INVALID_RECORD, OT_REJECTED, OT_THIS_EVENT,
         "compacted"},
        {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, OT_REJECTED, OT_THIS_EVENT,
         "policy"},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, OT_MISCONFIGURED,
         OT_ITS_TOPIC, "grant"},
        {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, OT_UNAVAILABLE,
         OT_THE_SINK, "IdempotentWrite"},
        {RD_KAFKA_RESP_ERR_UNKNOWN, OT_RETRY, OT_THIS_EVENT, "UNKNOWN"},
        {RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, OT_UNKNOWN, OT_THIS_EVENT,
         "sent again"},
        {RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, OT_UNAVAILABLE,
         OT_THE_SINK, "THROTTLING"},
    };
    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        struct rig *r = open_with(NULL);
        warm_up(r);
        inject(cases[i].err, 1);
        add_numbered(r, 1);
        rig_run(r, 1, 10000);
        const struct rig_event *e = &r->events[1];
        if (e->completion.outcome != cases[i].outcome)
            fail_msg("%s became %s", rd_kafka_err2name(cases[i].err),
                     ot_outcome_name(e->completion.outcome));
        if (cases[i].outcome != OT_OK) {
            assert_int_equal(e->completion.scope, cases[i].scope);
            assert_int_equal(e->completion.native_code, cases[i].err);
            if (strstr(e->reason, cases[i].says) == NULL)
                fail_msg("\"%s\" does not say \"%s\"", e->reason,
                         cases[i].says);
        }
        /* and the sink goes on */
        add_numbered(r, 3);
        rig_run(r, 3, 10000);
        assert_int_equal(r->events[4].completion.outcome, OT_OK);
        rig_close(r);
    }
}

/* A rejected message set names all its events, and says that it may be a
 * neighbour's fault. */
static void test_batch(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 100);
    add_numbered(r, 400);
    inject(RD_KAFKA_RESP_ERR_INVALID_RECORD, 8);
    rig_run(r, 400, 10000);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 0);
    assert_true(r->outcome[OT_REJECTED] > 4);
    size_t in_batch = 0;
    for (size_t i = 1; i < r->n; i++)
        in_batch += r->events[i].completion.outcome == OT_REJECTED &&
                    r->events[i].completion.scope == OT_ITS_BATCH;
    assert_true(in_batch > 4);
    inject(RD_KAFKA_RESP_ERR_NO_ERROR, 0);
    rd_kafka_mock_clear_request_errors(broker.mock, PRODUCE);
    rig_close(r);
}

/* With nothing of its topic beside it a rejected event is to blame itself. */
static void test_alone(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    add_numbered(r, 20);
    inject(RD_KAFKA_RESP_ERR_INVALID_RECORD, 1);
    rig_run_singly(r, 10000);
    assert_int_equal(r->outcome[OT_REJECTED], 1);
    assert_int_equal(r->outcome[OT_OK], 20);
    assert_int_equal(r->events[1].completion.outcome, OT_REJECTED);
    assert_int_equal(r->events[1].completion.scope, OT_THIS_EVENT);
    rig_close(r);
}

static void test_too_large_here(void **state)
{
    static const char *const settings[] = {"kafka.message.max.bytes=2000",
                                           NULL};
    (void)state;
    struct rig *r = open_with(settings);
    warm_up(r);
    add_numbered(r, 1);
    char large[3000];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    rig_event(r, kafka.topic, "k", large);
    add_numbered(r, 1);
    /* It ends its prefix: what follows it is not sent before it is known. */
    assert_int_equal(rig_submit(r, 3), 2);
    rig_run(r, 3, 10000);
    assert_int_equal(r->events[2].completion.outcome, OT_REJECTED);
    assert_int_equal(r->events[2].completion.scope, OT_THIS_EVENT);
    assert_non_null(strstr(r->events[2].reason, "message.max.bytes"));
    assert_int_equal(r->outcome[OT_OK], 3);
    rig_close(r);
}

static void test_queue_full(void **state)
{
    static const char *const settings[] = {
        "kafka.queue.buffering.max.messages=10", NULL};
    static const char *const bytes[] = {"kafka.queue.buffering.max.kbytes=4",
                                        NULL};
    (void)state;
    struct rig *r = open_with(settings);
    warm_up(r);
    add_numbered(r, 500);
    assert_true(rig_submit(r, 500) <= 10);
    rig_run(r, 500, 20000);
    assert_int_equal(r->outcome[OT_OK], r->n);
    check_arrived(r);
    rig_close(r);

    r = open_with(bytes);
    warm_up(r);
    char large[6000];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    rig_event(r, kafka.topic, "k", large);
    rig_run(r, 1, 10000);
    assert_int_equal(r->outcome[OT_REJECTED], 1);
    rig_close(r);
}

static void test_bad_headers(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    rig_event(r, kafka.topic, "k", "x")->headers = rig_text("{\"a\": 1}");
    rig_run(r, 1, 10000);
    assert_int_equal(r->events[1].completion.outcome, OT_REJECTED);
    assert_non_null(strstr(r->events[1].reason, "headers"));
    rig_close(r);
}

/* --- outages ------------------------------------------------------------- */

static void until_said(struct rig *r, const char *words)
{
    int64_t until_us = ot_now_us() + 60000000;
    while (strstr(r->logged, words) == NULL && ot_now_us() < until_us)
        rig_turn(r, 50);
    assert_non_null(strstr(r->logged, words));
}

/* Nothing completes, nothing is lost, everything arrives in order. */
static void test_outage(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    for (int i = 1; i <= 3; i++)
        rd_kafka_mock_broker_set_down(broker.mock, i);
    usleep(100000);
    add_numbered(r, 2000);
    while (r->sent < r->n)
        rig_submit(r, 500);
    until_said(r, "no broker");
    struct ot_health h;
    r->sink->ops->health(r->sink, &h);
    assert_int_equal(h.state, OT_HEALTH_DOWN);
    assert_int_equal(h.in_flight, 2000);
    for (int i = 1; i <= 3; i++)
        rd_kafka_mock_broker_set_up(broker.mock, i);
    rig_run(r, 500, 20000);
    assert_int_equal(r->outcome[OT_OK], r->n);
    check_arrived(r);
    r->sink->ops->health(r->sink, &h);
    assert_int_equal(h.state, OT_HEALTH_UP);
    assert_non_null(strstr(r->logged, "answers again"));
    rig_close(r);
}

/* With the broker away from the start: health says so, abandon and close do
 * not wait for it. */
static void test_nobody(void **state)
{
    (void)state;
    struct broker nobody = {.servers = "127.0.0.1:1"};
    struct rig r;
    kafka.topic = "orders";
    open_kafka(&r, &nobody, NULL);
    add_numbered(&r, 100);
    assert_int_equal(rig_submit(&r, 100), 100);
    until_said(&r, "no broker");
    assert_int_equal(r.done, 0);
    struct ot_health h;
    r.sink->ops->health(r.sink, &h);
    assert_int_equal(h.state, OT_HEALTH_DOWN);
    assert_non_null(strstr(h.reason, "refused"));
    r.sink->ops->abandon(r.sink);
    assert_true(rig_wait(&r, 100, 1000));
    assert_int_equal(r.outcome[OT_UNAVAILABLE], 100);
    rig_close(&r);
}

static void abandon_in_flight(struct rig *r, int ms)
{
    size_t first = r->n;
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 3000);
    add_numbered(r, 300);
    rig_submit(r, 300);
    rig_waits_in_vain(r, first + 1, ms);
    struct promise soon = promise_us(1000000);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, r->n, 2000));
    promise_kept(&soon, "abandon");
    for (size_t i = first; i < r->n; i++)
        if (r->events[i].completion.outcome == OT_UNKNOWN)
            assert_true(r->events[i].completion.maybe_persisted);
        else
            assert_int_equal(r->events[i].completion.outcome, OT_UNAVAILABLE);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 0);
}

static void test_abandon_in_flight(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    /* A slow machine may have sent nothing yet. */
    for (int ms = 300; ms < 2800 && r->outcome[OT_UNKNOWN] == 0; ms *= 3)
        abandon_in_flight(r, ms);
    assert_true(r->outcome[OT_UNKNOWN] > 0);
    add_numbered(r, 10);
    rig_run(r, 10, 10000);
    assert_int_equal(r->outcome[OT_OK], 11);
    rig_close(r);
}

/* Closed in mid-flight without abandon: in time, and nobody looks at the
 * payloads afterwards (rig_close frees them at once). */
static void test_close_in_flight(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 3000);
    add_numbered(r, 3000);
    rig_submit(r, 3000);
    usleep(50000);
    rig_close(r);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 0);
}

/* --- the producer fails for good ----------------------------------------- */

static void test_fatal(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    for (int round = 0; round < 2; round++) {
        size_t before = r->n;
        rd_kafka_mock_broker_set_rtt(broker.mock, -1, 200);
        add_numbered(r, 500);
        rig_submit(r, 500);
        int64_t failed_us = ot_now_us();
        rd_kafka_test_fatal_error(
            inside(r)->client->rk,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "as a test");
        rd_kafka_mock_broker_set_rtt(broker.mock, -1, 0);
        /* Nothing is taken before the engine has seen them all. */
        r->sink->ops->service(r->sink, ot_now_us());
        assert_true(rig_wait(r, r->sent, 5000));
        for (size_t i = before; i < r->n; i++)
            assert_int_not_equal(r->events[i].completion.outcome, OT_REJECTED);
        assert_non_null(strstr(r->logged, "made anew"));
        assert_int_equal(inside(r)->remade, (uint64_t)round + 1);
        size_t ok = r->outcome[OT_OK];
        /* The second time within a minute there is a pause of a second. */
        add_numbered(r, round == 1);
        rig_run(r, 1, 5000);
        const struct ot_completion *c = &r->events[r->n - 1].completion;
        if (round == 1 && c->outcome == OT_OK) {
            assert_true(ot_now_us() - failed_us > 1000000);
            ok++;
        } else if (round == 1) {
            assert_int_equal(c->outcome, OT_UNAVAILABLE);
            assert_true(c->retry_after_us > 0 && c->retry_after_us <= 1000000);
            usleep((useconds_t)c->retry_after_us);
        }
        add_numbered(r, 100);
        rig_run(r, 100, 10000);
        assert_int_equal(r->outcome[OT_OK], ok + 100);
    }
    rig_close(r);
}

/* A broker that takes connections, and does not answer a request in time for
 * the third time in a row, gets more time: also when librdkafka, of alike
 * errors, hands out the first alone. */
static void test_slow_broker(void **state)
{
    static const char *const settings[] = {"kafka.socket.timeout.ms=1000",
                                           NULL};
    (void)state;
    struct rig *r = open_with(settings);
    for (int i = 0; i < 4; i++)
        rd_kafka_mock_partition_set_leader(broker.mock, broker.topic, i, 1);
    warm_up(r);
    rd_kafka_mock_broker_push_request_error_rtts(
        broker.mock, 1, PRODUCE, 3, RD_KAFKA_RESP_ERR_NO_ERROR, 60000,
        RD_KAFKA_RESP_ERR_NO_ERROR, 60000, RD_KAFKA_RESP_ERR_NO_ERROR, 60000);
    for (int tries = 0; r->outcome[OT_OK] < 2 && tries < 20; tries++) {
        add_numbered(r, 1); /* as the engine sends again what came back */
        rig_run(r, 1, 60000);
    }
    assert_int_equal(r->outcome[OT_OK], 2);
    assert_non_null(strstr(r->logged, "does not answer in time: from now on "
                                      "kafka.socket.timeout.ms is 2000 "));
    rig_close(r);
}

/* --- topics -------------------------------------------------------------- */

static void test_refused_topic(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    rd_kafka_mock_topic_set_error(broker.mock, broker.topic,
                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    add_numbered(r, 50);
    rig_run(r, 50, 5000);
    assert_int_equal(r->outcome[OT_MISCONFIGURED], 50);
    assert_int_equal(r->events[0].completion.scope, OT_ITS_TOPIC);
    assert_non_null(strstr(r->events[0].reason, broker.topic));
    rd_kafka_mock_topic_set_error(broker.mock, broker.topic, 0);
    add_numbered(r, 50);
    rig_run(r, 50, 5000);
    assert_int_equal(r->outcome[OT_OK], 50);
    rig_close(r);
}

/* The right goes away after the topic was good: librdkafka would keep its
 * events for ever. Those of another topic are not blamed. */
static void test_refused_later(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    char other[64];
    warm_up(r);
    snprintf(other, sizeof(other), "%s", broker.topic);
    new_topic(&broker);
    rig_event(r, broker.topic, "k", "first");
    rig_run(r, 1, 10000);
    rd_kafka_mock_topic_set_error(broker.mock, broker.topic,
                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    const struct rd_kafka_metadata *md;
    rd_kafka_t *rk = inside(r)->client->rk;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, broker.topic, NULL);
    assert_int_equal(rd_kafka_metadata(rk, 0, topic, &md, 60000), 0);
    rd_kafka_metadata_destroy(md);
    rd_kafka_topic_destroy(topic);
    size_t first = r->n;
    for (int i = 0; i < 20; i++)
        rig_event(r, broker.topic, "k", "x");
    rig_submit(r, 20);
    assert_true(rig_wait(r, r->n, 10000));
    for (size_t i = first; i < r->n; i++)
        assert_int_equal(r->events[i].completion.outcome, OT_MISCONFIGURED);
    rig_event(r, other, "k", "x");
    rig_run(r, 1, 5000);
    assert_int_equal(r->events[r->n - 1].completion.outcome, OT_OK);
    rd_kafka_mock_topic_set_error(broker.mock, broker.topic, 0);
    rig_event(r, broker.topic, "k", "x");
    rig_run(r, 1, 5000);
    assert_int_equal(r->events[r->n - 1].completion.outcome, OT_OK);
    rig_close(r);
}

/* More topics than are remembered. */
static void test_many_topics(void **state)
{
    static const char *const settings[] = {
        "kafka.allow.auto.create.topics=true", NULL};
    (void)state;
    struct rig *r = open_with(settings);
    char name[64];
    inside(r)->topics.max = 50;
    for (int i = 0; i < 80; i++) {
        snprintf(name, sizeof(name), "many-%d", i);
        rig_event(r, name, "k", "x");
    }
    rig_run(r, 100, 30000);
    assert_int_equal(r->outcome[OT_OK], r->n);
    rig_event(r, "many-one-more", "k", "x");
    rig_event(r, "many-0", "k", "again");
    rig_run(r, 2, 5000);
    assert_true(inside(r)->topics.n <= 50);
    assert_int_equal(r->outcome[OT_OK], r->n);
    rig_close(r);
}

static void test_destination(void **state)
{
    (void)state;
    new_topic(&broker);
    char form[100], whole[64];
    snprintf(whole, sizeof(whole), "%s", broker.topic);
    snprintf(form, sizeof(form), "sink.topic=%.4s${topic}", whole);
    const char *settings[] = {form, NULL};
    struct rig r;
    open_kafka(&r, &broker, settings);
    rig_event(&r, whole + 4, "k", "0");
    rig_run(&r, 1, 10000);
    struct arrived a = read_numbers(&broker, 4, 1);
    assert_int_equal(a.n, 1);
    free(a.at);
    rig_close(&r);
    /* All topics into one: the order of a key holds across them. */
    snprintf(form, sizeof(form), "sink.topic=%s", whole);
    open_kafka(&r, &broker, settings);
    rig_event(&r, "a", "k", "1");
    rig_event(&r, "b", "k", "2");
    rig_event(&r, "a", "k", "3");
    rig_run(&r, 3, 10000);
    a = read_numbers(&broker, 4, 4);
    assert_int_equal(a.n, 4);
    for (size_t i = 0; i < a.n; i++)
        assert_int_equal(a.at[i], (long)i);
    free(a.at);
    rig_close(&r);
}

/* --- what a consumer sees ------------------------------------------------ */

struct seen {
    size_t n;
    int partition[10];
    bool null_value[10], null_key[10];
    char headers[10][500];
    int64_t timestamp_ms[10];
};

static void look_at(void *ctx, const rd_kafka_message_t *m)
{
    struct seen *s = ctx;
    char payload[8] = "";
    snprintf(payload, sizeof(payload), "%.*s", (int)m->len,
             m->payload != NULL ? (const char *)m->payload : "");
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t i = 0, size;
    rd_kafka_timestamp_type_t type;
    s->n++;
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    assert_int_equal(rd_kafka_header_get(headers, 0, "id", &value, &size), 0);
    assert_int_equal(size, 36);
    int at = ((const char *)value)[35] - '1'; /* the event's number */
    assert_true(at >= 0 && at < 10);
    s->partition[at] = m->partition;
    s->null_value[at] = m->payload == NULL;
    s->null_key[at] = m->key == NULL;
    s->timestamp_ms[at] = rd_kafka_message_timestamp(m, &type);
    while (rd_kafka_header_get_all(headers, i++, &name, &value, &size) == 0) {
        size_t n = strlen(s->headers[at]);
        snprintf(s->headers[at] + n, sizeof(s->headers[at]) - n, "%s=%.*s;",
                 name, (int)size, (const char *)value);
    }
}

static void test_message(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    struct ot_event *e = rig_event(r, kafka.topic, "21", "a");
    e->type = rig_text("order.created");
    e->headers = rig_text("{\"traceparent\": \"00-1\", \"empty\":\"\",\n"
                          "\"quote\": \"\\u00e9\\\"\"}");
    e = rig_event(r, kafka.topic, "foobar", NULL);
    e = rig_event(r, kafka.topic, NULL, "");
    int64_t began_ms = ot_wall_us() / 1000;
    e->created_us = ot_wall_us() + 7200000000; /* of a clock that is wrong */
    e = rig_event(r, kafka.topic, "k", "d");
    e->created_us = ot_wall_us() + 1200000000;
    int64_t ahead_ms = e->created_us / 1000;
    while (r->sent < 3)
        rig_submit(r, 3 - r->sent);
    rig_submit_flagged(r, 1, true);
    assert_true(rig_wait(r, 4, 10000));
    assert_int_equal(r->outcome[OT_OK], 4);
    static struct seen s;
    memset(&s, 0, sizeof(s));
    assert_int_equal(consume(&broker, broker.topic, 4, 4, look_at, &s), 4);
    assert_string_equal(s.headers[0],
                        "id=00000000-0000-0000-0000-000000000001;"
                        "outtray-order=7.1;type=order.created;"
                        "traceparent=00-1;empty=;quote=\xc3\xa9\";");
    assert_string_equal(s.headers[1], "id=00000000-0000-0000-0000-000000000002;"
                                      "outtray-order=7.2;");
    assert_non_null(strstr(s.headers[3], "outtray-duplicate=maybe;"));
    assert_int_equal(s.timestamp_ms[0], 1764000000000);
    assert_in_range(s.timestamp_ms[2], began_ms, ot_wall_us() / 1000);
    assert_int_equal(s.timestamp_ms[3], ahead_ms);
    assert_true(s.null_value[1]);  /* a tombstone */
    assert_false(s.null_value[2]); /* empty is not absent */
    assert_true(s.null_key[2]);
    /* Where Java's producer puts the same keys: murmur2 of "21" is
     * -973932308, of "foobar" -790332482. */
    assert_int_equal(s.partition[0], (-973932308 & 0x7fffffff) % 4);
    assert_int_equal(s.partition[1], (-790332482 & 0x7fffffff) % 4);
    rig_close(r);
}

static void look_at_order(void *ctx, const rd_kafka_message_t *m)
{
    char *orders = ctx;
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size, n = strlen(orders);
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    assert_int_equal(
        rd_kafka_header_get_last(headers, "outtray-order", &value, &size), 0);
    snprintf(orders + n, 200 - n, "%.*s ", (int)size, (const char *)value);
}

/* However the seqs follow each other: the text is made of the one before. */
static void test_order(void **state)
{
    static const int64_t seqs[] = {8, 9, 10, 11, 15, 15, 21, 20, 99, 100, 109};
    enum { N = OT_COUNT(seqs) };
    char orders[200] = "";
    (void)state;
    struct rig *r = open_with(NULL);
    for (int i = 0; i < N; i++)
        rig_event(r, kafka.topic, "k", "a")->seq = seqs[i];
    while (r->sent < N - 1)
        rig_submit(r, N - 1 - r->sent);
    r->fence = 18; /* the lease was taken anew */
    rig_submit(r, 1);
    assert_true(rig_wait(r, N, 10000));
    assert_int_equal(
        consume(&broker, broker.topic, 4, N, look_at_order, orders), N);
    assert_string_equal(orders, "7.8 7.9 7.10 7.11 7.15 7.15 7.21 7.20 7.99 "
                                "7.100 18.109 ");
    rig_close(r);
}

/* --- the host around it -------------------------------------------------- */

/* Every thread but ours has its signals blocked. */
static void test_signals(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int named = 0, open_to_signals = 0;
    assert_non_null(tasks);
    while ((entry = readdir(tasks)) != NULL) {
        char path[300], line[200];
        bool client = false;
        unsigned long long blocked = 0;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status",
                 entry->d_name);
        FILE *f = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
            client = client || strstr(line, "Name:\trdk:") != NULL;
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        if (f != NULL)
            fclose(f);
        named += client;
        open_to_signals += client && (blocked >> (SIGUSR1 - 1) & 1) == 0;
    }
    closedir(tasks);
    assert_true(named > 0);
    /* The mock's own threads and those of its host are open: only they are. */
    struct ot_kafka *k = inside(r);
    assert_non_null(k->client);
    int of_host = open_to_signals;
    rig_close(r);
    tasks = opendir("/proc/self/task");
    int left = 0;
    while ((entry = readdir(tasks)) != NULL)
        left += entry->d_name[0] != '.';
    closedir(tasks);
    assert_true(of_host < left);
}

/* In a child the sink says so, and closing it hurts nobody. */
static void test_fork(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    warm_up(r);
    add_numbered(r, 2);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ot_send send = {.event = &r->events[1].event, .ticket = 1};
        struct ot_completion c;
        if (r->sink->ops->submit(r->sink, &send, 1) != 1)
            _exit(1);
        if (r->sink->ops->completions(r->sink, &c, 1) != 1)
            _exit(2);
        if (c.outcome != OT_UNAVAILABLE || strstr(c.reason, "fork") == NULL)
            _exit(3);
        r->sink->ops->service(r->sink, 0);
        r->sink->ops->abandon(r->sink);
        r->sink->ops->close(r->sink);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    rig_run(r, 2, 10000);
    assert_int_equal(r->outcome[OT_OK], 3);
    rig_close(r);
}

/* Opened before the fork, used in the child only. */
static void test_open_then_fork(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it dies where a child starts threads beside a parent's */
#endif
    struct rig *r = open_with(NULL);
    add_numbered(r, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rig_submit(r, 1);
        bool good = rig_wait(r, 1, 10000) && r->outcome[OT_OK] == 1;
        r->sink->ops->close(r->sink);
        _exit(good ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_too_large_here),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_abandon_in_flight),
        cmocka_unit_test(test_close_in_flight),
        cmocka_unit_test(test_fatal),
        cmocka_unit_test(test_slow_broker),
        cmocka_unit_test(test_refused_topic),
        cmocka_unit_test(test_refused_later),
        cmocka_unit_test(test_many_topics),
        cmocka_unit_test(test_destination),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_open_then_fork),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
