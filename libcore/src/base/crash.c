/* crash.c - see crash.h. */
#include "base/crash.h"

#ifdef OUTTRAY_CRASH_POINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The passages so far: of all points, or of the one that is named. */
static atomic_long passed;

static void die(const char *name)
{
    char line[80];
    int n = snprintf(line, sizeof(line), "crash point %s\n", name);

    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        kill(getpid(), SIGABRT); /* the test reads it there */
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

void ot_crash_point(const char *name)
{
    const char *at = getenv("OUTTRAY_CRASH_AT"), *colon;
    long when = 1;

    if (at == NULL || *at == '\0')
        return;
    if (*at >= '0' && *at <= '9') {
        when = strtol(at, NULL, 10);
    } else {
        colon = strchr(at, ':');
        if (strncmp(at, name, strlen(name)) != 0 ||
            (at[strlen(name)] != ':' && at[strlen(name)] != '\0'))
            return;
        if (colon != NULL)
            when = strtol(colon + 1, NULL, 10);
    }
    if (atomic_fetch_add(&passed, 1) + 1 == when)
        die(name);
}
#else
typedef int crash_points_are_left_out; /* a file must hold something */
#endif
