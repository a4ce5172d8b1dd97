/* test_gap.c - the life of a gap, clause by clause; each test is a
 * counter-example against leaving one clause of the protocol out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/gap.h"

#define NONE 0
#define SEQS(...)                   \
    (const int64_t[]){__VA_ARGS__}, \
        sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)

struct fixture {
    struct ot_gaps gaps;
    int64_t position;
    struct ot_holder locks[8];
    size_t nlocks;
    uint64_t xip[8];
    size_t nxip;
    int64_t wide;
    int64_t last_seq;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->wide = 1000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ot_gaps_free(&f->gaps);
    free(f);
    return 0;
}

/* A writer: its lock, its xid (0: none yet), in progress in the snapshot. */
static void writer(struct fixture *f, uint64_t lock, uint64_t xid)
{
    f->locks[f->nlocks++] = (struct ot_holder){.lock = lock, .xid = xid};
    if (xid != 0)
        f->xip[f->nxip++] = xid;
}

static void nobody(struct fixture *f)
{
    f->nlocks = f->nxip = 0;
}

/* One pipeline: locks, then the read that returns seqs. */
static bool pipeline(struct fixture *f, bool cut, const int64_t *seqs, size_t n)
{
    struct ot_event events[16] = {{0}};
    struct ot_rows rows = {.events = events};
    for (size_t i = 0; i < n && seqs[0] != NONE; i++)
        events[rows.n++].seq = seqs[i];
    struct ot_read_reply reply = {
        .rows = &rows,
        .cut = cut,
        .has_locks = true,
        .holders = f->locks,
        .nholders = f->nlocks,
        .last_seq = f->last_seq,
        .snapshot = {.xmin = f->nxip > 0 ? f->xip[0] : 100,
                     .xmax = 100,
                     .xip = f->xip,
                     .nxip = f->nxip},
    };
    assert_int_equal(ot_gaps_ask(&f->gaps, f->wide, f->position), 0);
    if (!ot_gaps_stand(&f->gaps, &reply.snapshot))
        return false;
    assert_int_equal(ot_gaps_take(&f->gaps, &reply, &f->position), 0);
    return true;
}

static bool has(const struct fixture *f, int64_t seq)
{
    for (size_t i = 0; i < f->gaps.n; i++)
        if (f->gaps.v[i].first <= seq && seq <= f->gaps.v[i].last)
            return true;
    return false;
}

static void test_is_found_and_filled(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(2, 5));
    assert_int_equal(f->position, 5);
    assert_int_equal(f->gaps.n, 2);
    assert_true(has(f, 1) && has(f, 3) && has(f, 4));
    pipeline(f, false, SEQS(3));
    assert_true(has(f, 1) && has(f, 4) && !has(f, 3));
    pipeline(f, false, SEQS(1, 4));
    assert_int_equal(f->gaps.n, 0);
}

/* The holders that were read before the gap was seen prove nothing: the
 * writer may have come between. */
static void test_own_locks_do_not_kill(void **state)
{
    struct fixture *f = *state;
    pipeline(f, false, SEQS(2)); /* L_k is empty */
    assert_true(has(f, 1));
    writer(f, 1, 0); /* it had drawn 1 by then */
    pipeline(f, false, SEQS(NONE));
    assert_true(has(f, 1));
    pipeline(f, false, SEQS(NONE));
    assert_true(has(f, 1));
    nobody(f);
    pipeline(f, false, SEQS(NONE));
    assert_false(has(f, 1));
}

static void test_no_holders_kill_at_once(void **state)
{
    struct fixture *f = *state;
    pipeline(f, false, SEQS(2));
    pipeline(f, false, SEQS(NONE));
    assert_int_equal(f->gaps.n, 0);
}

/* Writers that came later cannot own it. */
static void test_new_writers_do_not_matter(void **state)
{
    struct fixture *f = *state;
    pipeline(f, false, SEQS(2));
    writer(f, 1, 50);
    pipeline(f, false, SEQS(NONE));
    nobody(f);
    writer(f, 2, 51);
    pipeline(f, false, SEQS(NONE));
    assert_int_equal(f->gaps.n, 0);
}

