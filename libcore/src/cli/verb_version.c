/* Versions as compiled and as loaded: they differ more often than people
 * think, and reports of faults need both. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "cli/cli.h"

#include <dlfcn.h>
#include <stdio.h>

#include <sqlite3.h>
#include <uv.h>
#ifdef OUTTRAY_WITH_POSTGRES
#include <libpq-fe.h>
#include <pg_config.h>
#endif
#ifdef OUTTRAY_WITH_KAFKA
#include <librdkafka/rdkafka.h>
#endif

struct library {
    const char *name;
    char compiled[48];
    char loaded[48]; /* "": not in this process */
};

/* SQLite is the host's: whichever copy this process has. */
static const char *sqlite_loaded(void)
{
    const char *(*version)(void) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "sqlite3_libversion");
    if (found == NULL)
        return "";
    memcpy(&version, &found, sizeof version); /* ISO C has no such cast */
    return version();
}

#ifdef OUTTRAY_WITH_POSTGRES
static void postgres_version(int number, char *out, size_t size)
{
    snprintf(out, size, "%d.%d", number / 10000, number % 10000);
}
#endif

#ifdef OUTTRAY_WITH_KAFKA
static void kafka_version(int number, char *out, size_t size)
{
    snprintf(out, size, "%d.%d.%d", number >> 24 & 0xff, number >> 16 & 0xff,
             number >> 8 & 0xff);
}
#endif

static size_t look(struct library *out)
{
    size_t n = 0;
#ifdef OUTTRAY_WITH_POSTGRES
    out[n].name = "libpq";
    postgres_version(PG_VERSION_NUM, out[n].compiled, sizeof out->compiled);
    postgres_version(PQlibVersion(), out[n++].loaded, sizeof out->loaded);
#endif
    out[n].name = "sqlite";
    snprintf(out[n].compiled, sizeof out->compiled, "%s", SQLITE_VERSION);
    snprintf(out[n++].loaded, sizeof out->loaded, "%s", sqlite_loaded());
#ifdef OUTTRAY_WITH_KAFKA
    out[n].name = "librdkafka";
    kafka_version(RD_KAFKA_VERSION, out[n].compiled, sizeof out->compiled);
    kafka_version(rd_kafka_version(), out[n++].loaded, sizeof out->loaded);
#endif
    out[n].name = "libuv";
    snprintf(out[n].compiled, sizeof out->compiled, "%d.%d.%d",
             UV_VERSION_MAJOR, UV_VERSION_MINOR, UV_VERSION_PATCH);
    snprintf(out[n++].loaded, sizeof out->loaded, "%s", uv_version_string());
    out[n].name = "jansson";
    snprintf(out[n].compiled, sizeof out->compiled, "%s", JANSSON_VERSION);
    snprintf(out[n++].loaded, sizeof out->loaded, "%s", jansson_version_str());
    return n;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    (void)argv;
    int rc =
        cli->verb == &ot_cli_verb_version ? ot_cli_args(cli, argc, 0, 0) : 0;
    if (rc != 0)
        return rc;
    struct library libraries[8] = {0};
    size_t n = look(libraries);
    if (!cli->json) {
        ot_out(cli, "outtray %s\n", outtray_version());
        for (size_t i = 0; i < n; i++)
            ot_out(cli, "  %-11s %s%s%s\n", libraries[i].name,
                   libraries[i].loaded[0] != '\0' ? libraries[i].loaded
                                                  : "not loaded",
                   strcmp(libraries[i].loaded, libraries[i].compiled) != 0
                       ? ", compiled with "
                       : "",
                   strcmp(libraries[i].loaded, libraries[i].compiled) != 0
                       ? libraries[i].compiled
                       : "");
        return 0;
    }
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(all, libraries[i].name,
                            json_pack("{s:s,s:s}", "compiled",
                                      libraries[i].compiled, "loaded",
                                      libraries[i].loaded));
    ot_out_json(cli, json_pack("{s:s,s:s,s:o}", "version", outtray_version(),
                               "compiled", OUTTRAY_VERSION, "libraries", all));
    return 0;
}

static const int codes[] = {OUTTRAY_E_MISUSE, 0};

const struct ot_cli_verb ot_cli_verb_version = {
    .name = "version",
    .summary = "versions of outtray and of the libraries it runs with",
    .purpose = "Each library with the version that is loaded, and with the one "
               "it was compiled with where they differ.",
    .example = "outtray version --json",
    .codes = codes,
    .flags = OT_CLI_NO_CONF,
    .run = run,
};
