/** @file schema.h - the SQL that makes an outbox, for tools that run it
 * themselves: migrations of web frameworks, Alembic, psql.
 *
 * `outtray init` and `outtray upgrade` run the same, under a lock. The
 * migrations are numbered from 1, forward only, without holes.
 */
#ifndef OUTTRAY_SCHEMA_H
#define OUTTRAY_SCHEMA_H

#include "enqueue.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The newest migration: what `outtray init` makes. @thread any */
OUTTRAY_API int outtray_schema_version(enum outtray_dialect dialect);

/**
 * One migration, as statements that are to be run in one transaction. They
 * leave its number in the outbox's table meta.
 *
 * SQLite: the file must be in journal mode WAL, which no transaction can set.
 *
 * @param number  from 1 to outtray_schema_version
 * @param outbox  schema or table prefix; NULL: "outtray"
 * @return text that outtray_schema_free frees; NULL with err:
 *         OUTTRAY_E_NOT_FOUND (no such number), _MISUSE (outbox is no
 *         identifier), _NOMEM
 * @thread any
 */
OUTTRAY_API char *outtray_schema_sql(enum outtray_dialect dialect, int number,
                                     const char *outbox,
                                     struct outtray_error *err);

/**
 * What removes an outbox with every event in it, delivered or not, and leaves
 * what somebody else put into its schema.
 *
 * @return as outtray_schema_sql
 * @thread any
 */
OUTTRAY_API char *outtray_schema_drop_sql(enum outtray_dialect dialect,
                                          const char *outbox,
                                          struct outtray_error *err);

/** Frees the text of the two above; NULL is fine. @thread any */
OUTTRAY_API void outtray_schema_free(char *sql);

#ifdef __cplusplus
}
#endif
#endif
