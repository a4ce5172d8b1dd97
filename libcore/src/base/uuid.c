/* uuid.c - UUIDs of version 7 [RFC 9562]: time first, then randomness. */
#include "base/base.h"

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

/* Two digits of every byte: each event that is sent has its id as text. */
#define ROW(h)                                                                \
    h "0" h "1" h "2" h "3" h "4" h "5" h "6" h "7" h "8" h "9" h "a" h "b" h \
      "c" h "d" h "e" h "f"
static const char pairs[] =
    ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7")
        ROW("8") ROW("9") ROW("a") ROW("b") ROW("c") ROW("d") ROW("e") ROW("f");
#undef ROW

/* By its address: a value would come in two registers, and each byte of it by
 * a shift. */
void ot_uuid_put(const struct ot_uuid *u, char out[36])
{
#define PUT(i, at) memcpy(out + (at), pairs + (size_t)2 * u->b[i], 2)
    PUT(0, 0), PUT(1, 2), PUT(2, 4), PUT(3, 6);
    PUT(4, 9), PUT(5, 11);
    PUT(6, 14), PUT(7, 16);
    PUT(8, 19), PUT(9, 21);
    PUT(10, 24), PUT(11, 26), PUT(12, 28), PUT(13, 30), PUT(14, 32),
        PUT(15, 34);
#undef PUT
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
