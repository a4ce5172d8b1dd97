/* pg.h - the relay's half of a PostgreSQL store.
 *
 * Two connections: reads and fetches go over one, everything that writes over
 * the other, so that the next read and the write of the batch before it go on
 * together.
 */
#ifndef OT_PG_H
#define OT_PG_H

#include "event/outbox.h"
#include "store/filter.h"
#include "store/postgres/link.h"

/* The statement of a read, for its script and for whoever asks EXPLAIN. */
struct ot_pg_read_shape {
    const char *outbox;
    uint32_t limit;
    bool gaps;     /* $2 and $3: their ends */
    bool filter;   /* names and patterns behind that */
    size_t budget; /* 0: not counted, … */
    size_t most;   /* … but a larger payload ends after one byte more */
};

struct ot_pg {
    struct ot_store base;
    struct outtray_conf *conf; /* a copy */
    const struct ot_log *log;
    struct ot_uuid owner;
    const char *outbox;       /* of conf */
    const char *subscription; /* of conf */
    const char *topics;       /* of conf; NULL: all */
    struct ot_filter filter;  /* the same */
    bool start_now;
    int64_t pid;    /* a forked child must not use the connections */
    int version;    /* of the schema, as this program makes it */
    int schema;     /* as the outbox has it, when a lease was last taken */
    bool told_copy; /* that the outbox was made on another server */
    char *settings; /* the statement that makes a transaction ours */
    char *greetings[OT_PG_LINKS]; /* make a session ours, if it is */

    struct ot_pg_link links[OT_PG_LINKS];
    struct ot_pg_job jobs[OT_PG_JOBS]; /* by enum ot_reply_kind */
    struct ot_pg_job *finished[OT_PG_JOBS];
    size_t nfinished;

    /* reading */
    struct ot_read_request read; /* under way; gaps not kept */
    PGresult *locks;             /* L_k, until the snapshot is known */
    size_t largest;              /* recent payload; 0: not known */
    bool budgeted;               /* the read under way counts bytes */
    size_t most;                 /* else: a larger payload does not come */
    struct ot_buffer holders;
    struct ot_buffer xip;
    struct ot_pg_read_shape read_shape; /* of the last read, … */
    struct ot_buffer read_sql;          /* … and its statement */
    uint32_t candidates; /* of a budgeted read: rows before the cut */
    size_t fetch_n;      /* seqs of the fetch under way */

    /* writing */
    struct ot_lease_request lease; /* report: a copy */
    char report[OT_REPORT_SIZE];
    uint64_t write_number;
    char ctid[6]; /* of the cursor row, where it was last seen */
    bool has_ctid;
    bool written;                          /* the cursor row matched */
    struct ot_buffer gaps, held, commands; /* of replies */

    /* pruning */
    int64_t low;         /* nothing up to it has to be looked at again soon */
    int64_t low_from_us; /* when the walk began at 0 */
};

/* The requests: write the script of the job of their kind. */
void ot_pg_lease(struct ot_pg *, const struct ot_lease_request *);
void ot_pg_release(struct ot_pg *, int64_t fence);
/* What an UPDATE of the cursor row sets besides, with parameter n: nothing in
 * an outbox that has no such column. And that parameter, the last. */
const char *ot_pg_report_set(const struct ot_pg *, int n, char out[200]);
void ot_pg_report_param(const struct ot_pg *, struct ot_pg_script *,
                        const char *report);
/* The sequence gives seqs out in another order than they are drawn. */
int ot_pg_fail_identity(const struct ot_pg *, struct outtray_error *err);
void ot_pg_load(struct ot_pg *);
void ot_pg_read(struct ot_pg *, const struct ot_read_request *);
void ot_pg_fetch(struct ot_pg *, const struct ot_fetch_request *);
void ot_pg_write(struct ot_pg *, const struct ot_write_request *);
void ot_pg_commands(struct ot_pg *);
void ot_pg_prune(struct ot_pg *, const struct ot_prune_request *);

/* A cleared job of that kind. */
struct ot_pg_job *ot_pg_job(struct ot_pg *, enum ot_reply_kind,
                            const char *what);
/* BEGIN and the settings; COMMIT. */
enum ot_pg_mode {
    OT_PG_READ,      /* each statement has its snapshot */
    OT_PG_READ_ONCE, /* one snapshot for all of them */
    OT_PG_WRITE,
};
void ot_pg_begin(struct ot_pg *, struct ot_pg_job *, enum ot_pg_mode);
void ot_pg_commit(struct ot_pg_job *);
/* The same around what only looks, over the link of the reads: nothing at all,
 * when its session is ours. Each statement has its snapshot. */
void ot_pg_look(struct ot_pg *, struct ot_pg_job *);
void ot_pg_looked(struct ot_pg *, struct ot_pg_job *);

/* A column of the log has another type than it was made with. */
int ot_pg_fail_altered(const struct ot_pg *, struct outtray_error *err);
/* The server answered with something that it cannot have said. */
void ot_pg_garbled(struct ot_pg_job *);

/* The last seq that was drawn, for the outbox twice. A sequence that was just
 * set to begin elsewhere (RESTART WITH) has drawn what is below that. */
#define OT_PG_LAST_SEQ                                                  \
    "coalesce(pg_sequence_last_value('\"%s\".event_seq_seq'), (SELECT " \
    "last_value - 1 FROM \"%s\".event_seq_seq))"

/* The events of a result, which they take over: columns as in
 * OT_PG_COLUMNS, from row first. *largest: their largest payload. NULL: out of
 * memory; the result is cleared. */
#define OT_PG_COLUMNS \
    "seq, id, topic, key, type, headers, payload, created_at, deliver_at"
enum { OT_PG_COLUMN_N = 9 };
struct ot_rows *ot_pg_rows(PGresult *, int first, bool filtered,
                           size_t *largest);
/* Do its columns have the types of the schema? Else somebody altered the
 * table, and fields may be shorter than they are taken for. */
bool ot_pg_rows_fit(const PGresult *);
/* Only the first n. */
void ot_pg_rows_cut(struct ot_rows *, uint32_t n);

void ot_pg_read_sql(struct ot_buffer *out, const struct ot_pg_read_shape *);
/* What makes its plan safe; also for EXPLAIN. A database without statistics,
 * just truncated, or with ten million rows: the log is read by its index, or a
 * poll would cost what the history costs. (The time of compiling a plan is
 * worth more than a poll, too.) local: "true" for a transaction, "false" for
 * the session. */
#define OT_PG_PLANNER(local)                                   \
    "set_config('enable_seqscan', 'off', " local "), "         \
    "set_config('enable_bitmapscan', 'off', " local "), "      \
    "set_config('enable_incremental_sort', 'on', " local "), " \
    "set_config('jit', 'off', " local ")"

#endif
