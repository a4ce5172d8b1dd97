/* URLs: what is understood, what is refused, what is shown. */
#include "support/alloc_fail.h"

#include "conf/conf.h"

#include <stdio.h>

struct good {
    const char *text;
    const char *scheme, *user, *password, *hosts, *path;
    const char *params; /* name=value;… */
};

static const struct good good[] = {
    {"stdout:", "stdout", NULL, NULL, "", "", ""},
    {"null:", "null", NULL, NULL, "", "", ""},
    {"file:///var/out%20box.jsonl", "file", NULL, NULL, "",
     "/var/out box.jsonl", ""},
    {"sqlite:///p/a.db", "sqlite", NULL, NULL, "", "/p/a.db", ""},
    {"sqlite:data/a.db", "sqlite", NULL, NULL, "", "data/a.db", ""},
    {"sqlite:/a.db?x=1", "sqlite", NULL, NULL, "", "/a.db", "x=1;"},
    {"fault:?script=ok*3,retry;unknown", "fault", NULL, NULL, "", "",
     "script=ok*3,retry;unknown;"},
    {"memory:", "memory", NULL, NULL, "", "", ""},
    {"PostgreSQL://host", "postgresql", NULL, NULL, "host", "", ""},
    {"postgresql://u@h:5433/db?sslmode=verify-full&application_name=a%26b",
     "postgresql", "u", NULL, "h:5433", "/db",
     "sslmode=verify-full;application_name=a&b;"},
    {"postgresql://u:p%40s%2Fs%3A@h/db", "postgresql", "u", "p@s/s:", "h",
     "/db", ""},
    {"postgresql://u:a:b@h/db", "postgresql", "u", "a:b", "h", "/db", ""},
    {"postgresql://u:@h/", "postgresql", "u", "", "h", "/", ""},
    {"postgresql:///db", "postgresql", NULL, NULL, "", "/db", ""},
    {"postgresql://u@/db", "postgresql", "u", NULL, "", "/db", ""},
    {"postgresql://a:1,b,[::1]:3/db", "postgresql", NULL, NULL, "a:1,b,[::1]:3",
     "/db", ""},
    {"postgresql://%2Fvar%2Frun:5433/db", "postgresql", NULL, NULL,
     "/var/run:5433", "/db", ""},
    {"kafka://b1:9092,b2:9092", "kafka", NULL, NULL, "b1:9092,b2:9092", "", ""},
    {"kafka://[fe80::1]:9092", "kafka", NULL, NULL, "[fe80::1]:9092", "", ""},
    {"kafka://h?a=&b=x=y&", "kafka", NULL, NULL, "h", "", "a=;b=x=y;"},
    {"https://h/a%C3%A4?q=%2B+", "https", NULL, NULL, "h", "/a\xc3\xa4",
     "q=++;"},
};

static void check_text(const char *url, const char *member, const char *got,
                       const char *wanted)
{
    if ((got == NULL) != (wanted == NULL) ||
        (got != NULL && strcmp(got, wanted) != 0))
        fail_msg("%s: %s is '%s', not '%s'", url, member, got ? got : "(null)",
                 wanted ? wanted : "(null)");
}

