/* The headers of an event: reading, refusing, and the same verdict as a JSON
 * library. */
#include "support/alloc_fail.h"

#include <jansson.h>

#include "event/headers.h"

struct walk {
    char text[2048]; /* "name=value;…" */
    int rc;          /* of the last call */
};

static struct walk walk(const char *json, size_t n)
{
    /* A copy without a byte to spare: a read beyond the end is an error of the
     * sanitizer. */
    char *copy = malloc(n > 0 ? n : 1);
    struct walk w = {.text = ""};
    struct ot_buffer scratch = {0};
    struct ot_headers it;
    struct ot_slice name, value;
    size_t at = 0;

    memcpy(copy, json, n);
    ot_headers_begin(&it, ot_slice(copy, n));
    while ((w.rc = ot_headers_next(&it, &scratch, &name, &value)) == 1)
        at += (size_t)snprintf(w.text + at, sizeof(w.text) - at, "%.*s=%.*s;",
                               (int)name.n, name.p, (int)value.n, value.p);
    /* The end and an error stay. */
    assert_int_equal(ot_headers_next(&it, &scratch, &name, &value), w.rc);
    assert_null(name.p);
    assert_null(value.p);
    ot_buffer_free(&scratch);
    free(copy);
    return w;
}

static void reads(const char *json, const char *want)
{
    struct walk w = walk(json, strlen(json));

    assert_int_equal(w.rc, 0);
    assert_string_equal(w.text, want);
}

static void refuses(const char *json)
{
    struct walk w = walk(json, strlen(json));

    if (w.rc != OUTTRAY_E_INVALID_EVENT)
        fail_msg("%s: %d", json, w.rc);
}

static void test_reads_a_flat_object(void **state)
{
    (void)state;
    reads("{}", "");
    reads("  {\r\n\t}\n ", "");
    reads("{\"a\":\"1\"}", "a=1;");
    reads(" { \"a\" :\n\"1\" ,\t\"b\":\"\" } ", "a=1;b=;");
    reads("{\"\":\"\"}", "=;");
    reads("{\"a\":\"\xc3\xa9\"}", "a=\xc3\xa9;");
}

static void test_resolves_escapes(void **state)
{
    (void)state;
    reads("{\"a\\n\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "a\n=\"\\/\b\f\n\r\t;");
    reads("{\"a\":\"\\u00e9\\u00E9x\",\"b\":\"\\u20ac\"}",
          "a=\xc3\xa9\xc3\xa9x;b=\xe2\x82\xac;");
    reads("{\"\\u0061\":\"\\ud83d\\ude00!\"}", "a=\xf0\x9f\x98\x80!;");
    reads("{\"a\\\\\":\"plain\",\"b\":\"\\\\\"}", "a\\=plain;b=\\;");
}

static void test_refuses_all_else(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "[]",
        "[\"a\"]",
        "\"a\"",
        "1",
        "{",
        "}",
        "{]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":\"1\"",
        "{\"a\":\"1\",",
        "{\"a\":\"1\",}",
        "{,}",
        "{\"a\":1}",
        "{\"a\":null}",
        "{\"a\":true}",
        "{\"a\":{}}",
        "{\"a\":[\"1\"]}",
        "{\"a\" \"1\"}",
        "{\"a\":\"1\" \"b\":\"2\"}",
        "{\"a\":\"1\"}x",
        "{\"a\":\"1\"}{}",
        "{a:\"1\"}",
        "{'a':'1'}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\x01\"}",
        "{\"a\":\"1}",
        "{\"a\":\"\\\"}",
        "{\"a\":\"\\",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\U0041\"}",
        "{\"a\":\"\\u\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"\\u0000\":\"\"}",
        "{\"a\":\"\\ud83d\"}",
        "{\"a\":\"\\ud83dx\"}",
        "{\"a\":\"\\ud83d\\n\"}",
        "{\"a\":\"\\ud83d\\u0041\"}",
        "{\"a\":\"\\ude00\"}",
        "{\"a\":\"\\ude00\\ud83d\"}",
        "{\"a\":\"\\ud83d\\u\"}",
        "\xef\xbb\xbf{}",
        "{\"a\":\"1\"}\v",
    };
    for (size_t i = 0; i < OT_COUNT(bad); i++)
        refuses(bad[i]);
    /* A NUL anywhere. */
    assert_int_equal(walk("{\"a\":\"\0\"}", 9).rc, OUTTRAY_E_INVALID_EVENT);
    assert_int_equal(walk("{}\0", 3).rc, OUTTRAY_E_INVALID_EVENT);
}

