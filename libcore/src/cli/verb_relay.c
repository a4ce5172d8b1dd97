#include "cli/cli.h"
#include "cli/cli_log.h"
#include "cli/signals.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "outtray/relay.h"

struct running {
    struct ot_cli *cli;
    struct ot_cli_log log;
    struct outtray_relay *relay;
    bool to_stdout;   /* the sink writes to standard output */
    int64_t drawn_us; /* when the progress line was drawn */
    uint64_t drawn;   /* delivered by then */
    int64_t begun_us;
};

/* Nobody reads standard output any more. */
static bool output_closed(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};
    return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLERR | POLLNVAL)) != 0;
}

/* Whoever ended `outtray relay --sink stdout: | head` knows it. */
static void write_log(void *ctx, enum outtray_log_level level,
                      const char *facility, const char *text)
{
    struct running *run = ctx;
    if (!run->to_stdout || !output_closed())
        ot_cli_log_write(&run->log, level, facility, text);
}

static void draw(struct running *run)
{
    struct outtray_relay_stats stats;
    char delivered[32], held[32];
    int64_t now = ot_now_us();
    if (!run->cli->term.err || (run->to_stdout && run->cli->term.out) ||
        now - run->drawn_us < 1000000)
        return;
    outtray_relay_stats(run->relay, &stats);
    double rate = (double)(stats.delivered - run->drawn) * 1e6 /
                  (double)(now - run->drawn_us);
    run->drawn_us = now;
    run->drawn = stats.delivered;
    ot_progress(run->cli,
                "%s delivered, %.0f/s, window %u, held %s, seq "
                "%lld of %lld%s%s",
                ot_number_text((int64_t)stats.delivered, delivered), rate,
                stats.window, ot_number_text(stats.held, held),
                (long long)stats.position, (long long)stats.last_seq,
                strcmp(stats.stall, "none") != 0 ? ", waiting: " : "",
                strcmp(stats.stall, "none") != 0 ? stats.stall : "");
}

static int loop(struct running *run)
{
    bool stopped = false;
    bool look = run->to_stdout || run->cli->term.err;
    for (;;) {
        int rc =
            outtray_relay_step(run->relay, look ? 250 : -1, &run->cli->err);
        if (rc <= 0)
            return rc;
        if (run->to_stdout && !stopped && output_closed()) {
            outtray_relay_stop(run->relay);
            stopped = true;
        }
        draw(run);
    }
}

static void summary(struct running *run, int rc)
{
    struct ot_cli *cli = run->cli;
    struct outtray_relay_stats s;
    char delivered[32], time[32];
    int64_t took = ot_now_us() - run->begun_us;
    outtray_relay_stats(run->relay, &s);
    if (cli->json && !run->to_stdout) {
        ot_out_json(cli,
                    json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:f}", "delivered",
                              (json_int_t)s.delivered, "failed",
                              (json_int_t)s.failed, "dead", (json_int_t)s.dead,
                              "pruned", (json_int_t)s.pruned, "position",
                              (json_int_t)s.position, "last_seq",
                              (json_int_t)s.last_seq, "held", (int)s.held,
                              "seconds", (double)took / 1e6));
        return;
    }
    if (rc != 0 || (run->to_stdout && output_closed()))
        return;
    ot_say(cli, "%s %s delivered in %s, %u held, %llu given up on%s",
           ot_number_text((int64_t)s.delivered, delivered),
           ot_events_word((int64_t)s.delivered), ot_duration_text(took, time),
           s.held, (unsigned long long)s.dead,
           ot_cli_has(cli, "until-empty") && s.held > 0 ? ": not empty" : "");
    if (s.dead > 0)
        ot_next(cli, "outtray dead%s", ot_cli_same(cli));
    else
        ot_next(cli, "outtray status%s", ot_cli_same(cli));
}

static void stop(void *relay)
{
    outtray_relay_stop(relay);
}

/* Standard output has what it was given, or nobody reads it: waiting for long
 * helps nobody. */
