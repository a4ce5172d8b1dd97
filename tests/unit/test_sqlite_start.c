/* test_sqlite_start.c - a path that leads to no database that can be used, and
 * a clock that jumps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include "store/sqlite/relay.h"
#include "support/scratch_sqlite.h"

/* --- what is at the path -----------------------------------------------------
 * One line each: how it looks there, what a relay that starts is told, what
 * init is told. A code that is not retryable ends the relay at once. */

enum { AS_ROOT, AS_USER }; /* whom it concerns: root may everything */

struct look {
    const char *what;
    const char *make; /* a shell makes it; $F is the file, $D its folder */
    int as;
    int relay, init; /* codes; 0: works */
    const char *words;
};

static const struct look looks[] = {
    {"a folder", "mkdir $F", AS_ROOT, OUTTRAY_E_CONF, OUTTRAY_E_CONF,
     "is a folder: store.url must name the database file"},
    {"a pipe", "mkfifo $F", AS_ROOT, OUTTRAY_E_CONF, OUTTRAY_E_CONF,
     "is no regular file"},
    {"no folder", "rmdir $D", AS_ROOT, OUTTRAY_E_CONF, OUTTRAY_E_CONF,
     "there is no folder"},
    {"a file as folder", "rmdir $D; : > $D", AS_ROOT, OUTTRAY_E_CONF,
     OUTTRAY_E_CONF, "is no folder"},
    {"a text", "echo this is no database, but some text > $F", AS_ROOT,
     OUTTRAY_E_CONF, OUTTRAY_E_CONF, "is not a SQLite database"},
    {"nothing", ":", AS_ROOT, OUTTRAY_E_STORE_NO_SCHEMA, 0, "outtray init"},
    {"an empty file", ": > $F", AS_ROOT, OUTTRAY_E_STORE_NO_SCHEMA, 0,
     "outtray init"},
    {"a database without an outbox", "cp $E $F", AS_ROOT,
     OUTTRAY_E_STORE_NO_SCHEMA, 0, "outtray init"},
    {"half of an outbox", "head -c 20000 $O > $F", AS_ROOT, OUTTRAY_E_STORE,
     OUTTRAY_E_STORE, "damaged"},
    {"an outbox", "cp $O $F", AS_ROOT, 0, OUTTRAY_E_EXISTS, ""},
    {"a file that may not be read", "cp $O $F; chmod 000 $F", AS_USER,
     OUTTRAY_E_STORE_PERMISSION, OUTTRAY_E_STORE_PERMISSION,
     "may not read the file"},
    {"a file that may not be written", "cp $O $F; chmod 444 $F", AS_USER,
     OUTTRAY_E_STORE_PERMISSION, OUTTRAY_E_EXISTS, "may not write the file"},
    {"a folder that may not be written", "cp $O $F; chmod 666 $F; chmod 555 $D",
     AS_USER, OUTTRAY_E_STORE_PERMISSION, OUTTRAY_E_STORE_PERMISSION,
     "may not write in its folder"},
    {"a folder that may not be entered", "chmod 000 $D", AS_USER,
     OUTTRAY_E_STORE_PERMISSION, OUTTRAY_E_STORE_PERMISSION,
     "may not enter its folder"},
};

/* It ends with 0 if both halves say what they should. */
static int try_look(struct scratch *x, const struct look *look)
{
    struct ot_init_options options = {0};
    struct ot_uuid owner = {{1}};
    struct outtray_error err = {0};
    struct ot_reply reply;
    struct ot_store *s;
    struct ot_admin *a = NULL;
    int code;

    if (ot_store_open(&s, x->conf, owner, NULL, &err) != 0)
        return 2;
    reply = store_lease(s);
    s->ops->close(s);
    if (reply.code != look->relay ||
        (reply.code != 0 && strstr(reply.err.text, look->words) == NULL)) {
        fprintf(stderr, "relay: %d, %s\n", reply.code, reply.err.text);
        return 3;
    }
    if (reply.code != 0 && strstr(reply.err.text, x->path) == NULL)
        return 4;
    code = ot_admin_open(&a, x->conf, &err);
    if (code == 0)
        code = a->ops->init(a, &options, NULL, NULL, &err);
    if (a != NULL)
        a->ops->close(a);
    if (code == look->init)
        return 0;
    fprintf(stderr, "init: %d, %s\n", code, err.text);
    return 5;
}