static void test_absent_has_none(void **state)
{
    (void)state;
    struct ot_buffer scratch = {0};
    struct ot_headers it;
    struct ot_slice name, value;

    ot_headers_begin(&it, ot_slice(NULL, 0));
    assert_int_equal(ot_headers_next(&it, &scratch, &name, &value), 0);
    assert_int_equal(ot_headers_check(ot_slice(NULL, 0), 10, NULL), 0);
}

static void test_copies_only_escapes(void **state)
{
    (void)state;
    static const char json[] = "{\"a\":\"1\",\"b\":\"\\t\"}";
    struct ot_buffer scratch = {0};
    struct ot_headers it;
    struct ot_slice name, value;

    ot_headers_begin(&it, ot_slice_of(json));
    assert_int_equal(ot_headers_next(&it, &scratch, &name, &value), 1);
    assert_ptr_equal(name.p, json + 2);
    assert_ptr_equal(value.p, json + 6);
    assert_null(scratch.p);
    assert_int_equal(ot_headers_next(&it, &scratch, &name, &value), 1);
    assert_ptr_equal(name.p, json + 10);
    assert_ptr_equal(value.p, scratch.p);
    ot_buffer_free(&scratch);
}

/* --- against jansson ------------------------------------------------------ */

/* A flat object of strings, by its lights. */
static bool jansson_takes(const char *json, size_t n)
{
    json_t *root = json_loadb(json, n, 0, NULL);
    bool good = json_is_object(root);
    const char *name;
    json_t *value;

    if (good)
        json_object_foreach(root, name, value) good =
            good && json_is_string(value);
    json_decref(root);
    return good;
}

static void test_agrees_with_a_json_library(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"a\":\"1\",\"bc\":\"\\u00e9\\n\"}",
        "{ \"a\\\\\" : \"\\ud83d\\ude00\" }",
        "{}",
    };
    static const char bytes[] = "{}[]\":,\\ \n\tu0dDn1eax/";
    struct ot_rng rng;
    size_t good = 0;

    ot_rng_seed(&rng, 20261124);
    for (int i = 0; i < 60000; i++) {
        char text[64];
        const char *seed = seeds[(size_t)i % OT_COUNT(seeds)];
        size_t n = strlen(seed);
        memcpy(text, seed, n);
        for (int64_t k = ot_rng_between(&rng, 0, 3); k > 0 && n > 0; k--) {
            size_t at = (size_t)ot_rng_between(&rng, 0, (int64_t)n - 1);
            char c = bytes[ot_rng_between(&rng, 0, sizeof(bytes) - 2)];
            switch (ot_rng_between(&rng, 0, 2)) {
            case 0:
                text[at] = c;
                break;
            case 1:
                memmove(text + at, text + at + 1, n - at - 1);
                n--;
                break;
            default:
                memmove(text + at + 1, text + at, n - at);
                text[at] = c;
                n++;
            }
        }
        bool taken = walk(text, n).rc == 0;
        if (taken != jansson_takes(text, n))
            fail_msg("%s: %.*s", taken ? "taken" : "refused", (int)n, text);
        good += taken;
    }
    assert_in_range(good, 1000, 59000);
}

/* --- check ---------------------------------------------------------------- */

static void check(const char *json, int want, const char *text)
{
    struct outtray_error err = {0};
    int rc = ot_headers_check(ot_slice_of(json), 32768, &err);

    if (rc != want)
        fail_msg("%s: %s", json, outtray_error_name(rc));
    if (text != NULL)
        assert_string_equal(err.text, text);
}

