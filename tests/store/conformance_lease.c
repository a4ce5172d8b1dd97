/* conformance_lease.c - who may relay, and what a stale owner cannot do. */
#include "conformance_parts.h"
#include "store/admin.h"

static int keep_status(void *ctx, const struct ot_status *status)
{
    *(struct ot_status *)ctx = *status;
    return 0;
}

static void taken_and_renewed(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    int64_t fence = take(s);

    assert_true(lease(s, false, fence, LONG_US).granted);
    assert_int_equal(lease(s, false, fence, LONG_US).fence, fence);
    assert_false(lease(s, false, fence + 1, LONG_US).granted);
    assert_false(lease(s, false, fence - 1, LONG_US).granted);
    move_to(s, fence, 0);
}

/* Not a row that was made up, nor an empty answer. */
static void unknown_subscription(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_store *other = open_store(w, "other", NULL, 2);
    struct outtray_conf *conf = w->ad->conf(w->outbox);
    struct ot_status status = {.pending = -1};
    struct outtray_error err;
    struct ot_reply reply;
    struct ot_admin *a;
    int code;

    one(w, "t", NULL, "x");
    other->ops->load(other);
    conformance_await(other, OT_REPLY_CURSOR, &reply);
    assert_int_equal(reply.code, OUTTRAY_E_NOT_FOUND);
    /* A store in the memory of one process has no URL, and no admin. */
    code = ot_conf_secret(conf, "store.url") == NULL
               ? OUTTRAY_E_UNSUPPORTED
               : ot_admin_open(&a, conf, &err);
    outtray_conf_free(conf);
    if (code == OUTTRAY_E_UNSUPPORTED)
        return;
    assert_int_equal(code, 0);
    for (int i = 0; i < 2; i++) { /* without any subscription, with another */
        assert_int_equal(a->ops->status(a, "other", keep_status, &status, &err),
                         OUTTRAY_E_NOT_FOUND);
        assert_non_null(strstr(err.text, "\"other\""));
        assert_int_equal(status.pending, -1);
        take(s);
    }
    /* The one that the first relay makes is there before it. */
    assert_int_equal(a->ops->status(a, "main", keep_status, &status, &err), 0);
    assert_int_equal(status.pending, 1);
    a->ops->close(a);
}

static void refused_while_held(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "main", NULL, 2);
    struct ot_lease_reply r;
    int64_t fence = take(a);

    r = lease(b, true, 0, LONG_US);
    assert_false(r.granted);
    assert_string_equal(r.owner, "01010101-0000-0000-0000-000000000000");
    assert_in_range(r.free_in_us, 1, LONG_US);
    /* Nor by pretending that it was ours. */
    assert_false(lease(b, false, fence, LONG_US).granted);
    assert_true(lease(a, false, fence, LONG_US).granted);
}

static void expired_is_taken_over(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "main", NULL, 2);
    struct ot_write_request q = {.number = 9, .position = 0, .set_paused = -1};
    struct ot_lease_reply first = lease(a, true, 0, 50000), second;

    assert_true(first.granted);
    nap(80000);
    assert_false(lease(a, false, first.fence, LONG_US).granted);
    second = lease(b, true, 0, LONG_US);
    assert_true(second.granted);
    assert_true(second.fence > first.fence);
    q.fence = first.fence;
    assert_int_equal(write_with(a, &q).fate, OT_REFUSED);
    /* Owner and fence must both fit. */
    q.fence = second.fence;
    assert_int_equal(write_with(a, &q).fate, OT_REFUSED);
    assert_int_equal(write_with(b, &q).fate, OT_WRITTEN);
}

static void taken_again_by_its_owner(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_write_request q = {.number = 2, .position = 0, .set_paused = -1};
    int64_t first = take(s), second = take(s);

    assert_true(second > first);
    q.fence = first;
    assert_int_equal(write_with(s, &q).fate, OT_REFUSED);
    q.fence = second;
    assert_int_equal(write_with(s, &q).fate, OT_WRITTEN);
}

static void released(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "main", NULL, 2);
    struct ot_reply reply;
    int64_t fence = take(a);

    a->ops->release(a, fence + 7); /* not ours: nothing happens */
    conformance_await(a, OT_REPLY_RELEASE, &reply);
    must(&reply);
    assert_false(lease(b, true, 0, LONG_US).granted);
    a->ops->release(a, fence);
    conformance_await(a, OT_REPLY_RELEASE, &reply);
    must(&reply);
    assert_true(take(b) > fence);
    assert_false(lease(a, false, fence, LONG_US).granted);
}

