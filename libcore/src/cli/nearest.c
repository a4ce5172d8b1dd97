/* nearest.c - what somebody probably meant to type. */
#include "cli/cli.h"

const char *ot_cli_nearest(const char *typed, const char *const *names)
{
    const char *best = NULL;
    size_t least = strlen(typed) / 3 + 2; /* farther is another word */
    for (; *names != NULL; names++) {
        size_t d = ot_distance(typed, *names);
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