static void test_check(void **state)
{
    (void)state;
    check("{\"traceparent\":\"00-a\",\"b c\":\"x\"}", OUTTRAY_E_INVALID_EVENT,
          "headers: the name of header 2 has a character that is not visible "
          "ASCII");
    check("{\"traceparent\":\"00-a\",\"identity\":\"\xc3\xa9\\n\"}", 0, NULL);
    check("{\"\xc3\xa9\":\"x\"}", OUTTRAY_E_INVALID_EVENT, NULL);
    check("{\"a\\u007f\":\"x\"}", OUTTRAY_E_INVALID_EVENT, NULL);
    check("{\"\":\"x\"}", OUTTRAY_E_INVALID_EVENT,
          "headers: the name of header 1 is empty");
    check("{\"id\":\"x\"}", OUTTRAY_E_INVALID_EVENT,
          "headers: id is reserved, the relay writes it: choose another name");
    check("{\"\\u0049d\":\"x\"}", OUTTRAY_E_INVALID_EVENT, NULL);
    check("{\"Type\":\"x\"}", OUTTRAY_E_INVALID_EVENT, NULL);
    check("{\"Outtray-Order\":\"x\"}", OUTTRAY_E_INVALID_EVENT, NULL);
    check("{\"outtray-\":\"x\"}", OUTTRAY_E_INVALID_EVENT, NULL);
    check("{\"outtray\":\"x\",\"types\":\"x\",\"i\":\"x\"}", 0, NULL);
    check("{\"a\":\"1\",\"b\":\"2\",\"\\u0061\":\"3\"}",
          OUTTRAY_E_INVALID_EVENT, "headers: a is there twice");
    check("{\"a\":\"1\",\"A\":\"2\"}", 0, NULL);
    check("{\"a\":1}", OUTTRAY_E_INVALID_EVENT,
          "headers: not a flat JSON object of strings, see byte 5: give "
          "{\"name\": \"value\"}");
    check("{\"a\":\"\xff\"}", OUTTRAY_E_INVALID_UTF8,
          "headers: not UTF-8 at byte 6");
    assert_int_equal(ot_headers_check(ot_slice("{\"a\":\"\0\"}", 9), 100, NULL),
                     OUTTRAY_E_INVALID_EVENT);
    assert_int_equal(ot_headers_check(ot_slice_of("{}"), 2, NULL), 0);
    assert_int_equal(ot_headers_check(ot_slice_of("{ }"), 2, NULL),
                     OUTTRAY_E_TOO_LARGE);
}

static void test_limits(void **state)
{
    (void)state;
    struct ot_buffer b = {0};
    char name[OT_HEADER_NAME_MAX + 2];

    ot_buffer_putc(&b, '{');
    for (int i = 0; i < OT_HEADERS_MAX; i++)
        ot_buffer_printf(&b, "%s\"n%d\":\"v\"", i > 0 ? "," : "", i);
    ot_buffer_putc(&b, '}');
    check(b.p, 0, NULL);
    b.n--;
    ot_buffer_puts(&b, ",\"more\":\"\"}");
    check(b.p, OUTTRAY_E_TOO_LARGE, "headers: at most 64 are allowed");

    memset(name, 'x', sizeof(name) - 1);
    name[OT_HEADER_NAME_MAX] = '\0';
    ot_buffer_clear(&b);
    ot_buffer_printf(&b, "{\"%s\":\"\"}", name);
    check(b.p, 0, NULL);
    name[OT_HEADER_NAME_MAX] = 'x';
    name[OT_HEADER_NAME_MAX + 1] = '\0';
    ot_buffer_clear(&b);
    ot_buffer_printf(&b, "{\"%s\":\"\"}", name);
    check(b.p, OUTTRAY_E_TOO_LARGE, NULL);
    ot_buffer_free(&b);
}

static int check_escaped(void *ctx)
{
    (void)ctx;
    return ot_headers_check(
        ot_slice_of("{\"\\u0061\":\"1\",\"\\u0062\":\"\\n\",\"c\":\"\"}"), 100,
        NULL);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    alloc_fail_each(check_escaped, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_a_flat_object),
        cmocka_unit_test(test_resolves_escapes),
        cmocka_unit_test(test_refuses_all_else),
        cmocka_unit_test(test_absent_has_none),
        cmocka_unit_test(test_copies_only_escapes),
        cmocka_unit_test(test_agrees_with_a_json_library),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
