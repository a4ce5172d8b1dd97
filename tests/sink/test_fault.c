/* The fault sink and its language. */
#include "battery.h"

#include "sink/fault/script.h"

static struct subject fault = {.name = "fault", .topic = "orders"};

static struct rig *open_script(const char *script)
{
    static struct rig r;
    char url[500];
    subject = &fault;
    snprintf(url, sizeof(url), "fault:?script=%s", script);
    rig_open(&r, url, NULL);
    return &r;
}

/* One letter per event: o r j c u n, upper case for a whole batch. */
static void expect(const char *script, size_t n, const char *letters)
{
    struct rig *r = open_script(script);
    char got[100];
    add_numbered(r, n);
    rig_run(r, n, 5000);
    for (size_t i = 0; i < n; i++) {
        const struct ot_completion *c = &r->events[i].completion;
        got[i] = "orjcun"[c->outcome];
        if (c->scope == OT_ITS_BATCH)
            got[i] = (char)(got[i] - 32);
    }
    got[n] = '\0';
    assert_string_equal(got, letters);
    rig_close(r);
}

static void test_steps(void **state)
{
    (void)state;
    expect("", 3, "ooo");
    expect("ok*2,retry,reject,misconfigured,unavailable,unknown,lost", 10,
           "oorjcunnoo");
    expect("retry*3", 5, "rrroo");
    expect("ok,retry,again", 6, "ororor");
    expect("reject@key=key-2", 5, "oojoo");
    expect("reject*1@topic=orders", 4, "jooo");
    expect("reject@topic=others", 4, "oooo");
    expect("retry,ok*2,reject@key=key-1", 4, "rjoo");
    expect("unavailable:10s", 4, "uuuu");
    expect("delay:1ms@key=key-2,retry", 3, "roo");
    expect("poison@key=key-2", 4, "JJJJ");
    expect("delay:2ms,retry,hang:20ms,ok", 3, "roo");
}

static void test_alone(void **state)
{
    (void)state;
    struct rig *r = open_script("poison@key=key-2");
    add_numbered(r, 4);
    rig_run_singly(r, 1000);
    assert_int_equal(r->outcome[OT_OK], 3);
    assert_int_equal(r->events[2].completion.scope, OT_THIS_EVENT);
    rig_close(r);
}

static void test_chance(void **state)
{
    size_t before = 0;
    (void)state;
    for (int round = 0; round < 2; round++) {
        struct rig *r = open_script("retry/10&seed=7");
        add_numbered(r, 2000);
        rig_run(r, 500, 5000);
        assert_true(r->outcome[OT_RETRY] > 120 && r->outcome[OT_RETRY] < 300);
        if (round == 1) /* the seed decides */
            assert_int_equal(r->outcome[OT_RETRY], before);
        before = r->outcome[OT_RETRY];
        rig_close(r);
    }
}

static void test_times(void **state)
{
    (void)state;
    struct rig *r = open_script("hang:200ms,ok");
    int64_t began_us = ot_now_us();
    struct promise soon = promise_us(1000000);
    add_numbered(r, 10);
    rig_run(r, 10, 5000);
    assert_true(ot_now_us() - began_us >= 195000);
    promise_kept(&soon, "200 ms");
    rig_close(r);

    r = open_script("unavailable:1s");
    add_numbered(r, 2);
    rig_submit(r, 1);
    usleep(1020000);
    rig_run(r, 1, 1000);
    assert_int_equal(r->events[0].completion.outcome, OT_UNAVAILABLE);
    assert_int_equal(r->events[1].completion.outcome, OT_OK);
    rig_close(r);

    /* For ever, until it is abandoned. */
    r = open_script("hang");
    add_numbered(r, 10);
    rig_submit(r, 10);
    rig_waits_in_vain(r, 1, 100);
    struct ot_health h;
    r->sink->ops->health(r->sink, &h);
    assert_int_equal(h.state, OT_HEALTH_DOWN);
    r->sink->ops->abandon(r->sink);
    assert_true(rig_wait(r, 10, 100));
    assert_int_equal(r->outcome[OT_UNKNOWN], 10);
    rig_close(r);

    /* Busy: one at a time. */
    r = open_script("ok,busy:100ms");
    add_numbered(r, 10);
    assert_int_equal(rig_submit(r, 10), 2);
    rig_run(r, 10, 2000);
    assert_int_equal(r->outcome[OT_OK], 10);
    rig_close(r);
}

static void test_script_file(void **state)
{
    char path[] = "/tmp/outtray-script-XXXXXX", url[200];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "ok*1,\nretry\n reject \n\n", 22), 22);
    close(fd);
    static struct rig r;
    subject = &fault;
    snprintf(url, sizeof(url), "fault:?script_file=%s", path);
    rig_open(&r, url, NULL);
    add_numbered(&r, 4);
    rig_run(&r, 4, 1000);
    assert_int_equal(r.events[1].completion.outcome, OT_RETRY);
    assert_int_equal(r.events[2].completion.outcome, OT_REJECTED);
    assert_int_equal(r.outcome[OT_OK], 2);
    rig_close(&r);
    unlink(path);
}

static void test_files_that_are_not_there(void **state)
{
    static const char why[] = "No such file or directory; name a file";
    (void)state;
    rig_refused("fault:?script_file=/tmp/outtray-no-such/a", NULL,
                OUTTRAY_E_URL, why);
    rig_refused("fault:?record=/tmp/outtray-no-such/a", NULL, OUTTRAY_E_URL,
                why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_chance),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_script_file),
        cmocka_unit_test(test_files_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
