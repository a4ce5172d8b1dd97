/* store.c - the relay's half: every request is answered in its call. */
#include "store/memory/inside.h"

#include <stdlib.h>

#include "store/filter.h"
#include "store/replies.h"
#include "store/rows.h"
#include "store/stores.h"

struct relay {
    struct ot_store base;
    struct ot_memory *m;
    char *subscription;
    bool start_now;
    struct ot_filter filter;
    struct ot_uuid owner;
    enum { WHOLE, BROKEN, BROKEN_AFTER } state;
    struct ot_replies replies;
    struct ot_rows_builder rows;
    struct ot_buffer holders, xip, gaps, held, commands; /* of replies */
};

static struct relay *relay_of(struct ot_store *s)
{
    return (struct relay *)(void *)s;
}

/* --- replies -------------------------------------------------------------- */

/* Is the request to be carried out? */
static bool arrives(struct relay *r, struct ot_reply *reply,
                    enum ot_reply_kind kind)
{
    memset(reply, 0, sizeof(*reply));
    reply->kind = kind;
    if (kind == OT_REPLY_WRITE)
        reply->write.fate = OT_FATE_UNKNOWN;
    return r->state != BROKEN;
}

static void answer(struct relay *r, struct ot_reply *reply)
{
    if (r->state != WHOLE) {
        uint64_t number = reply->write.number;

        ot_reply_drop_rows(reply);
        memset(&reply->read, 0, sizeof(reply->read));
        if (reply->kind == OT_REPLY_WRITE) {
            reply->write.number = number;
            reply->write.fate = OT_FATE_UNKNOWN;
        }
        reply->code = ot_fail(&reply->err, OUTTRAY_E_STORE_UNAVAILABLE,
                              "the connection to the memory store broke");
        r->state = WHOLE;
    }
    ot_replies_put(&r->replies, reply);
}

void ot_memory_break(struct ot_store *s, bool lands)
{
    relay_of(s)->state = lands ? BROKEN_AFTER : BROKEN;
}

/* --- lease ---------------------------------------------------------------- */

static struct cursor *first_cursor(struct relay *r)
{
    struct cursor *c = ot_alloc_zero(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->subscription = ot_strdup(r->subscription);
    if (c->subscription == NULL) {
        ot_free(c);
        return NULL;
    }
    c->position = r->start_now ? r->m->last_seq : 0;
    c->next = r->m->cursors;
    r->m->cursors = c;
    return c;
}

static bool ours(const struct relay *r, const struct cursor *c)
{
    return c->owned && memcmp(&c->owner, &r->owner, sizeof(r->owner)) == 0;
}

static void lease_now(struct relay *r, const struct ot_lease_request *q,
                      struct ot_reply *reply)
{
    struct cursor *c = memory_cursor(r->m, r->subscription);
    int64_t now = memory_now_us(r->m);

    if (c == NULL && q->take)
        c = first_cursor(r);
    if (c == NULL) {
        if (q->take)
            reply->code = ot_fail_nomem(&reply->err);
        return;
    }
    if (q->take ? !c->owned || c->expires_us <= now || ours(r, c)
                : ours(r, c) && c->fence == q->fence && c->expires_us > now) {
        if (q->take)
            c->fence = (c->fence > q->fence ? c->fence : q->fence) + 1;
        c->owned = true;
        c->owner = r->owner;
        c->expires_us = now + q->ttl_us;
        memory_cursor_report(c, q->report);
        reply->lease.granted = true;
        reply->lease.fence = c->fence;
    } else if (c->owned && !ours(r, c)) {
        ot_uuid_text(c->owner, reply->lease.owner);
        reply->lease.free_in_us = c->expires_us > now ? c->expires_us - now : 0;
    }
}

static void op_lease(struct ot_store *s, const struct ot_lease_request *q)
{
    struct ot_reply reply;

    if (arrives(relay_of(s), &reply, OT_REPLY_LEASE))
        lease_now(relay_of(s), q, &reply);
    answer(relay_of(s), &reply);
}

/* The cursor, if this relay may write it under that fence. [INV-4] */
static struct cursor *fenced(struct relay *r, int64_t fence)
{
    struct cursor *c = memory_cursor(r->m, r->subscription);

