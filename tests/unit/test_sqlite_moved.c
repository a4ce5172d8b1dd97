/* test_sqlite_moved.c - a file that is moved away, replaced or emptied in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "support/faulty_sqlite.h"
#include "support/scratch_sqlite.h"

/* A file with an outbox, and another one, with one event, to take its place. */
struct pair {
    struct scratch here, other;
    char away[128];
    struct ot_store *store; /* of here; it has the lease */
    struct ot_log log;
    int told; /* how often it was told that the file was replaced */
};

static void count_told(void *ctx, enum ot_level level, const char *facility,
                       const char *text)
{
    struct pair *p = ctx;

    (void)facility;
    if (strstr(text, "was replaced by another file") == NULL)
        return;
    assert_int_equal(level, OT_WARN);
    assert_non_null(strstr(text, p->here.path));
    p->told++;
}

static void pair_make(struct pair *p)
{
    struct ot_uuid owner = {{1}};
    struct outtray_error err;
    sqlite3 *app;

    memset(p, 0, sizeof(*p));
    scratch_make(&p->here);
    scratch_make(&p->other);
    snprintf(p->away, sizeof(p->away), "%s.old", p->here.path);
    app = scratch_app(&p->other);
    app_run(app, "INSERT INTO outtray_event (topic) VALUES ('other')");
    sqlite3_close(app);
    p->log = (struct ot_log){OT_WARN, count_told, p};
    if (ot_store_open(&p->store, p->here.conf, owner, &p->log, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(store_lease(p->store).code, 0);
}

static void pair_drop(struct pair *p)
{
    p->store->ops->close(p->store);
    scratch_drop(&p->here);
    scratch_drop(&p->other);
}

static void move_away(struct pair *p)
{
    static const char *const ends[] = {"-wal", "-shm"};
    char name[128];

    for (size_t i = 0; i < OT_COUNT(ends); i++) {
        snprintf(name, sizeof(name), "%s%s", p->here.path, ends[i]);
        unlink(name);
    }
    assert_int_equal(rename(p->here.path, p->away), 0);
}

static void put_other(struct pair *p)
{
    assert_int_equal(rename(p->other.path, p->here.path), 0);
}

/* One request of each kind that can be the first to look. */
static void ask(struct ot_store *s, enum ot_reply_kind kind)
{
    struct ot_lease_request renew = {.fence = 1, .ttl_us = 60000000};
    struct ot_read_request read = {.limit = 9, .budget = 1 << 20};
    struct ot_prune_request prune = {.limit = 9};
    struct ot_write_request write = {.fence = 1, .set_paused = -1};

    switch (kind) {
    case OT_REPLY_LEASE:
        s->ops->lease(s, &renew);
        break;
    case OT_REPLY_CURSOR:
        s->ops->load(s);
        break;
    case OT_REPLY_WRITE:
        s->ops->write(s, &write);
        break;
    case OT_REPLY_COMMANDS:
        s->ops->commands(s);
        break;
    case OT_REPLY_PRUNE:
        s->ops->prune(s, &prune);
        break;
    default:
        s->ops->read(s, &read);
        break;
    }
}

static const enum ot_reply_kind requests[] = {
    OT_REPLY_READ,  OT_REPLY_LEASE,    OT_REPLY_CURSOR,
    OT_REPLY_WRITE, OT_REPLY_COMMANDS, OT_REPLY_PRUNE};

/* Whoever looks first fails with it, and it is told once, also where the reply
 * is one that nobody tells. The next request opens what is there now. */
static void replaced_file(void **state)
{
    struct ot_incarnation before;
    struct ot_reply reply;
    struct pair p;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(requests); i++) {
        pair_make(&p);
        reply = store_read(p.store, 0);
        before = reply.read.incarnation;
        ot_rows_unref(reply.read.rows);
        move_away(&p);
        put_other(&p);
        ask(p.store, requests[i]);
        reply = store_wait(p.store);
        assert_int_equal(reply.kind, requests[i]);
        assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
        assert_non_null(strstr(reply.err.text, "was replaced by another"));
        assert_int_equal(store_lease(p.store).code, 0);
        reply = store_read(p.store, 0);
        assert_int_equal(reply.code, 0);
        assert_int_equal(reply.read.rows->n, 1);
        assert_false(ot_incarnation_equal(&before, &reply.read.incarnation));
        assert_true(reply.read.lsn > reply.read.flush_lsn);
        ot_rows_unref(reply.read.rows);
        assert_int_equal(p.told, 1);
        pair_drop(&p);
    }
}

/* The text says so however often it is asked, and nobody is told to make a new
 * outbox. What comes back is the old file, or another one. */
static void file_moved_away(void **state)
{
    struct ot_reply reply;
    struct pair p;

    (void)state;
    pair_make(&p);
    for (int back = 1; back >= 0; back--) {
        move_away(&p);
        for (int i = 0; i < 3; i++) {
            reply = store_lease(p.store);
            assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
            assert_non_null(
                strstr(reply.err.text, "is gone while it was in use"));
            assert_non_null(strstr(reply.err.text, "put it back"));
        }
        if (back)
            assert_int_equal(rename(p.away, p.here.path), 0);
        else
            put_other(&p);
        assert_int_equal(store_lease(p.store).code, 0);
        assert_int_equal(p.told, !back);
    }
    pair_drop(&p);
}

/* --- emptied ------------------------------------------------------------------ */

static size_t bytes_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

/* Whoever looks first says so, and so does everybody from then on, whatever is
 * in the file by then; nothing of what the connection still has gets into it. */
static void emptied_file(void **state)
{
    struct ot_reply reply;
    struct pair p;

    (void)state;
    for (size_t i = 0; i < OT_COUNT(requests); i++) {
        pair_make(&p);
        assert_int_equal(truncate(p.here.path, 0), 0);
        ask(p.store, requests[i]);
        reply = store_wait(p.store);
        assert_int_equal(reply.kind, requests[i]);
        assert_int_equal(reply.code, OUTTRAY_E_STORE_CONDITION);
        assert_non_null(strstr(reply.err.text, "somebody emptied"));
        assert_non_null(strstr(reply.err.text, p.here.path));
        assert_int_equal(truncate(p.here.path, 1), 0);
        reply = store_lease(p.store);
        assert_int_equal(reply.code, OUTTRAY_E_STORE_CONDITION);
        p.store->ops->close(p.store);
        assert_int_equal(bytes_of(p.here.path), 1);
        scratch_drop(&p.here);
        scratch_drop(&p.other);
    }
}

/* --- while it is opened ------------------------------------------------------- */

static struct pair *swapped;

/* Somebody else is there right behind SQLite. */
static void swap(void)
{
    after_open = NULL;
    move_away(swapped);
    put_other(swapped);
}

/* The file that is open is the one that is known, also if they change places
 * between the two. */
static void replaced_while_it_is_opened(void **state)
{
    struct ot_uuid owner = {{2}};
    struct outtray_error err;
    struct ot_reply reply;
    struct ot_store *s;
    struct pair p;

    (void)state;
    pair_make(&p);
    p.store->ops->close(p.store);
    use_faulty(true);
    swapped = &p;
    after_open = swap;
    if (ot_store_open(&s, p.here.conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(store_lease(s).code, 0);
    reply = store_read(s, 0);
    assert_int_equal(reply.code, 0);
    assert_int_equal(reply.read.rows->n, 1);
    ot_rows_unref(reply.read.rows);
    p.store = s;
    pair_drop(&p);
    use_faulty(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaced_file),
        cmocka_unit_test(file_moved_away),
        cmocka_unit_test(emptied_file),
        cmocka_unit_test(replaced_while_it_is_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
