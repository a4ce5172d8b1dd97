/* admin.h - between the files of the PostgreSQL admin half.
 *
 * One blocking connection. Nothing outlives a transaction on it: settings are
 * set for each one, so that a transaction pooler in between changes nothing.
 */
#ifndef OT_PG_ADMIN_H
#define OT_PG_ADMIN_H

#include <libpq-fe.h>

#include "store/admin.h"

/* Parameters have these types; NULL pointers are SQL NULL. */
#define OT_PGA_INT8  20
#define OT_PGA_TEXT  25
#define OT_PGA_BYTEA 17

struct ot_pga {
    struct ot_admin base;
    PGconn *c;
    char where[256];
    char *outbox;     /* checked: quoted it needs no escape */
    bool open;        /* between begin and end */
    bool writes;      /* the transaction that is open */
    bool warned;      /* by the server, since COMMIT was sent */
    bool cancelled;   /* interrupted: the server was asked to stop … */
    bool silent;      /* … and did not answer */
    int64_t leave_us; /* until when it may */
    bool strict;      /* ordering of what is enqueued here */
    size_t max_payload_bytes; /* likewise */
    int64_t timeout_ms;       /* of one statement */
    int64_t network_ms;       /* of silence */
    int64_t retention_us;     /* what doctor compares with … */
    int64_t transaction_ms;   /* … the ages of transactions */
    int64_t snapshot_ms;      /* … and of snapshots */
    bool prunes;              /* do relays delete anything? */
    int64_t low;              /* where the next prune goes on */
};

static inline struct ot_pga *ot_pga(struct ot_admin *a)
{
    return (struct ot_pga *)a;
}

/* --- statements (admin.c) ------------------------------------------------ */

enum ot_pga_tx {
    OT_PGA_READ,   /* read only, on the log's indexes, with the time limit */
    OT_PGA_SCAN,   /* the same without limit of time: it may take long */
    OT_PGA_CHECK,  /* read only, the planner is free, with the time limit */
    OT_PGA_WRITE,  /* with the time limit */
    OT_PGA_SCHEMA, /* no limit of time, but gives up on a lock after 5 s */
};

/* A transaction for one operation; none may be open. */
int ot_pga_begin(struct ot_pga *, enum ot_pga_tx, struct outtray_error *);
/* rc 0: commit and return 0, or why not; else roll back and return rc. */
int ot_pga_end(struct ot_pga *, int rc, struct outtray_error *);

/* Runs SQL in which {{outbox}} stands for the quoted schema. what names it in
 * errors (cannot WHAT of outbox). *out may be NULL; free it with PQclear. */
int ot_pga_run(struct ot_pga *, const char *sql, const char *what,
               PGresult **out, struct outtray_error *err);

/* The same with up to 8 parameters as text, each for the type beside it. */
struct ot_pga_value {
    Oid type;
    const char *text;
};
int ot_pga_run_with(struct ot_pga *, const char *sql,
                    const struct ot_pga_value *values, int n, const char *what,
                    PGresult **out, struct outtray_error *err);

/* A statement was sent (1, as PQsendQuery has it): its last result, as PQexec
 * has it, or NULL. Meanwhile there is patience (admin_wait.c). */
PGresult *ot_pga_answer(struct ot_pga *, int sent);

/* Text with every {{outbox}} replaced by the quoted schema. */
void ot_pga_expand(const struct ot_pga *, const char *sql,
                   struct ot_buffer *out);

/* Cells of a result; NULL is "", 0, false. */
static inline const char *ot_pga_text(const PGresult *r, int row, int column)
{
    return PQgetvalue(r, row, column);
}
int64_t ot_pga_int(const PGresult *, int row, int column);
bool ot_pga_bool(const PGresult *, int row, int column);

/* --- what the schema is -------------------------------------------------- */

/* Version of the outbox that is there, 0 for none, and of this program. */
int ot_pga_version(struct ot_pga *, int *out, struct outtray_error *);
int ot_pga_version_wanted(void);
/* 0, or E_STORE_NO_SCHEMA, E_STORE_VERSION. */
int ot_pga_need_outbox(struct ot_pga *, struct outtray_error *);

/* --- operations, by file ------------------------------------------------- */

int ot_pga_init(struct ot_admin *, const struct ot_init_options *,
                ot_text_fn *each, void *ctx, struct outtray_error *);
int ot_pga_upgrade(struct ot_admin *, enum ot_upgrade_mode, ot_text_fn *each,
                   void *ctx, struct outtray_error *);
int ot_pga_drop(struct ot_admin *, bool dry_run, int64_t *events,
                struct outtray_error *);
int ot_pga_command(struct ot_admin *, const char *subscription, enum ot_verb,
                   const int64_t *seqs, size_t n, struct outtray_error *);
int ot_pga_prune(struct ot_admin *, const struct ot_prune_request *,
                 bool dry_run, struct ot_prune_reply *out,
                 struct outtray_error *);
int ot_pga_grant(struct ot_pga *, const struct ot_init_options *,
                 struct outtray_error *);
int ot_pga_doctor(struct ot_admin *, ot_finding_fn *each, void *ctx,
                  struct outtray_error *);
int ot_pga_obstacles(struct ot_admin *, ot_finding_fn *each, void *ctx,
                     struct outtray_error *);
int ot_pga_status(struct ot_admin *, const char *subscription,
                  ot_status_fn *each, void *ctx, struct outtray_error *);
int ot_pga_events(struct ot_admin *, const struct ot_event_query *,
                  ot_event_fn *each, void *ctx, struct outtray_error *);

#endif
