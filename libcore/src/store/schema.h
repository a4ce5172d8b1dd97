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
