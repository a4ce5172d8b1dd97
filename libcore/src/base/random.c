/* random.c - the system's randomness, and a small generator with a seed. */
#include "base/base.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
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

/* --- bytes that are drawn ahead ------------------------------------------- */

/* A call of the system costs more than the rest of an id, so a thread draws a
 * block of bytes at once and gives each away once. A child of fork() has the
 * blocks of its parent and must use none of them: it counts on. */
enum { AHEAD = 256 };
static _Thread_local struct {
    uint8_t bytes[AHEAD];
    size_t left;
    unsigned generation;
} ahead;
static atomic_uint generation;
static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static bool watching;

static void after_fork(void)
{
    atomic_fetch_add(&generation, 1);
}

static void watch(void)
{
    watching = pthread_atfork(NULL, NULL, after_fork) == 0;
}

int ot_random_ahead(void *p, size_t n)
{
    unsigned now = atomic_load(&generation);

    (void)pthread_once(&watch_once, watch);
    if (!watching || n > AHEAD)
        return ot_random_bytes(p, n);
    if (ahead.left < n || ahead.generation != now) {
        ahead.left = 0;
        int rc = ot_random_bytes(ahead.bytes, AHEAD);
        if (rc != 0)
            return rc;
        ahead.left = AHEAD;
        ahead.generation = now;
    }
    ahead.left -= n;
    memcpy(p, ahead.bytes + ahead.left, n);
    memset(ahead.bytes + ahead.left, 0, n); /* nobody shall find them */
    return 0;
}

/* --- the small generator --------------------------------------------------- */

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
