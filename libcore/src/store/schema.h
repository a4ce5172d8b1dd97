/* schema.h - the numbered migrations, embedded from libcore/schema. */
#ifndef OT_STORE_SCHEMA_H
#define OT_STORE_SCHEMA_H

/* {{outbox}} in sql stands for the quoted name of the outbox (PostgreSQL: the
 * schema; SQLite: the table prefix, unquoted and checked). */
struct ot_migration {
    const char *store; /* "postgres", "sqlite"; NULL ends the table */
    int number;        /* from 1, without holes, forward only */
    const char *name;
    const char *sql;
};
extern const struct ot_migration ot_migrations[];

#endif
