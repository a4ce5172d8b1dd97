/* checks.h - what doctor asks the server. */
#ifndef OT_PG_CHECKS_H
#define OT_PG_CHECKS_H

/* One statement; its rows are findings: level ('info', 'warn', 'error'), text,
 * fix or NULL. No row: fine. For its parameters see admin_doctor.c. */
struct ot_pg_check {
    const char *name; /* NULL ends a list */
    const char *fine; /* what to say without a finding; NULL: nothing */
    const char *sql;
};

extern const struct ot_pg_check ot_pg_checks_server[];
extern const struct ot_pg_check ot_pg_checks_outbox[];
/* What keeps relays or events waiting now: they look at no table of the
 * outbox. */
extern const struct ot_pg_check ot_pg_checks_now[];

#endif
