/* time.c - clocks, and times as text. */
#include "base/base.h"

#include <stdio.h>
#include <time.h>

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static int64_t clock_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

int64_t ot_now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t ot_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

/* Days since 1970-01-01 of the proleptic Gregorian calendar. Years are counted
 * from March, so that the leap day is the last one. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
           719468;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t m = (5 * doy + 2) / 153;

    *day = (int)(doy - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

char *ot_time_text(int64_t wall_us, char out[32])
{
    int64_t days = wall_us / DAY, rest = wall_us % DAY, year;
    int month, day;
    char text[48];

    if (rest < 0) {
        rest += DAY;
        days--;
    }
    date_of(days, &year, &month, &day);
    snprintf(text, sizeof(text), "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ",
             (long long)year, month, day, (int)(rest / HOUR),
             (int)(rest / MINUTE % 60), (int)(rest / SECOND % 60),
             (int)(rest / 1000 % 1000));
    text[31] = '\0'; /* no int64_t is so far away */
    memcpy(out, text, 32);
    return out;
}

/* Exactly n digits, a number. */
static bool digits(const char **p, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, ++*p) {
        if (**p < '0' || **p > '9')
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

static bool expect(const char **p, char c)
{
    if (**p != c)
        return false;
    ++*p;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

static bool parse_date(const char **p, int64_t *days)
{
    int year, month, day;

    if (!digits(p, 4, &year) || !expect(p, '-') || !digits(p, 2, &month) ||
        !expect(p, '-') || !digits(p, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_of(year, month, day);
    return true;
}

/* hh:mm:ss, with any number of digits after a point. */
static bool parse_clock(const char **p, int64_t *us)
{
    int h, m, s;
    int64_t unit = SECOND;

    if (!digits(p, 2, &h) || !expect(p, ':') || !digits(p, 2, &m) ||
        !expect(p, ':') || !digits(p, 2, &s))
        return false;
    if (h > 23 || m > 59 || s > 60) /* 60: a leap second */
        return false;
    *us = h * HOUR + m * MINUTE + s * SECOND;
    if (!expect(p, '.'))
        return true;
    if (**p < '0' || **p > '9')
        return false;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        unit /= 10;
        *us += (**p - '0') * unit;
    }
    return true;
}

static bool parse_zone(const char **p, int64_t *us)
{
    int h, m, sign = **p == '-' ? -1 : 1;

    *us = 0;
    if (expect(p, 'Z') || expect(p, 'z'))
        return true;
    if (!expect(p, '+') && !expect(p, '-'))
        return false;
    if (!digits(p, 2, &h) || !expect(p, ':') || !digits(p, 2, &m) || h > 23 ||
        m > 59)
        return false;
    *us = sign * (h * HOUR + m * MINUTE);
    return true;
}

static bool parse_absolute(const char *p, int64_t *out)
{
    int64_t days, clock, zone;

    if (!parse_date(&p, &days) ||
        !(expect(&p, 'T') || expect(&p, 't') || expect(&p, ' ')) ||
        !parse_clock(&p, &clock) || !parse_zone(&p, &zone) || *p != '\0')
        return false;
    *out = days * DAY + clock - zone;
    return true;
}

static int64_t unit_us(const char *unit)
{
    static const struct {
        const char *name;
        int64_t us;
    } units[] = {{"ms", 1000},    {"s", SECOND}, {"m", MINUTE},
                 {"min", MINUTE}, {"h", HOUR},   {"d", DAY}};

    for (size_t i = 0; i < OT_COUNT(units); i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].us;
    return 0;
}

static bool parse_relative(const char *p, int64_t now_us, int64_t *out)
{
    int64_t n = 0, unit;
    const char *start = p;

    for (; *p >= '0' && *p <= '9' && n < INT64_MAX / 100; p++)
        n = n * 10 + (*p - '0');
    unit = unit_us(p);
    if (p == start || unit == 0 || n > (INT64_MAX - now_us) / unit)
        return false;
    *out = now_us + n * unit;
    return true;
}

int ot_time_parse(const char *text, int64_t now_us, int64_t *out_us,
                  struct outtray_error *err)
{
    *out_us = 0;
    if (text[0] == '+' ? parse_relative(text + 1, now_us, out_us)
                       : parse_absolute(text, out_us))
        return 0;
    return ot_fail(err, OUTTRAY_E_MISUSE,
                   "'%s' is not a time: write 2026-11-23T21:18:45Z, or +90s, "
                   "+5m, +2h, +1d from now",
                   text);
}

/* The larger unit, and the smaller one while it says something. */
static void two_units(char *out, size_t size, uint64_t us, uint64_t unit,
                      const char *name, uint64_t small, const char *small_name)
{
    unsigned long long big = us / unit, rest = us % unit / small;

    if (rest != 0 && big < 10)
        snprintf(out, size, "%llu %s %llu %s", big, name, rest, small_name);
    else
        snprintf(out, size, "%llu %s", big, name);
}

char *ot_duration_text(int64_t us, char out[32])
{
    uint64_t n = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    char *p = out;
    size_t size = 32;

    if (us < 0) {
        *p++ = '-';
        size--;
    }
    if (n < 1000)
        snprintf(p, size, "%llu us", (unsigned long long)n);
    else if (n < SECOND)
        snprintf(p, size, "%llu ms", (unsigned long long)(n / 1000));
    else if (n < MINUTE)
        snprintf(p, size, "%llu.%llu s", (unsigned long long)(n / SECOND),
                 (unsigned long long)(n % SECOND / 100000));
    else if (n < HOUR)
        two_units(p, size, n, MINUTE, "min", SECOND, "s");
    else if (n < 2 * (uint64_t)DAY)
        two_units(p, size, n, HOUR, "h", MINUTE, "min");
    else
        two_units(p, size, n, DAY, "d", HOUR, "h");
    return out;
}
