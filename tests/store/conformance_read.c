/* conformance_read.c - what comes out is what went in, in order. */
#include "conformance_parts.h"
#include "support/peak_memory.h"

static void same(struct ot_slice a, struct ot_slice b)
{
    assert_int_equal(a.p == NULL, b.p == NULL);
    assert_int_equal(a.n, b.n);
    if (a.n > 0)
        assert_memory_equal(a.p, b.p, a.n);
}

static void every_member(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_event in[3] = {
        {.topic = ot_slice_of("orders.created"),
         .key = ot_slice_of("k\xc3\xa4y"),
         .type = ot_slice_of("Created"),
         .headers = ot_slice_of("{\"a\":\"b\"}"),
         .payload = ot_slice("\0\xff%'\\x\n", 7),
         .deliver_us = 1234567890123456},
        {.topic = ot_slice_of("t"),
         .key = ot_slice("", 0),
         .payload = ot_slice("", 0)},
        {.topic = ot_slice_of("t")},
    };
    void *tx = w->ad->begin(w->outbox);
    struct ot_read_reply r;
    int64_t seqs[3];

    memset(in[0].id.b, 0xab, 16);
    memset(in[1].id.b, 0x12, 16);
    memset(in[2].id.b, 0xfe, 16);
    for (int i = 0; i < 3; i++)
        seqs[i] = w->ad->enqueue(tx, &in[i]);
    w->ad->commit(tx);

    r = read_from(s, 0, 10);
    assert_int_equal(r.rows->n, 3);
    assert_false(r.cut);
    for (int i = 0; i < 3; i++) {
        const struct ot_event *out = &r.rows->events[i];

        assert_int_equal(out->seq, seqs[i]);
        assert_memory_equal(out->id.b, in[i].id.b, 16);
        same(out->topic, in[i].topic);
        same(out->key, in[i].key);
        same(out->type, in[i].type);
        same(out->headers, in[i].headers);
        same(out->payload, in[i].payload);
        assert_int_equal(out->deliver_us, in[i].deliver_us);
        assert_false(out->filtered);
        /* A second of slack for clocks that are rounded differently. */
        assert_true(out->created_us > r.db_now_us - LONG_US);
        assert_true(out->created_us < r.db_now_us + 1000000);
    }
    ot_rows_unref(r.rows);
}

static void in_order_and_cut(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    int64_t position = 0, seqs[10];
    unsigned seen = 0;
    bool cut = true;

    for (int i = 0; i < 10; i++)
        seqs[i] = one(w, "t", "k", "x");
    while (cut) {
        struct ot_read_reply r = read_from(s, position, 4);

        assert_true(r.rows->n <= 4);
        if (seen + 4 < 10)
            assert_true(r.cut);
        for (uint32_t i = 0; i < r.rows->n; i++)
            assert_int_equal(r.rows->events[i].seq, seqs[seen++]);
        if (r.rows->n > 0)
            position = r.rows->events[r.rows->n - 1].seq;
        cut = r.cut;
        ot_rows_unref(r.rows);
    }
    assert_int_equal(seen, 10);
}

static void budget(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_request q = {.limit = 100, .budget = 1};
    char *payload = ot_alloc(10001);
    unsigned seen = 0;
    bool cut = true;

    memset(payload, 'x', 10000);
    payload[10000] = '\0';
    for (int i = 0; i < 10; i++)
        one(w, "t", "k", payload);
    ot_free(payload);
    /* A store may learn the size of the events from its first reads, so what
     * counts is that each read ends soon and that nothing is left out. */
    while (cut) {
        struct ot_read_reply r = read_with(s, &q);

        for (uint32_t i = 0; i < r.rows->n; i++)
            assert_int_equal(r.rows->events[i].payload.n, 10000);
        seen += r.rows->n;
        if (r.rows->n > 0)
            q.position = r.rows->events[r.rows->n - 1].seq;
        assert_true(r.rows->n > 0 || !r.cut);
        assert_true(r.rows->n <= 4);
        cut = r.cut;
        ot_rows_unref(r.rows);
        q.budget = 25000;
    }
    assert_int_equal(seen, 10);
}

