/* demo_reconcile.c - the business tables against what the reader saw. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/demo/demo.h"
#include "cli/reconcile.h"

#define CELL_BYTES (64 << 20) /* all changes of one order, as text */

struct reconcile {
    struct demo *demo;
    struct ot_reconcile *judge;
    struct demo_record *records;
    size_t nrecords;
};

static struct ot_uuid id_of(const char *text)
{
    struct ot_uuid id = {{0}}; /* what has no id was never committed */

    (void)ot_uuid_parse(ot_slice_of(text), &id);
    return id;
}

/* --- what was committed ---------------------------------------------------- */

/* "1:id,2:id,…" of one order. */
static int add_cell(struct reconcile *all, int order, char *cell)
{
    char *save = NULL, *colon;

    for (char *part = strtok_r(cell, ",", &save); part != NULL;
         part = strtok_r(NULL, ",", &save)) {
        colon = strchr(part, ':');
        if (colon == NULL || strlen(colon + 1) != 36)
            return ot_fail(&all->demo->cli->err, OUTTRAY_E_STORE,
                           "the changes of order %d cannot be read back",
                           order);
        if (ot_reconcile_committed(all->judge, id_of(colon + 1), atoi(part),
                                   (uint64_t)order, true,
                                   &all->demo->cli->err) != 0)
            return all->demo->cli->err.code;
    }
    return 0;
}

static int load_truth(struct demo *demo, struct reconcile *all)
{
    struct outtray_error *err = &demo->cli->err;
    const char *gather = demo_on_postgres(demo) ? "string_agg" : "group_concat";
    char table[80], sql[256], *cell = ot_alloc(CELL_BYTES);
    struct ot_admin *admin = NULL;
    int rc;

    if (cell == NULL)
        return ot_fail_nomem(err);
    demo_table(demo, "shop_change", table);
    rc = ot_admin_open(&admin, demo->conf, err);
    for (int order = 1; rc == 0 && order <= DEMO_ORDERS; order++) {
        snprintf(sql, sizeof(sql),
                 "SELECT %s(version || ':' || event_id, ',') FROM %s WHERE "
                 "order_id = %d",
                 gather, table, order);
        rc = admin->ops->sql(admin, sql, cell, CELL_BYTES, err);
        if (rc == 0)
            rc = add_cell(all, order, cell);
    }
    if (admin != NULL)
        admin->ops->close(admin);
    ot_free(cell);
    return rc;
}

/* --- what arrived ---------------------------------------------------------- */

static int load_records(struct demo *demo, struct reconcile *all)
{
    char path[320];
    FILE *file;
    long bytes = -1;

    snprintf(path, sizeof(path), "%s/delivered", demo->dir);
    file = fopen(path, "rb");
    if (file != NULL && fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (bytes < 0) {
        if (file != NULL)
            fclose(file);
        return ot_fail(&demo->cli->err, OUTTRAY_E_IO, "%s: %s", path,
                       strerror(errno));
    }
    rewind(file);
    all->nrecords = (size_t)bytes / sizeof(all->records[0]);
    all->records = ot_alloc_zero(all->nrecords + 1, sizeof(all->records[0]));
    if (all->records != NULL)
        all->nrecords =
            fread(all->records, sizeof(all->records[0]), all->nrecords, file);
    fclose(file);
    return all->records != NULL ? 0 : ot_fail_nomem(&demo->cli->err);
}

static int by_latency(const void *a, const void *b)
{
    const int64_t x = ((const struct demo_record *)a)->latency_us;
    const int64_t y = ((const struct demo_record *)b)->latency_us;

    return (x > y) - (x < y);
}

static double percentile_ms(const struct reconcile *all, double part)
{
    if (all->nrecords == 0)
        return 0;
    return (double)all->records[(size_t)((double)(all->nrecords - 1) * part)]
               .latency_us /
           1000;
}

static int judge(struct reconcile *all, struct demo_result *out)
{
    struct outtray_error *err = &all->demo->cli->err;
    struct ot_reconciled result;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < all->nrecords; i++)
        rc = ot_reconcile_arrived(all->judge, id_of(all->records[i].id), err);
    if (rc == 0)
        rc = ot_reconcile_judge(all->judge, &result, NULL, NULL, err);
    if (rc != 0)
        return rc;
    out->committed = result.committed;
    out->delivered = result.arrived;
    out->lost = result.missing;
    out->ghosts = result.unknown;
    out->duplicates = result.duplicates;
    out->out_of_order = result.out_of_order;
    return 0;
}

int demo_reconcile(struct demo *demo, struct demo_result *out)
{
    struct reconcile all = {.demo = demo};
    int rc = ot_reconcile_new(&all.judge, &demo->cli->err);

    if (rc == 0)
        rc = load_truth(demo, &all);
    if (rc == 0)
        rc = load_records(demo, &all);
    if (rc == 0)
        rc = judge(&all, out);
    if (rc == 0) {
        qsort(all.records, all.nrecords, sizeof(all.records[0]), by_latency);
        out->p50_ms = percentile_ms(&all, 0.50);
        out->p99_ms = percentile_ms(&all, 0.99);
    }
    ot_reconcile_free(all.judge);
    ot_free(all.records);
    return rc;
}
