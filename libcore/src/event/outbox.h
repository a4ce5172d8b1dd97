/* outbox.h - the name of an outbox. */
#ifndef OT_EVENT_OUTBOX_H
#define OT_EVENT_OUTBOX_H

#include "base/base.h"

#define OT_OUTBOX_DEFAULT  "outtray"
#define OT_OUTBOX_NAME_MAX 63 /* bytes: PostgreSQL's limit of an identifier */

/* It becomes a schema (PostgreSQL) or the prefix of tables (SQLite), so it is
 * a plain identifier: letters, digits and _, not a digit first. Quoted it needs
 * no escape. Returns 0 or code with err. */
int ot_outbox_check(const char *name, int code, struct outtray_error *err);

#endif
