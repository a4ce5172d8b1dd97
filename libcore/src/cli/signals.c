#include "cli/signals.h"

#include <unistd.h>

/* A handler can be told nothing, so these are the only variables of the program
 * that are not somebody's own. */
static volatile sig_atomic_t caught;
static volatile sig_atomic_t careful;
static void (*volatile stop_it)(void *);
static void *volatile stoppable;

static void on_signal(int number)
{
    if (!careful)
        _exit(128 + number);
    /* A terminal that goes says so twice, and systemd beside SIGTERM. */
    if (caught != 0 && number == SIGHUP)
        return;
    if (caught != 0)
        _exit(130);
    caught = number;
    void (*stop)(void *) = stop_it;
    if (stop != NULL)
        stop(stoppable);
}

void ot_cli_signals_install(struct ot_cli_signals *signals)
{
    caught = 0;
    careful = 0;
    stop_it = NULL;
    /* No SA_RESTART: a read from a terminal shall come back. */
    struct sigaction act = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&act.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGINT, NULL, &signals->old_int);
    sigaction(SIGHUP, NULL, &signals->old_hup);
    /* A shell that started us in the background ignores SIGINT for us, and
     * nohup SIGHUP. */
    if (signals->old_int.sa_handler != SIG_IGN)
        sigaction(SIGINT, &act, NULL);
    if (signals->old_hup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &act, NULL);
    sigaction(SIGTERM, &act, &signals->old_term);
    sigaction(SIGPIPE, &ignore, &signals->old_pipe);
    /* A write beyond ulimit -f shall fail, and be told. */
    sigaction(SIGXFSZ, &ignore, &signals->old_xfsz);
}

void ot_cli_signals_restore(const struct ot_cli_signals *signals)
{
    careful = 0;
    stop_it = NULL;
    sigaction(SIGINT, &signals->old_int, NULL);
    sigaction(SIGHUP, &signals->old_hup, NULL);
    sigaction(SIGTERM, &signals->old_term, NULL);
    sigaction(SIGPIPE, &signals->old_pipe, NULL);
    sigaction(SIGXFSZ, &signals->old_xfsz, NULL);
}

void ot_cli_signals_careful(void (*stop)(void *what), void *what)
{
    stop_it = NULL;
    stoppable = what;
    stop_it = stop;
    careful = 1;
    /* One that came before found nothing to stop. */
    if (stop != NULL && caught != 0)
        stop(what);
}

int ot_cli_signals_caught(void)
{
    return caught;
}
