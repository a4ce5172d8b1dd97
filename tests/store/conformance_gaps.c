/* conformance_gaps.c - seqs that become visible out of order. */
#include "conformance_parts.h"

static bool in_progress(const struct ot_snapshot *s, uint64_t xid)
{
    for (size_t i = 0; i < s->nxip; i++)
        if (s->xip[i] == xid)
            return true;
    return xid >= s->xmax;
}

static void late_row_comes_out_of_its_gap(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    void *slow = w->ad->begin(w->outbox);
    int64_t late = in_tx(w, slow, "t", "a", "late");
    int64_t early = one(w, "t", "b", "early");
    struct ot_range gap = {late, late};
    struct ot_read_request q = {
        .position = 0, .with_locks = true, .limit = 10, .budget = 1000};
    struct ot_read_reply r = read_with(s, &q);

    assert_true(late < early);
    assert_int_equal(r.rows->n, 1);
    assert_int_equal(r.rows->events[0].seq, early);
    assert_true(r.has_locks);
    assert_int_equal(r.nholders, 1);
    assert_true(r.holders[0].lock != 0);
    assert_false(r.holders[0].prepared);
    assert_true(r.holders[0].xid != 0);
    assert_true(in_progress(&r.snapshot, r.holders[0].xid));
    ot_rows_unref(r.rows);

    q.position = early;
    q.gaps = &gap;
    q.ngaps = 1;
    r = read_with(s, &q);
    assert_int_equal(r.rows->n, 0);
    assert_int_equal(r.nholders, 1);
    ot_rows_unref(r.rows);

    w->ad->commit(slow);
    r = read_with(s, &q);
    assert_int_equal(r.rows->n, 1);
    assert_int_equal(r.rows->events[0].seq, late);
    assert_int_equal(r.nholders, 0);
    ot_rows_unref(r.rows);
}

static void gaps_and_tail_in_one_order(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    void *slow = w->ad->begin(w->outbox), *dead = w->ad->begin(w->outbox);
    int64_t seqs[6];
    struct ot_range gaps[2];
    struct ot_read_request q = {
        .gaps = gaps, .ngaps = 2, .limit = 10, .budget = 1000};
    struct ot_read_reply r;

    seqs[0] = in_tx(w, slow, "t", NULL, "0");
    seqs[1] = one(w, "t", NULL, "1");
    seqs[2] = in_tx(w, dead, "t", NULL, "2");
    seqs[3] = in_tx(w, slow, "t", NULL, "3");
    seqs[4] = one(w, "t", NULL, "4");
    seqs[5] = one(w, "t", NULL, "5");
    w->ad->rollback(dead);
    w->ad->commit(slow);
    gaps[0] = (struct ot_range){seqs[0], seqs[0]};
    gaps[1] = (struct ot_range){seqs[2], seqs[3]};
    q.position = seqs[4];
    r = read_with(s, &q);
    assert_int_equal(r.rows->n, 3);
    assert_int_equal(r.rows->events[0].seq, seqs[0]);
    assert_int_equal(r.rows->events[1].seq, seqs[3]);
    assert_int_equal(r.rows->events[2].seq, seqs[5]);
    assert_false(r.cut);
    ot_rows_unref(r.rows);
    /* Cut among the gaps: nothing of the tail is returned. */
    q.limit = 2;
    r = read_with(s, &q);
    assert_int_equal(r.rows->n, 2);
    assert_int_equal(r.rows->events[1].seq, seqs[3]);
    assert_true(r.cut);
    ot_rows_unref(r.rows);
    /* A gap that is not asked for is not read. */
    q.limit = 10;
    q.ngaps = 1;
    r = read_with(s, &q);
    assert_int_equal(r.rows->n, 2);
    assert_int_equal(r.rows->events[0].seq, seqs[0]);
    assert_int_equal(r.rows->events[1].seq, seqs[5]);
    ot_rows_unref(r.rows);
}

static void many_gaps(void **state)
{
    enum { N = 300 };
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    void *slow = w->ad->begin(w->outbox), *fast = w->ad->begin(w->outbox);
    struct ot_range gaps[N];
    struct ot_read_request q = {
        .gaps = gaps, .ngaps = N, .limit = 1000, .budget = 1 << 20};
    struct ot_read_reply r;

    for (int i = 0; i < N; i++) {
        gaps[i].first = gaps[i].last = in_tx(w, slow, "t", NULL, "x");
        q.position = in_tx(w, fast, "t", NULL, "y");
    }
    w->ad->commit(fast);
    w->ad->commit(slow);
    r = read_with(s, &q);
    assert_int_equal(r.rows->n, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(r.rows->events[i].seq, gaps[i].first);
    ot_rows_unref(r.rows);
}

static void locks_only_if_asked(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    void *a = w->ad->begin(w->outbox), *b = w->ad->begin(w->outbox);
    struct ot_read_request q = {.limit = 10, .budget = 1000};
    struct ot_read_reply r;

    in_tx(w, a, "t", NULL, "x");
    in_tx(w, b, "t", NULL, "x");
    r = read_with(s, &q);
    assert_false(r.has_locks);
    ot_rows_unref(r.rows);
    q.with_locks = true;
    r = read_with(s, &q);
    assert_true(r.has_locks);
    assert_int_equal(r.nholders, 2);
    assert_true(r.holders[0].lock != r.holders[1].lock);
    ot_rows_unref(r.rows);
    w->ad->rollback(a);
    r = read_with(s, &q);
    assert_int_equal(r.nholders, 1);
    uint64_t xid = r.holders[0].xid;
    ot_rows_unref(r.rows);
    w->ad->rollback(b);
    r = read_with(s, &q);
    assert_int_equal(r.nholders, 0);
    assert_int_equal(r.rows->n, 0);
    /* Other databases of the server may be busy. */
    for (size_t i = 0; i < r.snapshot.nxip; i++)
        assert_true(r.snapshot.xip[i] != xid);
    ot_rows_unref(r.rows);
}

int run_gap_tests(const char *name)
{
    const struct CMUnitTest tests[] = {
        BATTERY(late_row_comes_out_of_its_gap),
        BATTERY(gaps_and_tail_in_one_order),
        BATTERY(many_gaps),
        BATTERY(locks_only_if_asked),
    };

    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
