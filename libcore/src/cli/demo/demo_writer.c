/* demo_writer.c - a process that takes orders: one transaction after another,
 * each changes one to three orders and says so in as many events.
 *
 * A tenth is rolled back as a whole, a tenth rolls a savepoint back. Orders are
 * locked in ascending order, so that writers do not deadlock; the row lock is
 * taken before the event is written, as every user must do for causal order.
 */
#include <stdio.h>
#include <time.h>

#include "cli/demo/demo.h"
#include "cli/demo/naive.h"

#define CHANGES_MAX 3

struct change {
    int order;
    int version;
    char id[37];
    char key[24];
    char payload[160];
};

struct writer {
    struct demo *demo;
    struct ot_admin *admin;
    struct demo_naive *naive; /* NULL: the events go through the outbox */
    struct ot_rng rng;
    char orders[80], changes[80]; /* table names */
    struct change change[CHANGES_MAX];
    int n;
};

static void pick_orders(struct writer *writer)
{
    int order = 0;

    writer->n = (int)ot_rng_between(&writer->rng, 1, CHANGES_MAX);
    for (int i = 0; i < writer->n; i++) {
        order = (int)ot_rng_between(&writer->rng, order + 1,
                                    DEMO_ORDERS - CHANGES_MAX + 1 + i);
        writer->change[i].order = order;
    }
}

/* The business part: a new version of the order, and the row that is compared
 * with what arrives. */
static int change_order(struct writer *writer, struct change *change,
                        struct outtray_error *err)
{
    const struct ot_admin_ops *ops = writer->admin->ops;
    char sql[320], cell[32];
    int rc;

    snprintf(sql, sizeof(sql),
             "UPDATE %s SET version = version + 1 WHERE id = %d RETURNING "
             "version",
             writer->orders, change->order);
    rc = ops->sql(writer->admin, sql, cell, sizeof(cell), err);
    if (rc != 0)
        return rc;
    if (sscanf(cell, "%d", &change->version) != 1)
        return ot_fail(err, OUTTRAY_E_STORE, "order %d is not there",
                       change->order);
    if (outtray_id_new(change->id) != 0)
        return ot_fail_random(err);
    snprintf(sql, sizeof(sql),
             "INSERT INTO %s (order_id, version, event_id) VALUES (%d, %d, "
             "'%s')",
             writer->changes, change->order, change->version, change->id);
    return ops->sql(writer->admin, sql, NULL, 0, err);
}

static void describe(const struct writer *writer, struct change *change,
                     struct outtray_event *event)
{
    snprintf(change->key, sizeof(change->key), "order-%d", change->order);
    snprintf(change->payload, sizeof(change->payload),
             "{\"order\": %d, \"version\": %d, \"at_us\": %lld}", change->order,
             change->version, (long long)ot_wall_us());
    memset(event, 0, sizeof(*event));
    event->topic = (struct outtray_slice){writer->demo->topic,
                                          strlen(writer->demo->topic)};
    event->key = (struct outtray_slice){change->key, strlen(change->key)};
    event->id = (struct outtray_slice){change->id, 36};
    event->payload =
        (struct outtray_slice){change->payload, strlen(change->payload)};
    event->type = (struct outtray_slice){"order.changed", 13};
}

static int change_and_tell(struct writer *writer, struct change *change,
                           struct outtray_error *err)
{
    struct outtray_event event;
    int rc = change_order(writer, change, err);

    if (rc != 0)
        return rc;
    describe(writer, change, &event);
    if (writer->naive != NULL)
        return 0; /* told after the commit */
    return writer->admin->ops->enqueue(writer->admin, &event, 1, err);
}

/* The last change of the transaction in a savepoint, which is rolled back. */
static int change_in_vain(struct writer *writer, struct change *change,
                          struct outtray_error *err)
{
    const struct ot_admin_ops *ops = writer->admin->ops;
    int rc = ops->sql(writer->admin, "SAVEPOINT maybe", NULL, 0, err);

    if (rc == 0)
        rc = change_and_tell(writer, change, err);
    if (rc == 0)
        rc = ops->sql(writer->admin, "ROLLBACK TO SAVEPOINT maybe", NULL, 0,
                      err);
    return rc;
}

