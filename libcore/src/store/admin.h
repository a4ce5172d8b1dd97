/* admin.h - what people do with an outbox: one blocking connection.
 *
 * The command line, migrations and look-ups use this half of a store; the
 * relay uses store.h. Every call may block for as long as the database does,
 * up to store.connect_timeout_ms for the connection.
 */
#ifndef OT_STORE_ADMIN_H
#define OT_STORE_ADMIN_H

#include "outtray/enqueue.h"
#include "store/store.h"

struct ot_admin; /* the first member is const struct ot_admin_ops *ops */

/* What `check` and `doctor` look at. */
struct ot_store_facts {
    char server[128]; /* "PostgreSQL 15.20", "SQLite 3.40.1" */
    char where[256];  /* host, port, database or file; no secret */
    bool connected;
    bool writable;      /* a primary and read-write */
    int schema_version; /* 0: no outbox there */
    int schema_wanted;  /* of this program */
};

/* One finding of doctor. */
struct ot_finding {
    enum ot_level level; /* OT_INFO: fine; OT_WARN; OT_ERROR: will not work */
    const char *check;   /* short name, e.g. "identity-cache" */
    const char *text;    /* what was found */
    const char *fix;     /* the next command or SQL to type; NULL: none */
};

struct ot_init_options {
    const char *app_role;   /* NULL: grant nothing to an application role */
    const char *relay_role; /* NULL: likewise */
    bool unique_ids;        /* a unique index on event.id */
};

enum ot_upgrade_mode {
    OT_UPGRADE_RUN,   /* do it, under an advisory lock */
    OT_UPGRADE_PLAN,  /* each(): one line per migration that would run */
    OT_UPGRADE_SQL,   /* each(): the SQL that would run */
    OT_UPGRADE_CHECK, /* nothing; 0 if there is nothing to do, else VERSION */
};

/* One subscription, as `status` shows it. */
struct ot_status {
    char subscription[64];
    int64_t position;
    int64_t last_seq;         /* newest seq drawn */
    int64_t pending;          /* committed and not passed, held not counted */
    bool pending_is_estimate; /* counted only up to a bound */
    int64_t oldest_age_us;    /* of the oldest undelivered event (held, not
                                 dead, or pending); -1: none */
    int64_t held[OT_HELD_COUNTED]; /* by enum ot_held_state */
    int64_t gaps;                  /* ranges */
    bool paused;
    char owner[37]; /* "" : nobody */
    int64_t fence;
    char topics[512];            /* the filter, cut if it is longer; "": all */
    int64_t lease_left_us;       /* <= 0: expired */
    int64_t written_age_us;      /* since the last cursor write; -1: never */
    int64_t commands;            /* waiting for the owner */
    char report[OT_REPORT_SIZE]; /* what the owner said of itself last, as in
                                    ot_lease_request; "": nothing yet */
    int64_t report_age_us;
};

/* One event with what became of it, for one subscription. Valid during the
 * call of each(). */
struct ot_event_info {
    struct ot_event event; /* payload filled only if asked for */
    size_t payload_bytes;
    enum {
        OT_FATE_PENDING, /* above the position, or in a gap */
        OT_FATE_HELD,
        OT_FATE_DELIVERED, /* passed: delivered, skipped or filtered */
    } fate;
    bool in_gap;
    struct ot_held held; /* if held */
    const char *error;   /* of held, or NULL */
};

struct ot_event_query {
    const char *subscription; /* whose view */
    const char *id;           /* one event; NULL: by the rest */
    int64_t after_seq;        /* seq > after_seq; -n: the last n */
    const char *key;          /* only this key; NULL: any */
    const char *topic;        /* only this topic; NULL: any */
    bool held_only;
    int held_state; /* enum ot_held_state, or -1: any */
    bool with_payload;
    uint32_t limit; /* 0: no limit */
};

