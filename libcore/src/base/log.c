/* log.c - lines for whoever wants to hear them. */
#include "base/base.h"

#include <stdio.h>

void ot_log(const struct ot_log *log, enum ot_level level, const char *facility,
            const char *fmt, ...)
{
    char text[1024];
    va_list args;
    size_t n;
    int whole;

    if (log == NULL || log->write == NULL || level < log->least)
        return;
    va_start(args, fmt);
    whole = vsnprintf(text, sizeof(text), fmt, args);
    if (whole < 0)
        text[0] = '\0';
    va_end(args);
    /* One event, one line: libpq's messages bring newlines along. */
    n = strlen(text);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = '\0';
    for (char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    ot_utf8_mend(text, whole >= (int)sizeof(text));
    log->write(log->ctx, level, facility, text);
}