static void publish_naively(struct writer *writer, int told)
{
    struct outtray_event event;

    for (int i = 0; i < told; i++) {
        describe(writer, &writer->change[i], &event);
        demo_naive_publish(writer->naive, &event);
    }
}

/* One transaction; on an error it is rolled back, and may be tried again. */
static int transact(struct writer *writer, struct outtray_error *err)
{
    const int64_t dice = ot_rng_between(&writer->rng, 0, 9);
    const struct ot_admin_ops *ops = writer->admin->ops;
    struct demo_board *board = writer->demo->board;
    struct outtray_error ignored;
    const bool commit = dice != 0;
    int told, rc;

    pick_orders(writer);
    told = writer->n - (dice == 1 && writer->n > 1 ? 1 : 0);
    rc = ops->begin(writer->admin, err);
    if (rc != 0)
        return rc;
    for (int i = 0; i < writer->n && rc == 0; i++)
        rc = i < told ? change_and_tell(writer, &writer->change[i], err)
                      : change_in_vain(writer, &writer->change[i], err);
    if (rc != 0) {
        ops->end(writer->admin, false, &ignored);
        return rc;
    }
    rc = ops->end(writer->admin, commit, err);
    if (rc != 0)
        return rc;
    if (!commit) {
        atomic_fetch_add(&board->rolled_back, 1);
        return 0;
    }
    atomic_fetch_add(&board->committed, told);
    atomic_fetch_add(&board->savepoints, told < writer->n);
    if (writer->naive != NULL)
        publish_naively(writer, told);
    return 0;
}

/* Keep to the rate: sleep until the next transaction is due. */
static void pace(int64_t *due_us, int64_t every_us)
{
    struct timespec pause;
    int64_t left_us = *due_us - ot_now_us();

    if (left_us < -100000)
        *due_us = ot_now_us(); /* too slow: do not catch up in one burst */
    *due_us += every_us;
    if (left_us <= 0)
        return;
    pause.tv_sec = left_us / 1000000;
    pause.tv_nsec = left_us % 1000000 * 1000;
    nanosleep(&pause, NULL);
}

static int work(struct writer *writer, int index, struct outtray_error *err)
{
    struct demo_board *board = writer->demo->board;
    const int64_t every_us =
        writer->demo->per_s > 0
            ? 1000000 * writer->demo->writers / writer->demo->per_s
            : 0;
    int64_t due_us = ot_now_us();
    int rc;

    while (atomic_load(&board->left[index]) > 0) {
        if (every_us > 0)
            pace(&due_us, every_us);
        rc = transact(writer, err);
        if (rc != 0 && !outtray_error_retryable(rc))
            return rc;
        if (rc != 0)
            continue;
        atomic_fetch_sub(&board->left[index], 1);
        atomic_fetch_add(&board->done, 1);
    }
    return 0;
}

/* As many applications run SQLite: a commit need not wait for the disk. What
 * is published is durable all the same, the relay sees to that. */
static int relax(struct writer *writer, struct outtray_error *err)
{
    if (demo_on_postgres(writer->demo))
        return 0;
    return writer->admin->ops->sql(writer->admin, "PRAGMA synchronous = NORMAL",
                                   NULL, 0, err);
}

int demo_writer(struct demo *demo, int index)
{
    struct writer writer = {.demo = demo};
    struct outtray_error err = {0};
    int rc;

    ot_rng_seed(&writer.rng,
                demo->seed + (uint64_t)index * 1000003 +
                    (uint64_t)atomic_load(&demo->board->left[index]));
    demo_table(demo, "shop_order", writer.orders);
    demo_table(demo, "shop_change", writer.changes);
    rc = ot_admin_open(&writer.admin, demo->conf, &err);
    if (rc == 0)
        rc = relax(&writer, &err);
    if (rc == 0 && demo->mode == DEMO_DUAL_WRITE)
        rc = demo_naive_open(&writer.naive, demo->conf, &err);
    if (rc == 0)
        rc = work(&writer, index, &err);
    if (rc != 0)
        fprintf(stderr, "writer %d: %s\n", index, err.text);
    demo_naive_close(writer.naive);
    if (writer.admin != NULL)
        writer.admin->ops->close(writer.admin);
    return rc == 0 ? 0 : 1;
}
