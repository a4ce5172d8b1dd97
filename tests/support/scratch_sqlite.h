/* scratch_sqlite.h - a SQLite file of a test, in a folder of its own. */
#ifndef TESTS_SCRATCH_SQLITE_H
#define TESTS_SCRATCH_SQLITE_H

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/admin.h"

struct scratch {
    char folder[64];
    char path[96];
    struct outtray_conf *conf; /* store.url is set */
};

static inline void scratch_set(struct scratch *s, const char *key,
                               const char *value)
{
    struct outtray_error err;

    if (outtray_conf_set(s->conf, key, value, &err) != 0)
        fail_msg("%s", err.text);
}

/* An empty folder, and where a file would be. */
static inline void scratch_folder(struct scratch *s)
{
    char url[128];

    memset(s, 0, sizeof(*s));
    /* Memory, if there is some: every commit is an fsync. */
    snprintf(s->folder, sizeof(s->folder), "%s/outtray-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->path, sizeof(s->path), "%s/app.db", s->folder);
    snprintf(url, sizeof(url), "sqlite://%s", s->path);
    s->conf = outtray_conf_new();
    scratch_set(s, "store.url", url);
}

static inline struct ot_admin *scratch_admin(struct scratch *s)
{
    struct outtray_error err;
    struct ot_admin *a;

    if (ot_admin_open(&a, s->conf, &err) != 0)
        fail_msg("%s", err.text);
    return a;
}

/* The same with an outbox in it. */
static inline void scratch_make(struct scratch *s)
{
    struct ot_init_options options = {0};
    struct outtray_error err;
    struct ot_admin *a;

    scratch_folder(s);
    a = scratch_admin(s);
    if (a->ops->init(a, &options, NULL, NULL, &err) != 0)
        fail_msg("%s", err.text);
    a->ops->close(a);
}

static inline void scratch_drop(struct scratch *s)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal", ".old"};
    char name[128];

    for (size_t i = 0; i < OT_COUNT(ends); i++) {
        snprintf(name, sizeof(name), "%s%s", s->path, ends[i]);
        unlink(name);
    }
    assert_int_equal(rmdir(s->folder), 0);
    outtray_conf_free(s->conf);
}

static inline struct ot_store *scratch_store(struct scratch *s, uint8_t owner)
{
    struct ot_uuid uuid = {{owner}};
    struct outtray_error err;
    struct ot_store *store;

    if (ot_store_open(&store, s->conf, uuid, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return store;
}

/* The application's own connection. */
static inline sqlite3 *scratch_app(struct scratch *s)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

static inline void app_run(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

/* The first column of the first row; -1 if there is none. */
static inline int64_t app_int(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st;
    int64_t n = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    if (sqlite3_step(st) == SQLITE_ROW)
        n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return n;
}

/* Requests whose reply comes from the same call or from service. */
static inline struct ot_reply store_wait(struct ot_store *s)
{
    int64_t deadline = ot_now_us() + 10000000;
    struct ot_reply reply;

    while (!s->ops->next(s, &reply)) {
        if (ot_now_us() > deadline)
            fail_msg("no reply within 10 s");
        s->ops->service(s, ot_now_us());
        usleep(500);
    }
    return reply;
}

static inline struct ot_reply store_lease(struct ot_store *s)
{
    struct ot_lease_request q = {.take = true, .ttl_us = 60000000};

    s->ops->lease(s, &q);
    return store_wait(s);
}

static inline struct ot_reply store_read(struct ot_store *s, int64_t position)
{
    struct ot_read_request q = {
        .position = position, .limit = 1000, .budget = 1 << 20};

    s->ops->read(s, &q);
    return store_wait(s);
}

static inline struct ot_reply store_move(struct ot_store *s, int64_t fence,
                                         int64_t position)
{
    struct ot_write_request q = {.fence = fence,
                                 .position = position,
                                 .durable = true,
                                 .set_paused = -1};

    s->ops->write(s, &q);
    return store_wait(s);
}

#endif
