/* conf.c - a configuration: set, get, copy. */
#include "conf/object.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#define SECRET_FILE_MAX 65536

struct outtray_conf *outtray_conf_new(void)
{
    struct outtray_conf *conf = ot_alloc_zero(1, sizeof(*conf));

    if (conf == NULL)
        return NULL;
    for (size_t i = 0; i < OT_CONF_KEYS; i++) {
        const struct ot_conf_key *key = ot_conf_key_at(i);

        if (key->fallback != NULL &&
            ot_conf_value_parse(key, key->fallback, &conf->values[i].number,
                                NULL) != 0)
            assert(!"a default of keys.def does not parse");
    }
    return conf;
}

void outtray_conf_free(struct outtray_conf *conf)
{
    if (conf == NULL)
        return;
    for (size_t i = 0; i < OT_CONF_KEYS; i++)
        ot_free(conf->values[i].text);
    for (size_t i = 0; i < conf->npassed; i++) {
        ot_free(conf->passed[i].name);
        ot_free(conf->passed[i].value);
    }
    ot_free(conf->passed);
    ot_free(conf);
}

/* --- pass-through -------------------------------------------------------- */

static bool is_passed(const char *name)
{
    return strncmp(name, "kafka.", 6) == 0 && name[6] != '\0';
}

bool ot_conf_passed_secret(const char *name)
{
    return strstr(name, "password") != NULL || strstr(name, "secret") != NULL ||
           strstr(name, "key.pem") != NULL ||
           strstr(name, "passphrase") != NULL ||
           strstr(name, "sasl.oauthbearer.config") != NULL;
}

static struct ot_conf_passed *find_passed(const struct outtray_conf *conf,
                                          const char *name)
{
    for (size_t i = 0; i < conf->npassed; i++)
        if (strcmp(conf->passed[i].name, name) == 0)
            return &conf->passed[i];
    return NULL;
}

/* Takes value over, also when it fails. */
static int set_passed(struct outtray_conf *conf, const char *name, char *value,
                      struct outtray_error *err)
{
    struct ot_conf_passed *pair = find_passed(conf, name);

    if (pair != NULL) {
        ot_free(pair->value);
        pair->value = value;
        return 0;
    }
    if (conf->npassed == conf->passed_size) {
        size_t size = conf->passed_size != 0 ? conf->passed_size * 2 : 8;
        void *p = ot_resize(conf->passed, size * sizeof(*conf->passed));

        if (p == NULL)
            goto fail;
        conf->passed = p;
        conf->passed_size = size;
    }
    pair = &conf->passed[conf->npassed];
    pair->name = ot_strdup(name);
    if (pair->name == NULL)
        goto fail;
    pair->value = value;
    conf->npassed++;
    return 0;
fail:
    ot_free(value);
    return ot_fail_nomem(err);
}

/* Back to what the sink takes by itself. */
static void unset_passed(struct outtray_conf *conf, const char *name)
{
    struct ot_conf_passed *pair = find_passed(conf, name);

    if (pair == NULL)
        return;
    ot_free(pair->name);
    ot_free(pair->value);
    conf->npassed--;
    memmove(pair, pair + 1,
            (size_t)(conf->passed + conf->npassed - pair) * sizeof(*pair));
}

/* --- secrets ------------------------------------------------------------- */

static int read_env(const char *name, const char *variable, char **out,
                    struct outtray_error *err)
{
    const char *value = getenv(variable);

    if (value == NULL)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "%s: the environment has no variable %s", name,
                       variable);
    *out = ot_strdup(value);
    return *out != NULL ? 0 : ot_fail_nomem(err);
}

static int read_secret_file(const char *name, const char *path, char **out,
                            struct outtray_error *err)
{
    struct ot_buffer text = {0};
    int rc = ot_conf_read_file(path, SECRET_FILE_MAX, &text, err);

    if (rc != 0) {
        ot_buffer_free(&text);
        return ot_fail_context(err, rc, "%s is to come out of a file%s", name,
                               strcmp(name, "sink.url") == 0
                                   ? " (file:///PATH is a file to write to)"
                                   : "");
    }
    if (text.n > 0 && text.p[text.n - 1] == '\n') /* editors add one */
        text.n--;
    if (text.n > 0 && text.p[text.n - 1] == '\r')
        text.n--;
    *out = ot_strndup(text.p, text.n);
    ot_buffer_free(&text);
    return *out != NULL ? 0 : ot_fail_nomem(err);
}

/* The value itself, or what env:NAME and file:PATH point to. file:// is not
 * such a pointer but the URL of a file sink. */
static int resolve(const char *name, bool secret, const char *value, char **out,
                   struct outtray_error *err)
{
    *out = NULL;
    if (secret && strncmp(value, "env:", 4) == 0)
        return read_env(name, value + 4, out, err);
    if (secret && strncmp(value, "file:", 5) == 0 &&
        strncmp(value, "file://", 7) != 0)
        return read_secret_file(name, value + 5, out, err);
    *out = ot_strdup(value);
    return *out != NULL ? 0 : ot_fail_nomem(err);
}

/* --- set ----------------------------------------------------------------- */

static int unknown_key(const char *name, struct outtray_error *err)
{
    const char *nearest = ot_conf_nearest(name);

    if (nearest != NULL)
        return ot_fail(err, OUTTRAY_E_CONF, "%s: unknown key, did you mean %s?",
                       name, nearest);
    return ot_fail(err, OUTTRAY_E_CONF,
                   "%s: unknown key, `outtray conf` lists all", name);
}

