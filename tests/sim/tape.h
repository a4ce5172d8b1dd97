/* tape.h - every choice of a schedule is a byte on a tape.
 *
 * A random tape explores; a given tape replays the same schedule, and can be
 * made shorter. 0 always is the dull choice, so a tape of zeros does little
 * and one that has ended ends the trouble.
 */
#ifndef SIM_TAPE_H
#define SIM_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAPE_MAX 4096

struct tape {
    uint8_t v[TAPE_MAX];
    size_t n;  /* replay: its length */
    size_t at; /* choices made */
    bool replay;
    uint64_t state, bits; /* of the generator */
    unsigned nbits;
};

void tape_seed(struct tape *, uint64_t seed);
void tape_rewind(struct tape *, size_t n); /* to replay its first n */
bool tape_ended(const struct tape *);
uint8_t tape_draw(struct tape *); /* makes the next choice */

/* One of n. */
static inline unsigned pick(struct tape *tape, unsigned n)
{
    return n <= 1 ? 0 : tape_draw(tape) % n;
}

/* True once in n. */
static inline bool one_in(struct tape *tape, unsigned n)
{
    return tape_draw(tape) % n == n - 1;
}

/* Files: hex, "#" starts a comment. 0, or -1 and errno. */
int tape_load(struct tape *, const char *path);
int tape_save(const struct tape *, const char *path, const char *comment);

#endif
