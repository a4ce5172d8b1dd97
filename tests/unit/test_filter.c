/* test_filter.c - which topics a subscription takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/filter.h"
#include "store/store.h"

static bool takes(const char *topics, const char *topic)
{
    struct outtray_error err;
    struct ot_filter f;
    bool yes;

    if (ot_filter_parse(&f, topics, &err) != 0)
        fail_msg("%s", err.text);
    yes = ot_filter_match(&f, ot_slice_of(topic));
    ot_filter_free(&f);
    return yes;
}

static void matching(void **state)
{
    (void)state;
    assert_true(takes(NULL, "anything"));
    assert_true(takes("", "anything"));
    assert_true(takes("  ", "anything"));
    assert_true(takes("*", "anything"));
    assert_true(takes("a", "a"));
    assert_false(takes("a", "b"));
    assert_false(takes("a", "aa"));
    assert_false(takes("a", "A"));
    assert_true(takes("orders.*", "orders.created"));
    assert_true(takes("orders.*", "orders."));
    assert_false(takes("orders.*", "orders"));
    assert_true(takes(" a , b* ,c", "bcd"));
    assert_true(takes(" a , b* ,c", "a"));
    assert_true(takes(" a , b* ,c", "c"));
    assert_false(takes(" a , b* ,c", "d"));
    assert_true(takes("with blank", "with blank"));
}

static void refusing(void **state)
{
    static const char *const bad[] = {"a,,b", ",a", "a,", "a*b", "**", "a, *x"};
    struct outtray_error err;
    struct ot_filter f;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(bad); i++) {
        if (ot_filter_parse(&f, bad[i], &err) != OUTTRAY_E_CONF)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(f.n, 0);
        assert_null(f.terms);
    }
}

static void words(void **state)
{
    enum ot_held_state held;
    struct ot_command command;
    int64_t argument;

    (void)state;
    for (int i = OT_HELD_RETRYING; i <= OT_HELD_SKIPPED; i++) {
        const char *name = ot_held_state_name((enum ot_held_state)i);

        assert_int_equal(ot_held_state_parse(ot_slice_of(name), &held), 0);
        assert_int_equal(held, i);
    }
    for (int i = OT_REDRIVE; i <= OT_REPLAY; i++) {
        const char *name = ot_verb_stored((enum ot_verb)i, 7, &argument);

        assert_int_equal(
            ot_command_parse(ot_slice_of(name), argument, &command), 0);
        assert_int_equal(command.verb, i);
        assert_int_equal(command.seq, 7);
    }
    /* Older programs know the word, and no event of this seq. */
    assert_string_equal(ot_verb_stored(OT_REPLAY, 7, &argument), "redrive");
    assert_int_equal(argument, -7);
    assert_int_not_equal(ot_held_state_parse(ot_slice_of("dea"), &held), 0);
    assert_int_not_equal(ot_command_parse(ot_slice_of("Skip"), 1, &command), 0);
    assert_int_not_equal(ot_command_parse(ot_slice_of("replay"), 1, &command),
                         0);
    assert_string_equal(ot_verb_name((enum ot_verb)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matching),
        cmocka_unit_test(refusing),
        cmocka_unit_test(words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
