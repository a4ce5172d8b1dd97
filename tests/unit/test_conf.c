/* Settings: table, values, secrets, environment, files, rules across keys. */
#include "support/alloc_fail.h"

#include "conf/conf.h"

#include <stdio.h>
#include <unistd.h>

static struct outtray_conf *conf;
static struct outtray_error err;
static char dir[] = "/tmp/outtray-conf-XXXXXX";
static char path[sizeof(dir) + 16];

static int setup(void **state)
{
    (void)state;
    ot_error_clear(&err);
    conf = outtray_conf_new();
    return conf == NULL;
}

static int teardown(void **state)
{
    (void)state;
    outtray_conf_free(conf);
    conf = NULL;
    return 0;
}

static int make_dir(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/x.ini", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void set(const char *name, const char *value)
{
    if (outtray_conf_set(conf, name, value, &err) != 0)
        fail_msg("%s = %s: %s", name, value, err.text);
}

/* It is refused, with these words. */
static void refuse(const char *name, const char *value, const char *words)
{
    if (outtray_conf_set(conf, name, value, &err) != OUTTRAY_E_CONF)
        fail_msg("%s = %s was taken", name, value);
    if (strstr(err.text, words) == NULL)
        fail_msg("%s = %s: '%s' has no '%s'", name, value, err.text, words);
}

static void table(void **state)
{
    struct ot_buffer sorted = {0};

    (void)state;
    assert_in_range(ot_conf_count(), 30, 200);
    for (size_t i = 0; i < ot_conf_count(); i++) {
        const struct ot_conf_key *key = ot_conf_key_at(i);

        assert_non_null(strchr(key->name, '.'));
        assert_true(strlen(key->name) < 64);
        assert_true(strlen(key->doc) > 10);
        assert_int_equal(key->type == OT_CONF_CHOICE, key->choices != NULL);
        assert_true(key->min <= key->max);
        if (key->type != OT_CONF_TEXT)
            assert_non_null(key->fallback);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(key->name, ot_conf_key_at(j)->name);
        /* Every default is a value that may be set. */
        if (key->fallback != NULL)
            set(key->name, key->fallback);
    }
    assert_null(ot_conf_key_at(ot_conf_count()));
    assert_int_equal(outtray_conf_check(conf, &err), 0);
    ot_buffer_free(&sorted);
}

static void defaults(void **state)
{
    (void)state;
    assert_null(ot_conf_text(conf, "store.url"));
    assert_null(outtray_conf_get(conf, "store.url"));
    assert_string_equal(ot_conf_text(conf, "store.outbox"), "outtray");
    assert_string_equal(outtray_conf_get(conf, "relay.lease_ttl_ms"), "15s");
    assert_true(ot_conf_us(conf, "relay.lease_ttl_ms") == 15000000);
    assert_int_equal(ot_conf_int(conf, "relay.batch_bytes"), 8 << 20);
    assert_int_equal(ot_conf_int(conf, "relay.batch_events"), 5000);
    assert_true(ot_conf_bool(conf, "prune.enabled"));
    assert_false(ot_conf_bool(conf, "sink.fsync"));
    assert_string_equal(ot_conf_text(conf, "relay.ordering"), "key");
    assert_int_equal(ot_conf_int(conf, "relay.ordering"), 1);
    assert_false(ot_conf_is_set(conf, "relay.ordering"));
    assert_int_equal(outtray_conf_check(conf, &err), 0);
    assert_null(outtray_conf_get(conf, "no.such"));
}

static void values(void **state)
{
    static const struct {
        const char *name, *text;
        int64_t number;
    } cases[] = {
        {"relay.batch_events", "1", 1},
        {"relay.batch_events", "100000", 100000},
        {"relay.lease_ttl_ms", "1000", 1000},
        {"relay.lease_ttl_ms", "1500ms", 1500},
        {"relay.lease_ttl_ms", "20 s", 20000},
        {"relay.lease_ttl_ms", "2m", 120000},
        {"relay.lease_ttl_ms", "2min", 120000},
        {"relay.lease_ttl_ms", "1h", 3600000},
        {"prune.retention_ms", "7d", 604800000},
        {"prune.retention_ms", "0", 0},
        {"relay.batch_bytes", "4096", 4096},
        {"relay.batch_bytes", "4096B", 4096},
        {"relay.batch_bytes", "64KiB", 65536},
        {"relay.batch_bytes", "64kib", 65536},
        {"relay.batch_bytes", "64kB", 64000},
        {"relay.batch_bytes", "1 MiB", 1048576},
        {"relay.window_bytes", "16GiB", INT64_C(17179869184)},
        {"limit.bytes_per_s", "1TB", INT64_C(1000000000000)},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        set(cases[i].name, cases[i].text);
        assert_true(ot_conf_int(conf, cases[i].name) == cases[i].number);
        assert_string_equal(outtray_conf_get(conf, cases[i].name),
                            cases[i].text);
        assert_true(ot_conf_is_set(conf, cases[i].name));
    }
    static const char *yes[] = {"true", "on", "yes", "1", "True", "ON"};
    static const char *no[] = {"false", "off", "no", "0", "False", "OFF"};
    for (size_t i = 0; i < OT_COUNT(yes); i++) {
        set("sink.fsync", yes[i]);
        assert_true(ot_conf_bool(conf, "sink.fsync"));
        set("sink.fsync", no[i]);
        assert_false(ot_conf_bool(conf, "sink.fsync"));
    }
    set("relay.ordering", "none");
    assert_int_equal(ot_conf_int(conf, "relay.ordering"), 0);
    set("relay.ordering", "strict");
    assert_int_equal(ot_conf_int(conf, "relay.ordering"), 2);
    set("relay.ordering", "");
    assert_int_equal(ot_conf_int(conf, "relay.ordering"), 1);
    assert_false(ot_conf_is_set(conf, "relay.ordering"));
}

static void refusals(void **state)
{
    (void)state;
    refuse("relay.batch_events", "0", "1 to 100000");
    refuse("relay.batch_events", "100001", "1 to 100000");
    refuse("relay.batch_events", "-1", "1 to 100000");
    refuse("relay.batch_events", "1s", "a whole number");
    refuse("relay.batch_events", "x", "a whole number");
    refuse("relay.batch_events", "1 2", "a whole number");
    refuse("relay.batch_events", "99999999999999999999", "a whole number");
    refuse("relay.batch_events", "-", "a whole number");
    refuse("relay.batch_events", "+1", "a whole number");
    refuse("relay.batch_events", " 1", "a whole number");
    refuse("relay.lease_ttl_ms", "999ms", "1s to 1h");
    refuse("relay.lease_ttl_ms", "2h", "1s to 1h");
    refuse("relay.lease_ttl_ms", "1.5s", "15s, 10min");
    refuse("relay.lease_ttl_ms", "5w", "15s, 10min");
    refuse("relay.lease_ttl_ms", "9223372036854775807h", "15s, 10min");
    refuse("prune.retention_ms", "-1s", "0ms to 365d");
    refuse("relay.batch_bytes", "64k", "64KiB");
    refuse("relay.batch_bytes", "1023", "1KiB to 1GiB");
    refuse("sink.fsync", "maybe", "neither true nor false");
    refuse("relay.ordering", "Key", "none, key, strict");
    refuse("relay.ordering", "ke", "none, key, strict");
    refuse("relay.ordering", "none|key", "none, key, strict");
    refuse("relay.topics", "a\xff", "byte 2 is not UTF-8");
    /* Nothing of it stuck. */
    assert_int_equal(ot_conf_int(conf, "relay.batch_events"), 5000);
    assert_false(ot_conf_is_set(conf, "relay.lease_ttl_ms"));
}

static void nearest_names(void **state)
{
    (void)state;
    refuse("relay.lease_ttl", "1", "did you mean relay.lease_ttl_ms?");
    refuse("relay.leese_ttl_ms", "1", "did you mean relay.lease_ttl_ms?");
    refuse("relay.oredring", "1", "did you mean relay.ordering?");
    refuse("Store.URL", "1", "did you mean store.url?");
    refuse("lease_ttl_ms", "1", "did you mean relay.lease_ttl_ms?");
    refuse("subscriptions.retention_ms", "1", "did you mean prune.retention");
    refuse("sink.urls", "1", "did you mean sink.url?");
    refuse("completely.different_thing", "1", "lists all");
    refuse("", "1", "lists all");
    refuse("kafka.", "1", "unknown key");
    refuse("a.very_long_name_that_is_longer_than_any_name_in_the_table_can_"
           "ever_be",
           "1", "lists all");
}

static void secrets(void **state)
{
    (void)state;
    set("store.url", "postgresql://u:pw@localhost/db");
    assert_string_equal(outtray_conf_get(conf, "store.url"), "***");
    assert_string_equal(ot_conf_secret(conf, "store.url"),
                        "postgresql://u:pw@localhost/db");
    setenv("BASE_TEST_SECRET", "sqlite:x.db", 1);
    set("store.url", "env:BASE_TEST_SECRET");
    assert_string_equal(ot_conf_secret(conf, "store.url"), "sqlite:x.db");
    unsetenv("BASE_TEST_SECRET");
    refuse("store.url", "env:BASE_TEST_SECRET", "BASE_TEST_SECRET");
    assert_string_equal(ot_conf_secret(conf, "store.url"), "sqlite:x.db");
    /* Only of secrets. */
    set("store.outbox", "env:HOME");
    assert_string_equal(ot_conf_text(conf, "store.outbox"), "env:HOME");
}

static void secret_files(void **state)
{
    char value[64];

    (void)state;
    snprintf(value, sizeof(value), "file:%s", path);
    write_file("kafka://h\r\n", 11);
    set("sink.url", value);
    assert_string_equal(ot_conf_secret(conf, "sink.url"), "kafka://h");
    write_file("a\0b", 3);
    refuse("sink.url", value, "zero byte");
    refuse("sink.url", "file:/no/such/file", "/no/such/file");
    refuse("sink.url", "file:/tmp", "cannot be read");
    refuse("sink.url", "file:/dev/zero", "larger than");
    /* The URL of a file sink is no pointer. */
    set("sink.url", "file:///no/such/file");
    assert_string_equal(ot_conf_secret(conf, "sink.url"),
                        "file:///no/such/file");
    write_file("", 0);
    set("sink.url", value);
    assert_string_equal(ot_conf_secret(conf, "sink.url"), "");
}

static int collect(void *ctx, const char *name, const char *value)
{
    ot_buffer_printf(ctx, "%s=%s;", name, value);
    return strcmp(name, "stop") == 0 ? 42 : 0;
}

static void passed_through(void **state)
{
    struct ot_buffer all = {0};
    int left = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        char name[32], value[32];

        snprintf(name, sizeof(name), "kafka.n%d", i);
        snprintf(value, sizeof(value), "v%d", i);
        set(name, value);
    }
    set("kafka.n0", "again");
    set("kafka.sasl.password", "env:PATH");
    assert_string_equal(outtray_conf_get(conf, "kafka.n0"), "again");
    assert_string_equal(outtray_conf_get(conf, "kafka.sasl.password"), "***");
    assert_null(outtray_conf_get(conf, "kafka.other"));
    assert_true(ot_conf_is_set(conf, "kafka.n3"));
    assert_int_equal(ot_conf_each_passed(conf, "kafka.", collect, &all), 0);
    assert_memory_equal(all.p, "n0=again;n1=v1;n2=v2;", 21);
    assert_non_null(strstr(all.p, getenv("PATH")));
    ot_buffer_clear(&all);
    set("kafka.n3", ""); /* as with any key */
    set("kafka.sasl.password", "");
    set("kafka.never", "");
    assert_false(ot_conf_is_set(conf, "kafka.n3"));
    assert_null(outtray_conf_get(conf, "kafka.n3"));
    assert_int_equal(ot_conf_each_passed(conf, "kafka.", collect, &all), 0);
    assert_string_equal(outtray_conf_get(conf, "kafka.n2"), "v2");
    assert_string_equal(outtray_conf_get(conf, "kafka.n19"), "v19");
    for (const char *p = all.p; (p = strchr(p, ';')) != NULL; p++)
        left++;
    assert_int_equal(left, 19);
    ot_buffer_clear(&all);
    set("kafka.stop", "x");
    set("kafka.after", "x");
    assert_int_equal(ot_conf_each_passed(conf, "kafka.", collect, &all), 42);
    assert_null(strstr(all.p, "after"));
    assert_int_equal(ot_conf_each_passed(conf, "amqp.", collect, &all), 0);
    ot_buffer_free(&all);
}

