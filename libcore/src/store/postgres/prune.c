/* prune.c - deleting what every subscription has passed. */
#include "store/postgres/prune.h"

/* Cursor, gaps and held events are read in the snapshot of the DELETE: a
 * position moves in the same transaction as the gap or held row that excepts
 * a seq from it. The walk goes up by seq; a young row ends it. [INV-10]
 * One from the future, whose time somebody made up, says nothing about those
 * behind it.
 *
 * A gap is found by its subscription and the largest first: there may be
 * thousands, and they are disjoint. */
static const char looked[] =
    "WITH looked AS MATERIALIZED ("
    "SELECT e.seq, "
    "e.created_at < timestamptz 'epoch' + $2 * interval '1 us' AS old, "
    "e.created_at BETWEEN timestamptz 'epoch' + $2 * interval '1 us' "
    "AND clock_timestamp() AS young, "
    "EXISTS (SELECT FROM \"%s\".held h WHERE h.seq = e.seq) "
    "OR EXISTS (SELECT FROM \"%s\".cursor c CROSS JOIN LATERAL "
    "(SELECT g.last FROM \"%s\".gap g WHERE g.subscription = c.subscription "
    "AND g.first <= e.seq ORDER BY g.first DESC LIMIT 1) r "
    "WHERE r.last >= e.seq) AS kept "
    "FROM \"%s\".event e WHERE e.seq > $1 AND e.seq <= "
    "(SELECT coalesce(min(position), 0) FROM \"%s\".cursor) "
    "ORDER BY e.seq LIMIT %u), ";

/* A row that somebody holds (redact, a forgotten transaction) is left for the
 * next walk: waiting for it would keep the lease from being renewed. */
static const char gone[] =
    "gone AS (DELETE FROM \"%s\".event WHERE seq = ANY (ARRAY("
    "SELECT e.seq FROM \"%s\".event e WHERE e.seq = ANY (ARRAY("
    "SELECT seq FROM looked WHERE old AND NOT kept)) "
    "ORDER BY e.seq FOR UPDATE SKIP LOCKED)) RETURNING 1) ";

static const char would_go[] =
    "gone AS (SELECT 1 FROM looked WHERE old AND NOT kept) ";

static const char answer[] =
    "SELECT (SELECT count(*) FROM gone), "
    "coalesce(min(seq) FILTER (WHERE young) - 1, max(seq), $1), "
    "count(*) = %u AND NOT coalesce(bool_or(young), false) FROM looked";

void ot_pg_prune_sql(struct ot_buffer *out, const char *outbox, uint32_t limit,
                     bool dry_run)
{
    ot_buffer_printf(out, looked, outbox, outbox, outbox, outbox, outbox,
                     (unsigned)limit);
    if (dry_run)
        ot_buffer_puts(out, would_go);
    else
        ot_buffer_printf(out, gone, outbox, outbox);
    ot_buffer_printf(out, answer, (unsigned)limit);
}