typedef int ot_event_fn(void *ctx, const struct ot_event_info *);
typedef int ot_text_fn(void *ctx, const char *line);
typedef int ot_status_fn(void *ctx, const struct ot_status *);
typedef int ot_finding_fn(void *ctx, const struct ot_finding *);
/* An each function that returns non-zero stops the listing; the call then
 * returns that value. */

struct ot_admin_ops {
    /* Connects. E_STORE_* say why not. */
    int (*open)(struct ot_admin **out, const struct outtray_conf *conf,
                struct outtray_error *err);
    void (*close)(struct ot_admin *);

    /* Works with no outbox there. */
    int (*facts)(struct ot_admin *, struct ot_store_facts *out,
                 struct outtray_error *err);
    int (*doctor)(struct ot_admin *, ot_finding_fn *each, void *ctx,
                  struct outtray_error *err);
    /* What in the database keeps relays or events waiting at this moment;
     * nothing for none. Looks at no table of the outbox, so a lock on one does
     * not hide itself. */
    int (*obstacles)(struct ot_admin *, ot_finding_fn *each, void *ctx,
                     struct outtray_error *err);

    /* E_EXISTS if there is one already (nothing is changed, but grants asked
     * for in options are given). Both say each migration through each. */
    int (*init)(struct ot_admin *, const struct ot_init_options *,
                ot_text_fn *each, void *ctx, struct outtray_error *err);
    int (*upgrade)(struct ot_admin *, enum ot_upgrade_mode, ot_text_fn *each,
                   void *ctx, struct outtray_error *err);
    /* Removes the outbox and every event in it; dry_run: only counts. */
    int (*drop)(struct ot_admin *, bool dry_run, int64_t *events,
                struct outtray_error *err);

    /* Enqueue from the command line: begin, enqueue as often as wanted, then
     * end with commit (or without). Rendered by enqueue/ like everybody's. */
    int (*begin)(struct ot_admin *, struct outtray_error *err);
    int (*enqueue)(struct ot_admin *, const struct outtray_event *events,
                   size_t n, struct outtray_error *err);
    int (*end)(struct ot_admin *, bool commit, struct outtray_error *err);

    /* subscription NULL: all. The cursor row of a subscription is made by its
     * first relay, or by subscribe. */
    int (*status)(struct ot_admin *, const char *subscription,
                  ot_status_fn *each, void *ctx, struct outtray_error *err);
    int (*events)(struct ot_admin *, const struct ot_event_query *,
                  ot_event_fn *each, void *ctx, struct outtray_error *err);

    /* Ask the owner: one row per seq (n = 0: one row without). */
    int (*command)(struct ot_admin *, const char *subscription, enum ot_verb,
                   const int64_t *seqs, size_t n, struct outtray_error *err);

    /* One batch; dry_run counts without deleting. */
    int (*prune)(struct ot_admin *, const struct ot_prune_request *,
                 bool dry_run, struct ot_prune_reply *out,
                 struct outtray_error *err);

    /* Run one statement, within begin and end or on its own: the business
     * rows of the demo. cell (may be NULL) gets the text of the first column
     * of the first row, "" if there is none. */
    int (*sql)(struct ot_admin *, const char *sql, char *cell, size_t size,
               struct outtray_error *err);
};

/* What happens while a call that changes something waits for the database. Both
 * are called on its thread, and neither makes use of the same ot_admin. */
struct ot_patience {
    /* It has waited for so long; called again after twice the time. */
    void (*waits)(void *ctx, int64_t for_us);
    /* Shall it give up? What was not committed is then cancelled, and the call
     * returns E_INTERRUPTED with what is known of the rest. */
    bool (*interrupted)(void *ctx);
    void *ctx;
};

/* When waits is called first. */
static const int64_t OT_PATIENCE_US = 3000000;

struct ot_admin {
    const struct ot_admin_ops *ops;
    const struct ot_patience *patience; /* NULL: it waits in silence */
};

int ot_admin_open(struct ot_admin **out, const struct outtray_conf *conf,
                  struct outtray_error *err);

#endif