/* Back to the default. */
static void unset(struct outtray_conf *conf, int i)
{
    const struct ot_conf_key *key = ot_conf_key_at((size_t)i);
    struct ot_conf_value *value = &conf->values[i];

    ot_free(value->text);
    value->text = NULL;
    value->number = 0;
    if (key->fallback != NULL)
        (void)ot_conf_value_parse(key, key->fallback, &value->number, NULL);
}

int outtray_conf_set(struct outtray_conf *conf, const char *name,
                     const char *value, struct outtray_error *err)
{
    int i = ot_conf_find(name), rc;
    const struct ot_conf_key *key;
    char *text;
    int64_t number;

    if (i < 0 && is_passed(name)) {
        if (value[0] == '\0') {
            unset_passed(conf, name);
            return 0;
        }
        rc = resolve(name, ot_conf_passed_secret(name), value, &text, err);
        return rc != 0 ? rc : set_passed(conf, name, text, err);
    }
    if (i < 0)
        return unknown_key(name, err);
    key = ot_conf_key_at((size_t)i);
    if (value[0] == '\0') {
        unset(conf, i);
        return 0;
    }
    rc = resolve(name, (key->flags & OT_CONF_SECRET) != 0, value, &text, err);
    if (rc != 0)
        return rc;
    rc = ot_conf_value_parse(key, text, &number, err);
    if (rc != 0) {
        ot_free(text);
        return rc;
    }
    ot_free(conf->values[i].text);
    conf->values[i] = (struct ot_conf_value){text, number};
    return 0;
}

static bool copy_values(struct outtray_conf *to,
                        const struct outtray_conf *from)
{
    for (size_t i = 0; i < OT_CONF_KEYS; i++) {
        to->values[i].number = from->values[i].number;
        if (from->values[i].text == NULL)
            continue;
        to->values[i].text = ot_strdup(from->values[i].text);
        if (to->values[i].text == NULL)
            return false;
    }
    for (size_t i = 0; i < from->npassed; i++) {
        char *value = ot_strdup(from->passed[i].value);

        if (value == NULL ||
            set_passed(to, from->passed[i].name, value, NULL) != 0)
            return false;
    }
    return true;
}

struct outtray_conf *outtray_conf_copy(const struct outtray_conf *conf)
{
    struct outtray_conf *copy = ot_alloc_zero(1, sizeof(*copy));

    if (copy != NULL && !copy_values(copy, conf)) {
        outtray_conf_free(copy);
        copy = NULL;
    }
    return copy;
}

/* --- get ----------------------------------------------------------------- */

static const char *text_of(const struct outtray_conf *conf, int i)
{
    const char *text = conf->values[i].text;

    return text != NULL ? text : ot_conf_key_at((size_t)i)->fallback;
}

const char *outtray_conf_get(const struct outtray_conf *conf, const char *name)
{
    int i = ot_conf_find(name);
    const struct ot_conf_passed *pair;

    if (i >= 0) {
        bool secret = ot_conf_key_at((size_t)i)->flags & OT_CONF_SECRET;

        return secret && conf->values[i].text != NULL ? "***"
                                                      : text_of(conf, i);
    }
    pair = find_passed(conf, name);
    if (pair == NULL)
        return NULL;
    return ot_conf_passed_secret(name) ? "***" : pair->value;
}

/* Index of a key that the caller knows to be there. */
static int known(const char *name, unsigned types)
{
    int i = ot_conf_find(name);

    assert(i >= 0 && (types & 1u << ot_conf_key_at((size_t)i)->type) != 0);
    (void)types;
    return i;
}

static int64_t number_of(const struct outtray_conf *conf, int i)
{
    return i >= 0 ? conf->values[i].number : 0;
}

const char *ot_conf_text(const struct outtray_conf *conf, const char *name)
{
    int i = known(name, 1u << OT_CONF_TEXT | 1u << OT_CONF_CHOICE);

    return i >= 0 ? text_of(conf, i) : NULL;
}

int64_t ot_conf_int(const struct outtray_conf *conf, const char *name)
{
    return number_of(conf,
                     known(name, 1u << OT_CONF_INT | 1u << OT_CONF_BYTES |
                                     1u << OT_CONF_MS | 1u << OT_CONF_CHOICE));
}

bool ot_conf_bool(const struct outtray_conf *conf, const char *name)
{
    return number_of(conf, known(name, 1u << OT_CONF_BOOL)) != 0;
}

int64_t ot_conf_us(const struct outtray_conf *conf, const char *name)
{
    return number_of(conf, known(name, 1u << OT_CONF_MS)) * 1000;
}

const char *ot_conf_secret(const struct outtray_conf *conf, const char *name)
{
    return ot_conf_text(conf, name);
}

bool ot_conf_is_set(const struct outtray_conf *conf, const char *name)
{
    int i = ot_conf_find(name);

    return i >= 0 ? conf->values[i].text != NULL
                  : find_passed(conf, name) != NULL;
}

int ot_conf_each_passed(const struct outtray_conf *conf, const char *prefix,
                        ot_conf_pair_fn *each, void *ctx)
{
    size_t n = strlen(prefix);

    for (size_t i = 0; i < conf->npassed; i++) {
        const struct ot_conf_passed *pair = &conf->passed[i];
        int rc;

        if (strncmp(pair->name, prefix, n) != 0)
            continue;
        rc = each(ctx, pair->name + n, pair->value);
        if (rc != 0)
            return rc;
    }
    return 0;
}