static void last_seq(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_reply r;
    int64_t seq;

    take(s);
    r = read_from(s, 0, 10);
    assert_int_equal(r.last_seq, 0);
    assert_int_equal(r.rows->n, 0);
    assert_false(r.cut);
    ot_rows_unref(r.rows);
    one(w, "t", NULL, "x");
    seq = one(w, "t", NULL, "x");
    r = read_from(s, 0, 10);
    assert_int_equal(r.last_seq, seq);
    ot_rows_unref(r.rows);
    assert_int_equal(load(s).last_seq, seq);
}

static void rolled_back_is_never_seen(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_reply r;
    void *tx = w->ad->begin(w->outbox);
    int64_t seq;

    in_tx(w, tx, "t", NULL, "ghost");
    r = read_from(s, 0, 10);
    assert_int_equal(r.rows->n, 0);
    ot_rows_unref(r.rows);
    w->ad->rollback(tx);
    seq = one(w, "t", NULL, "real");
    r = read_from(s, 0, 10);
    assert_int_equal(r.rows->n, 1);
    assert_int_equal(r.rows->events[0].seq, seq);
    same(r.rows->events[0].payload, ot_slice_of("real"));
    ot_rows_unref(r.rows);
}

static void polls_see_what_comes(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_reply r;
    int64_t position = 0;

    for (int i = 0; i < 20; i++) {
        for (int idle = 0; idle < 3; idle++) {
            r = read_from(s, position, 10);
            assert_int_equal(r.rows->n, 0);
            assert_int_equal(r.last_seq, position);
            ot_rows_unref(r.rows);
        }
        one(w, "t", NULL, "x");
        r = read_from(s, position, 10);
        assert_int_equal(r.rows->n, 1);
        position = r.rows->events[0].seq;
        ot_rows_unref(r.rows);
    }
    /* From further back again, as after a reload. */
    r = read_from(s, 0, 100);
    assert_int_equal(r.rows->n, 20);
    ot_rows_unref(r.rows);
}

static void filter(void **state)
{
    static const struct {
        const char *topic;
        bool takes;
    } cases[] = {
        {"orders.created", true}, {"orders.", true},    {"orders", false},
        {"users", true},          {"users2", false},    {"xusers", false},
        {"100%_sure", true},      {"100xxsure", false},
    };
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", "orders.*, users,100%_sure", 1);
    struct ot_read_reply r;

    for (size_t i = 0; i < OT_COUNT(cases); i++)
        one(w, cases[i].topic, "k", "x");
    take(s);
    r = read_from(s, 0, 100);
    assert_int_equal(r.rows->n, OT_COUNT(cases));
    for (size_t i = 0; i < OT_COUNT(cases); i++) {
        const struct ot_event *e = &r.rows->events[i];

        if (e->filtered == cases[i].takes)
            fail_msg("topic %s: filtered is %d", cases[i].topic, e->filtered);
        assert_true(e->seq > 0);
        if (cases[i].takes)
            same(e->payload, ot_slice_of("x"));
        else
            assert_null(e->payload.p);
    }
    ot_rows_unref(r.rows);
}

