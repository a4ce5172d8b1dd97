/* Memory, text, buffers, errors, times, randomness, uuids, log lines. */
#include "support/alloc_fail.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void memory(void **state)
{
    char *p = ot_alloc_zero(3, 5);

    (void)state;
    for (int i = 0; i < 15; i++)
        assert_int_equal(p[i], 0);
    p = ot_resize(p, 100);
    assert_non_null(p);
    ot_free(p);
    ot_free(NULL);
    assert_null(ot_alloc_zero(SIZE_MAX / 2, 3));
    assert_null(ot_strndup("a", SIZE_MAX));
    p = ot_strndup("abc", 2);
    assert_string_equal(p, "ab");
    ot_free(p);
    p = ot_strdup("");
    assert_string_equal(p, "");
    ot_free(p);
}

static void memory_fails(void **state)
{
    (void)state;
    alloc_fail_at(1);
    void *p = ot_alloc_zero(2, 2);
    assert_non_null(p);
    assert_null(ot_strdup("x"));
    ot_free(p);
    alloc_fail_off();
    assert_int_equal(alloc_fail.live, 0);
}

static void hash(void **state)
{
    char bytes[80];
    uint64_t seen[81];

    (void)state;
    memset(bytes, 'a', sizeof(bytes));
    for (size_t n = 0; n <= 80; n++) {
        seen[n] = ot_hash(ot_slice(bytes, n));
        assert_true(seen[n] != 0);
        for (size_t i = 0; i < n; i++)
            assert_true(seen[i] != seen[n]);
    }
    assert_true(ot_hash(ot_slice(NULL, 0)) == ot_hash(ot_slice("", 0)));
    /* Every single byte counts, wherever it is. */
    for (size_t n = 1; n <= 80; n++)
        for (size_t i = 0; i < n; i++) {
            bytes[i] = 'b';
            assert_true(ot_hash(ot_slice(bytes, n)) != seen[n]);
            bytes[i] = 'a';
        }
}

/* 100,000 keys over 1,024 slots by their low, then by their high bits. */
static void hash_spreads(void **state)
{
    static unsigned low[1024], high[1024];
    char key[32];

    (void)state;
    for (int i = 0; i < 100000; i++) {
        int n = snprintf(key, sizeof(key), "order-%d", i);
        uint64_t h = ot_hash(ot_slice(key, (size_t)n));

        low[h & 1023]++;
        high[h >> 54]++;
    }
    for (int i = 0; i < 1024; i++) { /* 98 expected, deviation 10 */
        assert_in_range(low[i], 40, 160);
        assert_in_range(high[i], 40, 160);
    }
}

static void utf8(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        int at; /* -1: valid */
    } cases[] = {
        {"", 0, -1},
        {"plain ascii, more than eight", 28, -1},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, -1},
        {"12345678\xc3\xa4", 10, -1},
        {"a\0b", 3, 1},
        {"1234567\0", 8, 7},
        {"12345678\0", 9, 8},
        {"\x80", 1, 0},
        {"a\xc3", 2, 1},             /* cut */
        {"\xc0\xaf", 2, 0},          /* overlong */
        {"\xc1\xbf", 2, 0},          /* overlong */
        {"\xe0\x9f\xbf", 3, 0},      /* overlong */
        {"\xed\xa0\x80", 3, 0},      /* surrogate */
        {"\xed\x9f\xbf", 3, -1},     /* the last before them */
        {"\xf0\x8f\xbf\xbf", 4, 0},  /* overlong */
        {"\xf4\x8f\xbf\xbf", 4, -1}, /* U+10FFFF */
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"abc\xe2\x82", 5, 3},
        {"\xe2\x82\xe2", 3, 0},
        {"\xff", 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        size_t at = 999;
        bool ok = ot_utf8_valid(ot_slice(cases[i].text, cases[i].n), &at);

        if (ok != (cases[i].at < 0) || (!ok && at != (size_t)cases[i].at))
            fail_msg("case %zu: valid %d at %zu", i, ok, at);
    }
    assert_false(ot_utf8_valid(ot_slice("\xff", 1), NULL));
}

static size_t encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

static void utf8_every_character(void **state)
{
    char text[4];

    (void)state;
    for (uint32_t c = 1; c < 0x110800; c++) {
        bool good = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        size_t n = encode(c, text);

        if (ot_utf8_valid(ot_slice(text, n), NULL) != good)
            fail_msg("U+%04X", c);
        if (n > 1 && ot_utf8_valid(ot_slice(text, n - 1), NULL))
            fail_msg("U+%04X cut", c);
    }
}