/* After a restore the row may be older than what a relay has sent under. */
static void fence_above_the_last(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    int64_t fence = take(s);

    assert_int_equal(lease(s, true, fence + 40, LONG_US).fence, fence + 41);
    assert_int_equal(lease(s, true, fence, LONG_US).fence, fence + 42);
}

static void told_with_the_load(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "main", NULL, 2);
    struct ot_reply reply;
    int64_t fence = take(a);
    struct ot_cursor_reply c = load(a);

    assert_int_equal(c.fence, fence);
    assert_in_range(c.lease_left_us, 1, LONG_US);
    assert_int_equal(load(b).fence, 0);
    a->ops->release(a, fence);
    conformance_await(a, OT_REPLY_RELEASE, &reply);
    must(&reply);
    assert_int_equal(load(a).fence, 0);
    fence = lease(b, true, 0, 50000).fence;
    nap(80000);
    c = load(b); /* ours, and expired */
    assert_int_equal(c.fence, fence);
    assert_true(c.lease_left_us <= 0);
}

static void refused_write_changes_nothing(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "main", NULL, 2);
    struct ot_range gap = {2, 2}, other = {1, 1};
    struct ot_held held = {.seq = 3, .state = OT_HELD_DEAD, .error = "first"};
    struct ot_held held2 = {.seq = 4, .state = OT_HELD_DEAD, .error = "late"};
    struct ot_write_request q = {.number = 1,
                                 .position = 4,
                                 .gaps_put = &gap,
                                 .ngaps_put = 1,
                                 .held_put = &held,
                                 .nheld_put = 1,
                                 .set_paused = 0};
    struct ot_cursor_reply c;
    struct ot_reply reply;
    struct ot_lease_reply r;
    int64_t id, firsts[] = {2}, seqs[] = {3};

    for (int i = 0; i < 5; i++)
        one(w, "t", "k", "x");
    w->ad->command(w->outbox, "main", OT_SKIP, 3);
    r = lease(a, true, 0, 50000);
    q.fence = r.fence;
    assert_int_equal(write_with(a, &q).fate, OT_WRITTEN);
    a->ops->commands(a);
    conformance_await(a, OT_REPLY_COMMANDS, &reply);
    must(&reply);
    assert_int_equal(reply.commands.n, 1);
    id = reply.commands.commands[0].id;
    nap(80000);
    take(b);

    q.position = 5;
    q.gaps_put = &other;
    q.gaps_del = firsts;
    q.ngaps_del = 1;
    q.held_put = &held2;
    q.held_del = seqs;
    q.nheld_del = 1;
    q.commands_done = &id;
    q.ncommands_done = 1;
    q.set_paused = 1;
    q.durable = true;
    assert_int_equal(write_with(a, &q).fate, OT_REFUSED);

    c = load(b);
    assert_int_equal(c.position, 4);
    assert_int_equal(c.ngaps, 1);
    assert_int_equal(c.gaps[0].first, 2);
    assert_int_equal(c.nheld, 1);
    assert_int_equal(c.held[0].seq, 3);
    assert_false(c.paused);
    b->ops->commands(b);
    conformance_await(b, OT_REPLY_COMMANDS, &reply);
    must(&reply);
    assert_int_equal(reply.commands.n, 1);
}

static void subscriptions_are_independent(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "audit", NULL, 2);
    struct ot_read_reply r;
    int64_t last, fence;

    one(w, "t", NULL, "1");
    last = one(w, "t", NULL, "2");
    fence = take(a);
    take(b);
    move_to(a, fence, last);
    assert_int_equal(load(a).position, last);
    assert_int_equal(load(b).position, 0);
    r = read_from(b, 0, 10);
    assert_int_equal(r.rows->n, 2);
    ot_rows_unref(r.rows);
}

static void new_subscription_starts_now(void **state)
{
    struct world *w = *state;
    struct ot_store *s;
    int64_t last;

    one(w, "t", NULL, "old");
    last = one(w, "t", NULL, "old");
    w->start_now = true;
    s = open_store(w, "late", NULL, 1);
    take(s);
    assert_int_equal(load(s).position, last);
    /* Only a new one: the next lease leaves it where it is. */
    one(w, "t", NULL, "new");
    take(s);
    assert_int_equal(load(s).position, last);
}

/* A store may have several connections, and may learn only from the next
 * request that one of them is dead. */
static int64_t take_again(struct ot_store *s)
{
    struct ot_lease_request q = {.take = true, .ttl_us = LONG_US};
    struct ot_reply reply;

    for (int i = 0; i < 5; i++) {
        s->ops->lease(s, &q);
        conformance_await(s, OT_REPLY_LEASE, &reply);
        if (reply.code == 0)
            break;
        assert_true(outtray_error_retryable(reply.code));
    }
    must(&reply);
    assert_true(reply.lease.granted);
    return reply.lease.fence;
}