/* As somebody else than root, if only such a one is refused. */
static int try_as(struct scratch *x, const struct look *look)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (look->as == AS_USER && geteuid() == 0 && setuid(65534) != 0)
            _exit(100);
        _exit(try_look(x, look));
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* An empty database, and one with an outbox, each in one file. */
static void make_models(struct scratch *empty, struct scratch *outbox)
{
    sqlite3 *app;

    scratch_folder(empty);
    app = scratch_app(empty);
    app_run(app, "CREATE TABLE business (id)");
    sqlite3_close(app);
    scratch_make(outbox);
    app = scratch_app(outbox);
    app_run(app, "INSERT INTO outtray_event (topic, payload) VALUES ('t', "
                 "zeroblob(20000))");
    app_run(app, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(app);
}

static void what_is_at_the_path(void **state)
{
    struct scratch empty, outbox;

    (void)state;
    make_models(&empty, &outbox);
    for (size_t i = 0; i < OT_COUNT(looks); i++) {
        struct scratch x;
        char command[600];
        int rc;

        scratch_folder(&x);
        assert_int_equal(chmod(x.folder, 0777), 0);
        snprintf(command, sizeof(command),
                 "F=%s; D=%s; E=%s; O=%s; umask 0; %s", x.path, x.folder,
                 empty.path, outbox.path, looks[i].make);
        assert_int_equal(system(command), 0);
        rc = try_as(&x, &looks[i]);
        if (rc != 0)
            fail_msg("%s: %d", looks[i].what, rc);
        snprintf(command, sizeof(command), "chmod -f 700 %s; rm -rf %s",
                 x.folder, x.folder);
        assert_int_equal(system(command), 0);
        outtray_conf_free(x.conf);
    }
    scratch_drop(&empty);
    scratch_drop(&outbox);
}

/* What was there and went away may come back: the relay waits for it. */
static void a_folder_that_goes_away(void **state)
{
    struct scratch x;
    struct ot_store *s;
    struct ot_reply reply;
    char away[80];

    (void)state;
    scratch_make(&x);
    s = scratch_store(&x, 1);
    assert_int_equal(store_lease(s).code, 0);
    snprintf(away, sizeof(away), "%s.away", x.folder);
    assert_int_equal(rename(x.folder, away), 0);
    for (int i = 0; i < 3; i++) {
        reply = store_lease(s);
        assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
        assert_true(outtray_error_retryable(reply.code));
    }
    assert_int_equal(rename(away, x.folder), 0);
    assert_int_equal(store_lease(s).code, 0);
    s->ops->close(s);
    scratch_drop(&x);
}

/* --- a clock that jumps ------------------------------------------------------ */

#define HOUR_US INT64_C(3600000000)

static int64_t ahead_us; /* of the clock of this machine */

static int64_t jumping(void)
{
    return ot_wall_us() + ahead_us;
}

static struct ot_store *open_jumping(struct scratch *x, uint8_t owner)
{
    struct ot_store *s = scratch_store(x, owner);

    ((struct relay *)(void *)s)->wall_us = jumping;
    return s;
}

static struct ot_lease_reply ask(struct ot_store *s, bool take, int64_t fence,
                                 int64_t ttl_us)
{
    struct ot_lease_request q = {take, fence, ttl_us, NULL};
    struct ot_reply reply;

    s->ops->lease(s, &q);
    reply = store_wait(s);
    assert_int_equal(reply.code, 0);
    return reply.lease;
}

static enum ot_fate move(struct ot_store *s, int64_t fence, int64_t position)
{
    struct ot_reply reply = store_move(s, fence, position);

    assert_int_equal(reply.code, 0);
    return reply.write.fate;
}

static int64_t position_of(struct ot_store *s)
{
    struct ot_reply reply;

    s->ops->load(s);
    reply = store_wait(s);
    assert_int_equal(reply.code, 0);
    return reply.cursor.position;
}

/* [INV-4] [INV-11] Whoever believes to be the owner: of two, one can write. */
static void one_of_two_can_write(void **state)
{
    static const int64_t jumps[] = {HOUR_US, -HOUR_US, 24 * 365 * HOUR_US,
                                    -24 * 365 * HOUR_US, 0};
    struct scratch x;
    struct ot_store *a, *b;
    int64_t position = 0, last = 0;

    (void)state;
    scratch_make(&x);
    ahead_us = 0;
    a = open_jumping(&x, 1);
    b = open_jumping(&x, 2);
    for (size_t i = 0; i < OT_COUNT(jumps); i++) {
        struct ot_lease_reply first, second, renewed;
        int written;

        first = ask(a, true, 0, 60000000);
        assert_true(first.granted && first.fence > last);
        assert_int_equal(move(a, first.fence, ++position), OT_WRITTEN);
        ahead_us += jumps[i];
        second = ask(b, true, 0, 60000000);
        /* A lease that the clock ended is gone for good. */
        renewed = ask(a, false, first.fence, 60000000);
        assert_false(second.granted && renewed.granted);
        assert_true(!second.granted || second.fence > first.fence);
        written = move(a, first.fence, position + 1) == OT_WRITTEN;
        if (second.granted)
            written += move(b, second.fence, position + 1) == OT_WRITTEN;
        assert_int_equal(written, 1);
        position++;
        assert_int_equal(position_of(b), position);
        last = second.granted ? second.fence : first.fence;
        (second.granted ? b : a)->ops->release(second.granted ? b : a, last);
        assert_int_equal(store_wait(second.granted ? b : a).code, 0);
    }
    a->ops->close(a);
    b->ops->close(b);
    scratch_drop(&x);
}

/* Set back, the clock would let the lease of a dead relay last for years. */
static void a_dead_owner_is_noticed(void **state)
{
    enum { TTL_US = 100000 };
    struct scratch x;
    struct ot_store *dead, *living, *next;
    struct ot_lease_reply r, renewed;
    int64_t started;

    (void)state;
    scratch_make(&x);
    ahead_us = 50 * 365 * 24 * HOUR_US;
    dead = open_jumping(&x, 1);
    living = open_jumping(&x, 2);
    next = open_jumping(&x, 3);
    r = ask(dead, true, 0, TTL_US);
    assert_true(r.granted);
    dead->ops->close(dead);
    ahead_us = 0;
    started = ot_now_us();
    do {
        r = ask(next, true, 0, TTL_US);
        usleep(10000);
    } while (!r.granted && ot_now_us() < started + 10000000);
    assert_true(r.granted);
    assert_true(ot_now_us() - started > 4 * TTL_US);

    /* One that renews is left alone, for as long as it does. */
    r = ask(next, true, 0, 3600000000);
    started = ot_now_us();
    while (ot_now_us() < started + 8 * TTL_US) {
        renewed = ask(next, false, r.fence, 3600000000);
        assert_true(renewed.granted);
        assert_false(ask(living, true, 0, TTL_US).granted);
        usleep(10000);
    }
    living->ops->close(living);
    next->ops->close(next);
    scratch_drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_at_the_path),
        cmocka_unit_test(a_folder_that_goes_away),
        cmocka_unit_test(one_of_two_can_write),
        cmocka_unit_test(a_dead_owner_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
