/* error.c - the table of error.def, and filling struct outtray_error. */
#include "base/base.h"

#include <stdio.h>

struct row {
    int code;
    const char *name;
    const char *class;
    bool retryable;
    int exit;
    const char *text;
};

static const struct row rows[] = {
    {OUTTRAY_OK, "OK", "OK", false, 0, "no error"},
#define OUTTRAY_ERROR(name, code, cls, retryable, exit, text) \
    {code, #name, #cls, retryable, exit, text},
#include "outtray/error.def"
#undef OUTTRAY_ERROR
};

static const struct row *find(int code)
{
    static const struct row unknown = {
        0, "UNKNOWN", "BUG", false, 70, "an error with an unknown number"};

    for (size_t i = 0; i < OT_COUNT(rows); i++)
        if (rows[i].code == code)
            return &rows[i];
    return &unknown;
}

const char *outtray_error_name(int code)
{
    return find(code)->name;
}

const char *outtray_error_text(int code)
{
    return find(code)->text;
}

const char *outtray_error_class(int code)
{
    return find(code)->class;
}

bool outtray_error_retryable(int code)
{
    return find(code)->retryable;
}

int outtray_error_exit(int code)
{
    return find(code)->exit;
}

/* By way of a copy: the arguments may point into err->text. It goes to
 * terminals, logs and Python strings: it must be UTF-8, also where it was cut
 * and where a server's message was not. */
static void set_text(struct outtray_error *err, const char *fmt, va_list args)
{
    char text[sizeof(err->text)];
    int n = vsnprintf(text, sizeof(text), fmt, args);

    if (n < 0)
        text[0] = '\0';
    ot_utf8_mend(text, n >= (int)sizeof(text));
    memcpy(err->text, text, strlen(text) + 1);
}

int(ot_fail)(struct outtray_error *err, int code, const char *fmt, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    va_start(args, fmt);
    set_text(err, fmt, args);
    va_end(args);
    err->code = code;
    err->sqlstate[0] = '\0';
    err->native = 0;
    return code;
}

int(ot_fail_nomem)(struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_NOMEM, "out of memory");
}

int(ot_fail_random)(struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_IO,
                   "the system gives no random bytes: allow this process the "
                   "system call getrandom (a sandbox refuses it)");
}

static void join(struct outtray_error *err, const char *fmt, ...)
    OUTTRAY_PRINTF(2, 3);

static void join(struct outtray_error *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set_text(err, fmt, args);
    va_end(args);
}

int ot_fail_context(struct outtray_error *err, int code, const char *fmt, ...)
{
    char context[sizeof(err->text)];
    va_list args;

    if (err == NULL)
        return code;
    va_start(args, fmt);
    if (vsnprintf(context, sizeof(context), fmt, args) < 0)
        context[0] = '\0';
    va_end(args);
    if (err->code == OUTTRAY_OK) {
        err->code = code;
        join(err, "%s: %s", context, outtray_error_text(code));
    } else {
        join(err, "%s: %s", context, err->text);
    }
    return err->code;
}

void ot_error_clear(struct outtray_error *err)
{
    if (err != NULL)
        *err = (struct outtray_error){0};
}
