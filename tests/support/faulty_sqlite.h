/* faulty_sqlite.h - a copy of SQLite with faults in it: the functions of the real
 * one, with some replaced. */
#ifndef TESTS_FAULTY_SQLITE_H
#define TESTS_FAULTY_SQLITE_H

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "outtray/sqlite.h"

static int open_flags;           /* taken away when a file is opened */
static sqlite3 *opened;          /* last */
static int max_pages;            /* 0: no limit */
static int fail_step_code;       /* what the next steps of a COMMIT return */
static void (*after_open)(void); /* NULL: nothing happens then */

static int faulty_open(const char *path, sqlite3 **out, int flags,
                       const char *vfs)
{
    char sql[64];
    int rc;

    if (open_flags != 0)
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) |
                open_flags;
    rc = sqlite3_open_v2(path, out, flags, vfs);
    opened = *out;
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %d", max_pages);
    if (max_pages > 0)
        sqlite3_exec(*out, sql, NULL, NULL, NULL);
    if (after_open != NULL)
        after_open();
    return rc;
}

static int faulty_step(sqlite3_stmt *st)
{
    if (fail_step_code != 0 && strcmp(sqlite3_sql(st), "COMMIT") == 0)
        return fail_step_code;
    return sqlite3_step(st);
}

static void *lookup(void *ctx, const char *name)
{
    static const struct {
        const char *name;
        void (*f)(void);
    } functions[] = {
#define F(f) {"sqlite3_" #f, (void (*)(void))sqlite3_##f},
#include "store/sqlite/functions.def"
#undef F
    };

    (void)ctx;
    if (strcmp(name, "sqlite3_open_v2") == 0)
        return (void *)faulty_open;
    if (strcmp(name, "sqlite3_step") == 0)
        return (void *)faulty_step;
    for (size_t i = 0; i < OT_COUNT(functions); i++)
        if (strcmp(functions[i].name, name) == 0)
            return (void *)functions[i].f;
    return NULL;
}

static void use_faulty(bool on)
{
    struct outtray_error err;

    if (outtray_sqlite_use(on ? lookup : NULL, NULL, &err) != 0)
        fail_msg("%s", err.text);
    open_flags = 0;
    max_pages = 0;
    fail_step_code = 0;
    after_open = NULL;
}

#endif
