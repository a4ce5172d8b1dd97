/* text.c - hashing and checking of borrowed bytes. */
#include "base/base.h"

__extension__ typedef unsigned __int128 wide;

static inline uint64_t load64(const char *p)
{
    uint64_t w;

    memcpy(&w, p, 8);
    return w;
}

/* Both halves of the product: every bit of the input reaches every bit. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The last 0 to 16 bytes as two words; short ends overlap. */
static inline void load_tail(const char *p, size_t n, uint64_t *a, uint64_t *b)
{
    *a = 0;
    *b = 0;
    if (n >= 8) {
        *a = load64(p);
        *b = load64(p + n - 8);
    } else if (n >= 4) {
        uint32_t low, high;

        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        *a = low;
        *b = high;
    } else if (n > 0) {
        *a = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 |
             (uint8_t)p[n - 1];
    }
}

#define MIX_1 UINT64_C(0x9e3779b97f4a7c15)
#define MIX_2 UINT64_C(0xd1b54a32d192ed03)
#define MIX_3 UINT64_C(0x8cb92ba72f3d8dd7)

uint64_t ot_hash(struct ot_slice s)
{
    uint64_t h = MIX_1 ^ s.n;
    uint64_t a, b;
    const char *p = s.p;
    size_t n = s.n;

    while (n > 16) {
        h = fold(load64(p) ^ MIX_2 ^ h, load64(p + 8) ^ MIX_3);
        p += 16;
        n -= 16;
    }
    load_tail(p, n, &a, &b);
    h = fold(a ^ MIX_2 ^ h, b ^ MIX_3);
    h = fold(h ^ MIX_3, MIX_1 ^ s.n);
    return h != 0 ? h : 1; /* 0 stands for "no key" */
}

#define TEN(d) d "0" d "1" d "2" d "3" d "4" d "5" d "6" d "7" d "8" d "9"
static const char pairs[] = TEN("0") TEN("1") TEN("2") TEN("3") TEN("4")
    TEN("5") TEN("6") TEN("7") TEN("8") TEN("9");
#undef TEN

/* From the back, then moved to the front with a copy of a fixed length: the
 * seq of every event that is sent is written so. */
size_t ot_decimal(char at[20], int64_t v)
{
    char digits[40]; /* the copy ends in its second half */
    char *p = digits + 20;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    for (; u >= 100; u /= 100)
        memcpy(p -= 2, pairs + 2 * (u % 100), 2);
    if (u >= 10)
        memcpy(p -= 2, pairs + 2 * u, 2);
    else
        *--p = (char)('0' + u);
    if (v < 0)
        *--p = '-';
    memset(digits + 20, 0, 20); /* what is copied behind it */
    memcpy(at, p, 20);
    return (size_t)(digits + 20 - p);
}

/* Length of the well-formed sequence at p, 0 if there is none. */
static inline size_t utf8_sequence(const uint8_t *p, size_t n)
{
    uint8_t low = 0x80, high = 0xbf; /* what the second byte may be */
    size_t length;

    if (p[0] < 0x80)
        return p[0] != 0;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        length = 2;
    } else if ((p[0] & 0xf0) == 0xe0) {
        length = 3;
        if (p[0] == 0xe0)
            low = 0xa0; /* overlong */
        else if (p[0] == 0xed)
            high = 0x9f; /* surrogates */
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        length = 4;
        if (p[0] == 0xf0)
            low = 0x90; /* overlong */
        else if (p[0] == 0xf4)
            high = 0x8f; /* above U+10FFFF */
    } else {
        return 0;
    }
    if (n < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t ot_ascii(struct ot_slice s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    size_t i = 0;

    for (; s.n - i >= 8; i += 8) {
        uint64_t w = load64(s.p + i);

        if (((w | (w - ones)) & (ones << 7)) != 0)
            break;
    }
    while (i < s.n && (unsigned char)(s.p[i] - 1) < 127)
        i++;
    return i;
}

bool ot_utf8_valid(struct ot_slice s, size_t *at)
{
    size_t i = 0;

    while (i < s.n) {
        size_t length;

        i += ot_ascii(ot_slice(s.p + i, s.n - i));
        if (i == s.n)
            break;
        length = utf8_sequence((const uint8_t *)s.p + i, s.n - i);
        if (length == 0) {
            if (at != NULL)
                *at = i;
            return false;
        }
        i += length;
    }
    return true;
}

void ot_utf8_mend(char *text, bool cut)
{
    size_t n = strlen(text), at;

    while (!ot_utf8_valid(ot_slice(text, n), &at)) {
        if (cut && n - at < 4 && (text[at] & 0xc0) == 0xc0)
            text[n = at] = '\0';
        else
            text[at] = '?';
    }
}
