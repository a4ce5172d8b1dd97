#include "cli/cli_log.h"

#include <stdio.h>

static const char *const names[] = {"debug", "info", "warn", "error"};

void ot_cli_log_init(struct ot_cli_log *log, struct ot_cli *cli)
{
    const char *level = ot_conf_text(cli->conf, "log.level");
    const char *format = ot_conf_text(cli->conf, "log.format");
    log->cli = cli;
    log->least = OUTTRAY_LOG_INFO;
    for (size_t i = 0; i < OT_COUNT(names); i++) {
        if (strcmp(level, names[i]) == 0)
            log->least = (enum outtray_log_level)i;
    }
    log->json = strcmp(format, "json") == 0;
    if (strcmp(format, "auto") == 0)
        log->json = cli->json || !cli->term.err;
}

static void write_text(const struct ot_cli_log *log,
                       enum outtray_log_level level, const char *time,
                       const char *facility, const char *text)
{
    static const enum ot_color colors[] = {OT_DIM, OT_PLAIN, OT_YELLOW, OT_RED};
    bool on = log->cli->term.err_color;
    /* 2026-11-23T21:18:45.123Z: people watch the time of day. */
    fprintf(stderr, "%s%.12s%s %s%-5s%s %-6s %s\n", ot_term_color(on, OT_DIM),
            strlen(time) > 23 ? time + 11 : time, ot_term_color(on, OT_PLAIN),
            ot_term_color(on, colors[level]), names[level],
            ot_term_color(on, OT_PLAIN), facility, text);
}

static void write_json(enum outtray_log_level level, const char *time,
                       const char *facility, const char *text)
{
    json_t *line = json_pack("{s:s,s:s,s:s,s:o}", "time", time, "level",
                             names[level], "facility", facility, "text",
                             ot_json_text(ot_slice_of(text)));
    char *dumped = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    if (dumped != NULL)
        fprintf(stderr, "%s\n", dumped);
    else
        fprintf(stderr, "%s\n", text);
    free(dumped);
    json_decref(line);
}

void ot_cli_log_write(void *ctx, enum outtray_log_level level,
                      const char *facility, const char *text)
{
    struct ot_cli_log *log = ctx;
    if (level < log->least || (size_t)level >= OT_COUNT(names))
        return;
    char time[32];
    ot_time_text(ot_wall_us(), time);
    facility = facility != NULL ? facility : "";
    ot_progress_end(log->cli);
    if (log->json)
        write_json(level, time, facility, text);
    else
        write_text(log, level, time, facility, text);
}
