/* uuid.c - UUIDs of version 7 [RFC 9562]: time first, then randomness. */
#include "base/base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define COUNTER_BITS 12 /* rand_a */

static void put_time(struct ot_uuid *u, uint64_t ms)
{
    for (int i = 0; i < 6; i++)
        u->b[i] = (uint8_t)(ms >> (40 - 8 * i));
}

static void put_version(struct ot_uuid *u)
{
    u->b[6] = (uint8_t)(0x70 | (u->b[6] & 0x0f));
    u->b[8] = (uint8_t)(0x80 | (u->b[8] & 0x3f));
}

struct ot_uuid ot_uuid_v7(int64_t wall_us, const uint8_t rnd[10])
{
    struct ot_uuid u;

    memcpy(u.b + 6, rnd, 10);
    put_time(&u, wall_us > 0 ? (uint64_t)wall_us / 1000 : 0);
    put_version(&u);
    return u;
}

/* A new millisecond starts its counter at random in the lower half, so that
 * there is room to count and little to guess. */
static uint16_t fresh_counter(const uint8_t rnd[10])
{
    return (uint16_t)((rnd[0] << 8 | rnd[1]) & ((1 << (COUNTER_BITS - 1)) - 1));
}

int ot_uuid_next(struct ot_uuid_source *source, struct ot_uuid *out)
{
    uint64_t ms = (uint64_t)ot_wall_us() / 1000;
    uint8_t rnd[10];
    int rc = ot_random_ahead(rnd, sizeof(rnd));

    if (rc != 0)
        return rc;
    if (ms > source->last_ms) {
        source->last_ms = ms;
        source->counter = fresh_counter(rnd);
    } else if (++source->counter >> COUNTER_BITS != 0) {
        source->last_ms++; /* a little ahead of the clock, still in order */
        source->counter = fresh_counter(rnd);
    }
    rnd[0] = (uint8_t)(source->counter >> 8);
    rnd[1] = (uint8_t)source->counter;
    *out = ot_uuid_v7((int64_t)(source->last_ms * 1000), rnd);
    return 0;
}

#ifdef __SSE2__
static inline __m128i digits(__m128i halves)
{
    __m128i letters = _mm_cmpgt_epi8(halves, _mm_set1_epi8(9));
    __m128i up = _mm_and_si128(letters, _mm_set1_epi8('a' - '9' - 1));
    return _mm_add_epi8(_mm_add_epi8(halves, _mm_set1_epi8('0')), up);
}

/* Sixteen digits at a time, as each event that is sent has its id as text: by a
 * table of pairs it takes 55 instructions, so 40. */
static inline void put_digits(const struct ot_uuid *u, char out[32])
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)u->b);
    __m128i half = _mm_set1_epi8(15);
    __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), half);
    __m128i low = _mm_and_si128(bytes, half);
    _mm_storeu_si128((__m128i *)(void *)out,
                     digits(_mm_unpacklo_epi8(high, low)));
    _mm_storeu_si128((__m128i *)(void *)(out + 16),
                     digits(_mm_unpackhi_epi8(high, low)));
}
#else
static inline void put_digits(const struct ot_uuid *u, char out[32])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof(u->b); i++) {
        out[2 * i] = digits[u->b[i] >> 4];
        out[2 * i + 1] = digits[u->b[i] & 15];
    }
}
#endif

/* By its address: a value would come in two registers. */
inline void ot_uuid_put(const struct ot_uuid *u, char out[36])
{
    char text[32];
    put_digits(u, text);
    memcpy(out, text, 8);
    memcpy(out + 9, text + 8, 4);
    memcpy(out + 14, text + 12, 4);
    memcpy(out + 19, text + 16, 4);
    memcpy(out + 24, text + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
}

char *ot_uuid_text(struct ot_uuid u, char out[37])
{
    ot_uuid_put(&u, out);
    out[36] = '\0';
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool ot_uuid_parse(struct ot_slice text, struct ot_uuid *out)
{
    const char *p = text.p;

    *out = (struct ot_uuid){{0}};
    if (text.n != 36)
        return false;
    for (int i = 0; i < 16; i++) {
        int high, low;

        if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
            goto fail;
        high = hex_digit(*p++);
        low = hex_digit(*p++);
        if (high < 0 || low < 0)
            goto fail;
        out->b[i] = (uint8_t)(high << 4 | low);
    }
    return true;
fail:
    *out = (struct ot_uuid){{0}};
    return false;
}

int64_t ot_uuid_time_us(struct ot_uuid u)
{
    uint64_t ms = 0;

    if (u.b[6] >> 4 != 7 || u.b[8] >> 6 != 2)
        return -1;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | u.b[i];
    return (int64_t)ms * 1000;
}
