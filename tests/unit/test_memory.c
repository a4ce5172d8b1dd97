/* test_memory.c - the memory store breaks as PostgreSQL does: what the engine's
 * tests build on. The rest of it is in the battery of all stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/memory/memory.h"
#include "support/alloc_fail.h"

struct world {
    struct ot_memory *m;
    struct ot_store *s;
    struct outtray_conf *conf;
    int64_t fence;
};

static int set_up(void **state)
{
    static struct world w;
    struct ot_uuid owner = {{1}};
    struct outtray_error err;

    w.m = ot_memory_new();
    w.conf = outtray_conf_new();
    *state = &w;
    return ot_memory_open(w.m, &w.s, w.conf, owner, NULL, &err);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    w->s->ops->close(w->s);
    ot_memory_free(w->m);
    outtray_conf_free(w->conf);
    return 0;
}

static int64_t add(struct ot_memory_tx *tx)
{
    struct ot_event e = {.topic = ot_slice_of("t")};

    return ot_memory_enqueue(tx, &e);
}

/* A read with locks; the rows are given back at once, their seqs kept. */
static struct ot_read_reply look(struct world *w, int64_t seqs[8], uint32_t *n)
{
    struct ot_read_request q = {
        .with_locks = true, .limit = 8, .budget = 10000};
    struct ot_reply reply;

    w->s->ops->read(w->s, &q);
    assert_true(w->s->ops->next(w->s, &reply));
    assert_int_equal(reply.code, 0);
    *n = reply.read.rows->n;
    for (uint32_t i = 0; i < *n; i++)
        seqs[i] = reply.read.rows->events[i].seq;
    ot_rows_unref(reply.read.rows);
    return reply.read;
}

static void visible_before_unlocked(void **state)
{
    struct world *w = *state;
    struct ot_memory_tx *tx = ot_memory_begin(w->m);
    struct ot_read_reply r;
    int64_t seqs[8];
    uint32_t n;

    /* The seq is drawn before there is a transaction id. */
    assert_int_equal(ot_memory_draw(tx), 1);
    r = look(w, seqs, &n);
    assert_int_equal(r.nholders, 1);
    assert_true(r.holders[0].xid == 0);
    assert_int_equal(r.last_seq, 1);
    assert_int_equal(add(tx), 2);
    r = look(w, seqs, &n);
    assert_int_equal(n, 0);
    assert_true(r.holders[0].xid != 0);
    assert_int_equal(r.snapshot.nxip, 1);
    ot_memory_commit_locked(tx);
    r = look(w, seqs, &n);
    assert_int_equal(n, 1);
    assert_int_equal(seqs[0], 2);
    assert_int_equal(r.nholders, 1);
    assert_int_equal(r.snapshot.nxip, 0);
    ot_memory_unlock(tx);
    r = look(w, seqs, &n);
    assert_int_equal(r.nholders, 0);
}

static void crash(void **state)
{
    struct world *w = *state;
    struct ot_memory_tx *a = ot_memory_begin(w->m), *p, *open;
    struct ot_read_reply r;
    struct ot_incarnation before;
    int64_t seqs[8];
    uint64_t lock;
    uint32_t n;

    assert_int_equal(add(a), 1);
    ot_memory_commit(a);
    p = ot_memory_begin(w->m);
    assert_int_equal(add(p), 2);
    ot_memory_prepare(p);
    open = ot_memory_begin(w->m);
    assert_int_equal(add(open), 3);
    ot_memory_flush_always(w->m, false);
    a = ot_memory_begin(w->m);
    assert_int_equal(add(a), 4);
    ot_memory_commit(a);
    r = look(w, seqs, &n);
    assert_int_equal(n, 2);
    assert_true(r.lsn > r.flush_lsn);
    assert_int_equal(r.nholders, 2);
    before = r.incarnation;
    lock = r.holders[0].prepared ? r.holders[0].lock : r.holders[1].lock;

    ot_memory_crash(w->m);
    r = look(w, seqs, &n);
    assert_false(ot_incarnation_equal(&before, &r.incarnation));
    assert_int_equal(n, 1); /* 3 was open, 4 was not flushed */
    assert_int_equal(seqs[0], 1);
    assert_int_equal(r.nholders, 1);
    assert_true(r.holders[0].prepared);
    assert_true(r.holders[0].lock != lock);
    ot_memory_commit(p);
    a = ot_memory_begin(w->m);
    assert_int_equal(add(a), 4); /* drawn a second time */
    ot_memory_commit(a);
    ot_memory_flush(w->m);
    r = look(w, seqs, &n);
    assert_int_equal(n, 3);
    assert_true(r.lsn == r.flush_lsn);
    ot_memory_jump(w->m, 10);
    a = ot_memory_begin(w->m);
    assert_int_equal(add(a), 15);
    ot_memory_rollback(a);
    assert_int_equal(ot_memory_events(w->m), 3);
}