/* A read that LIMIT cut before the gap has not looked. */
static void test_cut_before_it_does_not_kill(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(2, 9));
    pipeline(f, false, SEQS(NONE));
    nobody(f);
    pipeline(f, true, SEQS(3));
    assert_false(has(f, 1)); /* covered: dead */
    assert_true(has(f, 4) && has(f, 8));
    pipeline(f, true, SEQS(6));
    assert_true(!has(f, 5) && has(f, 7));
    pipeline(f, false, SEQS(NONE));
    assert_int_equal(f->gaps.n, 0);
}

/* Without a lock list nothing is learnt about writers. */
static void test_no_locks_no_death(void **state)
{
    struct fixture *f = *state;
    pipeline(f, false, SEQS(2));
    struct ot_rows rows = {.n = 0};
    struct ot_read_reply reply = {.rows = &rows};
    assert_int_equal(ot_gaps_ask(&f->gaps, f->wide, f->position), 0);
    assert_int_equal(ot_gaps_take(&f->gaps, &reply, &f->position), 0);
    assert_true(has(f, 1));
}

/* Gaps of two reads have holder sets of their own. */
static void test_generations_are_separate(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(2));
    pipeline(f, false, SEQS(4)); /* asks 1; finds 3 */
    nobody(f);
    writer(f, 2, 51);
    pipeline(f, false, SEQS(NONE));
    assert_false(has(f, 1));
    assert_true(has(f, 3)); /* by 2, as far as is known */
    assert_int_equal(f->gaps.ngens, 1);
}

/* --- reload ----------------------------------------------------------------- */

/* Not asked yet is not the same as no holders left. */
static void test_reload_starts_anew(void **state)
{
    struct fixture *f = *state;
    const struct ot_range ranges[] = {{1, 1}, {3, 9}};
    assert_int_equal(ot_gaps_load(&f->gaps, ranges, 2, 5), 0);
    f->position = 5;
    assert_true(has(f, 1) && has(f, 3) && has(f, 5));
    assert_false(has(f, 6)); /* cut at the position */
    writer(f, 7, 0);
    pipeline(f, false, SEQS(NONE));
    assert_true(has(f, 1) && has(f, 5));
    nobody(f);
    pipeline(f, false, SEQS(NONE));
    assert_int_equal(f->gaps.n, 0);
}

/* --- leaving out ------------------------------------------------------------ */

static bool leaves_out(struct fixture *f, int64_t seq)
{
    assert_int_equal(ot_gaps_ask(&f->gaps, f->wide, f->position), 0);
    return !ot_gaps_asked(&f->gaps, seq);
}

static void found_and_confirmed(struct fixture *f)
{
    f->wide = 0;
    pipeline(f, false, SEQS(5));
    assert_false(leaves_out(f, 1)); /* its holders are not known */
    pipeline(f, false, SEQS(NONE));
}

static void test_left_out_while_writers_work(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    found_and_confirmed(f);
    assert_true(leaves_out(f, 1));
    assert_true(pipeline(f, false, SEQS(7)));
    assert_true(has(f, 1) && has(f, 4));
    f->wide = 100; /* not worth it */
    assert_false(leaves_out(f, 1));
}

/* (a) The read that recorded the holders must have looked itself: an owner
 * that committed before it is not among them. */
static void test_not_left_out_unless_confirmed(void **state)
{
    struct fixture *f = *state;
    f->wide = 0;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(2, 5));
    pipeline(f, true, SEQS(1)); /* does not cover 3 and 4 */
    assert_false(leaves_out(f, 3));
}

/* (b) Nobody in progress proves nothing. */
static void test_not_left_out_without_holders(void **state)
{
    struct fixture *f = *state;
    f->wide = 0;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(5, 9));
    pipeline(f, false, SEQS(NONE));
    nobody(f);
    pipeline(f, true, SEQS(6)); /* leaves all out; the snapshot … */
    assert_true(f->gaps.again); /* … says that 50 is over: thrown away */
    pipeline(f, true, SEQS(2));
    assert_true(!has(f, 1) && has(f, 3));
    assert_false(pipeline(f, false, SEQS(NONE)));
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_int_equal(f->gaps.n, 0);
}

