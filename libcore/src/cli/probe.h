/* probe.h - try something, and say in one line how it went. */
#ifndef OT_CLI_PROBE_H
#define OT_CLI_PROBE_H

#include "cli/cli.h"

/* What a sink warned of while it was asked; "" nothing. */
struct ot_probe_hint {
    char text[400];
};

/* --timeout, or 10 s; E_MISUSE: it is no duration. */
int ot_probe_timeout(struct ot_cli *, int64_t *us);

/* Opens the sink of the configuration and asks for a destination (NULL: the
 * broker itself), for as long as --timeout says. 0, or why not; 1: the sink
 * cannot tell. */
int ot_probe_sink(struct ot_cli *, const char *topic,
                  struct ot_probe_hint *hint, struct outtray_error *err);

/* "ok       database   PostgreSQL 15.20 at …", and "try: …" if there is a
 * fix. */
void ot_probe_print(struct ot_cli *, enum ot_level, const char *what,
                    const char *text, const char *fix);

#endif