static void copies(void **state)
{
    struct outtray_conf *copy;

    (void)state;
    set("relay.batch_events", "7");
    set("kafka.a", "1");
    copy = outtray_conf_copy(conf);
    assert_non_null(copy);
    set("relay.batch_events", "8");
    set("kafka.a", "2");
    assert_int_equal(ot_conf_int(copy, "relay.batch_events"), 7);
    assert_string_equal(outtray_conf_get(copy, "relay.batch_events"), "7");
    assert_string_equal(outtray_conf_get(copy, "kafka.a"), "1");
    assert_int_equal(ot_conf_int(copy, "prune.batch"), 1000);
    outtray_conf_free(copy);
    outtray_conf_free(NULL);
}

static void environment(void **state)
{
    (void)state;
    setenv("OUTTRAY_RELAY_LEASE_TTL_MS", "30s", 1);
    setenv("OUTTRAY_STORE_OUTBOX", "shop", 1);
    setenv("OUTTRAY_KAFKA_SASL_USERNAME", "me", 1);
    setenv("OUTTRAY_SINK_TOPIC", "", 1);
    setenv("OUTTRAY_CONFIG", "/x", 1);
    setenv("OUTTRAY_TEST_THING", "x", 1);
    setenv("OUTTRAY_SERVICE_HOST", "10.0.0.1", 1);
    setenv("OUTTRAY_PORT_80_TCP", "tcp://10.0.0.1:80", 1);
    setenv("OUTTRAYX", "x", 1);
    set("sink.topic", "t");
    if (outtray_conf_load_env(conf, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(ot_conf_int(conf, "relay.lease_ttl_ms"), 30000);
    assert_string_equal(ot_conf_text(conf, "store.outbox"), "shop");
    assert_string_equal(outtray_conf_get(conf, "kafka.sasl.username"), "me");
    assert_string_equal(ot_conf_text(conf, "sink.topic"), "t");

    setenv("OUTTRAY_RELAY_LEASE_TTL", "1s", 1);
    assert_int_equal(outtray_conf_load_env(conf, &err), OUTTRAY_E_CONF);
    assert_string_equal(err.text, "environment OUTTRAY_RELAY_LEASE_TTL: "
                                  "relay.lease_ttl: unknown key, did you mean "
                                  "relay.lease_ttl_ms?");
    unsetenv("OUTTRAY_RELAY_LEASE_TTL");
    setenv("OUTTRAY_RELAY_LEASE_TTL_MS", "soon", 1);
    assert_int_equal(outtray_conf_load_env(conf, &err), OUTTRAY_E_CONF);
    assert_non_null(strstr(err.text, "OUTTRAY_RELAY_LEASE_TTL_MS"));
    unsetenv("OUTTRAY_RELAY_LEASE_TTL_MS");
    setenv("OUTTRAY_X", "1", 1);
    assert_int_equal(outtray_conf_load_env(conf, &err), OUTTRAY_E_CONF);
    unsetenv("OUTTRAY_X");
    assert_int_equal(outtray_conf_load_env(conf, &err), 0);
    unsetenv("OUTTRAY_STORE_OUTBOX");
    unsetenv("OUTTRAY_KAFKA_SASL_USERNAME");
    unsetenv("OUTTRAY_SINK_TOPIC");
}

static int load(const char *text)
{
    write_file(text, strlen(text));
    ot_error_clear(&err);
    return outtray_conf_load_file(conf, path, &err);
}

static void files(void **state)
{
    (void)state;
    if (load("\xef\xbb\xbf; a comment\n"
             "store.outbox = top\n"
             "[relay]\r\n"
             "batch_events = 12 ; twelve\r\n"
             "ordering: strict\n"
             "topics = orders.*,\n"
             "    users,\n"
             "    # a comment between\n"
             "    audit\n"
             "\n"
             "[kafka]\n"
             "linger.ms = 3\n"
             "[store]\n"
             "url = sqlite:x.db") != 0)
        fail_msg("%s", err.text);
    assert_string_equal(ot_conf_text(conf, "store.outbox"), "top");
    assert_int_equal(ot_conf_int(conf, "relay.batch_events"), 12);
    assert_string_equal(ot_conf_text(conf, "relay.ordering"), "strict");
    assert_string_equal(ot_conf_text(conf, "relay.topics"),
                        "orders.*,users,audit");
    assert_string_equal(outtray_conf_get(conf, "kafka.linger.ms"), "3");
    assert_string_equal(ot_conf_secret(conf, "store.url"), "sqlite:x.db");
    assert_int_equal(load(""), 0);
}

static void files_refused(void **state)
{
    char text[600];
    struct {
        const char *text;
        int line;
        const char *words;
    } bad[] = {
        {"[relay]\nbatch_event = 1\n", 2, "did you mean relay.batch_events?"},
        {"[relay]\n\n\nbatch_events = 0\n", 4, "1 to 100000"},
        {"[relay]\nbatch_events\n", 2, "neither [section] nor"},
        {"[relay\nbatch_events = 1\n", 1, "neither [section] nor"},
        {"[relay]\nbatch_events = 1\nbatch_events = 2\n", 3, "twice"},
        {"[relay]\nbatch_events = 1\n  cursor_ms = 5\n", 3, "indented"},
        {"[store]\noutbox = a\n  [relay]\n", 3, "indented"},
        {"[relay]\n = 1\n", 2, "unknown key"},
        {"[x]\nnonsense\n[relay]\nbatch_events = 0\n", 2, "neither"},
        {"[relay]\nbatch_events = 0\nnonsense\n", 2, "1 to 100000"},
        {text, 2, "indented"},
    };

    (void)state;
    strcpy(text, "[relay]\ntopics = ");
    for (int i = 0; i < 40; i++)
        strcat(text, "orders.*,");
    for (size_t i = 0; i < OT_COUNT(bad); i++) {
        char at[64];

        snprintf(at, sizeof(at), "%s line %d: ", path, bad[i].line);
        teardown(NULL);
        setup(NULL);
        if (load(bad[i].text) != OUTTRAY_E_CONF)
            fail_msg("taken: %s", bad[i].text);
        if (strncmp(err.text, at, strlen(at)) != 0 ||
            strstr(err.text, bad[i].words) == NULL)
            fail_msg("%s: %s", bad[i].text, err.text);
    }
    assert_int_equal(outtray_conf_load_file(conf, "/no/such.ini", &err),
                     OUTTRAY_E_CONF);
    assert_non_null(strstr(err.text, "/no/such.ini"));
    /* A long comment is no value. */
    text[8] = ';';
    if (load(text) != 0)
        fail_msg("%s", err.text);
}

/* With these set, check says these words (NULL: it is content). */
static void check(const char *words, ...)
{
    va_list args;
    const char *name;
    int rc;

    teardown(NULL);
    setup(NULL);
    va_start(args, words);
    while ((name = va_arg(args, const char *)) != NULL)
        set(name, va_arg(args, const char *));
    va_end(args);
    rc = outtray_conf_check(conf, &err);
    if (words == NULL && rc != 0)
        fail_msg("%s", err.text);
    if (words != NULL && (rc == 0 || strstr(err.text, words) == NULL))
        fail_msg("'%s' has no '%s'", err.text, words);
}

static void rules(void **state)
{
    (void)state;
    check("relay.stop_soft_ms (9000 ms) is above relay.stop_hard_ms",
          "relay.stop_soft_ms", "9s", NULL);
    check("relay.poll_min_ms", "relay.poll_min_ms", "51", NULL);
    check("sink.statistics_ms (999 ms)", "sink.statistics_ms", "999", NULL);
    check(NULL, "sink.statistics_ms", "1s", NULL);
    check(NULL, "relay.poll_min_ms", "50", NULL);
    check("retry.min_ms", "retry.max_ms", "99ms", NULL);
    check("probe.min_ms", "probe.max_ms", "10ms", NULL);
    check("breaker.min_ms", "breaker.max_ms", "999", NULL);
    check("relay.lease_ttl_ms", "relay.cursor_ms", "400", "relay.lease_ttl_ms",
          "1s", NULL);
    check("63 are allowed", "relay.subscription",
          "a-subscription-with-a-name-that-is-longer-than-the-tables-may-hold",
          NULL);
    check("sink.topic: '${topik}'", "sink.topic", "shop.${topik}", NULL);
    check("only ${topic}", "sink.topic", "${topic}${", NULL);
    check(NULL, "sink.topic", "a.${topic}.${topic}$", NULL);
    check("store.url: the URL", "store.url", "nothing", NULL);
    check("sink.url: the URL", "sink.url", "kafka://h:x", NULL);
    check(NULL, "store.url", "sqlite:x.db", "sink.url", "stdout:", NULL);
}

static void no_plain_text(void **state)
{
    const char *far = "postgresql://u:pw@db.example/x?sslmode=require";

    (void)state;
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    check("sslmode=verify-full", "store.url", far, NULL);
    assert_null(strstr(err.text, "pw"));
    check(NULL, "store.url", far, "store.tls", "off", NULL);
    check(NULL, "store.url", "postgres://db.example/x?sslmode=verify-full",
          NULL);
    check(NULL, "store.url", "postgres://db.example/x", NULL);
    check(NULL, "store.url", "postgres://localhost/x?sslmode=disable", NULL);
    check("sslmode", "store.url",
          "postgres://localhost/x?sslmode=disable&host=db.example", NULL);
    check("sslmode", "store.url",
          "postgres://localhost/x?sslmode=disable&hostaddr=10.0.0.1", NULL);
    check("sslmode", "store.url", "postgres:///x?sslmode=disable&service=s",
          NULL);
    check("sslmode", "store.url",
          "postgres://localhost,db.example/x?sslmode=disable", NULL);
    setenv("PGHOST", "db.example", 1);
    check("sslmode", "store.url", "postgres:///x?sslmode=disable", NULL);
    unsetenv("PGHOST");
    setenv("PGSERVICE", "far", 1);
    check("sslmode", "store.url", "postgres:///x?sslmode=disable", NULL);
    check(NULL, "store.url", "postgres://localhost/x?sslmode=disable", NULL);
    unsetenv("PGSERVICE");
    check(NULL, "store.url", "postgres:///x?sslmode=disable", NULL);

    check(NULL, "sink.url", "kafka://b.example:9092", NULL);
    check("security.protocol", "sink.url", "kafka://b.example:9092",
          "kafka.security.protocol", "plaintext", NULL);
    check("security.protocol", "sink.url", "kafka://b.example:9092",
          "kafka.security.protocol", "sasl_plaintext", NULL);
    check(NULL, "sink.url", "kafka://b.example:9092", "kafka.security.protocol",
          "sasl_ssl", NULL);
    check(NULL, "sink.url", "kafka://b.example:9092", "kafka.security.protocol",
          "plaintext", "sink.tls", "off", NULL);
    check(NULL, "sink.url", "kafka://127.0.0.1:9092", "kafka.security.protocol",
          "plaintext", NULL);
    check("sink.url instead", "sink.url", "kafka://127.0.0.1:9092",
          "kafka.bootstrap.servers", "b.example", NULL);
    check("https://", "sink.url", "http://hook.example/x", NULL);
    check(NULL, "sink.url", "https://hook.example/x", NULL);
    check(NULL, "sink.url", "http://[::1]/x", NULL);
    check(NULL, "sink.url", "nats://n.example", "sink.tls", "off", NULL);
}

static void verify_where_needed(void **state)
{
    struct ot_url url;

    (void)state;
    assert_int_equal(ot_url_parse("postgresql://db.example/x", &url, &err), 0);
    assert_true(ot_conf_store_verify(conf, &url));
    set("store.tls", "off");
    assert_false(ot_conf_store_verify(conf, &url));
    ot_url_free(&url);
    set("store.tls", "verify");
    assert_int_equal(ot_url_parse("postgresql://127.0.0.1/x", &url, &err), 0);
    assert_false(ot_conf_store_verify(conf, &url));
    ot_url_free(&url);
}

/* --- out of memory ------------------------------------------------------- */

static int build_all(void *ctx)
{
    struct outtray_conf *a = outtray_conf_new(), *b = NULL;
    int rc = a != NULL ? 0 : OUTTRAY_E_NOMEM;

    (void)ctx;
    if (rc == 0)
        rc = outtray_conf_set(a, "store.url", "env:PATH", NULL);
    if (rc == 0)
        rc = outtray_conf_set(a, "kafka.a", "1", NULL);
    if (rc == 0)
        rc = outtray_conf_set(a, "kafka.a", "2", NULL);
    if (rc == 0)
        rc = outtray_conf_load_file(a, path, NULL);
    if (rc == 0)
        rc = outtray_conf_load_env(a, NULL);
    if (rc == 0)
        rc = outtray_conf_check(a, NULL);
    if (rc == 0 && (b = outtray_conf_copy(a)) == NULL)
        rc = OUTTRAY_E_NOMEM;
    outtray_conf_free(a);
    outtray_conf_free(b);
    return rc;
}

static int range_error(void *ctx)
{
    int rc = outtray_conf_set(ctx, "relay.lease_ttl_ms", "2h", NULL);

    return rc == OUTTRAY_E_CONF ? 0 : rc;
}

static void out_of_memory(void **state)
{
    static const char text[] = "[store]\nurl = postgresql://u:p@\n"
                               "  localhost/db?x=y\n"
                               "[kafka]\nb = 1\n[relay]\nbatch_events = 5\n";

    (void)state;
    write_file(text, sizeof(text) - 1);
    setenv("OUTTRAY_RELAY_CURSOR_MS", "60", 1);
    alloc_fail_each(build_all, NULL);
    unsetenv("OUTTRAY_RELAY_CURSOR_MS");
    alloc_fail_each(range_error, conf);
}

/* --- fuzz ---------------------------------------------------------------- */

static void random_text(struct ot_rng *rng, const char *const *pieces,
                        size_t count, int most, struct ot_buffer *out)
{
    int64_t n = ot_rng_between(rng, 0, most);

    ot_buffer_clear(out);
    ot_buffer_puts(out, "");
    for (int64_t i = 0; i < n; i++)
        ot_buffer_puts(out, pieces[ot_rng_between(rng, 0, (int64_t)count - 1)]);
}

static void fuzz_values(void **state)
{
    static const char *const pieces[] = {
        "0", "1",   "9",        "250",  "-", "ms",          "s",   "min",
        "h", "KiB", "MB",       "on",   " ", "key",         "env", "true",
        ".", "x",   "\xc3\xa4", "\xff", "|", "99999999999",
    };
    struct ot_rng rng;
    struct ot_buffer text = {0};
    int taken = 0;

    (void)state;
    ot_rng_seed(&rng, 3);
    for (int round = 0; round < 50000; round++) {
        const struct ot_conf_key *key = ot_conf_key_at(
            (size_t)ot_rng_between(&rng, 0, (int64_t)ot_conf_count() - 1));
        int rc;

        random_text(&rng, pieces, OT_COUNT(pieces), 4, &text);
        rc = outtray_conf_set(conf, key->name, text.p, &err);
        if (rc != 0) {
            assert_int_equal(rc, OUTTRAY_E_CONF);
            assert_true(ot_utf8_valid(ot_slice_of(err.text), NULL));
            continue;
        }
        taken++;
        if (key->type == OT_CONF_MS || key->type == OT_CONF_INT ||
            key->type == OT_CONF_BYTES) {
            int64_t n = ot_conf_int(conf, key->name);

            assert_true(n >= key->min && n <= key->max);
        }
    }
    assert_in_range(taken, 2000, 45000);
    ot_buffer_free(&text);
}

static void fuzz_files(void **state)
{
    static const char *const pieces[] = {
        "[relay]",
        "[store]",
        "[",
        "]",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "  ",
        "\t",
        "=",
        "=",
        ":",
        ";",
        "#",
        "\"",
        "outbox",
        "batch_events",
        "topics",
        "x",
        "12",
        "strict",
        "\xff",
        "\xef\xbb\xbf",
        "a long piece of text that fills up lines so that they become longer "
        "than what fits",
    };
    struct ot_rng rng;
    struct ot_buffer text = {0};
    int taken = 0;

    (void)state;
    ot_rng_seed(&rng, 5);
    for (int round = 0; round < 2500; round++) {
        int rc;

        random_text(&rng, pieces, OT_COUNT(pieces), 30, &text);
        if (round % 2 == 0) { /* one that is well-formed at least */
            ot_buffer_clear(&text);
            ot_buffer_printf(&text, "[relay]\nbatch_events = %d\n[kafka]\n",
                             round + 1);
            for (int i = 0; i < round % 7; i++)
                ot_buffer_printf(&text, "k%d = %d\n", i, round);
        }
        write_file(text.p, text.n);
        rc = outtray_conf_load_file(conf, path, &err);
        taken += rc == 0;
        if (rc != 0) {
            assert_int_equal(rc, OUTTRAY_E_CONF);
            assert_non_null(strstr(err.text, " line "));
        } else if (round % 2 == 0) {
            assert_int_equal(ot_conf_int(conf, "relay.batch_events"),
                             round + 1);
        }
    }
    assert_in_range(taken, 1250, 2400);
    ot_buffer_free(&text);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(table),         TEST(defaults),
        TEST(values),        TEST(refusals),
        TEST(nearest_names), TEST(secrets),
        TEST(secret_files),  TEST(passed_through),
        TEST(copies),        TEST(environment),
        TEST(files),         TEST(files_refused),
        TEST(rules),         TEST(no_plain_text),
        TEST(out_of_memory), TEST(verify_where_needed),
        TEST(fuzz_values),   TEST(fuzz_files),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
