/* relay.c - requests in, replies out, and patience with a busy file. */
#include "store/sqlite/relay.h"

#include "store/stores.h"

#define PAUSE_LEAST_US 1000
#define PAUSE_MOST_US  5000

static struct relay *relay_of(struct ot_store *s)
{
    return (struct relay *)(void *)s;
}

/* --- connection ---------------------------------------------------------- */

static int read_incarnation(struct relay *r, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_OUTBOX_ID, err);
    int code = s != NULL ? ot_sqlite_step(&r->db, s, err) : err->code;

    if (code < 0)
        return code;
    r->incarnation.started_us = (int64_t)r->db.file.inode;
    r->incarnation.stats_reset_us =
        (int64_t)r->db.file.device ^ r->db.file.born_ns;
    r->incarnation.system = ot_hash(ot_sqlite_column(&r->db, s, 0));
    r->db.f.reset(s);
    return 0;
}

static void disconnect(struct relay *r)
{
    ot_sqlite_db_close(&r->db);
    r->known.valid = false;
    /* Another connection counts anew: what it sees first is new. */
    r->known.data_version = -1;
}

/* A fact that lasts no time, and that nobody may miss: a reply with the error
 * is told as a state, if that lasts. */
static void tell_replaced(struct relay *r)
{
    if (!r->db.replaced)
        return;
    r->db.replaced = false;
    ot_log(r->log, OT_WARN, "sqlite",
           "%s was replaced by another file while it was in use: what was "
           "committed to the old one and is not in this one cannot be "
           "delivered, what was delivered since this one was copied is "
           "delivered again; if that was not meant, stop the relay and put "
           "the old file back, with its -wal file",
           r->db.path);
}

static int connect_file(struct relay *r, struct outtray_error *err)
{
    int code;

    code = ot_sqlite_db_check_file(&r->db, err);
    if (code != 0 || r->db.c != NULL)
        return code;
    code = ot_sqlite_db_open(&r->db, 0, 0, err);
    if (code == 0)
        code = ot_sqlite_db_check_version(&r->db, OT_SQLITE_SCHEMA - 1, err);
    if (code == 0)
        code = ot_sqlite_db_check_wal(&r->db, err);
    if (code == 0)
        code = read_incarnation(r, err);
    if (code == 0)
        tell_replaced(r);
    else
        disconnect(r);
    return code;
}

/* --- requests ------------------------------------------------------------ */

static int sqlite_prune(struct relay *r, struct ot_reply *reply)
{
    return ot_sqlite_prune(&r->db, &r->prune, false, &r->low, &reply->prune,
                           &reply->err);
}

static int (*const tries[KINDS])(struct relay *, struct ot_reply *) = {
    [OT_REPLY_LEASE] = sqlite_lease,     [OT_REPLY_CURSOR] = sqlite_load,
    [OT_REPLY_READ] = sqlite_read,       [OT_REPLY_FETCH] = sqlite_fetch,
    [OT_REPLY_WRITE] = sqlite_write,     [OT_REPLY_COMMANDS] = sqlite_commands,
    [OT_REPLY_RELEASE] = sqlite_release, [OT_REPLY_PRUNE] = sqlite_prune,
};

static void answer(struct relay *r, struct ot_reply *reply)
{
    struct slot *slot = &r->slots[reply->kind];

    slot->waiting = false;
    if (reply->kind == OT_REPLY_WRITE)
        reply->write.number = r->write.number;
    ot_replies_put(&r->replies, reply);
}

/* Only a disk or a file that is gone makes the connection worthless. */
static bool lost(int code)
{
    return code == OUTTRAY_E_STORE_UNAVAILABLE || code == OUTTRAY_E_STORE ||
           code == OUTTRAY_E_STORE_STANDBY ||
           code == OUTTRAY_E_STORE_PERMISSION ||
           code == OUTTRAY_E_STORE_NO_SCHEMA || code == OUTTRAY_E_FORKED;
}

