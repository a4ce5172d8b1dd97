/* conformance_write.c - the cursor, commands, retention, durability. */
#include "conformance_parts.h"

static void held_equal(const struct ot_held *a, const struct ot_held *b)
{
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->holds_key, b->holds_key);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->next_us, b->next_us);
    assert_int_equal(a->first_error_us, b->first_error_us);
    assert_int_equal(a->last_error_us, b->last_error_us);
    assert_int_equal(a->retried_us, b->retried_us);
    assert_int_equal(a->error_code, b->error_code);
    assert_int_equal(a->maybe_duplicate, b->maybe_duplicate);
    assert_null(a->error);
}

static void loaded_as_written(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    int64_t a = one(w, "t1", "k", "x"), b = one(w, "t2", NULL, "x");
    int64_t c = one(w, "t1", "k2", "x"), last = one(w, "t", "k", "x");
    struct ot_range gaps[] = {{a, a}, {b, c}};
    struct ot_held held[] = {
        {.seq = c,
         .state = OT_HELD_RETRYING,
         .holds_key = true,
         .attempts = 3,
         .next_us = 1700000000123456,
         .first_error_us = 1600000000000001,
         .last_error_us = 1600000000000002,
         .retried_us = 77,
         .error_code = -191,
         .maybe_duplicate = true,
         .error = "it's \"bad\" \xc3\xa4"},
        {.seq = b, .state = OT_HELD_SKIPPED},
        {.seq = a, .state = OT_HELD_SCHEDULED, .next_us = 5},
    };
    struct ot_write_request q = {.number = 11,
                                 .fence = take(s),
                                 .position = last,
                                 .gaps_put = gaps,
                                 .ngaps_put = 2,
                                 .held_put = held,
                                 .nheld_put = 3,
                                 .set_paused = 1};
    int64_t firsts[] = {a}, seqs[] = {b};
    struct ot_range third = {last, last};
    struct ot_cursor_reply r;

    r = load(s);
    assert_int_equal(r.position, 0);
    assert_int_equal(r.ngaps, 0);
    assert_int_equal(r.nheld, 0);
    assert_false(r.paused);
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    r = load(s);
    assert_int_equal(r.position, last);
    assert_true(r.paused);
    assert_int_equal(r.ngaps, 2);
    assert_int_equal(r.gaps[0].first, a);
    assert_int_equal(r.gaps[0].last, a);
    assert_int_equal(r.gaps[1].first, b);
    assert_int_equal(r.gaps[1].last, c);
    assert_int_equal(r.nheld, 3);
    held_equal(&r.held[0], &held[2]);
    held_equal(&r.held[1], &held[1]);
    held[0].error = NULL;
    held_equal(&r.held[2], &held[0]);
    assert_true(r.held[0].key == ot_hash(ot_slice_of("k")));
    assert_true(r.held[1].key == 0);
    assert_true(r.held[2].key == ot_hash(ot_slice_of("k2")));
    assert_true(r.held[0].topic == ot_hash(ot_slice_of("t1")));
    assert_true(r.held[1].topic == ot_hash(ot_slice_of("t2")));

    /* Replaced, deleted, and the pause left alone. A gap may be put again
     * under a first that is deleted in the same write. */
    held[0].state = OT_HELD_BLOCKED;
    held[0].attempts = 4;
    gaps[0].first = a;
    gaps[0].last = b;
    q = (struct ot_write_request){.number = 12,
                                  .fence = q.fence,
                                  .position = last,
                                  .gaps_del = firsts,
                                  .ngaps_del = 1,
                                  .gaps_put = gaps,
                                  .ngaps_put = 1,
                                  .held_put = held,
                                  .nheld_put = 1,
                                  .held_del = seqs,
                                  .nheld_del = 1,
                                  .set_paused = -1};
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    r = load(s);
    assert_true(r.paused);
    assert_int_equal(r.ngaps, 2);
    assert_int_equal(r.gaps[0].last, b);
    assert_int_equal(r.nheld, 2);
    held_equal(&r.held[1], &held[0]);

    q = (struct ot_write_request){.number = 13,
                                  .fence = q.fence,
                                  .position = last,
                                  .gaps_put = &third,
                                  .ngaps_put = 1,
                                  .set_paused = 0};
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    r = load(s);
    assert_false(r.paused);
    assert_int_equal(r.ngaps, 3);
}

