/* probe.h - does anybody answer, where a connection is silent?
 *
 * The kernel of a peer acknowledges what its program never reads, and a
 * middleman what never arrives: no time-out of TCP ends that, and the longest
 * statement allowed is long. So a second connection looks. If nobody answers
 * it either, the server is away. If somebody does, the server knows whether it
 * is at work for the silent session, or waits for it.
 *
 * While a link connects, a second attempt beside the first one is the same:
 * the first may hang where a new one would not.
 */
#ifndef OT_PG_PROBE_H
#define OT_PG_PROBE_H

#include <libpq-fe.h>

#include "conf/conf.h"
#include "store/store.h"

/* Two links, and a probe of each: their descriptors have generations that
 * never meet. */
enum { OT_PG_SOCKETS = 4 };

enum ot_pg_finding {
    OT_PG_LOOKING,
    OT_PG_ANSWERED,  /* connected, or the server itself said why not; and the
                        session, if it was asked about one, is at work */
    OT_PG_FORSAKEN,  /* the server waits for the session, or has none */
    OT_PG_NO_ANSWER, /* the connection broke, or cannot be made */
};

struct ot_pg_probe {
    const struct ot_log *log;
    PGconn *conn; /* NULL: none is under way */
    PostgresPollingStatusType poll;
    bool connecting;
    bool about_session; /* ask, once connected */
    int pid;            /* its process */
    int64_t lease_us;   /* how long a lease lasts */
    int predecessor;    /* that of the session before it, which may hang */
    enum ot_pg_finding found;
    int in_the_way; /* a process that is to be ended, or 0 */
    int64_t began_us;
    uint32_t generation; /* of the descriptor */
};

/* Ask the server of a silent connection about its process probe->pid (0: only
 * whether it answers), and end a session of a relay that holds a lock which
 * this one waits for, and which nobody will ever let go: that of
 * probe->predecessor, or one that has waited within a transaction for longer
 * than a lease lasts. Nothing happens where there is no memory: it is looked
 * again. */
void ot_pg_probe_ask(struct ot_pg_probe *, const struct outtray_conf *,
                     const PGconn *silent, int64_t now_us);
/* Connect as ot_pg_connect_start_at does. */
void ot_pg_probe_connect(struct ot_pg_probe *, const struct outtray_conf *,
                         unsigned attempt, int64_t now_us);
/* Go on, without waiting. */
enum ot_pg_finding ot_pg_probe_service(struct ot_pg_probe *);
void ot_pg_probe_end(struct ot_pg_probe *);
/* The connection that it made; it is the caller's now. */
PGconn *ot_pg_probe_take(struct ot_pg_probe *);
bool ot_pg_probe_fd(const struct ot_pg_probe *, struct ot_fd *out);

#endif
