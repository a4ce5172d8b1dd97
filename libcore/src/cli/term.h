/* term.h - what the two outputs of the command line are connected to. */
#ifndef OT_CLI_TERM_H
#define OT_CLI_TERM_H

#include <stdbool.h>

struct ot_term {
    bool in;        /* standard input is a terminal */
    bool out;       /* standard output is one */
    bool err;       /* standard error is one */
    bool out_color; /* and may be coloured: not with NO_COLOR, not dumb */
    bool err_color;
    int width; /* columns of standard output; 80 if unknown */
};

enum ot_color { OT_PLAIN, OT_BOLD, OT_DIM, OT_RED, OT_GREEN, OT_YELLOW };

void ot_term_look(struct ot_term *);
/* The sequence that starts a colour, or "" if it is off. OT_PLAIN ends one. */
const char *ot_term_color(bool on, enum ot_color);

#endif