static void meant_for_one_incarnation(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_write_request q = {
        .number = 1, .fence = take(s), .position = 1, .set_paused = 1};

    one(w, "t", NULL, "x");
    q.incarnation = load(s).incarnation;
    q.incarnation.started_us ^= 1;
    assert_int_equal(write_with(s, &q).fate, OT_REFUSED);
    assert_int_equal(load(s).position, 0);
    assert_false(load(s).paused);
    q.incarnation.started_us ^= 1;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    assert_int_equal(load(s).position, 1);
    assert_true(load(s).paused);
}

static void many_rows_at_once(void **state)
{
    enum { N = 3000 };
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_held *held = ot_alloc_zero(N, sizeof(*held));
    struct ot_range *gaps = ot_alloc_zero(N, sizeof(*gaps));
    struct ot_write_request q = {.number = 1,
                                 .fence = take(s),
                                 .position = 3 * N,
                                 .gaps_put = gaps,
                                 .ngaps_put = N,
                                 .held_put = held,
                                 .nheld_put = N,
                                 .set_paused = -1};
    struct ot_cursor_reply r;
    void *tx = w->ad->begin(w->outbox);

    for (int64_t i = 0; i < N; i++) {
        int64_t seq = in_tx(w, tx, "t", "k", "x");

        held[i] = (struct ot_held){
            .seq = seq, .state = OT_HELD_WAITING, .error = "no topic"};
        gaps[i] = (struct ot_range){2 * i + 1, 2 * i + 1};
    }
    w->ad->commit(tx);
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    r = load(s);
    assert_int_equal(r.nheld, N);
    assert_int_equal(r.ngaps, N);
    for (int i = 1; i < N; i++) {
        assert_true(r.held[i].seq > r.held[i - 1].seq);
        assert_true(r.gaps[i].first > r.gaps[i - 1].last);
    }
    ot_free(held);
    ot_free(gaps);
}

static void expect_error(struct world *w, int64_t seq, const char *want)
{
    char text[64];

    w->ad->error(w->outbox, "main", seq, text, sizeof(text));
    assert_string_equal(text, want);
}

/* The engine does not know the text any more, only that it is the same one. */
static void text_lasts_as_long_as_its_error(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_held held = {.seq = one(w, "t", "k", "x"),
                           .state = OT_HELD_RETRYING,
                           .holds_key = true,
                           .next_us = 1700000000123456,
                           .last_error_us = 1600000000000002,
                           .error = "no room"};
    struct ot_write_request q = {.number = 1,
                                 .fence = take(s),
                                 .position = held.seq,
                                 .held_put = &held,
                                 .nheld_put = 1,
                                 .set_paused = -1};

    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    expect_error(w, held.seq, "no room");
    held.state = OT_HELD_WAITING;
    held.next_us = 0;
    held.error = NULL;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    expect_error(w, held.seq, "no room");
    assert_int_equal(load(s).held[0].state, OT_HELD_WAITING);
    held.last_error_us++;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    expect_error(w, held.seq, "");
    held.error = "gone";
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    expect_error(w, held.seq, "gone");
}

static void commands(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_write_request q = {
        .number = 1, .fence = take(s), .set_paused = -1};
    struct ot_read_reply r = read_from(s, 0, 1);
    struct ot_reply reply;
    int64_t done[2];

    assert_false(r.has_commands);
    ot_rows_unref(r.rows);
    w->ad->command(w->outbox, "main", OT_REDRIVE, 17);
    w->ad->command(w->outbox, "main", OT_PAUSE, 0);
    w->ad->command(w->outbox, "main", OT_SKIP, INT64_MAX);
    w->ad->command(w->outbox, "other", OT_RESUME, 0);
    r = read_from(s, 0, 1);
    assert_true(r.has_commands);
    ot_rows_unref(r.rows);
    s->ops->commands(s);
    conformance_await(s, OT_REPLY_COMMANDS, &reply);
    must(&reply);
    assert_int_equal(reply.commands.n, 3);
    assert_int_equal(reply.commands.commands[0].verb, OT_REDRIVE);
    assert_int_equal(reply.commands.commands[0].seq, 17);
    assert_int_equal(reply.commands.commands[1].verb, OT_PAUSE);
    assert_int_equal(reply.commands.commands[1].seq, 0);
    assert_int_equal(reply.commands.commands[2].verb, OT_SKIP);
    assert_int_equal(reply.commands.commands[2].seq, INT64_MAX);
    assert_true(reply.commands.commands[0].id < reply.commands.commands[1].id);

    done[0] = reply.commands.commands[0].id;
    done[1] = reply.commands.commands[2].id;
    q.commands_done = done;
    q.ncommands_done = 2;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    s->ops->commands(s);
    conformance_await(s, OT_REPLY_COMMANDS, &reply);
    must(&reply);
    assert_int_equal(reply.commands.n, 1);
    assert_int_equal(reply.commands.commands[0].verb, OT_PAUSE);
    done[0] = reply.commands.commands[0].id;
    q.ncommands_done = 1;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    s->ops->commands(s);
    conformance_await(s, OT_REPLY_COMMANDS, &reply);
    must(&reply);
    assert_int_equal(reply.commands.n, 0);
}