/* A lost connection fails all that is under way. */
static void lose(struct relay *r, const struct outtray_error *why)
{
    disconnect(r);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct ot_reply reply;

        if (!r->slots[kind].waiting)
            continue;
        memset(&reply, 0, sizeof(reply));
        reply.kind = (enum ot_reply_kind)kind;
        reply.err = *why;
        reply.code = why->code;
        if (kind == OT_REPLY_WRITE)
            reply.write.fate = OT_FATE_UNKNOWN;
        answer(r, &reply);
    }
}

static void attempt(struct relay *r, enum ot_reply_kind kind, int64_t now)
{
    struct slot *slot = &r->slots[kind];
    struct ot_reply reply;

    memset(&reply, 0, sizeof(reply));
    reply.kind = kind;
    if (kind == OT_REPLY_WRITE)
        reply.write.fate = OT_FATE_UNKNOWN;
    reply.code = slot->m.failed ? ot_fail_nomem(&reply.err)
                                : connect_file(r, &reply.err);
    if (reply.code == 0)
        reply.code = tries[kind](r, &reply);
    if (reply.code == OUTTRAY_E_STORE_BUSY &&
        now - slot->since_us < r->patience_us) {
        slot->waiting = true;
        slot->again_us = now + slot->pause_us;
        slot->pause_us = slot->pause_us * 2 < PAUSE_MOST_US ? slot->pause_us * 2
                                                            : PAUSE_MOST_US;
        return;
    }
    answer(r, &reply);
    if (reply.code != 0)
        ot_log(r->log, OT_DEBUG, "sqlite", "%s", reply.err.text);
    if (lost(reply.code))
        lose(r, &reply.err);
}

static void start(struct relay *r, enum ot_reply_kind kind)
{
    struct slot *slot = &r->slots[kind];

    slot->since_us = ot_now_us();
    slot->pause_us = PAUSE_LEAST_US;
    attempt(r, kind, slot->since_us);
}

static void op_lease(struct ot_store *s, const struct ot_lease_request *q)
{
    struct relay *r = relay_of(s);
    struct ot_buffer *m = &r->slots[OT_REPLY_LEASE].m;

    ot_buffer_clear(m);
    r->lease = *q;
    if (q->report != NULL) {
        ot_buffer_puts(m, q->report);
        r->lease.report = m->p;
    }
    start(relay_of(s), OT_REPLY_LEASE);
}

static void op_release(struct ot_store *s, int64_t fence)
{
    relay_of(s)->release_fence = fence;
    start(relay_of(s), OT_REPLY_RELEASE);
}

static void op_load(struct ot_store *s)
{
    start(relay_of(s), OT_REPLY_CURSOR);
}

static void op_commands(struct ot_store *s)
{
    start(relay_of(s), OT_REPLY_COMMANDS);
}

static void op_prune(struct ot_store *s, const struct ot_prune_request *q)
{
    relay_of(s)->prune = *q;
    start(relay_of(s), OT_REPLY_PRUNE);
}

/* Arguments are copied into the slot one after the other, then pointed to:
 * the memory moves while it grows. Their sizes keep them aligned. */
static void op_read(struct ot_store *s, const struct ot_read_request *q)
{
    struct relay *r = relay_of(s);
    struct ot_buffer *m = &r->slots[OT_REPLY_READ].m;

    ot_buffer_clear(m);
    ot_buffer_add(m, q->gaps, q->ngaps * sizeof(*q->gaps));
    r->read = *q;
    r->read.gaps = (const void *)m->p;
    start(r, OT_REPLY_READ);
}

static void op_fetch(struct ot_store *s, const struct ot_fetch_request *q)
{
    struct relay *r = relay_of(s);
    struct ot_buffer *m = &r->slots[OT_REPLY_FETCH].m;

    ot_buffer_clear(m);
    ot_buffer_add(m, q->seqs, q->n * sizeof(*q->seqs));
    r->fetch = *q;
    r->fetch.seqs = (const void *)m->p;
    start(r, OT_REPLY_FETCH);
}

