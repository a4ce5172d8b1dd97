/* The Kafka sink with leaders that have taken nothing yet: one event of a key
 * goes first. */
#include "kafka_mock.h"

enum { PARTITIONS = 4 };

static void add(struct rig *r, const char *key, int n)
{
    char text[16];
    for (int i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "%d", i);
        rig_event(r, broker.topic, key, text);
    }
}

/* Gives all to the sink, until some are with the client: no report is taken. */
static size_t with_client(struct rig *r)
{
    assert_int_equal(rig_submit(r, r->n), r->n - r->done);
    for (int i = 0; i < 6000 && inside(r)->with_client == 0; i++) {
        r->sink->ops->service(r->sink, ot_now_us());
        usleep(10000);
    }
    return inside(r)->with_client;
}

static void finish(struct rig *r, size_t n)
{
    assert_true(rig_wait(r, n, 15000));
    assert_int_equal(r->outcome[OT_OK], n);
}

static void test_one_goes_first(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    add(r, "k", 10);
    assert_int_equal(with_client(r), 1);
    finish(r, 10);
    add(r, "k", 10);
    assert_int_equal(with_client(r), 10);
    finish(r, 20);
    rig_close(r);
}

/* One of each partition; and no key waits behind another partition's. */
static void test_partitions_side_by_side(void **state)
{
    char key[16];
    (void)state;
    struct rig *r = open_with(NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "%d", i);
        add(r, key, 1);
    }
    size_t first = with_client(r);
    assert_true(first >= 1 && first <= PARTITIONS);
    finish(r, 100);
    struct ot_kafka_topic *topic = inside(r)->topics.newest;
    assert_int_equal(topic->npartitions, PARTITIONS);
    assert_int_equal(topic->unproven, 0);
    rig_close(r);
}

static void test_without_a_key(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    add(r, NULL, 10);
    assert_int_equal(with_client(r), 10);
    finish(r, 10);
    rig_close(r);
}

/* A refused one proves nothing: the next is alone again. */
static void test_refused(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    rd_kafka_mock_push_request_errors(broker.mock, 0, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    add(r, "k", 1);
    assert_int_equal(with_client(r), 1);
    assert_true(rig_wait(r, 1, 15000));
    assert_int_equal(r->outcome[OT_REJECTED], 1);
    add(r, "k", 5);
    assert_int_equal(with_client(r), 1);
    assert_true(rig_wait(r, 6, 15000));
    assert_int_equal(r->outcome[OT_OK], 5);
    assert_int_equal(inside(r)->topics.newest->unproven, PARTITIONS - 1);
    rig_close(r);
}

/* A new producer begins anew. */
static void test_new_producer(void **state)
{
    (void)state;
    struct rig *r = open_with(NULL);
    add(r, "k", 3);
    with_client(r);
    finish(r, 3);
    add(r, "k", 1);
    with_client(r);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, 4, 15000));
    size_t done = r->done, ok = r->outcome[OT_OK];
    add(r, "k", 5);
    for (int i = 0; i < 100 && rig_submit(r, 5) == 0; i++)
        rig_turn(r, 10);
    for (int i = 0; i < 6000 && inside(r)->with_client == 0; i++) {
        r->sink->ops->service(r->sink, ot_now_us());
        usleep(10000);
    }
    assert_int_equal(inside(r)->with_client, 1);
    assert_true(rig_wait(r, done + 5, 15000));
    assert_int_equal(r->outcome[OT_OK], ok + 5);
    rig_close(r);
}

/* Which partition is whose is the business of the partitioner in use. */
static void test_partitioners(void **state)
{
    static const char *const keyed[] = {"murmur2", "consistent", "fnv1a",
                                        "consistent_random", "fnv1a_random"};
    char setting[64];
    const char *settings[] = {setting, NULL};
    (void)state;
    for (size_t i = 0; i < OT_COUNT(keyed); i++) {
        snprintf(setting, sizeof(setting), "kafka.partitioner=%s", keyed[i]);
        struct rig *r = open_with(settings);
        add(r, "some key", 8);
        assert_int_equal(with_client(r), 1);
        finish(r, 8);
        assert_int_equal(inside(r)->topics.newest->unproven, PARTITIONS - 1);
        rig_close(r);
    }
}

static int start_one(void **state)
{
    (void)state;
    mock_start(&broker, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_goes_first),
        cmocka_unit_test(test_partitions_side_by_side),
        cmocka_unit_test(test_without_a_key),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_new_producer),
        cmocka_unit_test(test_partitioners),
    };
    return cmocka_run_group_tests(tests, start_one, stop);
}
