/* prune.h - the statement of retention, for the relay and for people. */
#ifndef OT_PG_PRUNE_H
#define OT_PG_PRUNE_H

#include "base/base.h"

/* One batch as one statement, with literal limit. Parameters: $1 bigint, look
 * above this seq; $2 bigint, delete what was created before (microseconds
 * since 1970). To be run with enable_seqscan and enable_bitmapscan off.
 * One row: deleted (dry_run: would be), low (bigint: nothing up to it has to be
 * looked at again soon), more (boolean: the limit ended it). [INV-10] */
void ot_pg_prune_sql(struct ot_buffer *out, const char *outbox, uint32_t limit,
                     bool dry_run);

#endif
