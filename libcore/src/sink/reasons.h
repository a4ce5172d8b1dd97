/* reasons.h - texts that completions point to. */
#ifndef OT_SINK_REASONS_H
#define OT_SINK_REASONS_H

#include "base/base.h"

struct ot_reason_text {
    struct ot_reason_text *next; /* in its bucket */
    char text[];
};

/* Each text once, however many events failed with it. */
struct ot_reasons {
    struct ot_reason_text *bucket[64];
    size_t n;
    char unowned[200]; /* the last one for which there was no memory */
};

/* A copy of text, or the copy that is there: it stays until it is forgotten. */
const char *ot_reason(struct ot_reasons *, const char *text);
/* All of them, when no completion points to one. */
void ot_reasons_forget(struct ot_reasons *);

#endif
