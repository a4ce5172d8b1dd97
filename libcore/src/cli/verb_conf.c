#include "cli/cli.h"
#include "cli/conf_docs.h"
#include "cli/table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* Who set a key: the last of the sources that did. */
static const char *source_of(const struct ot_cli *cli, const char *name)
{
    char variable[96];
    const char *value;
    if (ot_cli_sets(cli, name))
        return "option";
    if (strcmp(name, "log.level") == 0 && (cli->quiet || cli->verbose))
        return "option";
    ot_conf_variable(name, variable, sizeof variable);
    value = getenv(variable);
    if (value != NULL && value[0] != '\0')
        return "environment";
    if (ot_conf_is_set(cli->conf, name))
        return "file";
    return "default";
}

/* The value for people: a URL without its password, another secret as ***.
 * Free with ot_free; NULL: not set. */
static char *value_of(struct ot_cli *cli, const char *name)
{
    size_t n = strlen(name);
    if (!ot_conf_is_set(cli->conf, name)) {
        const char *fallback = outtray_conf_get(cli->conf, name);
        return fallback != NULL ? ot_strdup(fallback) : NULL;
    }
    if (n > 4 && strcmp(name + n - 4, ".url") == 0)
        return ot_cli_url_text(cli, name);
    const char *value = outtray_conf_get(cli->conf, name);
    return value != NULL ? ot_strdup(value) : NULL;
}

/* fallback, doc: of keys.def; NULL for a setting of librdkafka. */
static int show_one(struct ot_cli *cli, const char *name, const char *fallback,
                    const char *doc)
{
    char *value = value_of(cli, name);
    if (cli->json) {
        ot_out_json(cli,
                    json_pack("{s:s,s:o,s:s,s:o,s:s?}", "key", name, "value",
                              ot_json_text(ot_slice_of(value)), "source",
                              source_of(cli, name), "default",
                              ot_json_text(ot_slice_of(fallback)), "doc", doc));
    } else {
        ot_out(cli, "%s\n", value != NULL ? value : "");
        ot_next(cli, "outtray conf --markdown (what every key means)");
    }
    ot_free(value);
    return 0;
}

static int show_key(struct ot_cli *cli, const struct ot_conf_key *key)
{
    return show_one(cli, key->name, key->fallback, key->doc);
}

static int find_one(struct ot_cli *cli, const char *name)
{
    const char *names[256];
    size_t n = ot_conf_count();
    for (size_t i = 0; i < n; i++) {
        if (strcmp(ot_conf_key_at(i)->name, name) == 0)
            return show_key(cli, ot_conf_key_at(i));
        if (i + 1 < OT_COUNT(names)) {
            names[i] = ot_conf_key_at(i)->name;
            names[i + 1] = NULL;
        }
    }
    if (ot_conf_is_set(cli->conf, name)) /* kafka.NAME */
        return show_one(cli, name, NULL, NULL);
    const char *near = ot_cli_nearest(name, names);
    return ot_fail(&cli->err, OUTTRAY_E_CONF, "%s: unknown key%s%s%s", name,
                   near != NULL ? ", did you mean " : "",
                   near != NULL ? near : "", near != NULL ? "?" : "");
}

static void add_row(struct ot_cli *cli, struct ot_table *table,
                    const char *name)
{
    char *value = value_of(cli, name);
    ot_table_add(table, name);
    ot_table_add(table, value != NULL ? value : "");
    ot_table_add(table, source_of(cli, name));
    ot_free(value);
}

struct passed {
    struct ot_cli *cli;
    struct ot_table *table;
};

static int each_passed(void *ctx, const char *name, const char *value)
{
    struct passed *passed = ctx;
    char key[200];
    (void)value; /* may be a password: value_of knows */
    snprintf(key, sizeof key, "kafka.%s", name);
    if (passed->cli->json)
        return show_one(passed->cli, key, NULL, NULL);
    add_row(passed->cli, passed->table, key);
    return 0;
}

static int show_all(struct ot_cli *cli)
{
    static const struct ot_column columns[] = {
        {"KEY", false}, {"VALUE", false}, {"SOURCE", false}};
    struct ot_table table = {.columns = columns, .ncolumns = OT_COUNT(columns)};
    for (size_t i = 0; i < ot_conf_count(); i++) {
        const struct ot_conf_key *key = ot_conf_key_at(i);
        if (cli->json)
            show_key(cli, key);
        else
            add_row(cli, &table, key->name);
    }
    (void)ot_conf_each_passed(cli->conf, "kafka.", each_passed,
                              &(struct passed){cli, &table});
    if (!cli->json) {
        ot_table_print(cli, &table);
        if (cli->conf_file[0] != '\0')
            ot_say(cli, "file: %s", cli->conf_file);
        ot_next(cli, "outtray conf --ini > outtray.ini");
    }
    ot_table_free(&table);
    return 0;
}

static void ini_key(struct ot_cli *cli, const struct ot_conf_key *key)
{
    const char *short_name = strchr(key->name, '.') + 1;
    char variable[96];
    ot_out(cli, "\n; %s\n", key->doc);
    if (key->flags & OT_CONF_SECRET) {
        ot_conf_variable(key->name, variable, sizeof variable);
        ot_out(cli, "; %s = env:NAME, or file:PATH, or %s in the environment\n",
               short_name, variable);
        return;
    }
    bool set = ot_conf_is_set(cli->conf, key->name);
    const char *value = outtray_conf_get(cli->conf, key->name);
    ot_out(cli, "%s%s = %s\n", set ? "" : "; ", short_name,
           value != NULL ? value : "");
}

static int show_ini(struct ot_cli *cli)
{
    const char *section = "";
    size_t n = 0;
    ot_out(cli, "; What is commented out has the value that is shown.\n");
    for (size_t i = 0; i < ot_conf_count(); i++) {
        const struct ot_conf_key *key = ot_conf_key_at(i);
        size_t length = strcspn(key->name, ".");
        if (length != n || strncmp(section, key->name, n) != 0) {
            section = key->name;
            n = length;
            ot_out(cli, "\n[%.*s]\n", (int)n, section);
        }
        ini_key(cli, key);
    }
    return 0;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    int rc = ot_cli_args(cli, argc, 0, 1);
    if (rc != 0)
        return rc;
    if (ot_cli_has(cli, "markdown")) {
        ot_conf_markdown(cli);
        return 0;
    }
    if (ot_cli_has(cli, "ini"))
        return show_ini(cli);
    return argc == 1 ? find_one(cli, argv[0]) : show_all(cli);
}

static const struct ot_cli_option options[] = {
    {"ini", 0, NULL, "a commented file with every key, to start from"},
    {"markdown", 0, NULL, "the reference page, docs/configuration.md"},
    {0},
};
static const int codes[] = {OUTTRAY_E_MISUSE, OUTTRAY_E_CONF, 0};

const struct ot_cli_verb ot_cli_verb_conf = {
    .name = "conf",
    .summary = "every setting, its value and who set it",
    .usage = "[KEY]",
    .purpose = "Reads the file, the environment and the options as every verb "
               "does, and prints what comes out. With KEY: its value alone. "
               "Passwords are never printed. With --json: one object a line "
               "with key, value, source, default and doc.",
    .options = options,
    .example = "outtray conf --ini > outtray.ini\n"
               "outtray conf relay.ordering",
    .codes = codes,
    .run = run,
};
