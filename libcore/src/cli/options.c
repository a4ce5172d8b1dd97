/* options.c - what was typed, sorted. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct ot_cli_option ot_cli_global_options[] = {
    {"store", 0, "URL", "where the outbox lives (store.url)"},
    {"sink", 0, "URL", "where events go (sink.url)"},
    {"outbox", 0, "NAME", "schema or table prefix (store.outbox)"},
    {"subscription", 0, "NAME",
     "whose cursor and held events "
     "(relay.subscription)"},
    {"config", 0, "FILE", "INI file to read"},
    {"set", 0, "KEY=VALUE",
     "any key of the configuration; --KEY VALUE is the "
     "same"},
    {"json", 0, NULL, "objects on standard output, one a line"},
    {"quiet", 'q', NULL, "no hints, no progress, only warnings"},
    {"verbose", 'v', NULL, "debug lines too"},
    {"help", 'h', NULL, "this text"},
    {"version", 0, NULL, "the same as the verb version"},
    {0},
};

static const char *const keys_of_options[][2] = {
    {"store", "store.url"},
    {"sink", "sink.url"},
    {"outbox", "store.outbox"},
    {"subscription", "relay.subscription"},
};

const struct ot_cli_verb *ot_cli_verb_find(const char *name)
{
    for (size_t i = 0; ot_cli_verbs[i] != NULL; i++) {
        if (strcmp(ot_cli_verbs[i]->name, name) == 0)
            return ot_cli_verbs[i];
    }
    return NULL;
}

const char *ot_cli_verb_near(const char *typed)
{
    const char *names[64];
    size_t n = 0;
    for (; ot_cli_verbs[n] != NULL && n + 1 < OT_COUNT(names); n++)
        names[n] = ot_cli_verbs[n]->name;
    names[n] = NULL;
    return ot_cli_nearest(typed, names);
}

/* --- what was given ------------------------------------------------------ */

const char *ot_cli_get(const struct ot_cli *cli, const char *name)
{
    for (size_t i = cli->ngiven; i-- > 0;) {
        if (strcmp(cli->given[i].option->name, name) == 0)
            return cli->given[i].value;
    }
    return NULL;
}

bool ot_cli_has(const struct ot_cli *cli, const char *name)
{
    return ot_cli_get(cli, name) != NULL;
}

const char *ot_cli_get_nth(const struct ot_cli *cli, const char *name, size_t n)
{
    for (size_t i = 0; i < cli->ngiven; i++) {
        if (strcmp(cli->given[i].option->name, name) == 0 && n-- == 0)
            return cli->given[i].value;
    }
    return NULL;
}

int ot_cli_get_int(struct ot_cli *cli, const char *name, int64_t fallback,
                   int64_t min, int64_t max, int64_t *out)
{
    const char *text = ot_cli_get(cli, name);
    *out = fallback;
    if (text == NULL)
        return 0;
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n < min || n > max)
        return ot_cli_misuse(cli,
                             "--%s %s: not a whole number from %lld to %lld",
                             name, text, (long long)min, (long long)max);
    *out = n;
    return 0;
}

int ot_cli_get_us(struct ot_cli *cli, const char *name, int64_t fallback,
                  int64_t *out)
{
    const char *text = ot_cli_get(cli, name);
    *out = fallback;
    if (text == NULL)
        return 0;
    *out = 0;
    if (strcmp(text, "0") == 0)
        return 0; /* needs no unit */
    char relative[64];
    snprintf(relative, sizeof relative, "+%s", text);
    if (ot_time_parse(relative, 0, out, NULL) != 0 || *out < 0)
        return ot_cli_misuse(cli,
                             "--%s %s: not a duration such as 90s, 5m, 24h "
                             "or 7d",
                             name, text);
    return 0;
}

bool ot_cli_sets(const struct ot_cli *cli, const char *key)
{
    for (size_t i = 0; i < cli->nset; i++) {
        if (strcmp(cli->set[i].name, key) == 0)
            return true;
    }
    return false;
}

/* --- parsing ------------------------------------------------------------- */

static int add_setting(struct ot_cli *cli, const char *name, size_t n,
                       const char *value)
{
    char *copy = ot_strndup(name, n);
    if (copy == NULL)
        return ot_fail_nomem(&cli->err);
    cli->set[cli->nset++] = (struct ot_cli_setting){copy, value};
    return 0;
}

static const struct ot_cli_option *find_in(const struct ot_cli_option *options,
                                           const char *name, size_t n)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (strlen(options->name) == n && strncmp(options->name, name, n) == 0)
            return options;
    }
    return NULL;
}

static const struct ot_cli_option *
find_letter(const struct ot_cli_option *options, char letter)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (options->letter == letter)
            return options;
    }
    return NULL;
}

static bool is_long(const struct ot_cli *cli, const char *name)
{
    size_t n = strcspn(name, "=");
    return (cli->verb != NULL && find_in(cli->verb->options, name, n)) ||
           find_in(ot_cli_global_options, name, n);
}

static int unknown_option(struct ot_cli *cli, const char *name, size_t n)
{
    const char *names[128];
    size_t count = 0;
    const struct ot_cli_option *lists[] = {
        cli->verb != NULL ? cli->verb->options : NULL, ot_cli_global_options};
    for (size_t l = 0; l < OT_COUNT(lists); l++) {
        for (const struct ot_cli_option *o = lists[l];
             o != NULL && o->name != NULL && count + 1 < OT_COUNT(names); o++)
            names[count++] = o->name;
    }
    names[count] = NULL;
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)(n > 60 ? 60 : n), name);
    const char *near = ot_cli_nearest(typed, names);
    if (near != NULL)
        return ot_cli_misuse(cli, "unknown option --%s, did you mean --%s?",
                             typed, near);
    return ot_cli_misuse(cli, "unknown option --%s", typed);
}

