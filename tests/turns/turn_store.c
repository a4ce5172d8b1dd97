/* turn_store.c - a store whose nth request fails. */
#include "turns.h"

#include <stdlib.h>

enum { KINDS = OT_REPLY_PRUNE + 1 };

struct shaky {
    struct ot_store base;
    struct ot_store *real;
    bool asked[KINDS];   /* unanswered */
    bool swallow[KINDS]; /* the answer will be lost */
    int failed[KINDS];   /* a code that is the answer; 0: none */
    uint64_t number;     /* of the write */
};

static struct shaky *shaky_of(struct ot_store *s)
{
    return (struct shaky *)(void *)s;
}

/* Is the request passed on? */
static bool passes(struct ot_store *s, enum ot_reply_kind kind)
{
    struct shaky *x = shaky_of(s);

    x->asked[kind] = true;
    if (turn_now(TURN_LOST))
        x->failed[kind] = OUTTRAY_E_STORE_UNAVAILABLE;
    else if (turn_now(TURN_BUSY))
        x->failed[kind] = OUTTRAY_E_STORE_BUSY;
    else if (turn_now(TURN_LANDED))
        x->swallow[kind] = true;
    return x->failed[kind] == 0;
}

static void shaky_lease(struct ot_store *s, const struct ot_lease_request *q)
{
    if (passes(s, OT_REPLY_LEASE))
        shaky_of(s)->real->ops->lease(shaky_of(s)->real, q);
}

static void shaky_release(struct ot_store *s, int64_t fence)
{
    if (passes(s, OT_REPLY_RELEASE))
        shaky_of(s)->real->ops->release(shaky_of(s)->real, fence);
}

static void shaky_load(struct ot_store *s)
{
    if (passes(s, OT_REPLY_CURSOR))
        shaky_of(s)->real->ops->load(shaky_of(s)->real);
}

static void shaky_read(struct ot_store *s, const struct ot_read_request *q)
{
    if (passes(s, OT_REPLY_READ))
        shaky_of(s)->real->ops->read(shaky_of(s)->real, q);
}

static void shaky_fetch(struct ot_store *s, const struct ot_fetch_request *q)
{
    if (passes(s, OT_REPLY_FETCH))
        shaky_of(s)->real->ops->fetch(shaky_of(s)->real, q);
}

static void shaky_write(struct ot_store *s, const struct ot_write_request *q)
{
    shaky_of(s)->number = q->number;
    if (passes(s, OT_REPLY_WRITE))
        shaky_of(s)->real->ops->write(shaky_of(s)->real, q);
}

static void shaky_commands(struct ot_store *s)
{
    if (passes(s, OT_REPLY_COMMANDS))
        shaky_of(s)->real->ops->commands(shaky_of(s)->real);
}

static void shaky_prune(struct ot_store *s, const struct ot_prune_request *q)
{
    if (passes(s, OT_REPLY_PRUNE))
        shaky_of(s)->real->ops->prune(shaky_of(s)->real, q);
}

static int64_t shaky_service(struct ot_store *s, int64_t now_us)
{
    struct shaky *x = shaky_of(s);
    int64_t at_us = x->real->ops->service(x->real, now_us);

    for (int kind = 0; kind < KINDS; kind++)
        if (x->failed[kind] != 0)
            at_us = now_us;
    return at_us;
}

static size_t shaky_fds(const struct ot_store *s, struct ot_fd *out, size_t max)
{
    const struct shaky *x = (const struct shaky *)(const void *)s;

    return x->real->ops->fds(x->real, out, max);
}

static void failure(struct shaky *x, enum ot_reply_kind kind, int code,
                    struct ot_reply *out)
{
    *out = (struct ot_reply){.kind = kind};
    if (kind == OT_REPLY_WRITE) {
        out->write.number = x->number;
        out->write.fate = OT_FATE_UNKNOWN;
    }
    out->code = ot_fail(&out->err, code, "the test says so");
}

static bool shaky_next(struct ot_store *s, struct ot_reply *out)
{
    struct shaky *x = shaky_of(s);

    for (int kind = 0; kind < KINDS; kind++) {
        if (x->failed[kind] == 0)
            continue;
        failure(x, (enum ot_reply_kind)kind, x->failed[kind], out);
        x->failed[kind] = 0;
        x->asked[kind] = false;
        return true;
    }
    if (!x->real->ops->next(x->real, out))
        return false;
    x->asked[out->kind] = false;
    if (out->code == 0 && out->kind == OT_REPLY_READ)
        out->read.db_now_us += turn_ahead();
    if (out->code == 0 && out->kind == OT_REPLY_CURSOR)
        out->cursor.db_now_us += turn_ahead();
    if (x->swallow[out->kind]) {
        x->swallow[out->kind] = false;
        if (out->code == 0 && out->kind == OT_REPLY_READ)
            ot_rows_unref(out->read.rows);
        if (out->code == 0 && out->kind == OT_REPLY_FETCH)
            ot_rows_unref(out->fetch.rows);
        failure(x, out->kind, OUTTRAY_E_STORE_UNAVAILABLE, out);
    }
    return true;
}

static void shaky_close(struct ot_store *s)
{
    shaky_of(s)->real->ops->close(shaky_of(s)->real);
    free(s);
}

struct ot_store *turn_store(struct ot_store *real)
{
    static struct ot_store_ops ops;
    struct shaky *x = calloc(1, sizeof(*x));

    assert_non_null(x);
    ops = *real->ops;
    ops.lease = shaky_lease;
    ops.release = shaky_release;
    ops.load = shaky_load;
    ops.read = shaky_read;
    ops.fetch = shaky_fetch;
    ops.write = shaky_write;
    ops.commands = shaky_commands;
    ops.prune = shaky_prune;
    ops.service = shaky_service;
    ops.fds = shaky_fds;
    ops.next = shaky_next;
    ops.close = shaky_close;
    x->base.ops = &ops;
    x->real = real;
    return &x->base;
}

unsigned turn_store_asked(const struct ot_store *s)
{
    const struct shaky *x = (const struct shaky *)(const void *)s;
    unsigned n = 0;

    for (int kind = 0; kind < KINDS; kind++)
        n += x->asked[kind];
    return n;
}