static void last_command_is_noticed_gone(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_write_request q = {
        .number = 1, .fence = take(s), .ncommands_done = 1, .set_paused = -1};
    struct ot_read_reply r;
    struct ot_reply reply;
    int64_t id;

    w->ad->command(w->outbox, "main", OT_PAUSE, 0);
    r = read_from(s, 0, 1);
    assert_true(r.has_commands);
    ot_rows_unref(r.rows);
    s->ops->commands(s);
    conformance_await(s, OT_REPLY_COMMANDS, &reply);
    must(&reply);
    id = reply.commands.commands[0].id;
    q.commands_done = &id;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
    r = read_from(s, 0, 1);
    assert_false(r.has_commands);
    ot_rows_unref(r.rows);
}

/* Which of the first n seqs are still there, as bits. */
static unsigned left(struct ot_store *s, const int64_t *seqs, int n)
{
    struct ot_read_reply r = read_from(s, 0, 1000);
    unsigned bits = 0;

    for (uint32_t i = 0; i < r.rows->n; i++)
        for (int k = 0; k < n; k++)
            if (r.rows->events[i].seq == seqs[k])
                bits |= 1u << k;
    ot_rows_unref(r.rows);
    return bits;
}

static struct ot_prune_reply prune(struct ot_store *s, int64_t older_than_us,
                                   uint32_t limit)
{
    struct ot_prune_request q = {older_than_us, limit};
    struct ot_reply reply;

    s->ops->prune(s, &q);
    conformance_await(s, OT_REPLY_PRUNE, &reply);
    must(&reply);
    return reply.prune;
}

/* Until nothing more is found; returns how many were deleted. */
static unsigned prune_all(struct ot_store *s, int64_t older_than_us,
                          uint32_t limit)
{
    struct ot_prune_reply r;
    unsigned n = 0;

    for (int i = 0; i < 100; i++) {
        r = prune(s, older_than_us, limit);
        n += r.deleted;
        assert_true(r.deleted <= limit);
        if (!r.more)
            return n;
    }
    fail_msg("pruning does not come to an end");
    return n;
}

static void prune_keeps_what_is_needed(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "audit", NULL, 2);
    int64_t seqs[8], future;
    struct ot_write_request q = {.number = 1, .set_paused = -1};
    struct ot_held held;
    struct ot_range gap;
    struct ot_read_reply r;

    for (int i = 0; i < 8; i++)
        seqs[i] = one(w, "t", "k", "x");
    r = read_from(a, 0, 1);
    future = r.db_now_us + LONG_US;
    ot_rows_unref(r.rows);
    /* Nobody has passed anything. */
    assert_int_equal(prune_all(a, future, 100), 0);

    held = (struct ot_held){.seq = seqs[1], .state = OT_HELD_DEAD};
    q.fence = take(a);
    q.position = seqs[6];
    q.held_put = &held;
    q.nheld_put = 1;
    assert_int_equal(write_with(a, &q).fate, OT_WRITTEN);
    gap = (struct ot_range){seqs[3], seqs[3]};
    q.fence = take(b);
    q.position = seqs[5];
    q.nheld_put = 0;
    q.gaps_put = &gap;
    q.ngaps_put = 1;
    assert_int_equal(write_with(b, &q).fate, OT_WRITTEN);

    /* Too young. */
    assert_int_equal(prune_all(a, future - 2 * LONG_US - LONG_US, 100), 0);
    assert_int_equal(left(a, seqs, 8), 0xff);
    /* Held: 1; in a gap: 3; not passed by audit: 6 and 7. */
    assert_int_equal(prune_all(a, future, 2), 4);
    assert_int_equal(left(a, seqs, 8), 0xca);
    assert_int_equal(prune_all(b, future, 100), 0);
}