static void understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < OT_COUNT(good); i++) {
        const struct good *g = &good[i];
        struct ot_buffer params = {0};
        struct outtray_error err = {0};
        struct ot_url url;

        if (ot_url_parse(g->text, &url, &err) != 0)
            fail_msg("%s: %s", g->text, err.text);
        check_text(g->text, "scheme", url.scheme, g->scheme);
        check_text(g->text, "user", url.user, g->user);
        check_text(g->text, "password", url.password, g->password);
        check_text(g->text, "hosts", url.hosts, g->hosts);
        check_text(g->text, "path", url.path, g->path);
        ot_buffer_puts(&params, "");
        for (size_t j = 0; j < url.nparams; j++) {
            ot_buffer_printf(&params, "%s=%s;", url.params[j].name,
                             url.params[j].value);
            check_text(g->text, "param", ot_url_param(&url, url.params[j].name),
                       url.params[j].value);
        }
        check_text(g->text, "params", params.p, g->params);
        assert_null(ot_url_param(&url, "missing"));
        ot_buffer_free(&params);
        ot_url_free(&url);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "scheme"},
        {"outbox.db", "scheme"},
        {"/var/lib/outbox.db", "scheme"},
        {"1x://h", "scheme"},
        {"://h", "scheme"},
        {"localhost", "scheme"},
        {"kafka://h:", "port"},
        {"kafka://h:0", "port"},
        {"kafka://h:65536", "port"},
        {"kafka://h:99999999999999999999", "port"},
        {"kafka://h:9x", "port"},
        {"kafka://a:1,,b:2", "empty"},
        {"kafka://a:1,", "empty"},
        {"kafka://,a", "empty"},
        {"kafka://:9092", "empty"},
        {"kafka://::1:9092", "empty"},
        {"kafka://fe80::1", "port"},
        {"kafka://[::1", "[::1]"},
        {"kafka://[::1]x", "after ]"},
        {"kafka://[::1]:", "port"},
        {"kafka://[h]:1", "IPv6"},
        {"kafka://[]:1", "IPv6"},
        {"kafka://a]:1", "IPv6"},
        {"kafka://[0000000000000000000000000000000000000000000000000::1]",
         "IPv6"},
        {"kafka://a%2cb:1", "encoded"},
        {"kafka://evil.example%3A1", "encoded"},
        {"postgresql://u:p@evil@localhost/db", "%40"},
        {"postgresql://u:p w@h/db", "blank"},
        {"postgresql://u:p#w@h/db", "%23"},
        {"postgresql://h\\@x/db", "\\"},
        {"postgresql://h/d%", "%25"},
        {"postgresql://h/d%2", "%25"},
        {"postgresql://h/d%zz", "%25"},
        {"postgresql://h/d%00", "%25"},
        {"postgresql://u:%0@h/d", "%25"},
        {"postgresql://h/db?x", "name=value"},
        {"postgresql://h/db?=x", "name=value"},
        {"postgresql://h/db?a=1&&b=2", "name=value"},
        {"postgresql://h/db?host=a&host=b", "twice"},
        {"postgresql://h/db?host=a&hos%74=b", "twice"},
        {"postgresql://h/db\n", "control"},
        {"sqlite://outbox.db", "three slashes"},
        {"file://out/box", "three slashes"},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(bad); i++) {
        struct outtray_error err = {0};
        struct ot_url url;

        if (ot_url_parse(bad[i].text, &url, &err) != OUTTRAY_E_URL)
            fail_msg("'%s' was understood", bad[i].text);
        if (strstr(err.text, bad[i].why) == NULL)
            fail_msg("'%s': %s", bad[i].text, err.text);
        assert_null(url.scheme);
        assert_null(url.params);
    }
}

static void shown(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"stdout:", "stdout:"},
        {"postgresql://u:secret@h:1,g/db?a=b",
         "postgresql://u:***@h:1,g/db?a=b"},
        {"postgresql://u@h/db?a=x@y:z", "postgresql://u@h/db?a=x@y:z"},
        {"postgresql://h/db?password=secret&sslpassword=secret&x=1",
         "postgresql://h/db?password=***&sslpassword=***&x=1"},
        {"postgresql://h/db?p%61ssword=secret",
         "postgresql://h/db?p%61ssword=***"},
        {"https://h/?accessToken=secret", "https://h/?accessToken=***"},
        {"kafka://h:9092/?x=1", "kafka://h:9092/?x=1"},
        {"postgresql://u:secret@h/db?options=x-secret-secret&a=b",
         "postgresql://u:***@h/db?options=x-***-***&a=b"},
        {"postgresql://u:secret/secret@h/db", "postgresql:***"},
        {"postgresql://u:se?cret@h/db", "postgresql:***"},
        {"postgresql://u:secret@x@h/db", "postgresql:***"},
        {"host=h password=secret", "***"},
        {"", "***"},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        struct ot_buffer out = {0};
        struct outtray_error err = {0};
        struct ot_url url;

        ot_url_print(cases[i].text, &out);
        check_text(cases[i].text, "shown", out.p, cases[i].shown);
        ot_buffer_free(&out);
        if (ot_url_parse(cases[i].text, &url, &err) == 0)
            ot_url_free(&url);
        assert_null(strstr(err.text, "cret"));
    }
}

