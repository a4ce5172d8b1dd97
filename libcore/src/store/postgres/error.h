/* error.h - what PostgreSQL says, as an error of this library. */
#ifndef OT_PG_ERROR_H
#define OT_PG_ERROR_H

#include <libpq-fe.h>

#include "base/base.h"

/* The code for an SQLSTATE; NULL or "" is a broken connection. */
int ot_pg_code(const char *sqlstate);

/* result failed (NULL: the connection did). The text becomes one line:
 * "what: message (detail; hint)". Returns the code. */
int ot_pg_fail(struct outtray_error *err, const PGconn *c,
               const PGresult *result, const char *what);

/* A connection could not be made: which host, database or role, why, and
 * which setting to look at. c was started by ot_pg_connect_start_at. */
int ot_pg_fail_connect(struct outtray_error *err, const PGconn *c);

/* A role may not ask the server which one it is. */
int ot_pg_fail_functions(struct outtray_error *err, struct ot_slice functions,
                         struct ot_slice role);

#endif
