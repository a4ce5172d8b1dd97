/* reasons.c - texts that completions point to. */
#include "sink/reasons.h"

const char *ot_reason(struct ot_reasons *r, const char *text)
{
    size_t room = sizeof(r->text[0]) - 1;
    for (size_t i = 0; i < OT_COUNT(r->text); i++)
        if (r->text[i][0] != '\0' && strncmp(r->text[i], text, room) == 0)
            return r->text[i];
    char *at = r->text[r->next++ % OT_COUNT(r->text)];
    strncpy(at, text, room);
    at[room] = '\0';
    return at;
}
