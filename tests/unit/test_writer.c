/* test_writer.c - outtray/writer.h: many events in one durable transaction, or the
 * reason why not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include "outtray/writer.h"
#include "support/faulty_sqlite.h"
#include "support/scratch_sqlite.h"

static struct outtray_writer *writer_of(const struct scratch *x, int busy_ms)
{
    struct outtray_writer_options options = {.busy_ms = busy_ms};
    struct outtray_writer *w;
    struct outtray_error err;

    options.store = ot_conf_secret(x->conf, "store.url");
    if (outtray_writer_open(&w, &options, &err) != 0)
        fail_msg("%s", err.text);
    return w;
}

static struct outtray_slice slice(const char *text)
{
    return (struct outtray_slice){text, strlen(text)};
}

static struct outtray_event event_of(const char *key)
{
    struct outtray_event e = {.topic = slice("orders")};

    e.key = slice(key);
    return e;
}

/* One event in a transaction of its own. */
static int write_one(struct outtray_writer *w, struct outtray_error *err)
{
    struct outtray_event e = event_of("k");
    int code = outtray_writer_begin(w, err);

    if (code == 0)
        code = outtray_writer_add(w, &e, 1, NULL, err);
    return code == 0 ? outtray_writer_commit(w, err) : code;
}

static int64_t count(const struct scratch *x)
{
    struct scratch copy = *x;
    sqlite3 *app = scratch_app(&copy);
    int64_t n = app_int(app, "SELECT count(*) FROM outtray_event");

    sqlite3_close(app);
    return n;
}

static void a_group(void **state)
{
    struct outtray_event events[] = {event_of("a"), event_of("b")};
    struct outtray_event last = event_of("c");
    struct outtray_writer *w;
    struct outtray_error err;
    struct scratch x;
    char ids[2][37];
    sqlite3 *app;

    (void)state;
    scratch_make(&x);
    w = writer_of(&x, 0);
    assert_int_equal(outtray_writer_begin(w, &err), 0);
    assert_int_equal(outtray_writer_begin(w, &err), OUTTRAY_E_MISUSE);
    assert_int_equal(outtray_writer_add(w, events, 2, ids, &err), 0);
    assert_int_equal(outtray_writer_add(w, &last, 1, NULL, NULL), 0);
    assert_int_equal(count(&x), 0);
    assert_int_equal(outtray_writer_commit(w, &err), 0);
    app = scratch_app(&x);
    assert_int_equal(app_int(app, "SELECT group_concat(key, '') = 'abc' FROM "
                                  "(SELECT key FROM outtray_event ORDER BY "
                                  "seq)"),
                     1);
    for (size_t i = 0; i < 2; i++) {
        char sql[128];

        snprintf(sql, sizeof(sql),
                 "SELECT seq FROM outtray_event WHERE id = '%s'", ids[i]);
        assert_int_equal(app_int(app, sql), (int64_t)i + 1);
    }
    sqlite3_close(app);
    /* Without a transaction, and one that is rolled back. */
    assert_int_equal(outtray_writer_add(w, &last, 1, NULL, &err),
                     OUTTRAY_E_NOT_IN_TRANSACTION);
    assert_int_equal(outtray_writer_commit(w, &err),
                     OUTTRAY_E_NOT_IN_TRANSACTION);
    assert_int_equal(outtray_writer_begin(w, &err), 0);
    assert_int_equal(outtray_writer_add(w, &last, 1, NULL, &err), 0);
    outtray_writer_rollback(w);
    outtray_writer_rollback(w);
    assert_int_equal(outtray_writer_begin(w, &err), 0);
    assert_int_equal(outtray_writer_add(w, &last, 1, NULL, &err), 0);
    outtray_writer_close(w);
    assert_int_equal(count(&x), 3);
    scratch_drop(&x);
}

