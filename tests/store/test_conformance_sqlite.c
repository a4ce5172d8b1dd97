/* test_conformance_sqlite.c - the battery on a SQLite file. */
#include "conformance.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/admin.h"

struct outbox {
    char folder[64];
    char path[96];
    char moved[96];
};

struct tx {
    sqlite3 *db;
};

static struct outtray_conf *conf_of(void *outbox)
{
    struct outbox *o = outbox;
    struct outtray_conf *conf = outtray_conf_new();
    struct outtray_error err;
    char url[128];

    snprintf(url, sizeof(url), "sqlite://%s", o->path);
    if (outtray_conf_set(conf, "store.url", url, &err) != 0)
        fail_msg("%s", err.text);
    return conf;
}

static void *make(void)
{
    struct outbox *o = calloc(1, sizeof(*o));
    struct ot_init_options options = {0};
    struct outtray_error err;
    struct outtray_conf *conf;
    struct ot_admin *a;

    /* Memory, if there is some: every commit is an fsync. */
    snprintf(o->folder, sizeof(o->folder), "%s/outtray-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(o->folder));
    snprintf(o->path, sizeof(o->path), "%s/app.db", o->folder);
    snprintf(o->moved, sizeof(o->moved), "%s/moved.db", o->folder);
    conf = conf_of(o);
    if (ot_admin_open(&a, conf, &err) != 0 ||
        a->ops->init(a, &options, NULL, NULL, &err) != 0)
        fail_msg("%s", err.text);
    a->ops->close(a);
    outtray_conf_free(conf);
    return o;
}

static void drop(void *outbox)
{
    struct outbox *o = outbox;
    char name[128];

    unlink(o->path);
    snprintf(name, sizeof(name), "%s-wal", o->path);
    unlink(name);
    snprintf(name, sizeof(name), "%s-shm", o->path);
    unlink(name);
    assert_int_equal(rmdir(o->folder), 0);
    free(o);
}

static struct ot_store *open_on(void *outbox, const struct outtray_conf *conf,
                                struct ot_uuid owner)
{
    struct outtray_error err;
    struct ot_store *s;

    (void)outbox;
    if (ot_store_open(&s, conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static void check(sqlite3 *db, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        fail_msg("application: %s", sqlite3_errmsg(db));
}

static void *begin(void *outbox)
{
    struct outbox *o = outbox;
    struct tx *tx = calloc(1, sizeof(*tx));

    check(tx->db, sqlite3_open(o->path, &tx->db));
    sqlite3_busy_timeout(tx->db, 60000);
    check(tx->db, sqlite3_exec(tx->db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    return tx;
}

static void bind(sqlite3_stmt *s, int i, struct ot_slice v, bool blob)
{
    if (v.p == NULL)
        sqlite3_bind_null(s, i);
    else if (blob)
        sqlite3_bind_blob(s, i, v.p, (int)v.n, SQLITE_TRANSIENT);
    else
        sqlite3_bind_text(s, i, v.p, (int)v.n, SQLITE_TRANSIENT);
}

static int64_t enqueue(void *handle, const struct ot_event *e)
{
    static const struct ot_uuid none;
    struct tx *tx = handle;
    bool id = memcmp(&e->id, &none, sizeof(none)) != 0;
    sqlite3_stmt *s;
    char text[37];

    check(tx->db,
          sqlite3_prepare_v2(
              tx->db,
              id ? "INSERT INTO outtray_event (topic, key, type, headers, "
                   "payload, deliver_at, id) VALUES (?, ?, ?, ?, ?, ?, ?)"
                 : "INSERT INTO outtray_event (topic, key, type, headers, "
                   "payload, deliver_at) VALUES (?, ?, ?, ?, ?, ?)",
              -1, &s, NULL));
    bind(s, 1, e->topic, false);
    bind(s, 2, e->key, false);
    bind(s, 3, e->type, false);
    bind(s, 4, e->headers, false);
    bind(s, 5, e->payload, true);
    if (e->deliver_us != 0)
        sqlite3_bind_int64(s, 6, e->deliver_us);
    if (id)
        bind(s, 7, ot_slice_of(ot_uuid_text(e->id, text)), false);
    check(tx->db, sqlite3_step(s));
    sqlite3_finalize(s);
    return sqlite3_last_insert_rowid(tx->db);
}

static void finish(void *handle, const char *sql)
{
    struct tx *tx = handle;

    check(tx->db, sqlite3_exec(tx->db, sql, NULL, NULL, NULL));
    check(tx->db, sqlite3_close(tx->db));
    free(tx);
}

static void commit(void *tx)
{
    finish(tx, "COMMIT");
}

static void rollback(void *tx)
{
    finish(tx, "ROLLBACK");
}

static void command(void *outbox, const char *subscription, enum ot_verb verb,
                    int64_t seq)
{
    struct outtray_conf *conf = conf_of(outbox);
    struct outtray_error err;
    struct ot_admin *a;

    if (ot_admin_open(&a, conf, &err) != 0 ||
        a->ops->command(a, subscription, verb, &seq, seq > 0, &err) != 0)
        fail_msg("%s", err.text);
    a->ops->close(a);
    outtray_conf_free(conf);
}

static int keep_report(void *ctx, const struct ot_status *status)
{
    snprintf(ctx, OT_REPORT_SIZE, "%s", status->report);
    return 0;
}

static void report(void *outbox, const char *subscription, char *out,
                   size_t size)
{
    struct outtray_conf *conf = conf_of(outbox);
    struct outtray_error err;
    struct ot_admin *a;

    assert_int_equal(size, OT_REPORT_SIZE);
    if (ot_admin_open(&a, conf, &err) != 0 ||
        a->ops->status(a, subscription, keep_report, out, &err) != 0)
        fail_msg("%s", err.text);
    a->ops->close(a);
    outtray_conf_free(conf);
}

static void error_of(void *outbox, const char *subscription, int64_t seq,
                     char *out, size_t size)
{
    const struct outbox *o = outbox;
    const unsigned char *text;
    sqlite3_stmt *s;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(o->path, &db), 0);
    check(db, sqlite3_prepare_v2(db,
                                 "SELECT error FROM outtray_held WHERE "
                                 "subscription = ? AND seq = ?",
                                 -1, &s, NULL));
    sqlite3_bind_text(s, 1, subscription, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, seq);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    text = sqlite3_column_text(s, 0);
    snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
    sqlite3_finalize(s);
    check(db, sqlite3_close(db));
}

/* A file that is moved away is what a lost connection is to a server. */
static void cut(void *outbox, struct ot_store *s)
{
    struct outbox *o = outbox;

    (void)s;
    assert_int_equal(rename(o->path, o->moved), 0);
}

static void mend(void *outbox)
{
    struct outbox *o = outbox;

    assert_int_equal(rename(o->moved, o->path), 0);
}

int main(void)
{
    static const struct adapter adapter = {
        .name = "sqlite",
        .caps = OT_STORE_BARRIER_BY_WRITE,
        .make = make,
        .drop = drop,
        .conf = conf_of,
        .open = open_on,
        .begin = begin,
        .enqueue = enqueue,
        .commit = commit,
        .rollback = rollback,
        .command = command,
        .report = report,
        .error = error_of,
        .cut = cut,
        .mend = mend,
    };

    return conformance_run(&adapter);
}