static void test_not_left_out_without_xid(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 0); /* has drawn and not inserted */
    found_and_confirmed(f);
    assert_false(leaves_out(f, 1));
}

/* (c) The writer has committed, its locks are still there: the snapshot
 * decides, the read is thrown away and repeated with the gap. */
static void test_commit_before_locks_go(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    found_and_confirmed(f);
    f->nxip = 0; /* visible, lock held */
    assert_false(pipeline(f, false, SEQS(9)));
    assert_int_equal(f->position, 5);
    assert_false(leaves_out(f, 1));
    assert_true(pipeline(f, false, SEQS(1, 2, 3, 4, 9)));
    assert_int_equal(f->position, 9);
}

/* Each of those that remained at the confirming read counts, not of those
 * that remain now: the one that left may have committed. */
static void test_who_left_since_counts(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    writer(f, 2, 51);
    found_and_confirmed(f);
    nobody(f);
    writer(f, 2, 51);
    assert_false(pipeline(f, false, SEQS(9)));
    assert_true(pipeline(f, false, SEQS(1, 2, 9)));
    assert_true(leaves_out(f, 3)); /* confirmed again, with one holder */
}

/* A read that left a gap out never kills it. */
static void test_left_out_is_not_dropped(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    found_and_confirmed(f);
    f->nlocks = 0; /* locks gone, in progress in the (older) snapshot */
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_true(has(f, 1) && has(f, 4));
    f->nxip = 0;
    assert_false(pipeline(f, false, SEQS(NONE)));
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_int_equal(f->gaps.n, 0);
}

static void test_jump_is_one_range(void **state)
{
    struct fixture *f = *state;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(1, INT64_C(1000000000)));
    assert_int_equal(f->gaps.n, 1);
    pipeline(f, true, SEQS(500));
    pipeline(f, false, SEQS(NONE));
    assert_int_equal(f->gaps.n, 2);
}

/* --- ahead of the position ---------------------------------------------------- */

/* A bulk load that has drawn 6 to 100 and goes on. */
static void ahead(struct fixture *f)
{
    f->wide = 10;
    f->last_seq = 100;
    writer(f, 1, 50);
    pipeline(f, false, SEQS(1, 2, 3, 4, 5));
    assert_int_equal(f->position, 5);
    assert_true(has(f, 6) && has(f, 100));
    assert_false(leaves_out(f, 50)); /* its holders are not known */
    pipeline(f, false, SEQS(NONE));
    assert_true(leaves_out(f, 6) && leaves_out(f, 100));
    assert_false(leaves_out(f, 101));
    assert_false(ot_gaps_open(&f->gaps, f->position));
}

static void test_bulk_load_at_the_end(void **state)
{
    struct fixture *f = *state;
    ahead(f);
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_int_equal(f->position, 5); /* nothing of it was read */
    /* It has committed: it is the tail. */
    f->nxip = 0;
    assert_false(pipeline(f, false, SEQS(NONE)));
    assert_false(leaves_out(f, 6));
    assert_int_equal(f->gaps.nasked, 0);
    assert_true(pipeline(f, true, SEQS(6, 7, 8)));
    assert_int_equal(f->position, 8);
    assert_int_equal(f->gaps.n, 0);
    assert_false(leaves_out(f, 9));
}

static void test_bulk_load_grows(void **state)
{
    struct fixture *f = *state;
    ahead(f);
    f->last_seq = 105; /* not worth it */
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_false(has(f, 101));
    f->last_seq = 200;
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_true(leaves_out(f, 100));
    assert_false(leaves_out(f, 101));
    writer(f, 2, 51); /* came later */
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_true(leaves_out(f, 200)); /* as it may be 2's */
    f->nlocks = f->nxip = 1;
    assert_false(pipeline(f, false, SEQS(NONE)));
    assert_true(leaves_out(f, 100)); /* only this one is asked for again */
    assert_false(leaves_out(f, 101));
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_true(leaves_out(f, 200));
    assert_int_equal(f->gaps.n, 1); /* alike: one range */
    assert_int_equal(f->position, 5);
}

/* Somebody else's event behind it is read at once, and then it is a gap like
 * any other. */