static void buffer(void **state)
{
    struct ot_buffer b = {0};

    (void)state;
    ot_buffer_puts(&b, "");
    assert_string_equal(b.p, "");
    for (int i = 0; i < 100; i++)
        ot_buffer_printf(&b, "%d,", i);
    ot_buffer_putc(&b, 'x');
    ot_buffer_slice(&b, ot_slice("yz", 2));
    ot_buffer_slice(&b, ot_slice(NULL, 0));
    ot_buffer_add(&b, "\0!", 2);
    assert_int_equal(b.n, 190 + 100 + 3 + 2);
    assert_memory_equal(b.p + b.n - 8, "99,xyz\0!", 9);
    assert_false(b.failed);
    ot_buffer_clear(&b);
    assert_string_equal(b.p, "");
    ot_buffer_free(&b);
    assert_null(b.p);
}

static void buffer_failure_sticks(void **state)
{
    struct ot_buffer b = {0};

    (void)state;
    alloc_fail_at(1);
    ot_buffer_puts(&b, "kept");
    ot_buffer_printf(&b, "%0200d", 1);
    assert_true(b.failed);
    ot_buffer_puts(&b, "not added");
    assert_string_equal(b.p, "kept");
    ot_buffer_clear(&b);
    ot_buffer_puts(&b, "again");
    assert_string_equal(b.p, "again");
    assert_false(b.failed);
    ot_buffer_add(&b, "", SIZE_MAX - 10);
    assert_true(b.failed);
    ot_buffer_free(&b);
    alloc_fail_off();
    assert_int_equal(alloc_fail.live, 0);
}

static void errors(void **state)
{
    struct outtray_error err = {.sqlstate = "42P01", .native = 7};

    (void)state;
    assert_int_equal(ot_fail(&err, OUTTRAY_E_CONF, "%s: unknown", "a.b"),
                     OUTTRAY_E_CONF);
    assert_string_equal(err.text, "a.b: unknown");
    assert_string_equal(err.sqlstate, "");
    assert_int_equal(err.native, 0);
    /* The arguments may be the text itself. */
    ot_fail(&err, OUTTRAY_E_URL, "<%s>", err.text);
    assert_string_equal(err.text, "<a.b: unknown>");
    strcpy(err.sqlstate, "XX000");
    assert_int_equal(ot_fail_context(&err, OUTTRAY_E_IO, "line %d", 3),
                     OUTTRAY_E_URL);
    assert_string_equal(err.text, "line 3: <a.b: unknown>");
    assert_string_equal(err.sqlstate, "XX000");
    ot_error_clear(&err);
    assert_int_equal(err.code, 0);
    assert_int_equal(ot_fail_context(&err, OUTTRAY_E_IO, "file"), OUTTRAY_E_IO);
    assert_string_equal(err.text, "file: input or output failed");
    assert_int_equal(ot_fail_nomem(&err), OUTTRAY_E_NOMEM);
    assert_int_equal(ot_fail_random(&err), OUTTRAY_E_IO);
    assert_non_null(strstr(err.text, "getrandom"));
    assert_int_equal(ot_fail(NULL, OUTTRAY_E_IO, "x"), OUTTRAY_E_IO);
    assert_int_equal(ot_fail_context(NULL, OUTTRAY_E_IO, "x"), OUTTRAY_E_IO);
    ot_error_clear(NULL);
}

static void error_text_is_utf8(void **state)
{
    struct outtray_error err;
    char text[600] = "";

    (void)state;
    ot_fail(&err, OUTTRAY_E_STORE, "bad \xff\xfe byte \xc3");
    assert_string_equal(err.text, "bad ?? byte ?");
    for (int i = 0; i < 199; i++)
        strcat(text, "\xe2\x82\xac");
    for (int shift = 0; shift < 3; shift++) {
        ot_fail(&err, OUTTRAY_E_STORE, "%.*s%s", shift, "abc", text);
        assert_true(ot_utf8_valid(ot_slice_of(err.text), NULL));
        assert_null(strchr(err.text, '?'));
        assert_true(strlen(err.text) > 508 - 3);
    }
}

