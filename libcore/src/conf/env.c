/* env.c - OUTTRAY_SECTION_KEY of the environment. */
#include "conf/object.h"

extern char **environ;

#define PREFIX "OUTTRAY_"

/* Variables that are not settings. The last ones are what Kubernetes gives
 * every container when there is a service called "outtray". */
static bool is_other(const char *name, size_t n)
{
    static const char *const whole[] = {
        "CONFIG",
        "SOURCE_DIR",
        "PORT",
#ifdef OUTTRAY_CRASH_POINTS
        "CRASH_AT",
#endif
    };
    static const char *const starts[] = {"TEST_", "SERVICE_", "PORT_"};

    for (size_t i = 0; i < OT_COUNT(whole); i++)
        if (n == strlen(whole[i]) && memcmp(name, whole[i], n) == 0)
            return true;
    for (size_t i = 0; i < OT_COUNT(starts); i++)
        if (n >= strlen(starts[i]) &&
            memcmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

/* RELAY_LEASE_TTL_MS is relay.lease_ttl_ms: the first underscore separates.
 * librdkafka's names have points and no underscores. */
static void key_name(char *name)
{
    bool kafka = strncmp(name, "KAFKA_", 6) == 0;
    bool first = true;

    for (char *p = name; *p != '\0'; p++) {
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
        if (*p == '_' && (first || kafka)) {
            *p = '.';
            first = false;
        }
    }
}

static int set_variable(struct outtray_conf *conf, const char *name, size_t n,
                        const char *value, struct outtray_error *err)
{
    char *key = ot_strndup(name, n);
    int rc;

    if (key == NULL)
        return ot_fail_nomem(err);
    key_name(key);
    rc = outtray_conf_set(conf, key, value, err);
    ot_free(key);
    if (rc != 0 && rc != OUTTRAY_E_NOMEM)
        rc = ot_fail_context(err, rc, "environment " PREFIX "%.*s", (int)n,
                             name);
    return rc;
}

int outtray_conf_load_env(struct outtray_conf *conf, struct outtray_error *err)
{
    const size_t prefix = sizeof(PREFIX) - 1;

    for (char **p = environ; p != NULL && *p != NULL; p++) {
        const char *name = *p + prefix;
        const char *equals = strchr(*p, '=');
        int rc;

        if (strncmp(*p, PREFIX, prefix) != 0 || equals == NULL ||
            equals < name || is_other(name, (size_t)(equals - name)))
            continue;
        /* Compose files hand on variables that are not set as empty ones;
         * that shall not undo what the file says. */
        if (equals[1] == '\0')
            continue;
        rc = set_variable(conf, name, (size_t)(equals - name), equals + 1, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
