/* demo_process.c - children of the demo. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/demo/demo.h"

/* What a child says goes to a file: the terminal is the parent's. */
static void child_quiet(const struct demo *demo, const char *name)
{
    char path[320];
    int fd;

    snprintf(path, sizeof(path), "%s/%s.log", demo->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    dup2(fd, STDERR_FILENO);
    dup2(fd, STDOUT_FILENO);
}

static void child_signals(void)
{
    sigset_t none;

    signal(SIGINT, SIG_IGN); /* the parent decides */
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t demo_spawn(struct demo *demo, const char *name, demo_role *role,
                 int index)
{
    const pid_t parent = getpid();
    pid_t pid;

    fflush(stdout);
    fflush(stderr);
    pid = fork();
    if (pid < 0) {
        ot_fail(&demo->cli->err, OUTTRAY_E_IO, "cannot start a process: %s",
                strerror(errno));
        return -1;
    }
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before the line above */
    child_signals();
    child_quiet(demo, name);
    _exit(role(demo, index));
}

bool demo_ended(pid_t pid, int *status)
{
    return pid > 0 && waitpid(pid, status, WNOHANG) == pid;
}

void demo_kill(pid_t *pid)
{
    if (*pid <= 0)
        return;
    kill(*pid, SIGKILL);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    *pid = 0;
}
