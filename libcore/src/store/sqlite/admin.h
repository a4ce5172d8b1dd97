/* admin.h - the half of the SQLite store that people use, from inside. */
#ifndef OT_SQLITE_ADMIN_H
#define OT_SQLITE_ADMIN_H

#include "store/admin.h"
#include "store/sqlite/db.h"
#include "store/sqlite/insert.h"
#include "store/sqlite/prune.h"

struct admin {
    struct ot_admin base;
    struct ot_sqlite_db db; /* not open while there is no file */
    int busy_ms;
    bool checked; /* an outbox of a version that fits is there */
    size_t max_payload_bytes;
    int64_t retention_us; /* what doctor compares with; -1: nothing is pruned */
    struct ot_sqlite_low low;
    struct ot_sqlite_insert insert;
};

static inline struct admin *admin_of(struct ot_admin *a)
{
    return (struct admin *)(void *)a;
}

/* Opens the file if it is there now; its outbox may be missing. */
int sqlite_admin_connect(struct admin *, struct outtray_error *err);
/* The same, and the outbox must be there. */
int sqlite_admin_ready(struct admin *, struct outtray_error *err);

/* migrate.c */
int sqlite_admin_init(struct ot_admin *, const struct ot_init_options *,
                      ot_text_fn *each, void *ctx, struct outtray_error *err);
int sqlite_admin_upgrade(struct ot_admin *, enum ot_upgrade_mode,
                         ot_text_fn *each, void *ctx,
                         struct outtray_error *err);
int sqlite_admin_drop(struct ot_admin *, bool dry_run, int64_t *events,
                      struct outtray_error *err);
/* doctor.c */
int sqlite_admin_facts(struct ot_admin *, struct ot_store_facts *out,
                       struct outtray_error *err);
int sqlite_admin_doctor(struct ot_admin *, ot_finding_fn *each, void *ctx,
                        struct outtray_error *err);
int sqlite_admin_obstacles(struct ot_admin *, ot_finding_fn *each, void *ctx,
                           struct outtray_error *err);
/* shape.c: findings about what somebody altered by hand; *errors: how many of
 * them are errors */
int sqlite_admin_shape(struct admin *, ot_finding_fn *each, void *ctx,
                       int *errors, struct outtray_error *err);
/* status.c */
int sqlite_admin_status(struct ot_admin *, const char *subscription,
                        ot_status_fn *each, void *ctx,
                        struct outtray_error *err);
/* events.c */
int sqlite_admin_events(struct ot_admin *, const struct ot_event_query *,
                        ot_event_fn *each, void *ctx,
                        struct outtray_error *err);

#endif