static void error_table(void **state)
{
    (void)state;
    assert_string_equal(outtray_error_name(0), "OK");
    assert_string_equal(outtray_error_name(OUTTRAY_E_STORE_UNAVAILABLE),
                        "STORE_UNAVAILABLE");
    assert_string_equal(outtray_error_class(OUTTRAY_E_STORE_AUTH), "STORE");
    assert_string_equal(outtray_error_text(OUTTRAY_E_NOMEM), "out of memory");
    assert_true(outtray_error_retryable(OUTTRAY_E_STORE_BUSY));
    assert_false(outtray_error_retryable(OUTTRAY_E_CONF));
    assert_int_equal(outtray_error_exit(OUTTRAY_E_CONF), 2);
    assert_int_equal(outtray_error_exit(0), 0);
    assert_string_equal(outtray_error_name(12345), "UNKNOWN");
    assert_int_equal(outtray_error_exit(-9999), 70);
    assert_string_equal(outtray_version(), OUTTRAY_VERSION);
}

static void time_text(void **state)
{
    char text[32];

    (void)state;
    assert_string_equal(ot_time_text(0, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(ot_time_text(-1, text), "1969-12-31T23:59:59.999Z");
    assert_string_equal(ot_time_text(INT64_C(1795641525123456), text),
                        "2026-11-25T21:18:45.123Z");
    ot_time_text(INT64_MAX, text);
    assert_string_equal(text, "294247-01-10T04:00:54.775Z");
    ot_time_text(INT64_MIN, text);
}

static void time_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-25T21:18:45.123456Z", INT64_C(1795641525123456)},
        {"2026-11-25 21:18:45.1234567890z", INT64_C(1795641525123456)},
        {"2026-11-25T22:18:45+01:00", INT64_C(1795641525000000)},
        {"2026-11-25T16:48:45-04:30", INT64_C(1795641525000000)},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800000000)},
        {"1969-12-31T23:59:59Z", -1000000},
        {"+90s", 1000 + INT64_C(90000000)},
        {"+250ms", 1000 + 250000},
        {"+5m", 1000 + INT64_C(300000000)},
        {"+5min", 1000 + INT64_C(300000000)},
        {"+2h", 1000 + INT64_C(7200000000)},
        {"+1d", 1000 + INT64_C(86400000000)},
        {"+0s", 1000},
    };
    static const char *bad[] = {
        "",
        "now",
        "2026-11-25",
        "2026-11-25T21:18:45",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-11-25T24:00:00Z",
        "2026-11-25T21:60:00Z",
        "2026-11-25T21:18:61Z",
        "2026-11-25T21:18:45.Z",
        "2026-11-25T21:18:45Zx",
        "2026-11-25T21:18:45+25:00",
        "2026-11-25T21:18:45+0100",
        "+",
        "+5",
        "+s",
        "+5x",
        "+5m ",
        "-5m",
        "+99999999999999999999s",
        "+9223372036854775807d",
    };
    int64_t us;
    struct outtray_error err;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(good); i++) {
        if (ot_time_parse(good[i].text, 1000, &us, &err) != 0)
            fail_msg("%s: %s", good[i].text, err.text);
        assert_true(us == good[i].us);
    }
    for (size_t i = 0; i < OT_COUNT(bad); i++)
        if (ot_time_parse(bad[i], 1000, &us, &err) != OUTTRAY_E_MISUSE)
            fail_msg("'%s' was taken", bad[i]);
    assert_non_null(strstr(err.text, "+90s"));
}

static void time_round_trip(void **state)
{
    struct ot_rng rng;
    char text[32];
    int64_t back;

    (void)state;
    ot_rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) { /* years 0000 to 9999 */
        int64_t ms = ot_rng_between(&rng, INT64_C(-62167219200000),
                                    INT64_C(253402300799999));

        ot_time_text(ms * 1000, text);
        assert_int_equal(ot_time_parse(text, 0, &back, NULL), 0);
        assert_true(back == ms * 1000);
    }
}

static void duration_text(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "0 us"},
        {999, "999 us"},
        {12345, "12 ms"},
        {1234567, "1.2 s"},
        {59999999, "59.9 s"},
        {INT64_C(180000000), "3 min"},
        {INT64_C(185000000), "3 min 5 s"},
        {INT64_C(1265000000), "21 min"},
        {INT64_C(7800000000), "2 h 10 min"},
        {INT64_C(86400000000) * 3 + INT64_C(3600000000), "3 d 1 h"},
        {-1234567, "-1.2 s"},
        {INT64_MIN, "-106751991 d"},
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++)
        assert_string_equal(ot_duration_text(cases[i].us, text), cases[i].text);
}

