/* demo_shop.c - the tables of the demo's order service.
 *
 * shop_change is the truth that the demo reconciles with: a business row, in
 * the same transaction as the event, in no table of outtray.
 */
#include <stdio.h>

#include "cli/demo/demo.h"

bool demo_on_postgres(const struct demo *demo)
{
    return strncmp(ot_conf_secret(demo->conf, "store.url"), "postgres", 8) == 0;
}

void demo_table(const struct demo *demo, const char *name, char out[80])
{
    snprintf(out, 80, demo_on_postgres(demo) ? "%s.%s" : "%s_%s", demo->outbox,
             name);
}

static int ignore_line(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    return 0;
}

static int make_tables(struct demo *demo, struct ot_admin *admin)
{
    struct outtray_error *err = &demo->cli->err;
    char orders[80], changes[80], sql[512];
    int rc;

    demo_table(demo, "shop_order", orders);
    demo_table(demo, "shop_change", changes);
    snprintf(sql, sizeof(sql),
             "CREATE TABLE %s (id integer PRIMARY KEY, version integer NOT "
             "NULL)",
             orders);
    rc = admin->ops->sql(admin, sql, NULL, 0, err);
    if (rc != 0)
        return rc;
    snprintf(sql, sizeof(sql),
             "CREATE TABLE %s (order_id integer, version integer, event_id "
             "text NOT NULL, PRIMARY KEY (order_id, version))",
             changes);
    rc = admin->ops->sql(admin, sql, NULL, 0, err);
    if (rc != 0)
        return rc;
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
             "WHERE i < %d) INSERT INTO %s (id, version) SELECT i, 0 FROM n",
             DEMO_ORDERS, orders);
    return admin->ops->sql(admin, sql, NULL, 0, err);
}

int demo_shop_make(struct demo *demo)
{
    struct ot_init_options options = {0};
    struct ot_admin *admin;
    int rc = ot_admin_open(&admin, demo->conf, &demo->cli->err);

    if (rc != 0)
        return rc;
    rc = admin->ops->init(admin, &options, ignore_line, NULL, &demo->cli->err);
    if (rc == 0)
        rc = make_tables(demo, admin);
    admin->ops->close(admin);
    return rc;
}

int demo_shop_drop(struct demo *demo)
{
    struct outtray_error *err = &demo->cli->err;
    char table[80], sql[128];
    struct ot_admin *admin;
    int64_t events;
    int rc = ot_admin_open(&admin, demo->conf, err);

    if (rc != 0)
        return rc;
    for (int i = 0; i < 2 && rc == 0; i++) {
        demo_table(demo, i == 0 ? "shop_order" : "shop_change", table);
        snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS %s", table);
        rc = admin->ops->sql(admin, sql, NULL, 0, err);
    }
    if (rc == 0)
        rc = admin->ops->drop(admin, false, &events, err);
    admin->ops->close(admin);
    return rc;
}
