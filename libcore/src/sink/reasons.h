/* reasons.h - texts that completions point to. */
#ifndef OT_SINK_REASONS_H
#define OT_SINK_REASONS_H

#include "base/base.h"

/* The last few texts stay where they are: longer than a completion is looked
 * at, and a burst of failures with one cause needs one. */
struct ot_reasons {
    char text[16][400];
    unsigned next;
};

/* A copy of text, or the copy that is there. */
const char *ot_reason(struct ot_reasons *, const char *text);

#endif
