/* The Kafka sink against a real broker: what only a broker decides. */
#include "kafka_rig.h"

#include "sink/kafka/kafka.h"

static struct subject kafka = {.name = "kafka"};

static struct rig *open_one(const char *const *settings)
{
    static struct rig r;
    kafka.topic = broker.topic;
    subject = &kafka;
    open_kafka(&r, &broker, settings);
    return &r;
}

static void name_topic(const char *prefix)
{
    snprintf(broker.topic, sizeof(broker.topic), "%s-%d-%d", prefix,
             (int)getpid(), (int)(ot_now_us() % 1000000));
}

/* Waits as misconfigured until somebody makes it; nobody else makes it. */
static void test_unknown_topic(void **state)
{
    (void)state;
    name_topic("unknown");
    struct rig *r = open_one(NULL);
    struct outtray_error err = {0};
    assert_int_equal(r->sink->ops->check(r->sink, broker.topic, 5000, &err),
                     OUTTRAY_E_SINK_MISCONFIGURED);
    assert_non_null(strstr(err.text, broker.topic));
    assert_non_null(strstr(err.text, "create it"));
    for (int round = 0; round < 2; round++) {
        add_numbered(r, 30);
        rig_run(r, 30, 5000);
    }
    assert_int_equal(r->outcome[OT_MISCONFIGURED], 60);
    assert_int_equal(r->events[0].completion.scope, OT_ITS_TOPIC);
    assert_false(r->events[0].completion.maybe_persisted);
    topic_admin(&broker, broker.topic, true, 4, NULL);
    ask_for_topic(&broker, broker.topic);
    add_numbered(r, 30);
    rig_run(r, 30, 10000);
    assert_int_equal(r->outcome[OT_OK], 30);
    rig_close(r);
}

/* All refused at one time, each with its own reason. */
static void test_unknown_topics(void **state)
{
    char name[80];
    (void)state;
    name_topic("unknown");
    struct rig *r = open_one(NULL);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "%s-%d", broker.topic, i);
        rig_event(r, name, "k", "x");
    }
    assert_int_equal(rig_submit(r, 60), 60);
    sleep(1); /* the answers come meanwhile */
    assert_true(rig_wait(r, 60, 20000));
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "%s-%d:", broker.topic, i);
        assert_non_null(strstr(r->events[i].reason, name));
    }
    rig_close(r);
}

static void test_auto_create(void **state)
{
    static const char *const settings[] = {
        "kafka.allow.auto.create.topics=true", NULL};
    (void)state;
    name_topic("auto");
    struct rig *r = open_one(settings);
    add_numbered(r, 10);
    rig_run(r, 10, 10000);
    assert_int_equal(r->outcome[OT_OK], 10);
    rig_close(r);
}

static void test_bad_name(void **state)
{
    (void)state;
    new_topic(&broker);
    struct rig *r = open_one(NULL);
    rig_event(r, "no such/topic name", "k", "0");
    rig_run(r, 1, 10000);
    assert_int_equal(r->outcome[OT_MISCONFIGURED], 1);
    rig_close(r);
}

/* Gone while it was in use: its events are refused, not kept for ever. */
static void test_deleted_topic(void **state)
{
    (void)state;
    new_topic(&broker);
    struct rig *r = open_one(NULL);
    add_numbered(r, 100);
    rig_run(r, 100, 10000);
    assert_int_equal(r->outcome[OT_OK], 100);
    topic_admin(&broker, broker.topic, false, 0, NULL);
    for (int i = 0; i < 1000 && r->outcome[OT_MISCONFIGURED] == 0; i++) {
        add_numbered(r, 20);
        rig_run(r, 20, 15000);
        usleep(20000);
    }
    assert_true(r->outcome[OT_MISCONFIGURED] > 0);
    for (size_t i = 0; i < r->n; i++)
        if (r->events[i].completion.outcome != OT_OK &&
            r->events[i].completion.outcome != OT_MISCONFIGURED)
            fail_msg("%s: %s", ot_outcome_name(r->events[i].completion.outcome),
                     r->events[i].reason);
    topic_admin(&broker, broker.topic, true, 4, NULL);
    ask_for_topic(&broker, broker.topic);
    /* The first may be taken for copies by the new leader, and are doubted:
     * the engine would send them again. */
    size_t ok;
    int rounds = 0;
    do {
        ok = r->outcome[OT_OK];
        add_numbered(r, 50);
        rig_run(r, 50, 15000);
    } while (r->outcome[OT_OK] < ok + 50 && ++rounds < 50);
    assert_int_equal(r->outcome[OT_OK], ok + 50);
    rig_close(r);
}

/* More partitions than there were when the topic was looked up: a key goes
 * elsewhere, and nobody waits for a report of where it would have gone. */
static void test_more_partitions(void **state)
{
    static const char *const settings[] = {
        "kafka.topic.metadata.refresh.interval.ms=500", NULL};
    (void)state;
    new_topic(&broker);
    struct rig *r = open_one(settings);
    add_numbered(r, 1);
    rig_run(r, 1, 10000);
    grow_topic(&broker, broker.topic, 32);
    wait_for_leaders(&broker, broker.topic, 32);
    const struct ot_kafka_topic *topic =
        ((const struct ot_kafka *)(const void *)r->sink)->topics.newest;
    for (int i = 0; i < 600 && topic->npartitions != 32; i++) {
        add_numbered(r, 50);
        rig_run(r, 50, 15000);
        usleep(50000);
    }
    assert_int_equal(topic->npartitions, 32);
    assert_int_equal(r->outcome[OT_OK] + r->outcome[OT_UNKNOWN], r->n);
    rig_close(r);
}