static void read_is_cut(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_read_request q = {.position = 0, .limit = 10, .budget = 1000};
    struct ot_read_reply r;
    struct ot_reply reply;
    int64_t fence;

    one(w, "t", NULL, "x");
    fence = take(s);
    r = read_from(s, 0, 10);
    assert_int_equal(r.rows->n, 1);
    ot_rows_unref(r.rows);
    w->ad->cut(w->outbox, s);
    s->ops->read(s, &q);
    conformance_await(s, OT_REPLY_READ, &reply);
    assert_int_not_equal(reply.code, 0);
    assert_true(outtray_error_retryable(reply.code));
    assert_true(reply.err.text[0] != '\0');
    w->ad->mend(w->outbox);

    assert_true(take_again(s) > fence);
    assert_int_equal(load(s).position, 0);
    r = read_from(s, 0, 10);
    assert_int_equal(r.rows->n, 1);
    ot_rows_unref(r.rows);
}

static void write_is_cut(void **state)
{
    struct world *w = *state;
    struct ot_store *s = open_store(w, "main", NULL, 1);
    struct ot_write_request q = {.number = 4, .position = 1, .set_paused = -1};
    struct ot_reply reply;
    int64_t fence;

    one(w, "t", NULL, "x");
    q.fence = take(s);
    w->ad->cut(w->outbox, s);
    s->ops->write(s, &q);
    conformance_await(s, OT_REPLY_WRITE, &reply);
    assert_int_not_equal(reply.code, 0);
    assert_true(outtray_error_retryable(reply.code));
    assert_int_equal(reply.write.fate, OT_FATE_UNKNOWN);
    assert_int_equal(reply.write.number, 4);
    w->ad->mend(w->outbox);

    fence = take_again(s);
    assert_true(fence > q.fence);
    assert_in_range(load(s).position, 0, 1);
    /* The write that was cut off cannot land any more. */
    assert_int_equal(write_with(s, &q).fate, OT_REFUSED);
    move_to(s, fence, 1);
    assert_int_equal(load(s).position, 1);
}

static void said(struct world *w, const char *want)
{
    char report[OT_REPORT_SIZE];

    w->ad->report(w->outbox, "main", report, sizeof(report));
    assert_string_equal(report, want);
}

static bool say(struct ot_store *s, int64_t fence, const char *report)
{
    struct ot_lease_request q = {fence == 0, fence, LONG_US, report};
    struct ot_reply reply;

    s->ops->lease(s, &q);
    conformance_await(s, OT_REPLY_LEASE, &reply);
    must(&reply);
    return reply.lease.granted;
}

/* It is the owner's word, and stays until the owner says something else. */
static void reports(void **state)
{
    struct world *w = *state;
    struct ot_store *a = open_store(w, "main", NULL, 1);
    struct ot_store *b = open_store(w, "main", NULL, 2);
    struct ot_write_request q = {.number = 1, .set_paused = -1};
    char longest[OT_REPORT_SIZE];

    assert_true(say(a, 0, NULL));
    said(w, "");
    assert_true(say(a, 0, "{\"a\":1}"));
    said(w, "{\"a\":1}");
    assert_false(say(b, 0, "{\"b\":1}"));
    q.fence = take(a);
    assert_int_equal(write_with(a, &q).fate, OT_WRITTEN);
    said(w, "{\"a\":1}");
    q.report = "{\"a\":2}";
    assert_int_equal(write_with(a, &q).fate, OT_WRITTEN);
    said(w, "{\"a\":2}");
    assert_true(say(a, q.fence, "{\"a\":3}"));
    said(w, "{\"a\":3}");
    assert_int_equal(write_with(b, &q).fate, OT_REFUSED);
    assert_true(say(a, q.fence, NULL));
    said(w, "{\"a\":3}");
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "{\"", 2);
    memcpy(longest + sizeof(longest) - 6, "\":42}", 6);
    assert_true(say(a, q.fence, longest));
    said(w, longest);
}

int run_lease_tests(const char *name)
{
    const struct CMUnitTest tests[] = {
        BATTERY(taken_and_renewed),
        BATTERY(unknown_subscription),
        BATTERY(refused_while_held),
        BATTERY(expired_is_taken_over),
        BATTERY(taken_again_by_its_owner),
        BATTERY(released),
        BATTERY(reports),
        BATTERY(told_with_the_load),
        BATTERY(fence_above_the_last),
        BATTERY(refused_write_changes_nothing),
        BATTERY(subscriptions_are_independent),
        BATTERY(new_subscription_starts_now),
        BATTERY(read_is_cut),
        BATTERY(write_is_cut),
    };

    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
