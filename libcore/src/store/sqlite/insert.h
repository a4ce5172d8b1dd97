/* insert.h - the INSERT of events, kept prepared from one call to the next. */
#ifndef OT_SQLITE_INSERT_H
#define OT_SQLITE_INSERT_H

#include "outtray/enqueue.h"
#include "store/sqlite/db.h"

struct ot_sqlite_insert {
    sqlite3_stmt *stmt; /* of the last run, with its text */
    char *sql;
};

/* Writes n events with one statement. Of the options only the limits are
 * read. ids: of each event, or NULL. Refused by the schema is an event
 * (OUTTRAY_E_INVALID_EVENT, OUTTRAY_E_EXISTS), not the database. */
int ot_sqlite_insert_run(struct ot_sqlite_insert *, struct ot_sqlite_db *,
                         const struct outtray_enqueue_options *,
                         const struct outtray_event *events, size_t n,
                         char (*ids)[37], struct outtray_error *err);

/* Before the file is closed; a zeroed one is fine. */
void ot_sqlite_insert_end(struct ot_sqlite_insert *, struct ot_sqlite_db *);

#endif
