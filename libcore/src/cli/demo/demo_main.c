/* demo_main.c - sets the demo up, runs it once or twice, cleans up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/demo/chaos.h"
#include "cli/demo/demo.h"
#include "cli/signals.h"

/* --- setting up ------------------------------------------------------------ */

/* So many that no time is long enough. */
#define ENDLESS INT64_C(1000000000000)

static int torture_options(struct ot_cli *cli, struct demo *demo)
{
    if (ot_cli_has(cli, "transactions") || ot_cli_has(cli, "kills") ||
        ot_cli_has(cli, "compare"))
        return ot_cli_misuse(cli, "--torture goes on for its time: "
                                  "--transactions, --kills and --compare do "
                                  "not go with it");
    if (demo->own_broker) {
        ot_cli_fix(cli, "outtray demo --torture 10m --sink kafka://HOST:PORT");
        return ot_fail(&cli->err, OUTTRAY_E_MISUSE,
                       "--torture needs a broker of your own (--sink): the "
                       "embedded one keeps all in memory, and not much of it");
    }
    demo->transactions = ENDLESS;
    demo->kills = 0;
    return 0;
}

static int read_options(struct ot_cli *cli, struct demo *demo)
{
    int64_t writers, kills, seed;
    int rc;

    rc = ot_cli_get_int(cli, "transactions", 20000, 1, 100000000,
                        &demo->transactions);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "writers", 4, 1, DEMO_WRITERS_MAX, &writers);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "rate", 1500, 0, 1000000, &demo->per_s);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "kills", 5, 0, CHAOS_KILLS_MAX, &kills);
    if (rc == 0)
        rc = ot_cli_get_us(cli, "outage", 2000000, &demo->outage_us);
    if (rc == 0)
        rc = ot_cli_get_us(cli, "torture", 0, &demo->torture_us);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "seed", ot_wall_us() / 1000 % 1000000, 0,
                            INT64_MAX, &seed);
    if (rc != 0)
        return rc;
    demo->writers = (int)writers;
    demo->kills = (int)kills;
    demo->seed = (uint64_t)seed;
    demo->down = ot_cli_get(cli, "broker-down");
    demo->up = ot_cli_get(cli, "broker-up");
    if ((demo->down == NULL) != (demo->up == NULL))
        return ot_cli_misuse(cli, "--broker-down and --broker-up go together");
    if (!demo->own_broker && demo->down == NULL)
        demo->outage_us = 0; /* nobody told how to take it down */
    return demo->torture_us > 0 ? torture_options(cli, demo) : 0;
}

/* The settings of the run: what options said, and nothing of a configuration
 * file or the environment, which may name a production database. */
static int make_conf(struct ot_cli *cli, struct demo *demo)
{
    static const char *const ours[][2] = {
        {"relay.lease_ttl_ms", "1s"}, /* a killed relay is replaced soon */
        {"relay.cursor_ms", "20"},    {"breaker.min_ms", "100"},
        {"breaker.max_ms", "500"},    {"log.level", "debug"},
    };
    int rc = 0;

    demo->conf = outtray_conf_new();
    if (demo->conf == NULL)
        return ot_fail_nomem(&cli->err);
    for (size_t i = 0; rc == 0 && i < OT_COUNT(ours); i++)
        rc = outtray_conf_set(demo->conf, ours[i][0], ours[i][1], &cli->err);
    demo->own_store = true;
    demo->own_broker = true;
    for (size_t i = 0; rc == 0 && i < cli->nset; i++) {
        rc = outtray_conf_set(demo->conf, cli->set[i].name, cli->set[i].value,
                              &cli->err);
        if (strcmp(cli->set[i].name, "store.url") == 0)
            demo->own_store = false;
        if (strcmp(cli->set[i].name, "sink.url") == 0)
            demo->own_broker = false;
    }
    if (rc == 0 && !demo->own_broker &&
        strncmp(ot_conf_secret(demo->conf, "sink.url"), "kafka:", 6) != 0)
        rc = ot_cli_misuse(cli, "the demo reads the events back, and can do so "
                                "from kafka:// only");
    return rc;
}

static int make_dir(struct ot_cli *cli, struct demo *demo)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(demo->dir, sizeof(demo->dir), "%s/outtray-demo-XXXXXX",
             tmp != NULL && *tmp != '\0' && strlen(tmp) < 200 ? tmp : "/tmp");
    if (mkdtemp(demo->dir) == NULL) {
        ot_fail(&cli->err, OUTTRAY_E_IO, "%s: %s", demo->dir, strerror(errno));
        demo->dir[0] = '\0';
        return OUTTRAY_E_IO;
    }
    return 0;
}

/* Names of one run; a fresh outbox and topic each, so that two demos, or a
 * demo and somebody's outbox, cannot meet. */