static void op_write(struct ot_store *s, const struct ot_write_request *q)
{
    struct relay *r = relay_of(s);
    struct ot_buffer *m = &r->slots[OT_REPLY_WRITE].m;
    const char *p;

    ot_buffer_clear(m);
    ot_buffer_add(m, q->gaps_put, q->ngaps_put * sizeof(*q->gaps_put));
    ot_buffer_add(m, q->gaps_del, q->ngaps_del * sizeof(*q->gaps_del));
    ot_buffer_add(m, q->held_put, q->nheld_put * sizeof(*q->held_put));
    ot_buffer_add(m, q->held_del, q->nheld_del * sizeof(*q->held_del));
    ot_buffer_add(m, q->commands_done,
                  q->ncommands_done * sizeof(*q->commands_done));
    if (q->report != NULL)
        ot_buffer_puts(m, q->report);
    r->write = *q;
    if (!m->failed) {
        p = m->p;
        r->write.gaps_put = (const void *)p;
        p += q->ngaps_put * sizeof(*q->gaps_put);
        r->write.gaps_del = (const void *)p;
        p += q->ngaps_del * sizeof(*q->gaps_del);
        r->write.held_put = (const void *)p;
        p += q->nheld_put * sizeof(*q->held_put);
        r->write.held_del = (const void *)p;
        p += q->nheld_del * sizeof(*q->held_del);
        r->write.commands_done = (const void *)p;
        p += q->ncommands_done * sizeof(*q->commands_done);
        r->write.report = q->report != NULL ? p : NULL;
    }
    start(r, OT_REPLY_WRITE);
}

/* --- the rest ------------------------------------------------------------ */

static int64_t op_service(struct ot_store *s, int64_t now_us)
{
    struct relay *r = relay_of(s);
    int64_t next = OT_NEVER;

    for (unsigned kind = 0; kind < KINDS; kind++)
        if (r->slots[kind].waiting && r->slots[kind].again_us <= now_us)
            attempt(r, (enum ot_reply_kind)kind, now_us);
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (r->slots[kind].waiting && r->slots[kind].again_us < next)
            next = r->slots[kind].again_us;
    return r->replies.n > 0 ? now_us : next;
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
    ot_sqlite_db_free(&r->db);
    ot_filter_free(&r->filter);
    ot_rows_builder_free(&r->rows);
    for (unsigned kind = 0; kind < KINDS; kind++)
        ot_buffer_free(&r->slots[kind].m);
    ot_buffer_free(&r->gaps);
    ot_buffer_free(&r->held);
    ot_buffer_free(&r->commands);
    ot_free(r->subscription);
    ot_free(r->topics);
    ot_free(r);
}

static int op_open(struct ot_store **out, const struct outtray_conf *conf,
                   struct ot_uuid owner, const struct ot_log *log,
                   struct outtray_error *err)
{
    struct relay *r = ot_alloc_zero(1, sizeof(*r));
    const char *topics = ot_conf_text(conf, "relay.topics");
    int code;

    *out = NULL;
    if (r == NULL)
        return ot_fail_nomem(err);
    r->base.ops = &ot_sqlite_store_ops;
    r->known.data_version = -1;
    r->wall_us = ot_wall_us;
    r->log = log;
    ot_uuid_text(owner, r->owner);
    r->start_now = strcmp(ot_conf_text(conf, "relay.start"), "now") == 0;
    r->patience_us = ot_conf_us(conf, "store.statement_timeout_ms");
    code = ot_sqlite_db_init(&r->db, ot_conf_secret(conf, "store.url"),
                             ot_conf_text(conf, "store.outbox"), err);
    if (code == 0)
        code = ot_filter_parse(&r->filter, topics, err);
    if (code == 0) {
        r->subscription = ot_strdup(ot_conf_text(conf, "relay.subscription"));
        r->topics = topics != NULL ? ot_strdup(topics) : NULL;
        if (r->subscription == NULL || (topics != NULL && r->topics == NULL))
            code = ot_fail_nomem(err);
    }
    if (code != 0) {
        op_close(&r->base);
        return code;
    }
    *out = &r->base;
    return 0;
}

const struct ot_store_ops ot_sqlite_store_ops = {
    .abi = OT_STORE_ABI,
    .caps = OT_STORE_BARRIER_BY_WRITE,
    .scheme = "sqlite",
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