static void test_event_behind_a_bulk_load(void **state)
{
    struct fixture *f = *state;
    ahead(f);
    f->last_seq = 101;
    assert_true(pipeline(f, false, SEQS(101)));
    assert_int_equal(f->position, 101);
    assert_true(ot_gaps_open(&f->gaps, f->position));
    assert_true(leaves_out(f, 6) && leaves_out(f, 100));
}

/* One of two loads commits: its rows are no late ones, the other's seqs are a
 * gap below the position. */
static void test_one_of_two_bulk_loads(void **state)
{
    struct fixture *f = *state;
    ahead(f);
    writer(f, 2, 51);
    f->last_seq = 200; /* 2 has drawn 101 to 200 */
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_true(pipeline(f, false, SEQS(101, 102, 200)));
    assert_int_equal(f->position, 200);
    assert_true(leaves_out(f, 6) && leaves_out(f, 100));
    assert_true(has(f, 103) && has(f, 199) && !has(f, 101));
}

static void test_bulk_load_is_undone(void **state)
{
    struct fixture *f = *state;
    ahead(f);
    nobody(f);
    assert_false(pipeline(f, false, SEQS(NONE)));
    assert_true(pipeline(f, false, SEQS(NONE)));
    assert_int_equal(f->gaps.n, 0);
    assert_true(leaves_out(f, 100)); /* nobody walks its dead rows again */
    assert_false(leaves_out(f, 101));
    assert_int_equal(f->position, 5);
}

/* A row that is seen has a snapshot to be not seen in: what a cut read did not
 * look at is not ahead. */
static void test_cut_read_is_not_ahead(void **state)
{
    struct fixture *f = *state;
    f->wide = 10;
    f->last_seq = 100;
    writer(f, 1, 50);
    pipeline(f, true, SEQS(1, 2));
    assert_int_equal(f->gaps.n, 0);
    pipeline(f, true, SEQS(NONE));
    assert_int_equal(f->gaps.n, 0);
}

/* What is ahead is asked for as the tail, what is below by its ends. */
static void test_none_on_both_sides_of_the_position(void **state)
{
    struct fixture *f = *state;
    struct ot_range loaded = {8, 20};
    f->position = 20;
    f->last_seq = 5000;
    assert_int_equal(ot_gaps_load(&f->gaps, &loaded, 1, f->position), 0);
    writer(f, 1, 50);
    for (int i = 0; i < 3; i++)
        pipeline(f, false, SEQS(NONE));
    assert_int_equal(f->gaps.n, 2);
    assert_int_equal(f->gaps.v[0].last, 20);
    assert_int_equal(f->gaps.v[1].first, 21);
    assert_int_equal(f->gaps.v[1].last, 5000);
}

int main(void)
{
#define GAP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        GAP_TEST(test_is_found_and_filled),
        GAP_TEST(test_own_locks_do_not_kill),
        GAP_TEST(test_no_holders_kill_at_once),
        GAP_TEST(test_new_writers_do_not_matter),
        GAP_TEST(test_cut_before_it_does_not_kill),
        GAP_TEST(test_no_locks_no_death),
        GAP_TEST(test_generations_are_separate),
        GAP_TEST(test_reload_starts_anew),
        GAP_TEST(test_left_out_while_writers_work),
        GAP_TEST(test_not_left_out_unless_confirmed),
        GAP_TEST(test_not_left_out_without_holders),
        GAP_TEST(test_not_left_out_without_xid),
        GAP_TEST(test_commit_before_locks_go),
        GAP_TEST(test_who_left_since_counts),
        GAP_TEST(test_left_out_is_not_dropped),
        GAP_TEST(test_jump_is_one_range),
        GAP_TEST(test_bulk_load_at_the_end),
        GAP_TEST(test_bulk_load_grows),
        GAP_TEST(test_event_behind_a_bulk_load),
        GAP_TEST(test_one_of_two_bulk_loads),
        GAP_TEST(test_bulk_load_is_undone),
        GAP_TEST(test_cut_read_is_not_ahead),
        GAP_TEST(test_none_on_both_sides_of_the_position),
    };
    return cmocka_run_group_tests_name("gap", tests, NULL, NULL);
}