/* What is wrong with one does not touch the others. */
static void refused_events(void **state)
{
    struct outtray_event events[] = {event_of("a"), event_of("a")};
    struct outtray_event fine = event_of("b");
    struct outtray_writer *w;
    struct outtray_error err;
    struct scratch x;
    sqlite3 *app;

    (void)state;
    scratch_make(&x);
    app = scratch_app(&x);
    app_run(app, "CREATE UNIQUE INDEX one ON outtray_event (id)");
    sqlite3_close(app);
    w = writer_of(&x, 0);
    events[0].id = slice("01890a5d-ac96-774b-bcce-b302099a8057");
    events[1].id = events[0].id;
    assert_int_equal(outtray_writer_begin(w, &err), 0);
    assert_int_equal(outtray_writer_add(w, &fine, 1, NULL, &err), 0);
    assert_int_equal(outtray_writer_add(w, events, 2, NULL, &err),
                     OUTTRAY_E_EXISTS);
    assert_non_null(strstr(err.text, "after the first 1 events"));
    assert_int_equal(outtray_writer_add(w, events, 1, NULL, &err), 0);
    assert_int_equal(outtray_writer_add(w, events, 1, NULL, &err),
                     OUTTRAY_E_EXISTS);
    events[1].topic = slice("");
    assert_int_equal(outtray_writer_add(w, &events[1], 1, NULL, &err),
                     OUTTRAY_E_INVALID_EVENT);
    assert_int_equal(outtray_writer_commit(w, &err), 0);
    outtray_writer_close(w);
    assert_int_equal(count(&x), 2);
    scratch_drop(&x);
}

static void wrong_options(void **state)
{
    static const struct {
        const char *store;
        const char *outbox;
        int code;
        const char *text;
    } cases[] = {
        {NULL, NULL, OUTTRAY_E_CONF, "store.url is not set"},
        {"sqlite:", NULL, OUTTRAY_E_URL, "is missing"},
        {"sqlite://host/x.db", NULL, OUTTRAY_E_URL, "host"},
        {"sqlite:x.db", "a b", OUTTRAY_E_CONF, "a b"},
    };

    (void)state;
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        struct outtray_writer_options options = {.store = cases[i].store,
                                                 .outbox = cases[i].outbox};
        struct outtray_writer *w = (void *)&options;
        struct outtray_error err;

        assert_int_equal(outtray_writer_open(&w, &options, &err),
                         cases[i].code);
        assert_null(w);
        if (strstr(err.text, cases[i].text) == NULL)
            fail_msg("%s", err.text);
    }
    outtray_writer_close(NULL);
}

static void expect(struct outtray_writer *w, int code, const char *text)
{
    struct outtray_error err;

    assert_int_equal(write_one(w, &err), code);
    if (text != NULL && strstr(err.text, text) == NULL)
        fail_msg("%s", err.text);
}

/* What is wrong with the file is told each time, and when it is mended the same
 * writer goes on. */
static void the_file(void **state)
{
    struct ot_init_options options = {0};
    struct outtray_writer *w;
    struct outtray_error err;
    struct ot_admin *a;
    struct scratch x;
    char old[128];
    sqlite3 *app;

    (void)state;
    scratch_folder(&x);
    w = writer_of(&x, 0);
    expect(w, OUTTRAY_E_STORE_NO_SCHEMA, "`outtray init`");
    app = scratch_app(&x);
    app_run(app, "CREATE TABLE mine (id)");
    expect(w, OUTTRAY_E_STORE_NO_SCHEMA, "`outtray init`");
    a = scratch_admin(&x);
    assert_int_equal(a->ops->init(a, &options, NULL, NULL, &err), 0);
    a->ops->close(a);
    expect(w, 0, NULL);
    sqlite3_close(app);
    /* Replaced under it: told once, as what was written there is gone. */
    snprintf(old, sizeof(old), "%s.old", x.path);
    assert_int_equal(rename(x.path, old), 0);
    expect(w, OUTTRAY_E_STORE_UNAVAILABLE, "is gone");
    assert_int_equal(rename(old, x.path), 0);
    expect(w, 0, NULL);
    /* Of another journal mode. */
    outtray_writer_close(w);
    app = scratch_app(&x);
    app_run(app, "PRAGMA journal_mode = DELETE");
    w = writer_of(&x, 0);
    expect(w, OUTTRAY_E_STORE_CONDITION, "journal mode");
    app_run(app, "PRAGMA journal_mode = WAL");
    expect(w, 0, NULL);
    sqlite3_close(app);
    assert_int_equal(count(&x), 3);
    outtray_writer_close(w);
    scratch_drop(&x);
}

