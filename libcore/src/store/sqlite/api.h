/* api.h - the functions of the host's SQLite, called through a table.
 *
 * The library is never linked against SQLite: see outtray/sqlite.h. The table
 * has the types of the header, and addresses that were looked up.
 */
#ifndef OT_SQLITE_API_H
#define OT_SQLITE_API_H

#include <sqlite3.h>

#include "base/base.h"
#include "outtray/sqlite.h"

#define OT_SQLITE_OLDEST 3037000 /* STRICT tables */

struct ot_sqlite_api {
#define F(name) __typeof__(sqlite3_##name) *name;
#include "store/sqlite/functions.def"
#undef F
};

/* The table in use. Counts one user, so that nobody can change the copy under
 * an open file; every success is followed by ot_sqlite_api_release. */
int ot_sqlite_api_acquire(struct ot_sqlite_api *out, struct outtray_error *err);
void ot_sqlite_api_release(void);

#endif