static void prune_in_batches(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_reply r;
    int64_t last = 0, fence = take(s), future;
    void *tx = w->ad->begin(w->outbox);

    for (int i = 0; i < 25; i++)
        last = in_tx(w, tx, "t", "k", "x");
    w->ad->commit(tx);
    move_to(s, fence, last);
    r = read_from(s, last, 1);
    future = r.db_now_us + LONG_US;
    ot_rows_unref(r.rows);
    assert_true(prune(s, future, 10).more);
    assert_int_equal(prune_all(s, future, 10), 15);
    r = read_from(s, 0, 100);
    assert_int_equal(r.rows->n, 0);
    /* The sequence goes on: no seq is given out twice. */
    assert_true(r.last_seq >= last);
    ot_rows_unref(r.rows);
    assert_true(one(w, "t", NULL, "x") > last);
}

static void durable_write_is_a_barrier(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_write_request q = {
        .number = 1, .fence = take(s), .durable = true, .set_paused = -1};

    for (int i = 0; i < 3; i++) {
        struct ot_read_reply r;
        struct ot_write_reply written;
        uint64_t lsn;

        one(w, "t", NULL, "x");
        r = read_from(s, 0, 10);
        lsn = r.lsn;
        ot_rows_unref(r.rows);
        if (w->ad->caps & OT_STORE_BARRIER_BY_WRITE)
            assert_true(r.flush_lsn < lsn); /* not by itself */
        written = write_with(s, &q);
        assert_int_equal(written.fate, OT_WRITTEN);
        assert_true(written.flush_lsn >= lsn);
        r = read_from(s, 0, 10);
        assert_true(r.flush_lsn >= lsn);
        ot_rows_unref(r.rows);
    }
}

static void kinds_overlap(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    int64_t last = one(w, "t", NULL, "x"), fence = take(s), deadline;
    struct ot_read_request read = {.limit = 10, .budget = 1000};
    struct ot_write_request write = {
        .number = 5, .fence = fence, .position = last, .set_paused = -1};
    struct ot_lease_request renew = {.fence = fence, .ttl_us = LONG_US};
    struct ot_fetch_request fetch = {&last, 1, 1000};
    struct ot_prune_request prune_q = {0, 10};
    struct ot_reply reply;
    unsigned got = 0;

    s->ops->read(s, &read);
    s->ops->write(s, &write);
    s->ops->lease(s, &renew);
    s->ops->fetch(s, &fetch);
    s->ops->commands(s);
    s->ops->prune(s, &prune_q);
    deadline = ot_now_us() + 60000000;
    while (got != (1u << OT_REPLY_READ | 1u << OT_REPLY_WRITE |
                   1u << OT_REPLY_LEASE | 1u << OT_REPLY_FETCH |
                   1u << OT_REPLY_COMMANDS | 1u << OT_REPLY_PRUNE)) {
        assert_true(ot_now_us() < deadline);
        s->ops->service(s, ot_now_us());
        while (s->ops->next(s, &reply)) {
            must(&reply);
            assert_false(got & 1u << reply.kind); /* one each */
            got |= 1u << reply.kind;
            if (reply.kind == OT_REPLY_READ)
                ot_rows_unref(reply.read.rows);
            if (reply.kind == OT_REPLY_FETCH)
                ot_rows_unref(reply.fetch.rows);
        }
        nap(1000);
    }
    assert_int_equal(load(s).position, last);
}

int run_write_tests(const char *name)
{
    const struct CMUnitTest tests[] = {
        BATTERY(loaded_as_written),
        BATTERY(meant_for_one_incarnation),
        BATTERY(many_rows_at_once),
        BATTERY(text_lasts_as_long_as_its_error),
        BATTERY(commands),
        BATTERY(last_command_is_noticed_gone),
        BATTERY(prune_keeps_what_is_needed),
        BATTERY(prune_in_batches),
        BATTERY(durable_write_is_a_barrier),
        BATTERY(kinds_overlap),
    };

    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
