/* arrivals.h - the ids of what arrived: from a topic, a file, or a pipe. */
#ifndef OT_CLI_ARRIVALS_H
#define OT_CLI_ARRIVALS_H

#include "cli/cli.h"
#include "cli/reconcile.h"

/* Lines of path ("-": standard input): an id, or an object with the member
 * "id", as `file:` and `stdout:` write them. Empty lines do not count. E_CONF
 * names the line that is neither. */
int ot_arrivals_lines(struct ot_cli *, const char *path, struct ot_reconcile *);

/* Every record of a topic of sink.url, from since_us (0: the beginning) to what
 * is its end now. */
int ot_arrivals_topic(struct ot_cli *, const char *destination,
                      int64_t since_us, struct ot_reconcile *);

#endif