static void busy(void **state)
{
    struct outtray_writer *w;
    struct scratch x;
    int64_t started;
    sqlite3 *app;

    (void)state;
    scratch_make(&x);
    w = writer_of(&x, 100);
    app = scratch_app(&x);
    app_run(app, "BEGIN IMMEDIATE");
    started = ot_now_us();
    expect(w, OUTTRAY_E_STORE_BUSY, "write lock");
    assert_true(ot_now_us() - started >= 100000);
    app_run(app, "ROLLBACK");
    expect(w, 0, NULL);
    /* A reader in the middle of its snapshot is in nobody's way. */
    app_run(app, "BEGIN");
    assert_int_equal(app_int(app, "SELECT count(*) FROM outtray_event"), 1);
    expect(w, 0, NULL);
    app_run(app, "COMMIT");
    sqlite3_close(app);
    assert_int_equal(count(&x), 2);
    outtray_writer_close(w);
    scratch_drop(&x);
}

static void no_room(void **state)
{
    struct outtray_event e = event_of("k");
    struct outtray_writer *w;
    struct outtray_error err;
    char payload[8192];
    struct scratch x;
    int code = 0;

    (void)state;
    memset(payload, 'x', sizeof(payload));
    e.payload = (struct outtray_slice){payload, sizeof(payload)};
    scratch_make(&x);
    use_faulty(true);
    w = writer_of(&x, 0);
    expect(w, 0, NULL);
    sqlite3_exec(opened, "PRAGMA max_page_count = 1", NULL, NULL, NULL);
    assert_int_equal(outtray_writer_begin(w, &err), 0);
    for (int i = 0; code == 0 && i < 1000; i++)
        code = outtray_writer_add(w, &e, 1, NULL, &err);
    assert_int_equal(code, OUTTRAY_E_STORE_FULL);
    assert_int_equal(outtray_writer_commit(w, &err),
                     OUTTRAY_E_NOT_IN_TRANSACTION);
    sqlite3_exec(opened, "PRAGMA max_page_count = 100000", NULL, NULL, NULL);
    expect(w, 0, NULL);
    assert_int_equal(count(&x), 2);
    outtray_writer_close(w);
    use_faulty(false);
    scratch_drop(&x);
}

static void a_commit_that_fails(void **state)
{
    static const struct {
        int rc;
        int code;
    } cases[] = {
        {SQLITE_FULL, OUTTRAY_E_STORE_FULL},
        {SQLITE_IOERR_FSYNC, OUTTRAY_E_COMMIT_UNKNOWN},
        {SQLITE_CORRUPT, OUTTRAY_E_COMMIT_UNKNOWN},
    };
    struct outtray_writer *w;
    struct scratch x;

    (void)state;
    scratch_make(&x);
    use_faulty(true);
    w = writer_of(&x, 0);
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        fail_step_code = cases[i].rc;
        expect(w, cases[i].code, NULL);
        fail_step_code = 0;
        expect(w, 0, NULL);
    }
    assert_int_equal(count(&x), OT_COUNT(cases));
    outtray_writer_close(w);
    use_faulty(false);
    scratch_drop(&x);
}

static void read_only(void **state)
{
    struct outtray_writer *w;
    struct scratch x;

    (void)state;
    scratch_make(&x);
    use_faulty(true);
    open_flags = SQLITE_OPEN_READONLY;
    w = writer_of(&x, 0);
    expect(w, OUTTRAY_E_STORE_STANDBY, "make it writable");
    open_flags = 0;
    expect(w, 0, NULL);
    outtray_writer_close(w);
    use_faulty(false);
    scratch_drop(&x);
}

/* The child of a process that had one open. */
static void forked(void **state)
{
    struct outtray_writer *w;
    struct outtray_error err;
    struct scratch x;
    int status;
    pid_t pid;

    (void)state;
    scratch_make(&x);
    w = writer_of(&x, 0);
    expect(w, 0, NULL);
    pid = fork();
    if (pid == 0)
        _exit(write_one(w, &err) == OUTTRAY_E_FORKED ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    expect(w, 0, NULL);
    outtray_writer_close(w);
    assert_int_equal(count(&x), 2);
    scratch_drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group),
        cmocka_unit_test(refused_events),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(the_file),
        cmocka_unit_test(busy),
        cmocka_unit_test(no_room),
        cmocka_unit_test(a_commit_that_fails),
        cmocka_unit_test(read_only),
        cmocka_unit_test(forked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
