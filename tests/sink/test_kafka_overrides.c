/* What the operator says of single errors, injected by librdkafka's mock. */
#include "kafka_mock.h"

enum { PRODUCE = 0 };

static struct rig *open_classified(const char *classify)
{
    char setting[200];
    const char *settings[] = {setting, NULL};
    snprintf(setting, sizeof(setting), "sink.classify=%s", classify);
    return open_with(settings);
}

/* So that the topic is known and the connection is there; as if each partition
 * had taken something, or one event of each would go first. */
static void warm_up(struct rig *r)
{
    add_numbered(r, 1);
    rig_run(r, 1, 10000);
    assert_int_equal(r->outcome[OT_OK], 1);
    inside(r)->topics.newest->unproven = 0;
}

static void expect(const struct rig_event *e, enum ot_outcome outcome,
                   enum ot_scope scope)
{
    char says[64];
    snprintf(says, sizeof(says), ", by sink.classify %s)",
             ot_outcome_name(outcome));
    assert_int_equal(e->completion.outcome, outcome);
    assert_int_equal(e->completion.scope, scope);
    if (strstr(e->reason, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e->reason, says);
}

static void test_each_class(void **state)
{
    static const struct {
        rd_kafka_resp_err_t err;
        const char *classify;
        enum ot_outcome outcome;
        enum ot_scope scope;
    } cases[] = {
        {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "policy_violation : retry",
         OT_RETRY, OT_THIS_EVENT},
        {RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
         "INVALID_RECORD:retry,POLICY_VIOLATION:misconfigured",
         OT_MISCONFIGURED, OT_ITS_TOPIC},
        {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "POLICY_VIOLATION:unavailable",
         OT_UNAVAILABLE, OT_THE_SINK},
        {RD_KAFKA_RESP_ERR_UNKNOWN, "UNKNOWN:rejected", OT_REJECTED,
         OT_THIS_EVENT},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
         "TOPIC_AUTHORIZATION_FAILED:rejected", OT_REJECTED, OT_THIS_EVENT},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
         "TOPIC_AUTHORIZATION_FAILED:retry", OT_RETRY, OT_THIS_EVENT},
        {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
         "CLUSTER_AUTHORIZATION_FAILED:misconfigured", OT_MISCONFIGURED,
         OT_ITS_TOPIC},
        /* One that stands in no table. */
        {RD_KAFKA_RESP_ERR_SECURITY_DISABLED, "SECURITY_DISABLED:rejected",
         OT_REJECTED, OT_THIS_EVENT},
    };
    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        struct rig *r = open_classified(cases[i].classify);
        warm_up(r);
        rd_kafka_mock_push_request_errors(broker.mock, PRODUCE, 1,
                                          cases[i].err);
        add_numbered(r, 1);
        rig_run(r, 1, 10000);
        expect(&r->events[1], cases[i].outcome, cases[i].scope);
        assert_int_equal(r->events[1].completion.native_code, cases[i].err);
        /* and the sink goes on */
        add_numbered(r, 3);
        rig_run(r, 3, 10000);
        assert_int_equal(r->events[4].completion.outcome, OT_OK);
        rig_close(r);
    }
}

/* What others share a message set with may be innocent, as usual. */
static void test_batch(void **state)
{
    (void)state;
    struct rig *r = open_classified("UNKNOWN:rejected");
    size_t shared = 0;
    warm_up(r);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 100);
    add_numbered(r, 400);
    for (int i = 0; i < 8; i++)
        rd_kafka_mock_push_request_errors(broker.mock, PRODUCE, 1,
                                          RD_KAFKA_RESP_ERR_UNKNOWN);
    rig_run(r, 400, 10000);
    rd_kafka_mock_broker_set_rtt(broker.mock, -1, 0);
    for (size_t i = 1; i < r->n; i++)
        shared += r->events[i].completion.outcome == OT_REJECTED &&
                  r->events[i].completion.scope == OT_ITS_BATCH;
    assert_true(shared > 4);
    rd_kafka_mock_clear_request_errors(broker.mock, PRODUCE);
    rig_close(r);
}

/* A topic that is refused before anything was sent to it. */
static void test_refused_topic(void **state)
{
    (void)state;
    struct rig *r = open_classified("TOPIC_AUTHORIZATION_FAILED:rejected");
    rd_kafka_mock_topic_set_error(broker.mock, broker.topic,
                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    add_numbered(r, 50);
    rig_run(r, 50, 5000);
    for (size_t i = 0; i < r->n; i++)
        expect(&r->events[i], OT_REJECTED, OT_THIS_EVENT);
    rd_kafka_mock_topic_set_error(broker.mock, broker.topic, 0);
    add_numbered(r, 50);
    rig_run(r, 50, 5000);
    assert_int_equal(r->outcome[OT_OK], 50);
    rig_close(r);
}

/* The client's own name for an unknown topic follows the broker's. */
static void test_names_of_the_client(void **state)
{
    (void)state;
    struct rig *r = open_classified("UNKNOWN_TOPIC_OR_PART:rejected");
    static const rd_kafka_resp_err_t same[] = {
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION};
    for (size_t i = 0; i < OT_COUNT(same); i++)
        assert_int_equal(ot_kafka_class(inside(r), same[i])->outcome,
                         OT_REJECTED);
    assert_int_equal(
        ot_kafka_class(inside(r), RD_KAFKA_RESP_ERR__TRANSPORT)->outcome,
        OT_UNAVAILABLE);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_class),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_refused_topic),
        cmocka_unit_test(test_names_of_the_client),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
