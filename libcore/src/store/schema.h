/* schema.h - the numbered migrations, embedded from libcore/schema. */
#ifndef OT_STORE_SCHEMA_H
#define OT_STORE_SCHEMA_H

#include "store/admin.h"

/* {{outbox}} in sql stands for the name of the outbox (PostgreSQL: the schema,
 * in quotes; SQLite: the table prefix, without). */
struct ot_migration {
    const char *store; /* "postgres", "sqlite"; NULL ends the table */
    int number;        /* from 1, without holes, forward only */
    const char *name;
    const char *sql;
};
extern const struct ot_migration ot_migrations[];

/* --- what the first migration of PostgreSQL lacks ------------------------- */

/* In an encoding other than UTF-8 there is text that has no form in UTF-8, which
 * is what the relay reads in; one such key would stop all others. Not in UTF-8
 * databases: each INSERT pays for it. And SQL_ASCII knows of no encoding. */
#define OT_PG_UTF8_NEEDED \
    "current_setting('server_encoding') NOT IN ('UTF8', 'SQL_ASCII')"
#define OT_PG_UTF8_CHECK                                             \
    "ALTER TABLE {{outbox}}.event ADD CONSTRAINT event_utf8 CHECK (" \
    "convert_to(concat(topic, key, type, headers), $$UTF8$$) IS NOT NULL)"

/* The first migration subtracts the time of the oldest event as it is, and an
 * infinite one ended every look at the status. */
#define OT_PG_STATUS_MEND                                                  \
    "DO $$ BEGIN EXECUTE replace(pg_get_functiondef("                      \
    "'{{outbox}}.status_now()'::regprocedure), "                           \
    "'ELSE greatest(clock_timestamp() - o.at', 'WHEN o.at = ''infinity'' " \
    "THEN interval ''0'' "                                                 \
    "WHEN o.at = ''-infinity'' THEN clock_timestamp() - timestamptz "      \
    "''epoch'' ELSE greatest(clock_timestamp() - o.at'); END $$"

/* Both, where they are needed: they come with the first migration, and doctor
 * brings them to an outbox that was made without. */
extern const char ot_pg_amendments[];

/* -------------------------------------------------------------------------- */

/* NULL if there is none of that number. */
const struct ot_migration *ot_migration_find(const char *store, int number);

/* The statement that makes a view as the newest migration up to that number
 * has it, without its semicolon; empty: there is none. */
struct ot_slice ot_schema_view(const char *store, int number, const char *view);

/* Puts the name, which is a checked identifier, where sql has its mark. quote:
 * "\"" or "". */
void ot_sql_expand(struct ot_buffer *out, const char *sql, const char *quote,
                   const char *outbox);

/* Its lines, one by one, until each() returns other than 0; that, then. They
 * are cut apart in place. */
int ot_sql_lines(char *sql, ot_text_fn *each, void *ctx);

/* What removes the outbox and leaves what is not its own. */
const char *ot_drop_sql(const char *store);

#endif
