#include "cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int width_of(int fd)
{
    struct winsize size = {0};
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *columns = getenv("COLUMNS");
    long n = columns != NULL ? strtol(columns, NULL, 10) : 0;
    return n >= 20 && n <= 1000 ? (int)n : 80;
}

void ot_term_look(struct ot_term *term)
{
    const char *no_color = getenv("NO_COLOR");
    const char *name = getenv("TERM");
    bool color = (no_color == NULL || no_color[0] == '\0') &&
                 (name == NULL || strcmp(name, "dumb") != 0);
    term->in = isatty(STDIN_FILENO) != 0;
    term->out = isatty(STDOUT_FILENO) != 0;
    term->err = isatty(STDERR_FILENO) != 0;
    term->out_color = term->out && color;
    term->err_color = term->err && color;
    term->width = width_of(term->out ? STDOUT_FILENO : STDERR_FILENO);
}

const char *ot_term_color(bool on, enum ot_color color)
{
    if (!on)
        return "";
    switch (color) {
    case OT_PLAIN:
        return "\033[0m";
    case OT_BOLD:
        return "\033[1m";
    case OT_DIM:
        return "\033[2m";
    case OT_RED:
        return "\033[31m";
    case OT_GREEN:
        return "\033[32m";
    case OT_YELLOW:
        return "\033[33m";
    }
    return "";
}
