/* store.c - which store a URL means.
 *
 * A row has both halves: what the relay uses and what people use. Either may
 * be missing, then the message says so.
 */
#include "store/stores.h"

struct choice {
    const char *scheme;
    const struct ot_store_ops *store;
    const struct ot_admin_ops *admin;
};

static const struct choice choices[] = {
#ifdef OUTTRAY_WITH_POSTGRES
    {"postgresql", &ot_postgres_store_ops, &ot_postgres_admin_ops},
    {"postgres", &ot_postgres_store_ops, &ot_postgres_admin_ops},
#endif
    {"sqlite", &ot_sqlite_store_ops, &ot_sqlite_admin_ops},
    {"memory", &ot_memory_store_ops, NULL},
};

static int choose(const struct outtray_conf *conf, const struct choice **out,
                  struct outtray_error *err)
{
    struct ot_url url;
    const char *text = ot_conf_secret(conf, "store.url");
    int code;

    *out = NULL;
    if (text == NULL || *text == '\0')
        return ot_fail(err, OUTTRAY_E_CONF,
                       "store.url is not set: say where the outbox lives, "
                       "e.g. postgresql://user@host/database or "
                       "sqlite:///path/to/file.db");
    code = ot_url_parse(text, &url, err);
    if (code != 0)
        return ot_fail_context(err, code, "store.url");
    for (size_t i = 0; i < OT_COUNT(choices); i++)
        if (strcmp(choices[i].scheme, url.scheme) == 0)
            *out = &choices[i];
    if (*out == NULL) {
#ifndef OUTTRAY_WITH_POSTGRES
        if (strncmp(url.scheme, "postgres", 8) == 0)
            code = ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                           "store.url: this library was built without "
                           "PostgreSQL; install one with it");
        else
#endif
            code = ot_fail(err, OUTTRAY_E_URL,
                           "store.url: unknown scheme \"%s\"; known are "
                           "postgresql and sqlite%s",
                           url.scheme,
                           strchr(url.scheme, '+') != NULL
                               ? ", without the driver behind a +"
                               : "");
    }
    ot_url_free(&url);
    return code;
}

int ot_store_open(struct ot_store **out, const struct outtray_conf *conf,
                  struct ot_uuid owner, const struct ot_log *log,
                  struct outtray_error *err)
{
    const struct choice *choice;
    int code = choose(conf, &choice, err);

    *out = NULL;
    if (choice == NULL)
        return code;
    if (choice->store == NULL)
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "store.url: this library cannot relay from a %s store",
                       choice->scheme);
    return choice->store->open(out, conf, owner, log, err);
}

int ot_admin_open(struct ot_admin **out, const struct outtray_conf *conf,
                  struct outtray_error *err)
{
    const struct choice *choice;
    int code = choose(conf, &choice, err);

    *out = NULL;
    if (choice == NULL)
        return code;
    if (choice->admin == NULL)
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "store.url: a %s store lives in the memory of one "
                       "process, no command can reach it",
                       choice->scheme);
    return choice->admin->open(out, conf, err);
}