static int name_run(struct ot_cli *cli, struct demo *demo)
{
    char url[320];
    uint32_t tag;
    int rc;

    if (ot_random_bytes(&tag, sizeof(tag)) != 0)
        return ot_fail_random(&cli->err);
    snprintf(demo->outbox, sizeof(demo->outbox), "outtray_demo_%08x", tag);
    snprintf(demo->topic, sizeof(demo->topic), "outtray_demo_%08x", tag);
    rc = outtray_conf_set(demo->conf, "store.outbox", demo->outbox, &cli->err);
    if (rc != 0 || !demo->own_store)
        return rc;
    snprintf(url, sizeof(url), "sqlite://%s/shop-%08x.db", demo->dir, tag);
    return outtray_conf_set(demo->conf, "store.url", url, &cli->err);
}

static int make_board(struct ot_cli *cli, struct demo *demo)
{
    void *shared = mmap(NULL, sizeof(*demo->board), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return ot_fail(&cli->err, OUTTRAY_E_NOMEM, "shared memory: %s",
                       strerror(errno));
    demo->board = shared;
    return 0;
}

static void clean_up(struct ot_cli *cli, struct demo *demo, int rc)
{
    char command[320];

    if (demo->board != NULL)
        munmap(demo->board, sizeof(*demo->board));
    outtray_conf_free(demo->conf);
    if (demo->dir[0] == '\0')
        return;
    /* What failed may be in its logs. */
    if ((rc != 0 && rc != OUTTRAY_E_INTERRUPTED) || ot_cli_has(cli, "keep")) {
        ot_say(cli, "kept: %s", demo->dir);
        return;
    }
    /* mkdtemp made the name: nothing in it needs quoting but TMPDIR. */
    snprintf(command, sizeof(command), "rm -rf -- '%s'", demo->dir);
    if (strchr(demo->dir, '\'') != NULL || system(command) != 0) /* NOLINT */
        ot_say(cli, "left behind: %s", demo->dir);
}

/* --- both modes ------------------------------------------------------------ */

static int run_mode(struct demo *demo, enum demo_mode mode,
                    struct demo_result *out)
{
    int rc = name_run(demo->cli, demo);

    demo->mode = mode;
    return rc == 0 ? demo_run(demo, out) : rc;
}

static int run_demo(struct ot_cli *cli, struct demo *demo)
{
    const bool compare = ot_cli_has(cli, "compare");
    struct demo_result ours, naive;
    char lasts[32];
    int rc;

    if (demo->torture_us > 0)
        ot_say(cli,
               "An order service on %s, events to your Kafka. For %s "
               "relays and writers are killed and paused, seed %llu.",
               demo->own_store ? "SQLite" : "your database",
               ot_duration_text(demo->torture_us, lasts),
               (unsigned long long)demo->seed);
    else
        ot_say(cli,
               "An order service on %s, events to %s.\n%lld transactions by %d "
               "processes, %d kills%s, seed %llu.",
               demo->own_store ? "SQLite" : "your database",
               demo->own_broker ? "a broker embedded for the demo"
                                : "your Kafka",
               (long long)demo->transactions, demo->writers, demo->kills,
               demo->outage_us > 0 ? ", one broker outage" : "",
               (unsigned long long)demo->seed);
    if (compare) {
        ot_say(cli, "First as a dual write: commit, then publish.");
        rc = run_mode(demo, DEMO_DUAL_WRITE, &naive);
        if (rc != 0)
            return rc;
        ot_say(cli, "Now through the outbox.");
    }
    rc = run_mode(demo, DEMO_OUTTRAY, &ours);
    if (rc != 0)
        return rc;
    demo_tell(cli, demo, &ours, compare ? &naive : NULL);
    if (ours.lost + ours.ghosts + ours.out_of_order == 0)
        return 0;
    return ot_fail(&cli->err, OUTTRAY_E_BROKEN_PROMISE,
                   "%lld lost, %lld ghosts, %lld out of order: please report "
                   "it with the seed %llu and the folder %s",
                   (long long)ours.lost, (long long)ours.ghosts,
                   (long long)ours.out_of_order, (unsigned long long)demo->seed,
                   demo->dir);
}

int demo_main(struct ot_cli *cli)
{
    struct demo demo = {.cli = cli};
    int rc = make_conf(cli, &demo);

    if (rc == 0)
        rc = read_options(cli, &demo);
    if (rc == 0)
        rc = make_dir(cli, &demo);
    if (rc == 0)
        rc = make_board(cli, &demo);
    if (rc == 0) {
        ot_cli_signals_careful(NULL, NULL);
        rc = run_demo(cli, &demo);
    }
    clean_up(cli, &demo, rc);
    return rc;
}
