/* apply.h - carry out what operators asked for when no relay runs. */
#ifndef OT_APPLY_H
#define OT_APPLY_H

#include "store/admin.h"

/* Take the lease of relay.subscription, apply the rows of the command table,
 * release the lease. Publishes nothing. Blocks for at most timeout_ms, with
 * patience (NULL: in silence).
 * @return 0; E_LEASE_HELD: a relay owns the subscription and will apply them;
 *         E_STORE_…; E_INTERRUPTED: not done in time, or given up */
int ot_relay_apply(const struct outtray_conf *conf, int timeout_ms,
                   const struct ot_patience *patience,
                   struct outtray_error *err);

#endif
