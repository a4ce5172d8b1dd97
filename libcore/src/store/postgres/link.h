/* link.h - one connection, driven without waiting, and the jobs it carries.
 *
 * A job is one request: a script goes out in one go, its results come back,
 * the job finishes (or sends another script). In one go means one send, as far
 * as it is not longer than libpq's buffer: between two, the network may end, and
 * the server would keep a transaction open. So a script has one Sync, behind its
 * COMMIT, and where a statement fails ROLLBACK follows. Jobs of one link run one after
 * the other; the two links of a store run side by side.
 */
#ifndef OT_PG_LINK_H
#define OT_PG_LINK_H

#include "conf/conf.h"
#include "store/postgres/probe.h"
#include "store/postgres/script.h"
#include "store/store.h"

#define OT_PG_JOBS 8 /* one of each enum ot_reply_kind */

/* The connections of a store. */
enum { OT_PG_READS, OT_PG_WRITES, OT_PG_LINKS };

struct ot_pg;
struct ot_pg_link;

struct ot_pg_job {
    struct ot_pg_link *link;
    struct ot_pg_script script;
    const char *what;      /* what failed, for errors: "read the log" */
    bool busy;             /* asked for and not finished */
    struct ot_reply reply; /* code and err are the first error */
    /* A result of a statement with a tag. It is cleared afterwards, unless
     * the job takes it (true). */
    bool (*heard)(struct ot_pg *, struct ot_pg_job *, int tag, PGresult *);
    /* All is answered without an error. True: the script was written anew,
     * send it too. */
    bool (*again)(struct ot_pg *, struct ot_pg_job *);
    /* It failed or is done; let go of what was kept. reply.code says which. */
    void (*done)(struct ot_pg *, struct ot_pg_job *);
};

enum ot_pg_phase { OT_PG_OFF, OT_PG_CONNECTING, OT_PG_READY };

struct ot_pg_link {
    const struct outtray_conf *conf;
    const struct ot_log *log;
    int64_t connect_us; /* time-outs */
    int64_t silence_us; /* a job whose server says nothing for so long */
    int64_t network_us; /* a silence that nobody explains */
    unsigned attempt;   /* which of several hosts comes first: counted up when
                         it cannot be had */
    unsigned nhosts;
    unsigned tried; /* in vain, one after the other */
    PGconn *conn;
    uint32_t generation; /* of its descriptor; no two links share one */
    enum ot_pg_phase phase;
    PostgresPollingStatusType poll; /* while connecting */
    bool unsent;                    /* bytes wait for the socket */
    bool running;                   /* queue[0] was sent */
    bool rolling_back;              /* it failed, and this is its end */
    int statement;                  /* whose result is next */
    bool answered;                  /* up to its Sync */
    const char *greeting; /* its first statement: a row if nobody stands between
                             us and the server; $1: the server's process */
    bool greeted;         /* it was sent */
    bool greeting_due;    /* and is not answered yet */
    bool ours;            /* nobody stands between: the session keeps what it
                             is told */
    struct ot_pg_plans plans;
    bool replan;         /* an error: forget them when the job ends */
    int64_t deadline_us; /* connected, or heard of, by then */
    struct ot_pg_probe probe;
    int64_t look_us;     /* silent: when the probe is sent out next */
    int64_t forlorn_us;  /* silent: somebody must have answered by then */
    int64_t patience_us; /* from the silence to there: network_us, more after
                            alarms, which may be wrong */
    int64_t alarm_us;    /* the last one */
    struct ot_pg_job *queue[OT_PG_JOBS];
    size_t nqueue;
};

/* Put a job at the end of the queue. */
void ot_pg_link_ask(struct ot_pg_link *, struct ot_pg_job *);
/* Let the server begin with it now, if it can: service comes later. */
void ot_pg_link_hurry(struct ot_pg_link *);

/* Connect, send, receive: whatever is possible without waiting. Finished jobs
 * go to ot_pg_finished. 0, or why the connection is lost: the caller then
 * closes the link. */
int ot_pg_link_service(struct ot_pg *, struct ot_pg_link *, int64_t now_us,
                       struct outtray_error *err);
/* When service has to be called if its descriptor does not become ready. */
int64_t ot_pg_link_deadline(const struct ot_pg_link *);
/* Its own descriptor and that of its probe; returns their number. */
size_t ot_pg_link_fds(const struct ot_pg_link *, struct ot_fd out[2]);
/* Disconnect and forget the queue. */
void ot_pg_link_close(struct ot_pg_link *);

/* In store.c: the job is done, its reply may be handed out. */
void ot_pg_finished(struct ot_pg *, struct ot_pg_job *);
/* In store.c: puts behind the server's words what to do about it. */
void ot_pg_advise(const struct ot_pg *, struct outtray_error *err);

#endif