    return c != NULL && ours(r, c) && c->fence == fence ? c : NULL;
}

static void op_release(struct ot_store *s, int64_t fence)
{
    struct relay *r = relay_of(s);
    struct ot_reply reply;

    if (arrives(r, &reply, OT_REPLY_RELEASE)) {
        struct cursor *c = fenced(r, fence);

        if (c != NULL)
            c->owned = false;
    }
    answer(r, &reply);
}

/* --- load ----------------------------------------------------------------- */

static void load_now(struct relay *r, struct ot_reply *reply)
{
    struct cursor *c = memory_cursor(r->m, r->subscription);
    struct ot_cursor_reply *out = &reply->cursor;
    const struct held_row *held;

    if (c == NULL) {
        reply->code = ot_fail(&reply->err, OUTTRAY_E_NOT_FOUND,
                              "there is no subscription \"%s\": its first "
                              "lease makes it",
                              r->subscription);
        return;
    }
    ot_buffer_clear(&r->gaps);
    ot_buffer_add(&r->gaps, c->gaps.p, c->gaps.n);
    ot_buffer_clear(&r->held);
    held = (void *)c->held.p;
    out->nheld = c->held.n / sizeof(*held);
    for (size_t i = 0; i < out->nheld; i++) {
        struct ot_held h = held[i].held;
        const struct row *row = memory_row(r->m, h.seq);

        h.key = row != NULL && row->event.key.p != NULL
                    ? ot_hash(row->event.key)
                    : 0;
        h.topic = row != NULL ? ot_hash(row->event.topic) : 0;
        h.error = NULL;
        ot_buffer_add(&r->held, &h, sizeof(h));
    }
    if (r->gaps.failed || r->held.failed) {
        reply->code = ot_fail_nomem(&reply->err);
        return;
    }
    if (ours(r, c)) {
        out->fence = c->fence;
        out->lease_left_us = c->expires_us - memory_now_us(r->m);
    }
    out->position = c->position;
    out->paused = c->paused;
    out->gaps = (const void *)r->gaps.p;
    out->ngaps = r->gaps.n / sizeof(struct ot_range);
    out->held = (const void *)r->held.p;
    out->incarnation = r->m->incarnation;
    out->last_seq = r->m->last_seq;
    out->flush_lsn = r->m->flushed;
    out->db_now_us = memory_now_us(r->m);
}

static void op_load(struct ot_store *s)
{
    struct ot_reply reply;

    if (arrives(relay_of(s), &reply, OT_REPLY_CURSOR))
        load_now(relay_of(s), &reply);
    answer(relay_of(s), &reply);
}

/* --- read ----------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void read_locks(struct relay *r, struct ot_read_reply *out)
{
    ot_buffer_clear(&r->holders);
    out->has_locks = true;
    for (struct ot_memory_tx *tx = r->m->txs; tx != NULL; tx = tx->next) {
        struct ot_holder h = {tx->lock, tx->xid, tx->prepared};

        if (tx->locked)
            ot_buffer_add(&r->holders, &h, sizeof(h));
    }
    out->holders = (const void *)r->holders.p;
    out->nholders = r->holders.n / sizeof(struct ot_holder);
}

static void read_snapshot(struct relay *r, struct ot_snapshot *out)
{
    ot_buffer_clear(&r->xip);
    for (struct ot_memory_tx *tx = r->m->txs; tx != NULL; tx = tx->next)
        if (tx->xid != 0 && !tx->committed)
            ot_buffer_add(&r->xip, &tx->xid, sizeof(tx->xid));
    out->nxip = r->xip.n / sizeof(uint64_t);
    if (out->nxip > 0)
        qsort(r->xip.p, out->nxip, sizeof(uint64_t), by_number);
    out->xip = (const void *)r->xip.p;
    out->xmax = r->m->next_xid;
    out->xmin = out->nxip > 0 ? out->xip[0] : out->xmax;
}

static void add(struct relay *r, const struct ot_event *e, size_t budget,
                bool *cut, struct ot_reply *reply)
{
    if (ot_rows_add(&r->rows, e, budget, cut) != 0)
        reply->code = ot_fail_nomem(&reply->err);
}

static void add_range(struct relay *r, const struct ot_read_request *q,
                      struct ot_range range, struct ot_reply *reply)
{
    size_t i = memory_row_from(r->m, range.first);
    bool *cut = &reply->read.cut;

    for (; i < nrows(r->m) && !*cut && reply->code == 0; i++) {
        struct ot_event e = rows_of(r->m)[i].event;

        if (e.seq > range.last)
            break;
        if (rows_of(r->m)[i].tx != NULL)
            continue;
        e.filtered = !ot_filter_match(&r->filter, e.topic);
        *cut = r->rows.n >= q->limit;
        if (!*cut)
            add(r, &e, q->budget, cut, reply);
    }
}

static void read_now(struct relay *r, const struct ot_read_request *q,
                     struct ot_reply *reply)
{
    struct ot_read_reply *out = &reply->read;
    const struct command_row *commands = (void *)r->m->commands.p;

    if (q->with_locks)
        read_locks(r, out);
    read_snapshot(r, &out->snapshot);
    for (size_t i = 0; i < q->ngaps; i++)
        add_range(r, q, q->gaps[i], reply);
    add_range(r, q, (struct ot_range){q->position + 1, INT64_MAX}, reply);
    if ((q->with_locks && r->holders.failed) || r->xip.failed)
        reply->code = ot_fail_nomem(&reply->err);
    if (reply->code == 0) {
        out->rows = ot_rows_finish(&r->rows);
        if (out->rows == NULL)
            reply->code = ot_fail_nomem(&reply->err);
    }
    ot_rows_restart(&r->rows);
    out->incarnation = r->m->incarnation;
    out->last_seq = r->m->last_seq;
    out->lsn = r->m->lsn;
    out->flush_lsn = r->m->flushed;
    out->db_now_us = memory_now_us(r->m);
    for (size_t i = 0; i < r->m->commands.n / sizeof(*commands); i++)
        if (strcmp(commands[i].subscription, r->subscription) == 0)
            out->has_commands = true;
}

static void op_read(struct ot_store *s, const struct ot_read_request *q)
{
    struct ot_reply reply;

    if (arrives(relay_of(s), &reply, OT_REPLY_READ))
        read_now(relay_of(s), q, &reply);
    answer(relay_of(s), &reply);
}

static void fetch_now(struct relay *r, const struct ot_fetch_request *q,
                      struct ot_reply *reply)
{
    struct ot_fetch_reply *out = &reply->fetch;
    bool cut = false;

    while (out->n < q->n && !cut && reply->code == 0) {
        const struct row *row = memory_row(r->m, q->seqs[out->n]);

        if (row != NULL && row->tx == NULL)
            add(r, &row->event, q->budget, &cut, reply);
        out->n += !cut;
    }
    if (reply->code == 0)
        out->rows = ot_rows_finish(&r->rows);
    if (reply->code == 0 && out->rows == NULL)
        reply->code = ot_fail_nomem(&reply->err);
    ot_rows_restart(&r->rows);
}

static void op_fetch(struct ot_store *s, const struct ot_fetch_request *q)
{
    struct ot_reply reply;

    if (arrives(relay_of(s), &reply, OT_REPLY_FETCH))
        fetch_now(relay_of(s), q, &reply);
    answer(relay_of(s), &reply);
}

/* --- write ---------------------------------------------------------------- */

static void del_command(struct relay *r, int64_t id)
{
    struct command_row *rows = (void *)r->m->commands.p;
    size_t n = r->m->commands.n / sizeof(*rows), i = 0;

    while (i < n && (rows[i].command.id != id ||
                     strcmp(rows[i].subscription, r->subscription) != 0))
        i++;
    if (i == n)
        return;
    ot_free(rows[i].subscription);
    memmove(&rows[i], &rows[i + 1], (n - i - 1) * sizeof(*rows));
    r->m->commands.n -= sizeof(*rows);
}

static void write_now(struct relay *r, const struct ot_write_request *q,
                      struct ot_reply *reply)
{
    struct cursor *c = fenced(r, q->fence);

