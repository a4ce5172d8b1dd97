/* signals.h - SIGINT, SIGTERM and SIGHUP while a verb runs.
 *
 * Handlers are installed by outtray_cli_main and restored before it returns.
 * Without ot_cli_signals_careful a signal ends the process at once (a database
 * rolls back what was open). With it the first one is remembered, and asks the
 * verb to stop; the second ends at once with status 130.
 */
#ifndef OT_CLI_SIGNALS_H
#define OT_CLI_SIGNALS_H

#include <signal.h>
#include <stddef.h>

struct ot_cli_signals {
    struct sigaction old_int;
    struct sigaction old_hup;
    struct sigaction old_term;
    struct sigaction old_pipe;
    struct sigaction old_xfsz;
};

void ot_cli_signals_install(struct ot_cli_signals *);
void ot_cli_signals_restore(const struct ot_cli_signals *);

/* From now on the verb asks ot_cli_signals_caught by itself. The first signal calls
 * stop(what), in the handler; stop may be NULL, and must be taken back
 * (careful(NULL, NULL)) before what is gone. */
void ot_cli_signals_careful(void (*stop)(void *what), void *what);
/* The first signal that came, or 0. */
int ot_cli_signals_caught(void);

#endif
