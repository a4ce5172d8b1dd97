/* demo_reconcile.c - the business tables against what the reader saw. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/demo/demo.h"

#define CELL_BYTES (4 << 20) /* all changes of one order, as text */

/* One committed change, by event id. */
struct truth {
    char id[37];
    int32_t order;
    int32_t version;
    bool seen;
};

struct reconcile {
    struct truth *truths;
    size_t n, size;
    struct demo_record *records;
    size_t nrecords;
    int32_t newest[DEMO_ORDERS + 1]; /* version last seen, per order */
};

/* --- what was committed ---------------------------------------------------- */

static int add_truth(struct reconcile *all, int order, int version,
                     const char *id)
{
    struct truth *more;

    if (all->n == all->size) {
        all->size = all->size == 0 ? 4096 : all->size * 2;
        more = ot_resize(all->truths, all->size * sizeof(*more));
        if (more == NULL)
            return OUTTRAY_E_NOMEM;
        all->truths = more;
    }
    memset(&all->truths[all->n], 0, sizeof(all->truths[0]));
    memcpy(all->truths[all->n].id, id, 36);
    all->truths[all->n].order = order;
    all->truths[all->n].version = version;
    all->n++;
    return 0;
}

/* "1:id,2:id,…" of one order. */
static int add_cell(struct reconcile *all, int order, char *cell)
{
    char *save = NULL, *colon;

    for (char *part = strtok_r(cell, ",", &save); part != NULL;
         part = strtok_r(NULL, ",", &save)) {
        colon = strchr(part, ':');
        if (colon == NULL || strlen(colon + 1) != 36)
            return OUTTRAY_E_STORE;
        if (add_truth(all, order, atoi(part), colon + 1) != 0)
            return OUTTRAY_E_NOMEM;
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
        if (rc == 0 && add_cell(all, order, cell) != 0)
            rc = ot_fail(err, OUTTRAY_E_STORE,
                         "the changes of order %d cannot "
                         "be read back",
                         order);
    }
    if (admin != NULL)
        admin->ops->close(admin);
    ot_free(cell);
    return rc;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct truth *)a)->id, ((const struct truth *)b)->id,
                  36);
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

static void judge_record(struct reconcile *all,
                         const struct demo_record *record,
                         struct demo_result *out)
{
    struct truth key, *truth;

    assert(record != NULL && (all->n == 0 || all->truths != NULL));
    memset(&key, 0, sizeof(key));
    memcpy(key.id, record->id, sizeof(key.id));
    truth = all->n == 0
                ? NULL
                : bsearch(&key, all->truths, all->n, sizeof(key), by_id);
    if (truth == NULL) {
        out->ghosts++;
        return;
    }
    if (truth->seen) {
        out->duplicates++;
        return;
    }
    truth->seen = true;
    /* Only first deliveries count for the order. */
    if (truth->version < all->newest[truth->order])
        out->out_of_order++;
    else
        all->newest[truth->order] = truth->version;
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

int demo_reconcile(struct demo *demo, struct demo_result *out)
{
    struct reconcile *all = ot_alloc_zero(1, sizeof(*all));
    int rc;

    if (all == NULL)
        return ot_fail_nomem(&demo->cli->err);
    rc = load_truth(demo, all);
    if (rc == 0)
        rc = load_records(demo, all);
    if (rc == 0) {
        if (all->n > 0)
            qsort(all->truths, all->n, sizeof(all->truths[0]), by_id);
        for (size_t i = 0; i < all->nrecords; i++)
            judge_record(all, &all->records[i], out);
        for (size_t i = 0; i < all->n; i++)
            out->lost += !all->truths[i].seen;
        out->committed = (int64_t)all->n;
        out->delivered = (int64_t)all->nrecords;
        qsort(all->records, all->nrecords, sizeof(all->records[0]), by_latency);
        out->p50_ms = percentile_ms(all, 0.50);
        out->p99_ms = percentile_ms(all, 0.99);
    }
    ot_free(all->truths);
    ot_free(all->records);
    ot_free(all);
    return rc;
}