    if (c == NULL ||
        !ot_incarnation_allows(&q->incarnation, &r->m->incarnation)) {
        reply->write.fate = OT_REFUSED;
        return;
    }
    if (!memory_cursor_write(c, q)) {
        reply->code = ot_fail_nomem(&reply->err);
        return;
    }
    reply->write.fate = OT_WRITTEN;
    for (size_t i = 0; i < q->ncommands_done; i++)
        del_command(r, q->commands_done[i]);
    if (q->durable) {
        r->m->flushed = r->m->lsn;
        reply->write.flush_lsn = r->m->flushed;
    }
}

static void op_write(struct ot_store *s, const struct ot_write_request *q)
{
    struct ot_reply reply;
    bool here = arrives(relay_of(s), &reply, OT_REPLY_WRITE);

    reply.write.number = q->number;
    if (here)
        write_now(relay_of(s), q, &reply);
    answer(relay_of(s), &reply);
}

/* --- commands, retention --------------------------------------------------- */

static void op_commands(struct ot_store *s)
{
    struct relay *r = relay_of(s);
    const struct command_row *rows = (void *)r->m->commands.p;
    struct ot_reply reply;

    if (arrives(r, &reply, OT_REPLY_COMMANDS)) {
        ot_buffer_clear(&r->commands);
        for (size_t i = 0; i < r->m->commands.n / sizeof(*rows); i++)
            if (strcmp(rows[i].subscription, r->subscription) == 0)
                ot_buffer_add(&r->commands, &rows[i].command,
                              sizeof(rows[i].command));
        if (r->commands.failed)
            reply.code = ot_fail_nomem(&reply.err);
        reply.commands.commands = (const void *)r->commands.p;
        reply.commands.n = r->commands.n / sizeof(struct ot_command);
    }
    answer(r, &reply);
}

/* [INV-10] */
static bool needed(const struct ot_memory *m, int64_t seq)
{
    bool passed = m->cursors != NULL;

    for (const struct cursor *c = m->cursors; c != NULL; c = c->next) {
        const struct ot_range *gaps = (const void *)c->gaps.p;
        const struct held_row *held = (const void *)c->held.p;

        passed = passed && seq <= c->position;
        for (size_t i = 0; i < c->gaps.n / sizeof(*gaps); i++)
            if (seq >= gaps[i].first && seq <= gaps[i].last)
                return true;
        for (size_t i = 0; i < c->held.n / sizeof(*held); i++)
            if (held[i].held.seq == seq)
                return true;
    }
    return !passed;
}

static void op_prune(struct ot_store *s, const struct ot_prune_request *q)
{
    struct relay *r = relay_of(s);
    struct ot_memory *m = r->m;
    struct ot_reply reply;

    if (arrives(r, &reply, OT_REPLY_PRUNE)) {
        for (size_t i = 0; i < nrows(m) && reply.prune.deleted < q->limit;) {
            const struct row *row = &rows_of(m)[i];

            if (row->tx != NULL || row->event.created_us >= q->older_than_us ||
                needed(m, row->event.seq)) {
                i++;
                continue;
            }
            memory_remove(m, i);
            reply.prune.deleted++;
        }
        reply.prune.more = reply.prune.deleted == q->limit;
    }
    answer(r, &reply);
}

/* --- the rest -------------------------------------------------------------- */

static int64_t op_service(struct ot_store *s, int64_t now_us)
{
    return relay_of(s)->replies.n > 0 ? now_us : OT_NEVER;
}

static bool op_next(struct ot_store *s, struct ot_reply *out)
{
    return ot_replies_take(&relay_of(s)->replies, out);
}

static void op_close(struct ot_store *s)
{
    struct relay *r = relay_of(s);

    if (s == NULL)
        return;
    ot_replies_drop(&r->replies);
    if (r->m != NULL && --r->m->users == 0 && r->m->private)
        ot_memory_free(r->m);
    ot_rows_builder_free(&r->rows);
    ot_filter_free(&r->filter);
    ot_buffer_free(&r->holders);
    ot_buffer_free(&r->xip);
    ot_buffer_free(&r->gaps);
    ot_buffer_free(&r->held);
    ot_buffer_free(&r->commands);
    ot_free(r->subscription);
    ot_free(r);
}

int ot_memory_open(struct ot_memory *m, struct ot_store **out,
                   const struct outtray_conf *conf, struct ot_uuid owner,
                   const struct ot_log *log, struct outtray_error *err)
{
    struct relay *r = ot_alloc_zero(1, sizeof(*r));
    int code;

    (void)log;
    *out = NULL;
    if (r == NULL)
        return ot_fail_nomem(err);
    r->base.ops = &ot_memory_store_ops;
    r->owner = owner;
    r->start_now = strcmp(ot_conf_text(conf, "relay.start"), "now") == 0;
    r->subscription = ot_strdup(ot_conf_text(conf, "relay.subscription"));
    code = r->subscription != NULL
               ? ot_filter_parse(&r->filter, ot_conf_text(conf, "relay.topics"),
                                 err)
               : ot_fail_nomem(err);
    if (code != 0) {
        op_close(&r->base);
        return code;
    }
    r->m = m;
    m->users++;
    *out = &r->base;
    return 0;
}

static int op_open(struct ot_store **out, const struct outtray_conf *conf,
                   struct ot_uuid owner, const struct ot_log *log,
                   struct outtray_error *err)
{
    struct ot_memory *m = ot_memory_new();
    int code;

    *out = NULL;
    if (m == NULL)
        return ot_fail_nomem(err);
    m->private = true;
    code = ot_memory_open(m, out, conf, owner, log, err);
    if (code != 0)
        ot_memory_free(m);
    return code;
}

const struct ot_store_ops ot_memory_store_ops = {
    .abi = OT_STORE_ABI,
    .caps = OT_STORE_GAPS,
    .scheme = "memory",
    .open = op_open,
    .lease = op_lease,
    .release = op_release,
    .load = op_load,
    .read = op_read,
    .fetch = op_fetch,
    .write = op_write,
    .commands = op_commands,
    .prune = op_prune,
    .service = op_service,
    .fds = ot_store_no_fds,
    .next = op_next,
    .close = op_close,
};
