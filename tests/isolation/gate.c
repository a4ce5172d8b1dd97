/* gate.c - see gate.h. */
#include "gate.h"

#include <stdio.h>

static struct gate *gate_of(struct ot_store *store)
{
    return (struct gate *)(void *)store;
}

static const struct ot_store_ops *real(const struct gate *g)
{
    return g->inner->ops;
}

/* The same, for a request. */
static const struct ot_store_ops *ask(struct gate *g)
{
    g->under_way++;
    return real(g);
}

/* --- requests ------------------------------------------------------------ */

static void op_lease(struct ot_store *store, const struct ot_lease_request *q)
{
    struct gate *g = gate_of(store);

    if (g->pass_lease || !q->take) {
        ask(g)->lease(g->inner, q);
        return;
    }
    g->has_lease = true;
    g->lease = *q;
}

static void op_release(struct ot_store *store, int64_t fence)
{
    ask(gate_of(store))->release(gate_of(store)->inner, fence);
}

static void op_load(struct ot_store *store)
{
    ask(gate_of(store))->load(gate_of(store)->inner);
}

static void send_read(struct gate *g)
{
    struct ot_read_request q = g->read;

    g->has_read = false;
    g->pass_reads--;
    mutant_asks(g, &q);
    ask(g)->read(g->inner, &q);
}

/* A copy: the engine's arrays are valid until the next call into it only. */
static void op_read(struct ot_store *store, const struct ot_read_request *q)
{
    struct gate *g = gate_of(store);

    ot_free(g->gaps);
    g->gaps = ot_alloc(q->ngaps * sizeof(*q->gaps) + 1);
    if (q->ngaps > 0)
        memcpy(g->gaps, q->gaps, q->ngaps * sizeof(*q->gaps));
    g->read = *q;
    g->read.gaps = g->gaps;
    g->has_read = true;
    if (g->pass_reads > 0)
        send_read(g);
}

static void op_fetch(struct ot_store *store, const struct ot_fetch_request *q)
{
    ask(gate_of(store))->fetch(gate_of(store)->inner, q);
}

static void send_write(struct gate *g)
{
    struct ot_write_request q = g->write;

    g->has_write = false;
    mutant_writes(g, &q);
    if (mutant_wrote(g, &q, &g->reply)) {
        g->has_reply = true;
        return;
    }
    ask(g)->write(g->inner, &q);
}

static void op_write(struct ot_store *store, const struct ot_write_request *q)
{
    struct gate *g = gate_of(store);

    g->write = *q;
    g->has_write = true;
    if (g->pass_write)
        send_write(g);
}

static void op_commands(struct ot_store *store)
{
    ask(gate_of(store))->commands(gate_of(store)->inner);
}

static void op_prune(struct ot_store *store, const struct ot_prune_request *q)
{
    struct gate *g = gate_of(store);

    if (mutant_prunes(g, &g->reply))
        g->has_reply = true;
    else
        ask(g)->prune(g->inner, q);
}

/* --- what may pass ------------------------------------------------------- */

void gate_let_lease(struct gate *g)
{
    g->pass_lease = true;
    if (g->has_lease)
        ask(g)->lease(g->inner, &g->lease);
    g->has_lease = false;
}

void gate_let_read(struct gate *g)
{
    g->pass_reads = 1;
    if (g->has_read)
        send_read(g);
}

void gate_let_write(struct gate *g)
{
    g->pass_write = true;
    if (g->has_write)
        send_write(g);
}

void gate_let_reply(struct gate *g)
{
    g->hold_reply = false;
}

void gate_shut(struct gate *g)
{
    g->pass_lease = g->pass_write = false;
    g->pass_reads = 0;
}

/* --- answers ------------------------------------------------------------- */

static void say_rows(struct gate *g, const struct ot_rows *rows)
{
    size_t at = 0;

    g->rows[0] = '\0';
    for (uint32_t i = 0; i < rows->n; i++) {
        struct ot_slice p = rows->events[i].payload;
        int n = snprintf(g->rows + at, sizeof(g->rows) - at, "%s%.*s",
                         i > 0 ? "," : "", p.p != NULL ? (int)p.n : 1,
                         p.p != NULL ? p.p : "~");

        at += (size_t)n;
        if (at >= sizeof(g->rows))
            break;
    }
}

