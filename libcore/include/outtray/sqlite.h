/** @file sqlite.h - which copy of SQLite the library uses.
 *
 * Two copies of SQLite that open one file in one process lose committed data
 * without an error: the locks of POSIX belong to the process, so neither copy
 * sees those of the other, and closing a file drops them all. So the library
 * brings none: it calls the copy that the application's driver uses. By default
 * that is the one that the program has loaded for everybody (the command line
 * links it). A driver with a copy of its own, or one that was loaded for itself
 * alone (as Python's modules are), is told with the functions below, before the
 * first store or command opens a file.
 */
#ifndef OUTTRAY_SQLITE_H
#define OUTTRAY_SQLITE_H

#include "types.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The address of a function ("sqlite3_open_v2") of the copy, NULL if it has
 * none of that name. */
typedef void *outtray_sqlite_lookup(void *ctx, const char *name);

/**
 * Use this copy from now on, in all of the process.
 *
 * @param lookup  called before the function returns, and not later; NULL goes
 *                back to the copy that the program has loaded for everybody
 * @return 0; OUTTRAY_E_UNSUPPORTED: a function is missing or the copy is older
 *         than 3.37; OUTTRAY_E_STORE_TWO_COPIES: a file is open by another
 *         copy
 * @thread any, but nobody else may use a SQLite store meanwhile
 */
OUTTRAY_API int outtray_sqlite_use(outtray_sqlite_lookup *lookup, void *ctx,
                                   struct outtray_error *err);

/**
 * The same for a shared object that is loaded already, such as Python's
 * _sqlite3 module (its __file__): its copy of SQLite is the one that its own
 * calls would reach.
 *
 * @return as outtray_sqlite_use; OUTTRAY_E_UNSUPPORTED if path is not loaded
 * @thread as outtray_sqlite_use
 */
OUTTRAY_API int outtray_sqlite_use_loaded(const char *path,
                                          struct outtray_error *err);

/**
 * Is the copy in use the one of the application's driver?
 *
 * The caller makes a scratch database (never the real file) through its driver,
 * and calls this while it holds `BEGIN IMMEDIATE` on it: if the library can
 * take the write lock as well, the locks do not see each other.
 *
 * @return 0: the same copy; OUTTRAY_E_STORE_TWO_COPIES: another one, do not
 *         relay in this process; OUTTRAY_E_STORE…: the test did not work
 * @thread any
 */
OUTTRAY_API int outtray_sqlite_lock_test(const char *scratch_path,
                                         struct outtray_error *err);

#ifdef __cplusplus
}
#endif
#endif