/* Notes an option; what it means to the configuration is noted as well. */
static int take(struct ot_cli *cli, const struct ot_cli_option *option,
                const char *value)
{
    cli->given[cli->ngiven++] = (struct ot_cli_given){option, value};
    if (find_in(ot_cli_global_options, option->name, strlen(option->name)) !=
        option)
        return 0;
    for (size_t i = 0; i < OT_COUNT(keys_of_options); i++) {
        const char *key = keys_of_options[i][1];
        if (strcmp(option->name, keys_of_options[i][0]) == 0)
            return add_setting(cli, key, strlen(key), value);
    }
    if (strcmp(option->name, "set") == 0) {
        const char *equals = strchr(value, '=');
        if (equals == NULL || equals == value)
            return ot_cli_misuse(cli, "--set %s: not KEY=VALUE", value);
        return add_setting(cli, value, (size_t)(equals - value), equals + 1);
    }
    cli->json |= strcmp(option->name, "json") == 0;
    cli->quiet |= strcmp(option->name, "quiet") == 0;
    cli->verbose |= strcmp(option->name, "verbose") == 0;
    return 0;
}

/* argv[*i] is "--something"; takes the next one too if it is the value. */
static int parse_long(struct ot_cli *cli, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t n = strcspn(name, "=");
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    const struct ot_cli_option *option = NULL;
    if (cli->verb != NULL)
        option = find_in(cli->verb->options, name, n);
    if (option == NULL)
        option = find_in(ot_cli_global_options, name, n);
    bool key = option == NULL && memchr(name, '.', n) != NULL;
    if (option == NULL && !key)
        return unknown_option(cli, name, n);
    if (option != NULL && option->value == NULL) {
        if (value != NULL)
            return ot_cli_misuse(cli, "--%s takes no value", option->name);
        return take(cli, option, "");
    }
    if (value == NULL) {
        if (*i + 1 >= argc)
            return ot_cli_misuse(cli, "--%.*s needs a value%s%s", (int)n, name,
                                 option != NULL ? ": " : "",
                                 option != NULL ? option->value : "");
        value = argv[++*i];
    }
    return key ? add_setting(cli, name, n, value) : take(cli, option, value);
}

/* "-v", "-qv", "-n5", "-n 5"; but "-watch" was meant to be --watch. */
static int parse_short(struct ot_cli *cli, int argc, char **argv, int *i)
{
    if (argv[*i][2] != '\0' && is_long(cli, argv[*i] + 1))
        return ot_cli_misuse(cli, "unknown option %s, did you mean -%s?",
                             argv[*i], argv[*i]);
    for (const char *p = argv[*i] + 1; *p != '\0'; p++) {
        const struct ot_cli_option *option = NULL;
        if (cli->verb != NULL)
            option = find_letter(cli->verb->options, *p);
        if (option == NULL)
            option = find_letter(ot_cli_global_options, *p);
        if (option == NULL)
            return ot_cli_misuse(cli, "unknown option -%c", *p);
        if (option->value == NULL) {
            int rc = take(cli, option, "");
            if (rc != 0)
                return rc;
            continue;
        }
        if (p[1] != '\0')
            return take(cli, option, p + 1);
        if (*i + 1 >= argc)
            return ot_cli_misuse(cli, "-%c needs a value: %s", *p,
                                 option->value);
        return take(cli, option, argv[++*i]);
    }
    return 0;
}

static int take_verb(struct ot_cli *cli, const char *name)
{
    cli->verb = ot_cli_verb_find(name);
    if (cli->verb != NULL)
        return 0;
    const char *near = ot_cli_verb_near(name);
    ot_cli_fix(cli, "outtray --help");
    if (near != NULL)
        return ot_fail(&cli->err, OUTTRAY_E_MISUSE,
                       "unknown verb %s, did you mean %s?", name, near);
    return ot_fail(&cli->err, OUTTRAY_E_MISUSE, "unknown verb %s", name);
}

int ot_cli_parse(struct ot_cli *cli, int argc, char **argv)
{
    size_t most = (size_t)argc * 8 + 8; /* letters may be bundled */
    for (int i = 1; i < argc; i++)
        most += argv[i][0] == '-' ? strlen(argv[i]) : 0;
    cli->given = ot_alloc_zero(most, sizeof *cli->given);
    cli->set = ot_alloc_zero((size_t)argc + 1, sizeof *cli->set);
    cli->args = ot_alloc_zero((size_t)argc + 1, sizeof *cli->args);
    if (cli->given == NULL || cli->set == NULL || cli->args == NULL)
        return ot_fail_nomem(&cli->err);
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        int rc = 0;
        if (options && strcmp(arg, "--") == 0)
            options = false;
        else if (options && strncmp(arg, "--", 2) == 0)
            rc = parse_long(cli, argc, argv, &i);
        else if (options && arg[0] == '-' && arg[1] != '\0')
            rc = parse_short(cli, argc, argv, &i);
        else if (cli->verb == NULL)
            rc = take_verb(cli, arg);
        else
            cli->args[cli->nargs++] = argv[i];
        if (rc != 0)
            return rc;
    }
    return 0;
}

int ot_cli_args(struct ot_cli *cli, int argc, int min, int max)
{
    if (argc < min)
        return ot_cli_misuse(cli, "an argument is missing: %s",
                             cli->verb->usage);
    if (max >= 0 && argc > max)
        return ot_cli_misuse(cli, "one argument too many: %s", cli->args[max]);
    return 0;
}
