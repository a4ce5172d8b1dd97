/* outbox.c - the name of an outbox. */
#include "event/outbox.h"

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_';
}

int ot_outbox_check(const char *name, int code, struct outtray_error *err)
{
    size_t n = strlen(name);
    bool good =
        n > 0 && n <= OT_OUTBOX_NAME_MAX && !(name[0] >= '0' && name[0] <= '9');

    for (size_t i = 0; good && i < n; i++)
        good = plain(name[i]);
    if (good)
        return 0;
    return ot_fail(err, code,
                   "this is no name of an outbox: it has 1 to %d letters, "
                   "digits and _, and no digit first",
                   OT_OUTBOX_NAME_MAX);
}
