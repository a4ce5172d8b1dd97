/* object.h - what a configuration is made of; for the files of conf/ only. */
#ifndef OT_CONF_OBJECT_H
#define OT_CONF_OBJECT_H

#include "conf/conf.h"

enum {
#define OT_KEY(name, type, fallback, min, max, choices, flags, doc) +1
    OT_CONF_KEYS = 0
#include "conf/keys.def"
#undef OT_KEY
};

/* One key: as text (NULL: the default holds), and parsed. */
struct ot_conf_value {
    char *text;
    int64_t number; /* INT, BOOL, MS, BYTES; CHOICE: index of the choice */
};

/* A setting that goes to a client library as it is. */
struct ot_conf_passed {
    char *name; /* with its prefix: "kafka.linger.ms" */
    char *value;
};

struct outtray_conf {
    struct ot_conf_value values[OT_CONF_KEYS];
    struct ot_conf_passed *passed; /* in the order they were first set */
    size_t npassed;
    size_t passed_size;
};

/* Index of a key in the table; -1: unknown. */
int ot_conf_find(const char *name);
/* The known name that looks most like this one; NULL: none does. */
const char *ot_conf_nearest(const char *name);

/* Text to number by the row's type and range. Never quotes a secret. */
int ot_conf_value_parse(const struct ot_conf_key *key, const char *text,
                        int64_t *out, struct outtray_error *err);

/* Does a pass-through setting carry a secret? */
bool ot_conf_passed_secret(const char *name);

#endif
