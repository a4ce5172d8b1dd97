#include "cli/probe.h"

#include <stdio.h>

#include "sink/sink.h"

/* Hints one after the other. */
static void hear(void *ctx, enum ot_level level, const char *facility,
                 const char *text)
{
    struct ot_probe_hint *hint = ctx;
    size_t n = strlen(hint->text);

    (void)facility;
    if (level >= OT_WARN)
        snprintf(hint->text + n, sizeof(hint->text) - n, "%s%s",
                 n > 0 ? "; " : "", text);
}

int ot_probe_timeout(struct ot_cli *cli, int64_t *us)
{
    return ot_cli_get_us(cli, "timeout", 10 * 1000000, us);
}

int ot_probe_sink(struct ot_cli *cli, const char *topic,
                  struct ot_probe_hint *hint, struct outtray_error *err)
{
    struct ot_log log = {OT_WARN, hear, hint};
    struct ot_sink *sink = NULL;
    int64_t timeout_us;
    hint->text[0] = '\0';
    int rc = ot_probe_timeout(cli, &timeout_us);
    if (rc != 0) {
        *err = cli->err;
        return rc;
    }
    rc = ot_sink_open(&sink, cli->conf, &log, err);
    if (rc != 0)
        return rc;
    if (sink->ops->check == NULL || !(sink->ops->caps & OT_SINK_CHECKS))
        rc = 1;
    else
        rc = sink->ops->check(sink, topic, (int)(timeout_us / 1000), err);
    sink->ops->abandon(sink);
    sink->ops->close(sink);
    return rc;
}

/* The texts stand below each other. */
static int what_pad(const char *what)
{
    size_t n = strlen(what);

    return n < 14 ? 16 - (int)n : 2;
}

void ot_probe_print(struct ot_cli *cli, enum ot_level level, const char *what,
                    const char *text, const char *fix)
{
    bool on = cli->term.out_color;
    const char *word = level == OT_ERROR  ? "FAILED"
                       : level == OT_WARN ? "warning"
                                          : "ok";
    enum ot_color color = level == OT_ERROR  ? OT_RED
                          : level == OT_WARN ? OT_YELLOW
                                             : OT_GREEN;
    ot_out(cli, "%s%-7s%s  ", ot_term_color(on, color), word,
           ot_term_color(on, OT_PLAIN));
    ot_out_safe(cli, ot_slice_of(what));
    ot_out(cli, "%*s", what_pad(what), "");
    ot_out_safe(cli, ot_slice_of(text));
    ot_out(cli, "\n");
    if (fix != NULL && fix[0] != '\0')
        ot_out(cli, "%9stry: %s\n", "", fix);
}
