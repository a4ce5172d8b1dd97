/* distance.c - how far a mistyped name is from another one. */
#include "base/base.h"

#define LONGEST 64

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

size_t ot_distance(const char *a, const char *b)
{
    const size_t na = strlen(a), nb = strlen(b);
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2], *spare;

    if (na > LONGEST || nb > LONGEST)
        return SIZE_MAX;
    for (size_t k = 0; k <= nb; k++)
        row[k] = k;
    for (size_t i = 1; i <= na; i++) {
        spare = before;
        before = above;
        above = row;
        row = spare;
        row[0] = i;
        for (size_t k = 1; k <= nb; k++) {
            row[k] = least(above[k], row[k - 1]) + 1;
            row[k] = least(row[k],
                           above[k - 1] + (lower(a[i - 1]) != lower(b[k - 1])));
            if (i > 1 && k > 1 && lower(a[i - 1]) == lower(b[k - 2]) &&
                lower(a[i - 2]) == lower(b[k - 1]))
                row[k] = least(row[k], before[k - 2] + 1);
        }
    }
    return row[nb];
}