/* The topic's own limit is lower: the broker refuses the whole message set.
 * Sent alone, the innocent pass and the culprit is named. */
static void test_too_large_there(void **state)
{
    static const char *const limits[] = {"max.message.bytes", "20000", NULL};
    (void)state;
    name_topic("small");
    topic_admin(&broker, broker.topic, true, 1, limits);
    ask_for_topic(&broker, broker.topic);
    struct rig *r = open_one(NULL);
    add_numbered(r, 1);
    rig_run(r, 1, 10000);
    char *large = malloc(30001);
    assert_non_null(large);
    for (int i = 0; i < 30000; i++)
        large[i] = (char)('!' + rand() % 90); /* so that it stays large */
    large[30000] = '\0';
    add_numbered(r, 10);
    rig_event(r, broker.topic, "k", large);
    add_numbered(r, 9);
    size_t first = r->sent;
    rig_run(r, 20, 10000);
    assert_true(r->outcome[OT_REJECTED] >= 1);
    assert_int_equal(r->outcome[OT_REJECTED] + r->outcome[OT_OK], 21);
    size_t innocent = r->outcome[OT_REJECTED] - 1;
    for (size_t i = first; i < r->n; i++) {
        if (r->events[i].completion.outcome != OT_REJECTED)
            continue;
        assert_non_null(strstr(r->events[i].reason, "max.message.bytes"));
        assert_false(r->events[i].completion.maybe_persisted);
    }
    /* Again, each alone. */
    size_t ok = r->outcome[OT_OK];
    first = r->sent;
    add_numbered(r, innocent);
    rig_event(r, broker.topic, "k", large);
    free(large);
    rig_run_singly(r, 10000);
    assert_int_equal(r->outcome[OT_OK], ok + innocent);
    const struct ot_completion *c = &r->events[r->n - 1].completion;
    assert_int_equal(c->outcome, OT_REJECTED);
    assert_int_equal(c->scope, OT_THIS_EVENT);
    rig_close(r);
}

/* A compacted topic takes no event without key. */
static void test_compacted(void **state)
{
    static const char *const settings[] = {"cleanup.policy", "compact", NULL};
    (void)state;
    name_topic("compacted");
    topic_admin(&broker, broker.topic, true, 1, settings);
    ask_for_topic(&broker, broker.topic);
    struct rig *r = open_one(NULL);
    add_numbered(r, 1);
    rig_event(r, broker.topic, NULL, "x");
    rig_run_singly(r, 10000);
    assert_int_equal(r->events[0].completion.outcome, OT_OK);
    assert_int_equal(r->events[1].completion.outcome, OT_REJECTED);
    assert_non_null(strstr(r->events[1].reason, "key"));
    rig_close(r);
}

/* An abandoned sink goes on with what comes next, behind what it had sent. */
static void test_abandon_and_go_on(void **state)
{
    (void)state;
    new_topic(&broker);
    struct rig *r = open_one(NULL);
    add_numbered(r, 2500);
    assert_int_equal(rig_submit(r, 2000), 2000);
    rig_turn(r, 5);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, 2000, 3000));
    size_t ok = r->outcome[OT_OK], maybe = r->outcome[OT_UNKNOWN];
    rig_run(r, 500, 10000);
    assert_int_equal(r->outcome[OT_OK], ok + 500);
    struct arrived a = read_numbers(&broker, 4, ok + maybe + 500);
    long last[KEYS];
    memset(last, -1, sizeof(last));
    assert_true(a.n >= ok + 500 && a.n <= ok + maybe + 500);
    for (size_t i = 0; i < a.n; i++) {
        assert_true(last[a.at[i] % KEYS] < a.at[i]);
        last[a.at[i] % KEYS] = a.at[i];
    }
    free(a.at);
    rig_close(r);
}

static void test_check_failures(void **state)
{
    static const struct {
        const char *url;
        int code;
        const char *says;
    } cases[] = {
        {"kafka://127.0.0.1:1", OUTTRAY_E_SINK_UNAVAILABLE, "refused"},
        {"kafka://nowhere.invalid:9092", OUTTRAY_E_SINK_UNAVAILABLE,
         "nowhere.invalid"},
    };
    static const char *const plain[] = {"sink.tls=off", NULL};
    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        struct rig r;
        struct outtray_error err = {0};
        rig_open(&r, cases[i].url, plain);
        struct promise soon = promise_us(2500000);
        int code = r.sink->ops->check(r.sink, NULL, 1500, &err);
        promise_kept(&soon, "check");
        if (code != cases[i].code || strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s: %d %s", cases[i].url, code, err.text);
        rig_close(&r);
    }
    /* A login where the broker knows of none. */
    char url[300];
    struct rig r;
    struct outtray_error err = {0};
    snprintf(url, sizeof(url), "kafka://anna:secret@%s", broker.servers);
    rig_open(&r, url, NULL);
    assert_true(r.sink->ops->check(r.sink, NULL, 2000, &err) < 0);
    assert_null(strstr(err.text, "secret"));
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_topic),
        cmocka_unit_test(test_unknown_topics),
        cmocka_unit_test(test_auto_create),
        cmocka_unit_test(test_bad_name),
        cmocka_unit_test(test_deleted_topic),
        cmocka_unit_test(test_more_partitions),
        cmocka_unit_test(test_too_large_there),
        cmocka_unit_test(test_compacted),
        cmocka_unit_test(test_abandon_and_go_on),
        cmocka_unit_test(test_check_failures),
    };
    return cmocka_run_group_tests(tests, start_real, stop);
}
