/* verb_demo.c - outtray demo: proof by trying to break it. */
#include "cli/cli.h"
#include "cli/demo/demo.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    int rc = ot_cli_args(cli, argc, 0, 0);

    (void)argv;
    if (rc != 0)
        return rc;
#ifdef OUTTRAY_WITH_KAFKA
    return demo_main(cli);
#else
    return ot_fail(&cli->err, OUTTRAY_E_UNSUPPORTED,
                   "the demo needs the Kafka sink, which was not built in");
#endif
}

static const struct ot_cli_option options[] = {
    {"transactions", 'n', "N", "business transactions in all (20000)"},
    {"writers", 0, "N", "processes that write, 1 to 16 (4)"},
    {"rate", 0, "N",
     "transactions a second, all together; 0: as fast as it "
     "goes (1500)"},
    {"kills", 0, "N", "how often the relay and a writer are killed (5)"},
    {"outage", 0, "TIME", "how long the broker is away; 0: never (2s)"},
    {"broker-down", 0, "COMMAND", "ends your own broker for the outage"},
    {"broker-up", 0, "COMMAND", "starts it again"},
    {"torture", 0, "TIME",
     "go on for so long, as 10m, with kills and pauses all the time, on your "
     "own "
     "database (--store) and broker (--sink)"},
    {"compare", 0, NULL,
     "first do the same as a dual write (publish after "
     "commit), and show its errors"},
    {"seed", 0, "N",
     "the same seed kills at the same transactions"
     " (by chance)"},
    {"keep", 0, NULL, "keep the scratch folder with its logs"},
    {0},
};

static const int codes[] = {
    OUTTRAY_E_BROKEN_PROMISE,
    OUTTRAY_E_MISUSE,
    OUTTRAY_E_STORE_UNAVAILABLE,
    OUTTRAY_E_SINK_UNAVAILABLE,
    OUTTRAY_E_UNSUPPORTED,
    OUTTRAY_E_INTERRUPTED,
    0,
};

const struct ot_cli_verb ot_cli_verb_demo = {
    .name = "demo",
    .group = "try it",
    .summary = "kill an order service while it works, and count what arrives",
    .purpose =
        "Plays an order service: several processes change orders and enqueue "
        "an event for each change in the same transaction; a tenth of the "
        "transactions is rolled back, a tenth rolls a savepoint back. Relay "
        "and writers are killed with SIGKILL while they work, and the broker "
        "goes away for a while. A consumer reads the topic; what it saw is "
        "compared with the business tables.\n\n"
        "Without --store it works on an SQLite file, without --sink on a small "
        "Kafka embedded for the demo (librdkafka's mock cluster: real "
        "protocol, memory only, 5 MiB per partition); both are gone "
        "afterwards. With them it makes an outbox and a topic with names of "
        "its own on your servers, and removes them, also after Ctrl-C. "
        "Configuration files and environment are ignored.\n\n"
        "--torture is the same check for as long as you want: every few "
        "seconds a writer or the relay is killed, or the relay is paused "
        "beyond its lease, wakes up as a zombie and is killed then; with "
        "--broker-down and --broker-up the broker goes away every minute.\n\n"
        "With --json: one object with committed, delivered, lost, ghosts, "
        "duplicates, out_of_order, relay_kills, writer_kills, relay_pauses, "
        "broker_outages, rolled_back, savepoints_rolled_back, seconds, "
        "events_per_s, p50_ms, p99_ms and seed; with --compare also "
        "dual_write, which has the same without seed.",
    .options = options,
    .example = "outtray demo\n"
               "outtray demo --compare\n"
               "outtray demo --store postgresql://postgres@127.0.0.1/shop "
               "--sink kafka://127.0.0.1:9092\n"
               "outtray demo --torture 10m --store "
               "postgresql://postgres@127.0.0.1/shop --sink "
               "kafka://127.0.0.1:9092",
    .codes = codes,
    .flags = OT_CLI_NO_CONF,
    .run = run,
};
