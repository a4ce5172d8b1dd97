/* keys.c - the table of settings, and finding a name in it. */
#include "conf/object.h"

static const struct ot_conf_key keys[] = {
#define TEXT       OT_CONF_TEXT
#define INT        OT_CONF_INT
#define BOOL       OT_CONF_BOOL
#define CHOICE     OT_CONF_CHOICE
#define MS         OT_CONF_MS
#define BYTES      OT_CONF_BYTES
#define SECRET     OT_CONF_SECRET
#define RELOADABLE OT_CONF_RELOADABLE
#define OT_KEY(name, type, fallback, min, max, choices, flags, doc) \
    {name, type, fallback, min, max, choices, flags, doc},
#include "conf/keys.def"
#undef OT_KEY
};

size_t ot_conf_count(void)
{
    return OT_CONF_KEYS;
}

const struct ot_conf_key *ot_conf_key_at(size_t i)
{
    return i < OT_CONF_KEYS ? &keys[i] : NULL;
}

int ot_conf_find(const char *name)
{
    for (int i = 0; i < OT_CONF_KEYS; i++)
        if (strcmp(keys[i].name, name) == 0)
            return i;
    return -1;
}

#define LONGEST 64 /* no name is longer */

static int least(int a, int b)
{
    return a < b ? a : b;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b, in lower
 * case; both shorter than LONGEST. */
static int distance(const char *a, const char *b)
{
    int rows[3][LONGEST + 1];
    int *before = rows[0], *above = rows[1], *row = rows[2];
    int n = (int)strlen(b);

    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1] != '\0'; i++) {
        int *free = before;

        before = above;
        above = row;
        row = free;
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            bool same = lower(a[i - 1]) == b[j - 1];

            row[j] = least(above[j] + 1, row[j - 1] + 1);
            row[j] = least(row[j], above[j - 1] + !same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return row[n];
}

/* "lease_ttl_ms" and "leases.lease_ttl_ms" both mean relay.lease_ttl_ms. */
static const char *same_last_part(const char *name)
{
    const char *dot = strchr(name, '.');
    const char *last = dot != NULL ? dot + 1 : name;
    const char *found = NULL;

    for (int i = 0; i < OT_CONF_KEYS; i++) {
        if (strcmp(strchr(keys[i].name, '.') + 1, last) != 0)
            continue;
        if (found != NULL)
            return NULL;
        found = keys[i].name;
    }
    return found;
}

const char *ot_conf_nearest(const char *name)
{
    size_t n = strlen(name);
    int best = (int)n / 3 > 2 ? (int)n / 3 : 2;
    const char *found = NULL;

    if (n >= LONGEST)
        return NULL;
    for (int i = 0; i < OT_CONF_KEYS; i++) {
        int d = distance(name, keys[i].name);

        if (d < best || (d == best && found == NULL)) {
            best = d;
            found = keys[i].name;
        }
    }
    if (best > 2 && same_last_part(name) != NULL)
        return same_last_part(name);
    return found;
}
