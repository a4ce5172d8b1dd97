/* keys.c - the table of settings, and finding a name in it. */
#include "conf/object.h"

static const struct ot_conf_key keys[] = {
#define TEXT   OT_CONF_TEXT
#define INT    OT_CONF_INT
#define BOOL   OT_CONF_BOOL
#define CHOICE OT_CONF_CHOICE
#define MS     OT_CONF_MS
#define BYTES  OT_CONF_BYTES
#define SECRET OT_CONF_SECRET
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
    size_t best = n / 3 > 2 ? n / 3 : 2;
    const char *found = NULL;

    for (int i = 0; i < OT_CONF_KEYS; i++) {
        size_t d = ot_distance(name, keys[i].name);

        if (d < best || (d == best && found == NULL)) {
            best = d;
            found = keys[i].name;
        }
    }
    if (best > 2 && same_last_part(name) != NULL)
        return same_last_part(name);
    return found;
}
