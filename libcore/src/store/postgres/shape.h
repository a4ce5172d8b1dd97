/* shape.h - what an outbox looks like in the catalog, so that whatever was
 * altered by hand can be named. */
#ifndef OT_PG_SHAPE_H
#define OT_PG_SHAPE_H

#include "store/postgres/checks.h"

/* SQL expressions of type text, NULL if all is well: what a relay cannot do
 * without. $1 is the outbox. They look at the catalog alone, and all but the
 * first pass over tables that are not there at all. */

/* "held, meta"; NULL also where there is no outbox. */
extern const char ot_pg_tables_missing[];
/* "event.key, event.type": not there, or of another type. */
extern const char ot_pg_columns_missing[];
/* "cursor (subscription)": keys without which nothing can be written. */
extern const char ot_pg_keys_missing[];
/* "select event, update cursor": what the current role may not do. */
extern const char ot_pg_rights_missing[];
/* "pg_control_system()": what it may not ask the server; a superuser grants
 * that, not the owner of the outbox. */
extern const char ot_pg_functions_missing[];
/* Does the subscription s of logical replication write the log, an oid, through
 * its table r? Into a partition as well. */
#define OT_PG_REPLICATED(log)                                        \
    "s.subenabled AND (r.srrelid = " log " OR r.srrelid IN (SELECT " \
    "i.inhrelid FROM pg_inherits i WHERE i.inhparent = " log "))"
/* Subscriptions of logical replication that write the log. */
extern const char ot_pg_subscribers[];

/* For doctor: tables, columns, keys, triggers, each with how to mend it. */
extern const struct ot_pg_check ot_pg_checks_shape[];
/* Is the schema version, where there is a table for it, that of the tables? */
extern const struct ot_pg_check ot_pg_check_version;
/* Is that table there, if the others are? */
extern const struct ot_pg_check ot_pg_check_meta;

#endif