static void fetched_as_asked(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_fetch_request q = {.budget = 1 << 20};
    struct ot_reply reply;
    int64_t seqs[5], ask[5];

    for (int i = 0; i < 5; i++)
        seqs[i] = one(w, "t", "k", i % 2 ? "odd" : "even");
    ask[0] = seqs[3];
    ask[1] = seqs[4] + 1000; /* not there */
    ask[2] = seqs[0];
    ask[3] = seqs[4];
    ask[4] = seqs[1];
    q.seqs = ask;
    q.n = 5;
    s->ops->fetch(s, &q);
    memset(ask, 0, sizeof(ask)); /* the arguments were copied */
    conformance_await(s, OT_REPLY_FETCH, &reply);
    must(&reply);
    assert_int_equal(reply.fetch.n, 5);
    assert_int_equal(reply.fetch.rows->n, 4);
    assert_int_equal(reply.fetch.rows->events[0].seq, seqs[3]);
    assert_int_equal(reply.fetch.rows->events[1].seq, seqs[0]);
    assert_int_equal(reply.fetch.rows->events[2].seq, seqs[4]);
    assert_int_equal(reply.fetch.rows->events[3].seq, seqs[1]);
    same(reply.fetch.rows->events[0].payload, ot_slice_of("odd"));
    same(reply.fetch.rows->events[1].payload, ot_slice_of("even"));
    ot_rows_unref(reply.fetch.rows);
}

/* --- large payloads -------------------------------------------------------- */

enum { LARGE = 1 << 20, NLARGE = 12, SMALL = 30 };

static char *large_text(void)
{
    char *text = ot_alloc(LARGE + 1);

    memset(text, 'x', LARGE);
    text[LARGE] = '\0';
    return text;
}

/* Small ones, so that a store learns to expect small ones, then large ones. */
static void enqueue_jump(struct world *w)
{
    char *large = large_text();

    for (int i = 0; i < SMALL; i++)
        one(w, "t", "k", "small");
    for (int i = 0; i < NLARGE; i++)
        one(w, i % 4 == 3 ? "other" : "t", "k", i == 5 ? NULL : large);
    ot_free(large);
}

/* However large the next payloads are, a read brings, and allocates, what its
 * budget allows: its rows, once more while they come in, and an event.
 * [INV-8] */
static void a_jump_stays_within_the_budget(void **state)
{
    enum { BUDGET = 2 * LARGE + 1000 };
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", "t", 1);
    struct ot_read_request q = {.limit = 20, .budget = BUDGET};
    unsigned seen = 0;
    bool empty = false;

    take(s);
    enqueue_jump(w);
    for (int i = 0; i < SMALL; i += 10, q.position += 10)
        ot_rows_unref(read_with(s, &q).rows);
    q.position = 0;
    peak_memory_start();
    while (seen < SMALL + NLARGE) {
        struct ot_read_reply r = read_with(s, &q);
        size_t bytes = 0;

        assert_true(r.rows->n > 0 || (r.cut && !empty));
        empty = r.rows->n == 0;
        for (uint32_t i = 0; i < r.rows->n; i++, seen++) {
            const struct ot_event *e = &r.rows->events[i];
            int n = (int)seen - SMALL;

            bytes += e->payload.n;
            if (n < 0)
                same(e->payload, ot_slice_of("small"));
            else if (n % 4 == 3 || n == 5)
                assert_null(e->payload.p);
            else
                assert_int_equal(e->payload.n, LARGE);
            assert_int_equal(e->filtered, n > 0 && n % 4 == 3);
        }
        assert_true(bytes <= BUDGET);
        assert_true(r.rows->bytes >= bytes);
        assert_true(r.rows->bytes < bytes + r.rows->n * 200);
        assert_int_equal(r.cut, seen < SMALL + NLARGE);
        if (!empty)
            q.position = r.rows->events[r.rows->n - 1].seq;
        ot_rows_unref(r.rows);
    }
    if (peak_memory() > (size_t)3 * BUDGET + LARGE)
        fail_msg("%zu bytes for a budget of %d", peak_memory(), BUDGET);
}

