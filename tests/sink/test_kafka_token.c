/* Tokens from files: what is read, and what is refused. No broker is asked. */
#include "rig.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "sink/kafka/token.h"

enum { NOW_MS = 1000000 };

static char path[200];

static void put(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void good(const char *text, const char *token, int64_t end_ms,
                 const char *subject)
{
    struct ot_kafka_token got;
    struct outtray_error err = {0};
    put(text);
    if (ot_kafka_token_read(&got, path, NOW_MS, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(got.text.p, token);
    assert_int_equal(got.end_ms, end_ms);
    assert_string_equal(got.subject, subject);
    ot_kafka_token_free(&got);
}

static void bad(const char *says)
{
    struct ot_kafka_token got;
    struct outtray_error err = {0};
    char setting[300];
    assert_int_equal(ot_kafka_token_read(&got, path, NOW_MS, &err),
                     OUTTRAY_E_CONF);
    assert_null(got.text.p);
    if (strstr(err.text, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
    assert_non_null(strstr(err.text, path));
    assert_null(strstr(err.text, "seCret"));
    snprintf(setting, sizeof(setting), "sink.token_file=%s", path);
    rig_refused("kafka://localhost:9092", (const char *const[]){setting, NULL},
                OUTTRAY_E_CONF, says);
}

/* {"alg":"none"} */
#define HEAD "eyJhbGciOiJub25lIn0."

static void test_good(void **state)
{
    (void)state;
    /* {"sub":"anna","exp":2000} */
    good(HEAD "eyJzdWIiOiJhbm5hIiwiZXhwIjoyMDAwfQ.\n",
         HEAD "eyJzdWIiOiJhbm5hIiwiZXhwIjoyMDAwfQ.", 2000000, "anna");
    /* {"exp":1.5}: it has ended, which is not for the reader to say */
    good(HEAD "eyJleHAiOjEuNX0.c2ln", HEAD "eyJleHAiOjEuNX0.c2ln", 1500, "");
    /* {"sub":"?>~"}, whose base64url differs from base64; without an end */
    good(HEAD "eyJzdWIiOiI_Pn4ifQ.-_", HEAD "eyJzdWIiOiI_Pn4ifQ.-_",
         NOW_MS + OT_KAFKA_TOKEN_MS, "?>~");
    /* no JWT */
    good("opaque-seCret/+=\r\n\n",
         "opaque-seCret/+=", NOW_MS + OT_KAFKA_TOKEN_MS, "");
    good("a.b", "a.b", NOW_MS + OT_KAFKA_TOKEN_MS, "");
    good("a.b.c.d.e", "a.b.c.d.e", NOW_MS + OT_KAFKA_TOKEN_MS, "");
}

static void test_bad(void **state)
{
    static const char *const no_json[] = {
        "..",
        "seCret.seCret.seCret",
        HEAD "eyJzdWIiOiJhbm5h.",
        HEAD "W10.",
        HEAD "e!0.",
    };
    (void)state;
    put("");
    bad("is empty");
    put(" \n\n");
    bad("is empty");
    put("seCret seCret");
    bad("byte 7 cannot be part of a token");
    put("{\"access_token\": \"seCret\"}");
    bad("byte 1 cannot be part of a token: is it the right file?");
    put("seCret\nseCret\n");
    bad("byte 7 cannot");
    put("s\xc3\xa9"
        "Cret");
    bad("byte 2 cannot");
    for (size_t i = 0; i < OT_COUNT(no_json); i++) {
        put(no_json[i]);
        bad(strchr(no_json[i], '!') != NULL ? "cannot be part of"
                                            : "its second part is no JSON");
    }
    /* {"exp":"soon"}, {"exp":-1}, {"exp":1e300} */
    put(HEAD "eyJleHAiOiJzb29uIn0.");
    bad("exp of its JWT is no time");
    put(HEAD "eyJleHAiOi0xfQ.");
    bad("exp of its JWT is no time");
    put(HEAD "eyJleHAiOjFlMzAwfQ.");
    bad("exp of its JWT is no time");
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 70000; i++)
        fputc('x', f);
    fclose(f);
    bad("larger than 65536 bytes");
    unlink(path);
    bad("No such file");
    assert_int_equal(mkdir(path, 0700), 0);
    bad("Is a directory");
    rmdir(path);
}

/* Nobody may read it. A superuser may all the same, so it is none. */
static void test_rights(void **state)
{
    (void)state;
    put("seCret");
    chmod(path, 0);
    pid_t child = fork();
    if (child == 0) {
        struct ot_kafka_token got;
        struct outtray_error err = {0};
        if (geteuid() == 0 && seteuid(65534) != 0)
            _exit(2);
        int code = ot_kafka_token_read(&got, path, NOW_MS, &err);
        _exit(code == OUTTRAY_E_CONF &&
                      strstr(err.text, "Permission denied") != NULL
                  ? 0
                  : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    unlink(path);
}

static void refused(const char *url, const char *more, const char *says)
{
    char setting[300];
    snprintf(setting, sizeof(setting), "sink.token_file=%s", path);
    rig_refused(url, (const char *const[]){setting, more, NULL}, OUTTRAY_E_CONF,
                says);
}

/* One login, not two; and one that logs in. */
static void test_settings(void **state)
{
    static const char url[] = "kafka://localhost:9092";
    struct rig r;
    char setting[300];
    (void)state;
    put("opaque");
    refused("kafka://anna:x@localhost:9092", NULL, "the user in sink.url");
    refused(url, "kafka.sasl.mechanism=SCRAM-SHA-256", "kafka.sasl.mechanism");
    refused(url, "kafka.sasl.oauthbearer.config=x",
            "kafka.sasl.oauthbearer.config");
    refused(url, "kafka.security.protocol=plaintext", "logs nobody in");
    /* One that has ended is waited for. {"exp":1.5} */
    put(HEAD "eyJleHAiOjEuNX0.");
    snprintf(setting, sizeof(setting), "sink.token_file=%s", path);
    rig_open(&r, url, (const char *const[]){setting, NULL});
    rig_close(&r);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_settings),
    };
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/token-%d", tmp != NULL ? tmp : "/tmp",
             (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
