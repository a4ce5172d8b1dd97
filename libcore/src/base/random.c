/* random.c - the system's randomness, and a small generator with a seed. */
#include "base/base.h"

#include <errno.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

int ot_random_bytes(void *p, size_t n)
{
    char *out = p;

    while (n != 0) {
        size_t part = n < 256 ? n : 256; /* as much as getentropy gives */

        if (getentropy(out, part) != 0) {
            if (errno == EINTR)
                continue;
            return OUTTRAY_E_IO;
        }
        out += part;
        n -= part;
    }
    return 0;
}

/* A generator must not start with all bits zero: spread the seed first. */
static uint64_t spread(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void ot_rng_seed(struct ot_rng *rng, uint64_t seed)
{
    rng->s[0] = spread(&seed);
    rng->s[1] = spread(&seed);
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* xoroshiro128++ */
uint64_t ot_rng_next(struct ot_rng *rng)
{
    uint64_t a = rng->s[0], b = rng->s[1];
    uint64_t result = rotate(a + b, 17) + a;

    b ^= a;
    rng->s[0] = rotate(a, 49) ^ b ^ (b << 21);
    rng->s[1] = rotate(b, 28);
    return result;
}

int64_t ot_rng_between(struct ot_rng *rng, int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)high - (uint64_t)low + 1;
    uint64_t surplus, draw;

    if (span == 0) /* all of 64 bits */
        return (int64_t)ot_rng_next(rng);
    surplus = (0 - span) % span; /* 2^64 mod span: these would be unfair */
    do
        draw = ot_rng_next(rng);
    while (draw < surplus);
    return (int64_t)((uint64_t)low + draw % span);
}
