/* nearest.c - what somebody probably meant to type. */
#include "cli/cli.h"

enum { LONGEST = 64 };

/* Damerau-Levenshtein distance, neighbours swapped counting as one. */
static size_t distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    if (na >= LONGEST || nb >= LONGEST)
        return LONGEST;
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

const char *ot_cli_nearest(const char *typed, const char *const *names)
{
    const char *best = NULL;
    size_t least = strlen(typed) / 3 + 2; /* farther is another word */
    for (; *names != NULL; names++) {
        size_t d = distance(typed, *names);
        size_t n = strlen(typed);
        if (n >= 3 && strncmp(typed, *names, n) == 0)
            d = 1; /* an abbreviation */
        if (d < least) {
            least = d;
            best = *names;
        }
    }
    return best;
}