/* What the budget cuts is not missing: it is asked for again. */
static void a_fetch_keeps_to_its_budget(void **state)
{
    enum { BUDGET = 3 * LARGE + 1000 };
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    int64_t seqs[2 * NLARGE];
    struct ot_fetch_request q = {seqs, OT_COUNT(seqs), BUDGET};
    char *large = large_text();
    unsigned seen = 0;

    for (int i = 0; i < NLARGE; i++) { /* every other one is not there */
        seqs[2 * i + 1] = one(w, "t", "k", large);
        seqs[2 * i] = seqs[2 * i + 1] + 1000000;
    }
    ot_free(large);
    peak_memory_start();
    while (q.n > 0) {
        struct ot_reply reply;

        s->ops->fetch(s, &q);
        conformance_await(s, OT_REPLY_FETCH, &reply);
        must(&reply);
        assert_in_range(reply.fetch.rows->n, 1, 3);
        assert_in_range(reply.fetch.n, 1, q.n);
        for (uint32_t i = 0; i < reply.fetch.rows->n; i++, seen++) {
            assert_int_equal(reply.fetch.rows->events[i].seq,
                             seqs[2 * seen + 1]);
            assert_int_equal(reply.fetch.rows->events[i].payload.n, LARGE);
        }
        q.seqs += reply.fetch.n;
        q.n -= reply.fetch.n;
        ot_rows_unref(reply.fetch.rows);
    }
    assert_int_equal(seen, NLARGE);
    if (peak_memory() > (size_t)3 * BUDGET + LARGE)
        fail_msg("%zu bytes for a budget of %d", peak_memory(), BUDGET);
    /* The first one comes, even if it alone is too large. */
    q = (struct ot_fetch_request){seqs, 4, 10};
    for (int i = 0; i < 2; i++) {
        struct ot_reply reply;

        s->ops->fetch(s, &q);
        conformance_await(s, OT_REPLY_FETCH, &reply);
        must(&reply);
        assert_int_equal(reply.fetch.rows->n, 1);
        assert_true(reply.fetch.n < q.n || i == 1);
        q.seqs += reply.fetch.n;
        q.n -= reply.fetch.n;
        ot_rows_unref(reply.fetch.rows);
    }
    assert_int_equal(q.n, 0);
}

static void pinned_rows_outlive_the_store(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_reply first, second;

    one(w, "t", "k", "first");
    first = read_from(s, 0, 1);
    ot_rows_ref(first.rows, 1);
    one(w, "t", "k", "second");
    second = read_from(s, first.rows->events[0].seq, 1);
    same(first.rows->events[0].payload, ot_slice_of("first"));
    close_store(w, s);
    same(first.rows->events[0].payload, ot_slice_of("first"));
    same(second.rows->events[0].payload, ot_slice_of("second"));
    assert_true(first.rows->bytes > 0);
    ot_rows_unref(first.rows);
    ot_rows_unref(first.rows);
    ot_rows_unref(second.rows);
}

static void closed_with_replies_unread(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_request q = {.limit = 10, .budget = 1000};

    one(w, "t", "k", "x");
    take(s);
    s->ops->read(s, &q);
    s->ops->load(s);
    close_store(w, s);
}

static void incarnation_stays(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "other", NULL, 2);
    struct ot_read_reply first = read_from(a, 0, 1), second;
    struct ot_incarnation i = first.incarnation;

    ot_rows_unref(first.rows);
    one(w, "t", NULL, "x");
    second = read_from(b, 0, 1);
    assert_true(ot_incarnation_equal(&i, &second.incarnation));
    ot_rows_unref(second.rows);
    take(a);
    i = load(a).incarnation;
    second = read_from(a, 0, 1);
    assert_true(ot_incarnation_equal(&i, &second.incarnation));
    ot_rows_unref(second.rows);
}

int run_read_tests(const char *name)
{
    const struct CMUnitTest tests[] = {
        BATTERY(every_member),
        BATTERY(in_order_and_cut),
        BATTERY(budget),
        BATTERY(last_seq),
        BATTERY(rolled_back_is_never_seen),
        BATTERY(polls_see_what_comes),
        BATTERY(filter),
        BATTERY(fetched_as_asked),
        BATTERY(a_jump_stays_within_the_budget),
        BATTERY(a_fetch_keeps_to_its_budget),
        BATTERY(pinned_rows_outlive_the_store),
        BATTERY(closed_with_replies_unread),
        BATTERY(incarnation_stays),
    };

    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