static void clock_and_broken_answers(void **state)
{
    struct world *w = *state;
    struct ot_lease_request q = {.take = true, .ttl_us = 1000000};
    struct ot_write_request write = {
        .number = 8, .position = 5, .set_paused = -1};
    struct ot_reply reply;

    w->s->ops->lease(w->s, &q);
    assert_true(w->s->ops->next(w->s, &reply));
    q.fence = write.fence = reply.lease.fence;
    q.take = false;
    ot_memory_advance(w->m, 2000000);
    w->s->ops->lease(w->s, &q);
    assert_true(w->s->ops->next(w->s, &reply));
    assert_false(reply.lease.granted);

    for (int lands = 0; lands < 2; lands++) {
        ot_memory_break(w->s, lands != 0);
        w->s->ops->write(w->s, &write);
        assert_true(w->s->ops->next(w->s, &reply));
        assert_int_equal(reply.code, OUTTRAY_E_STORE_UNAVAILABLE);
        assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
        assert_int_equal(reply.write.number, 8);
        w->s->ops->load(w->s);
        assert_true(w->s->ops->next(w->s, &reply));
        assert_int_equal(reply.cursor.position, lands ? 5 : 0);
    }
}

/* A write for which there is no memory changes nothing, at whatever allocation
 * it fails. */
static int write_held(void *ctx)
{
    static const struct ot_range gaps[] = {{2, 3}, {5, 5}};
    static const struct ot_held held[] = {
        {.seq = 1, .state = OT_HELD_DEAD, .error = "first, again"},
        {.seq = 4, .state = OT_HELD_DEAD, .error = "fourth"},
    };
    struct world *w = ctx;
    struct ot_write_request q = {.fence = w->fence,
                                 .position = 9,
                                 .gaps_put = gaps,
                                 .ngaps_put = OT_COUNT(gaps),
                                 .held_put = held,
                                 .nheld_put = OT_COUNT(held),
                                 .set_paused = -1};
    struct ot_reply reply, after;

    w->s->ops->write(w->s, &q);
    assert_true(w->s->ops->next(w->s, &reply));
    alloc_fail.left = -1;
    w->s->ops->load(w->s);
    assert_true(w->s->ops->next(w->s, &after));
    assert_int_equal(after.code, 0);
    assert_int_equal(after.cursor.position, reply.code == 0 ? 9 : 1);
    assert_int_equal(after.cursor.nheld, reply.code == 0 ? 2 : 1);
    assert_int_equal(after.cursor.ngaps, reply.code == 0 ? 2 : 0);
    assert_int_equal(after.cursor.held[0].state,
                     reply.code == 0 ? OT_HELD_DEAD : OT_HELD_RETRYING);
    if (reply.code != 0)
        assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    return reply.code;
}

static void writes_all_or_nothing(void **state)
{
    struct ot_held first = {
        .seq = 1, .state = OT_HELD_RETRYING, .error = "first"};
    struct ot_lease_request lease = {.take = true, .ttl_us = 1000000};
    struct ot_write_request q = {
        .position = 1, .held_put = &first, .nheld_put = 1, .set_paused = -1};
    long failed = 0;

    (void)state;
    for (int code = OUTTRAY_E_NOMEM; code != 0; failed++) {
        struct ot_reply reply;
        struct world *w;

        /* All that the library frees, it must have taken the same way. */
        alloc_fail_at(-1);
        assert_int_equal(set_up((void **)&w), 0);
        w->s->ops->lease(w->s, &lease);
        assert_true(w->s->ops->next(w->s, &reply));
        q.fence = w->fence = reply.lease.fence;
        w->s->ops->write(w->s, &q);
        assert_true(w->s->ops->next(w->s, &reply));
        assert_int_equal(reply.write.fate, OT_WRITTEN);
        alloc_fail_at(failed);
        code = write_held(w);
        tear_down((void **)&w);
        alloc_fail_off();
        assert_int_equal(alloc_fail.live, 0);
    }
    assert_true(failed > 3);
}

static void by_url(void **state)
{
    struct outtray_conf *conf = outtray_conf_new();
    struct ot_uuid owner = {{1}};
    struct outtray_error err;
    struct ot_store *s;

    (void)state;
    assert_int_equal(outtray_conf_set(conf, "store.url", "memory:", &err), 0);
    assert_int_equal(ot_store_open(&s, conf, owner, NULL, &err), 0);
    assert_string_equal(s->ops->scheme, "memory");
    s->ops->close(s);
    outtray_conf_free(conf);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(visible_before_unlocked),  TEST(crash),
        TEST(clock_and_broken_answers), cmocka_unit_test(writes_all_or_nothing),
        cmocka_unit_test(by_url),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