static void clocks(void **state)
{
    int64_t a = ot_now_us(), b = ot_now_us();

    (void)state;
    assert_true(b >= a);
    assert_true(ot_wall_us() > INT64_C(1600000000000000));
}

static void randomness(void **state)
{
    uint8_t a[600] = {0}, b[600] = {0};
    struct ot_rng x, y;
    unsigned seen[7] = {0};

    (void)state;
    assert_int_equal(ot_random_bytes(a, sizeof(a)), 0);
    assert_int_equal(ot_random_bytes(b, sizeof(b)), 0);
    assert_memory_not_equal(a, b, 16);
    assert_memory_not_equal(a + 584, b + 584, 16);
    ot_rng_seed(&x, 42);
    ot_rng_seed(&y, 42);
    for (int i = 0; i < 100; i++)
        assert_true(ot_rng_next(&x) == ot_rng_next(&y));
    for (int i = 0; i < 7000; i++)
        seen[ot_rng_between(&x, -3, 3) + 3]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_int_equal(ot_rng_between(&x, 5, 5), 5);
    (void)ot_rng_between(&x, INT64_MIN, INT64_MAX);
    for (int i = 0; i < 100; i++)
        assert_true(ot_rng_between(&x, INT64_MAX - 1, INT64_MAX) >=
                    INT64_MAX - 1);
}

enum { DRAWS = 60, DRAW = 10 }; /* more than one block */

static void draw(uint8_t out[DRAWS][DRAW])
{
    for (int i = 0; i < DRAWS; i++)
        assert_int_equal(ot_random_ahead(out[i], DRAW), 0);
}

/* A child uses none of the bytes that its parent has drawn ahead. */
static void random_ahead(void **state)
{
    uint8_t here[DRAWS][DRAW], child[DRAWS][DRAW], large[600] = {0};
    int fds[2], status;

    (void)state;
    assert_int_equal(ot_random_ahead(here[0], DRAW), 0);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    draw(pid == 0 ? child : here);
    if (pid == 0)
        _exit(write(fds[1], child, sizeof(child)) != sizeof(child));
    assert_int_equal(read(fds[0], child, sizeof(child)), sizeof(child));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (int i = 0; i < DRAWS; i++)
        for (int j = 0; j < DRAWS; j++) {
            assert_memory_not_equal(here[i], child[j], DRAW);
            if (i != j)
                assert_memory_not_equal(here[i], here[j], DRAW);
        }
    assert_int_equal(ot_random_ahead(large, sizeof(large)), 0);
    assert_memory_not_equal(large, large + 300, 300);
    close(fds[0]);
    close(fds[1]);
}

static void decimal(void **state)
{
    static const int64_t numbers[] = {0,   1,          9,         10,       99,
                                      100, 101,        4711,      1000000,  -1,
                                      -10, -987654321, INT64_MAX, INT64_MIN};
    char want[24], got[24];

    (void)state;
    for (size_t i = 0; i < OT_COUNT(numbers); i++) {
        snprintf(want, sizeof(want), "%lld", (long long)numbers[i]);
        memset(got, '#', sizeof(got));
        size_t n = ot_decimal(got, numbers[i]);
        assert_int_equal(n, strlen(want));
        assert_memory_equal(got, want, n);
        assert_int_equal(got[20], '#');
    }
}

static void uuid_text(void **state)
{
    static const uint8_t rnd[10] = {0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7};
    struct ot_uuid u = ot_uuid_v7(INT64_C(1645557742000123), rnd), back;
    char text[37];

    (void)state;
    assert_string_equal(ot_uuid_text(u, text),
                        "017f22e2-79b0-7fff-bf01-020304050607");
    assert_true(ot_uuid_parse(ot_slice_of(text), &back));
    assert_memory_equal(&u, &back, 16);
    assert_true(ot_uuid_time_us(u) == INT64_C(1645557742000000));
    assert_true(ot_uuid_parse(
        ot_slice_of("017F22E2-79B0-7FFF-BF01-020304050607"), &back));
    assert_memory_equal(&u, &back, 16);
    assert_true(ot_uuid_parse(
        ot_slice_of("c232ab00-9414-41ec-b3c8-9f6bdeced846"), &back));
    assert_true(ot_uuid_time_us(back) == -1);
}