static void loopback(void **state)
{
    static const char *yes[] = {
        "",          "localhost", "LOCALHOST:5432", "127.0.0.1:1",
        "127.8.9.1", "[::1]",     "[::1]:5432",     "::1",
        "/var/run",  "@abstract", "/var/run:5432",  "localhost:1,[::1]:2",
    };
    static const char *no[] = {
        "db.example.com",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "10.0.0.1",
        "128.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::2]:1",
        "localhost,db",
        "[localhost]",
        "localhostx",
        "127.1",
        "fe80::1",
        ",",
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(yes); i++)
        if (!ot_hosts_loopback(yes[i]))
            fail_msg("%s is loopback", yes[i]);
    for (size_t i = 0; i < OT_COUNT(no); i++)
        if (ot_hosts_loopback(no[i]))
            fail_msg("%s is not loopback", no[i]);
}

static int parse_once(void *ctx)
{
    struct ot_url url;
    int rc = ot_url_parse(ctx, &url, NULL);

    ot_url_free(&url);
    return rc;
}

static int refuse_once(void *ctx)
{
    struct outtray_error err;
    struct ot_url url;
    int rc = ot_url_parse(ctx, &url, &err);

    return rc == OUTTRAY_E_URL ? 0 : rc;
}

static void out_of_memory(void **state)
{
    (void)state;
    alloc_fail_each(parse_once, "postgresql://u:p@a:1,b:2/db?x=1&y=2");
    /* A refusal may do without the memory for showing the URL. */
    for (long n = 0; n < 20; n++) {
        int rc;

        alloc_fail_at(n);
        rc = refuse_once("postgresql://u:p@a:1,b:x/db?x=1&y=2");
        alloc_fail_off();
        assert_true(rc == 0 || rc == OUTTRAY_E_NOMEM);
        assert_int_equal(alloc_fail.live, 0);
    }
}

/* Pieces thrown together: whatever comes out of it is consistent. */
static void fuzz(void **state)
{
    static const char *pieces[] = {
        "postgresql:", "kafka:",    "file:",  "//",   "/", "u", ":", "@",
        "h",           "localhost", "[::1]",  ",",    "?", "&", "=", "%",
        "%41",         "%2f",       "%00",    "5432", "[", "]", "#", " ",
        "\xc3\xa4",    "password",  "secret", "db",
    };
    struct ot_rng rng;
    unsigned understood_count = 0;

    (void)state;
    ot_rng_seed(&rng, 7);
    for (int round = 0; round < 60000; round++) {
        struct ot_buffer text = {0}, out = {0};
        struct outtray_error err = {0};
        struct ot_url url;
        int64_t n = ot_rng_between(&rng, 0, 12);

        if (ot_rng_between(&rng, 0, 3) != 0)
            ot_buffer_puts(&text, "postgresql://");
        for (int64_t i = 0; i < n; i++)
            ot_buffer_puts(
                &text, pieces[ot_rng_between(&rng, 0, OT_COUNT(pieces) - 1)]);
        ot_buffer_puts(&text, "");
        ot_url_print(text.p, &out);
        assert_non_null(out.p);
        if (ot_url_parse(text.p, &url, &err) == 0) {
            understood_count++;
            assert_non_null(url.scheme);
            assert_non_null(url.hosts);
            assert_non_null(url.path);
            /* A password is not shown, be it as it may. */
            if (url.password != NULL && strlen(url.password) > 12)
                assert_null(strstr(out.p, url.password));
        } else {
            assert_int_equal(err.code, OUTTRAY_E_URL);
            assert_null(strstr(err.text, "secret@"));
        }
        ot_url_free(&url);
        ot_buffer_free(&text);
        ot_buffer_free(&out);
    }
    assert_in_range(understood_count, 3000, 57000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(understood),    cmocka_unit_test(refused),
        cmocka_unit_test(shown),         cmocka_unit_test(loopback),
        cmocka_unit_test(out_of_memory), cmocka_unit_test(fuzz),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