static int hurry(struct ot_cli *cli)
{
    static const char *const keys[][2] = {{"relay.stop_soft_ms", "500"},
                                          {"relay.stop_hard_ms", "1s"}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < OT_COUNT(keys); i++) {
        if (!ot_conf_is_set(cli->conf, keys[i][0]))
            rc = outtray_conf_set(cli->conf, keys[i][0], keys[i][1], &cli->err);
    }
    return rc;
}

static bool sink_is(const struct ot_cli *cli, const char *scheme)
{
    return strncmp(ot_conf_secret(cli->conf, "sink.url"), scheme,
                   strlen(scheme)) == 0;
}

static int check_sink(struct ot_cli *cli)
{
    if (!ot_conf_is_set(cli->conf, "sink.url")) {
        ot_cli_fix(cli, "--sink stdout: to see the events, or --sink "
                        "kafka://HOST:PORT");
        return ot_fail(&cli->err, OUTTRAY_E_CONF,
                       "no sink is named: give --sink URL, or set "
                       "OUTTRAY_SINK_URL or sink.url in a file");
    }
    if (!sink_is(cli, "script:"))
        return 0;
    ot_cli_fix(cli, "--sink stdout: to see the events");
    return ot_fail(&cli->err, OUTTRAY_E_MISUSE,
                   "sink.url: the events of script: are taken by the program "
                   "that runs the relay, which this one does not do");
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct running run = {.cli = cli, .begun_us = ot_now_us()};
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = check_sink(cli);
    if (rc != 0)
        return rc;
    ot_cli_log_init(&run.log, cli);
    run.to_stdout = sink_is(cli, "stdout");
    rc = run.to_stdout ? hurry(cli) : 0;
    if (rc != 0)
        return rc;
    rc = outtray_relay_open(&run.relay, cli->conf, write_log, &run, &cli->err);
    if (rc != 0)
        return rc;
    run.drawn_us = run.begun_us;
    if (ot_cli_has(cli, "until-empty"))
        outtray_relay_until_empty(run.relay);
    ot_cli_signals_careful(stop, run.relay);
    rc = loop(&run);
    ot_cli_signals_careful(NULL, NULL);
    summary(&run, rc);
    outtray_relay_close(run.relay);
    return rc;
}

static const struct ot_cli_option options[] = {
    {"until-empty", 0, NULL,
     "end, with 0, once nothing is left to deliver but what is dead, scheduled "
     "or behind a dead one of its key (held, in --json)"},
    {0},
};
static const int codes[] = {
    OUTTRAY_E_MISUSE,          OUTTRAY_E_CONF,
    OUTTRAY_E_STORE_AUTH,      OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_NO_SCHEMA, OUTTRAY_E_STORE_VERSION,
    OUTTRAY_E_STORE_CONDITION, OUTTRAY_E_STORE_BEHIND,
    OUTTRAY_E_INTERRUPTED,     0,
};

const struct ot_cli_verb ot_cli_verb_relay = {
    .name = "relay",
    .summary = "publish committed events to the sink, until it is stopped",
    .purpose =
        "Serves one subscription. Any number of relays may run: one owns the "
        "subscription, the others wait and take over. It never ends because "
        "the database or the broker is away: it says so once, tries again with "
        "growing pauses, and goes on by itself.\n\n"
        "SIGTERM, SIGINT and SIGHUP: it reads no more, waits for what is under "
        "way "
        "(relay.stop_soft_ms), writes its cursor, gives the subscription back "
        "and ends with 0, in less than 10 seconds. A second signal ends it at "
        "once with 130; nothing is lost, what was under way is sent again.\n\n"
        "The log goes to standard error: text on a terminal, else one JSON "
        "object a line (log.format, log.level). With --json: one object at "
        "the end, unless the sink is stdout:, with delivered, failed, dead, "
        "pruned, position, last_seq, held and seconds.",
    .options = options,
    .example = "outtray relay --sink stdout: --until-empty\n"
               "outtray relay --sink kafka://localhost:9092",
    .codes = codes,
    .run = run,
};
