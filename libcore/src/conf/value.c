/* value.c - numbers, durations, sizes, choices from text. */
#include "conf/object.h"

#include <assert.h>
#include <strings.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {
    {"", 1},        {"ms", 1},      {"s", 1000},     {"m", 60000},
    {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

static const struct unit sizes[] = {
    {"", 1},
    {"B", 1},
    {"KiB", INT64_C(1) << 10},
    {"MiB", INT64_C(1) << 20},
    {"GiB", INT64_C(1) << 30},
    {"TiB", INT64_C(1) << 40},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", INT64_C(1000000000000)},
    {NULL, 0},
};

static const struct unit plain[] = {{"", 1}, {NULL, 0}};

/* "15s", "64 KiB", "-1": digits, blanks, a unit. */
static bool parse_number(const char *p, const struct unit *units, int64_t *out)
{
    bool minus = *p == '-';
    int64_t n = 0, factor = 0;
    const char *start;

    p += minus;
    for (start = p; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, *p - '0', &n))
            return false;
    if (p == start)
        return false;
    while (*p == ' ')
        p++;
    for (; units->name != NULL; units++)
        if (strcasecmp(units->name, p) == 0)
            factor = units->factor;
    if (factor == 0 || __builtin_mul_overflow(n, factor, &n))
        return false;
    *out = minus ? -n : n;
    return true;
}

static bool parse_bool(const char *text, int64_t *out)
{
    static const char *const yes[] = {"true", "on", "yes", "1"};
    static const char *const no[] = {"false", "off", "no", "0"};

    for (size_t i = 0; i < OT_COUNT(yes); i++) {
        *out = strcasecmp(text, yes[i]) == 0;
        if (*out || strcasecmp(text, no[i]) == 0)
            return true;
    }
    return false;
}

static bool parse_choice(const char *choices, const char *text, int64_t *out)
{
    size_t n = strlen(text);
    const char *p = choices;

    for (*out = 0;; ++*out) {
        size_t m = strcspn(p, "|");

        if (m == n && memcmp(p, text, n) == 0)
            return true;
        if (p[m] == '\0')
            return false;
        p += m + 1;
    }
}

/* 15000 as "15s", 65536 as "64KiB": the largest unit that divides. */
static void print_number(const struct unit *units, int64_t n,
                         struct ot_buffer *out)
{
    const struct unit *best = units;

    assert(units->name != NULL); /* every table has a unit */
    for (; units->name != NULL; units++)
        if (n != 0 && n % units->factor == 0 && units->factor > best->factor)
            best = units;
    if (best->factor == 1 && best->name[0] == '\0' && best[1].name != NULL)
        best++;
    ot_buffer_printf(out, "%lld%s", (long long)(n / best->factor), best->name);
}

static const struct unit *units_of(enum ot_conf_type type)
{
    return type == OT_CONF_MS      ? durations
           : type == OT_CONF_BYTES ? sizes
                                   : plain;
}

static int bad_choice(const struct ot_conf_key *key, const char *text,
                      struct outtray_error *err)
{
    char list[128];
    size_t n = 0;

    for (const char *p = key->choices; *p != '\0' && n + 3 < sizeof(list);
         p++) {
        list[n++] = *p == '|' ? ',' : *p;
        if (*p == '|')
            list[n++] = ' ';
    }
    list[n] = '\0';
    return ot_fail(err, OUTTRAY_E_CONF, "%s: '%s' is not one of %s", key->name,
                   text, list);
}

static int bad_number(const struct ot_conf_key *key, const char *text,
                      struct outtray_error *err)
{
    const char *form = key->type == OT_CONF_MS
                           ? "a duration: write 250ms, 15s, 10min, 24h or 7d"
                       : key->type == OT_CONF_BYTES
                           ? "a size: write 4096, 64KiB or 8MiB"
                           : "a whole number";

    return ot_fail(err, OUTTRAY_E_CONF, "%s: '%s' is not %s", key->name, text,
                   form);
}

static int out_of_range(const struct ot_conf_key *key, const char *text,
                        struct outtray_error *err)
{
    struct ot_buffer range = {0};
    int rc;

    print_number(units_of(key->type), key->min, &range);
    ot_buffer_puts(&range, " to ");
    print_number(units_of(key->type), key->max, &range);
    if (range.failed)
        rc = ot_fail_nomem(err);
    else
        rc = ot_fail(err, OUTTRAY_E_CONF,
                     "%s: '%s' is out of range, it may be "
                     "%s",
                     key->name, text, range.p);
    ot_buffer_free(&range);
    return rc;
}

int ot_conf_value_parse(const struct ot_conf_key *key, const char *text,
                        int64_t *out, struct outtray_error *err)
{
    size_t at;

    *out = 0;
    if (!ot_utf8_valid(ot_slice_of(text), &at))
        return ot_fail(err, OUTTRAY_E_CONF, "%s: byte %zu is not UTF-8",
                       key->name, at + 1);
    switch (key->type) {
    case OT_CONF_TEXT:
        return 0;
    case OT_CONF_CHOICE:
        return parse_choice(key->choices, text, out)
                   ? 0
                   : bad_choice(key, text, err);
    case OT_CONF_BOOL:
        return parse_bool(text, out)
                   ? 0
                   : ot_fail(err, OUTTRAY_E_CONF,
                             "%s: '%s' is neither true nor false", key->name,
                             text);
    case OT_CONF_INT:
    case OT_CONF_MS:
    case OT_CONF_BYTES:
        break;
    }
    if (!parse_number(text, units_of(key->type), out))
        return bad_number(key, text, err);
    if (*out < key->min || *out > key->max)
        return out_of_range(key, text, err);
    return 0;
}
