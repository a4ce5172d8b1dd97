/* stores.h - every store that this library was built with. */
#ifndef OT_STORE_STORES_H
#define OT_STORE_STORES_H

#include "store/admin.h"
#include "store/store.h"

extern const struct ot_store_ops ot_sqlite_store_ops;
extern const struct ot_admin_ops ot_sqlite_admin_ops;
extern const struct ot_store_ops ot_memory_store_ops;
#ifdef OUTTRAY_WITH_POSTGRES
extern const struct ot_store_ops ot_postgres_store_ops;
extern const struct ot_admin_ops ot_postgres_admin_ops;
#endif

#endif