static void uuid_refused(void **state)
{
    static const char *bad[] = {
        "",
        "017f22e279b07fffbf01020304050607",
        "017f22e2-79b0-7fff-bf01-02030405060",
        "017f22e2-79b0-7fff-bf01-0203040506077",
        "017f22e2-79b0-7fff-bf01-02030405060g",
        "017f22e2x79b0-7fff-bf01-020304050607",
        "017f22e-279b0-7fff-bf01-020304050607",
    };
    static const struct ot_uuid none;
    struct ot_uuid u;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(bad); i++) {
        assert_false(ot_uuid_parse(ot_slice_of(bad[i]), &u));
        assert_memory_equal(&u, &none, 16);
    }
    assert_false(ot_uuid_parse(ot_slice(NULL, 0), &u));
}

static void uuid_order(void **state)
{
    struct ot_uuid_source source = {0};
    struct ot_uuid last = {{0}}, u;
    int64_t now = ot_wall_us();

    (void)state;
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(ot_uuid_next(&source, &u), 0);
        assert_true(memcmp(&last, &u, 16) < 0);
        last = u;
    }
    assert_in_range(ot_uuid_time_us(u), now - 1000, now + 60000000);
    /* A clock that was set back, and a counter that overflows. */
    source.last_ms += 3600000;
    source.counter = 4095;
    assert_int_equal(ot_uuid_next(&source, &last), 0);
    assert_int_equal(ot_uuid_next(&source, &u), 0);
    assert_true(memcmp(&last, &u, 16) < 0);
    assert_true(ot_uuid_time_us(u) == (int64_t)source.last_ms * 1000);
}

struct heard {
    int count;
    enum ot_level level;
    char text[1100];
};

static void hear(void *ctx, enum ot_level level, const char *facility,
                 const char *text)
{
    struct heard *h = ctx;

    h->count++;
    h->level = level;
    snprintf(h->text, sizeof(h->text), "%s: %s", facility, text);
}

static void log_lines(void **state)
{
    struct heard h = {0};
    struct ot_log log = {OT_INFO, hear, &h};
    char *big = ot_alloc(3000);

    (void)state;
    ot_log(NULL, OT_ERROR, "x", "nobody");
    ot_log(&(struct ot_log){0}, OT_ERROR, "x", "nobody");
    ot_log(&log, OT_DEBUG, "store", "too quiet");
    assert_int_equal(h.count, 0);
    ot_log(&log, OT_WARN, "store", "FATAL: a\nb\xff %d\n", 5);
    assert_int_equal(h.level, OT_WARN);
    assert_string_equal(h.text, "store: FATAL: a b? 5");
    memset(big, 'x', 2999);
    big[2999] = '\0';
    ot_log(&log, OT_INFO, "s", "%s", big);
    assert_int_equal(strlen(h.text), 3 + 1023);
    assert_int_equal(h.count, 2);
    ot_free(big);
}

static void distance(void **state)
{
    char longer[80];

    (void)state;
    assert_int_equal(ot_distance("", ""), 0);
    assert_int_equal(ot_distance("status", "status"), 0);
    assert_int_equal(ot_distance("Status", "sTATUS"), 0);
    assert_int_equal(ot_distance("", "abc"), 3);
    assert_int_equal(ot_distance("abc", ""), 3);
    assert_int_equal(ot_distance("sttus", "status"), 1);   /* insert */
    assert_int_equal(ot_distance("statuss", "status"), 1); /* delete */
    assert_int_equal(ot_distance("stetus", "status"), 1);  /* replace */
    assert_int_equal(ot_distance("sattus", "status"), 1);  /* swap */
    assert_int_equal(ot_distance("kitten", "sitting"), 3);
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_true(ot_distance(longer, "a") == SIZE_MAX);
    longer[64] = '\0';
    assert_int_equal(ot_distance(longer, "a"), 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance),
        cmocka_unit_test(memory),
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(hash),
        cmocka_unit_test(hash_spreads),
        cmocka_unit_test(utf8),
        cmocka_unit_test(utf8_every_character),
        cmocka_unit_test(buffer),
        cmocka_unit_test(buffer_failure_sticks),
        cmocka_unit_test(errors),
        cmocka_unit_test(error_text_is_utf8),
        cmocka_unit_test(error_table),
        cmocka_unit_test(time_text),
        cmocka_unit_test(time_parse),
        cmocka_unit_test(time_round_trip),
        cmocka_unit_test(duration_text),
        cmocka_unit_test(clocks),
        cmocka_unit_test(randomness),
        cmocka_unit_test(random_ahead),
        cmocka_unit_test(decimal),
        cmocka_unit_test(uuid_text),
        cmocka_unit_test(uuid_refused),
        cmocka_unit_test(uuid_order),
        cmocka_unit_test(log_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