static void note_error(struct gate *g, const struct ot_reply *reply)
{
    if (reply->code == 0)
        return;
    snprintf(g->error, sizeof(g->error), "%s", reply->err.text);
}

/* true: the request goes out once more, and nobody hears of it. */
static bool reconnected(struct gate *g, const struct ot_reply *reply)
{
    if (!g->pooler || !outtray_error_retryable(reply->code))
        return false;
    g->pass_reads++;
    send_read(g);
    return true;
}

static bool hear_read(struct gate *g, struct ot_reply *reply)
{
    if (reply->code != 0 && reconnected(g, reply))
        return false;
    if (reply->code == 0) {
        if (!mutant_hears(g, reply))
            return false;
        say_rows(g, reply->read.rows);
        if (!g->barrier && reply->read.flush_lsn < reply->read.lsn)
            reply->read.flush_lsn = reply->read.lsn;
    }
    note_error(g, reply);
    g->reads++;
    return true;
}

/* Before the engine hears of it. false: it shall not. */
static bool hear(struct gate *g, struct ot_reply *reply)
{
    switch (reply->kind) {
    case OT_REPLY_READ:
        return hear_read(g, reply);
    case OT_REPLY_LEASE:
        g->leases++;
        g->lease_code = reply->code;
        g->granted = reply->code == 0 && reply->lease.granted;
        break;
    case OT_REPLY_WRITE:
        g->writes++;
        g->fate = reply->write.fate;
        break;
    case OT_REPLY_PRUNE:
        g->prunes++;
        g->pruned = reply->prune;
        break;
    case OT_REPLY_CURSOR:
        if (g->mutant == MUTANT_SAME_LIFE && reply->code == 0)
            g->life = reply->cursor.incarnation;
        break;
    default:
        break;
    }
    note_error(g, reply);
    return true;
}

static bool op_next(struct ot_store *store, struct ot_reply *out)
{
    struct gate *g = gate_of(store);

    while (true) {
        bool kept =
            g->has_reply && !(g->reply.kind == OT_REPLY_READ && g->hold_reply);

        if (kept) {
            *out = g->reply;
            g->has_reply = false;
        } else if (!real(g)->next(g->inner, out)) {
            return false;
        } else {
            g->under_way--;
        }
        if (!kept && out->kind == OT_REPLY_READ && g->hold_reply) {
            /* Its holders and snapshot stay the store's until the next read,
             * which the engine asks for only after it heard of this one. */
            g->reply = *out;
            g->has_reply = true;
            continue;
        }
        if (hear(g, out))
            return true;
    }
}

static int64_t op_service(struct ot_store *store, int64_t now_us)
{
    return real(gate_of(store))->service(gate_of(store)->inner, now_us);
}

static size_t op_fds(const struct ot_store *store, struct ot_fd *out,
                     size_t max)
{
    const struct gate *g = (const struct gate *)(const void *)store;

    return real(g)->fds(g->inner, out, max);
}

static const struct ot_store_ops gate_ops = {
    .abi = OT_STORE_ABI,
    .caps = OT_STORE_GAPS,
    .scheme = "gate",
    .lease = op_lease,
    .release = op_release,
    .load = op_load,
    .read = op_read,
    .fetch = op_fetch,
    .write = op_write,
    .commands = op_commands,
    .prune = op_prune,
    .service = op_service,
    .fds = op_fds,
    .next = op_next,
};

void gate_open(struct gate *g, struct ot_store *inner, enum mutant mutant)
{
    memset(g, 0, sizeof(*g));
    g->base.ops = &gate_ops;
    g->inner = inner;
    g->mutant = mutant;
}

struct ot_store *gate_leave(struct gate *g)
{
    struct ot_store *inner = g->under_way == 0 ? g->inner : NULL;

    if (g->has_reply && g->reply.kind == OT_REPLY_READ && g->reply.code == 0)
        ot_rows_unref(g->reply.read.rows);
    if (inner == NULL)
        real(g)->close(g->inner);
    mutant_free(g);
    ot_free(g->gaps);
    memset(g, 0, sizeof(*g));
    return inner;
}
