/* database.c - rows; what a crash loses, what a restore brings back. Every
 * statement here runs in one step and one snapshot. */
#include "sim.h"

struct batch {
    struct ot_rows rows;
    struct relay *relay;
    bool window; /* of a read */
    struct ot_event events[];
};

static const char payload[256];
static const char *const key_names[] = {"a", "b", "c"};
static const char *const topic_names[] = {"t", "u"};

int64_t db_now(const struct sim *s)
{
    return WALL + s->now_us + s->db.skew_us;
}

set db_visible(const struct sim *s)
{
    return s->db.committed & ~s->db.now.pruned;
}

/* --- durability ------------------------------------------------------------ */

static void copy_state(struct state *to, const struct state *from)
{
    for (int i = 0; i < SUBS; i++) {
        const struct cursor *a = &from->cur[i];
        struct cursor *b = &to->cur[i];
        b->position = a->position;
        b->ngaps = a->ngaps;
        memcpy(b->gaps, a->gaps, a->ngaps * sizeof(a->gaps[0]));
        b->nheld = a->nheld;
        memcpy(b->held, a->held, a->nheld * sizeof(a->held[0]));
        b->paused = a->paused;
        b->owner = a->owner;
        b->fence = a->fence;
        b->expires_us = a->expires_us;
        b->skipped = a->skipped;
    }
    memcpy(to->commands, from->commands, sizeof(to->commands));
    to->ncommands = from->ncommands;
    to->last_seq = from->last_seq;
    to->logged_seq = from->logged_seq;
    to->lsn = from->lsn;
    to->pruned = from->pruned;
}

static void durable_to(struct sim *s, uint64_t lsn, int64_t seq)
{
    struct database *db = &s->db;
    for (set rest = db->committed & ~db->durable; rest != 0; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        if (db->events[i].lsn <= lsn)
            db->durable |= BIT(i);
    }
    db->flush_lsn = lsn;
    db->flushed_seq = seq;
}

void db_flush(struct sim *s)
{
    struct database *db = &s->db;
    durable_to(s, db->now.lsn, db->now.logged_seq);
    if (s->plan.embedded) {
        copy_state(&db->flushed, &db->now);
        if (db->nopen > 0 && db->txs[db->open[0]].state == TX_ACTIVE)
            db->flushed.last_seq = db->flushed.logged_seq =
                db->txs[db->open[0]].first_seq;
        db->flushed_seq = db->flushed.logged_seq;
    }
}

/* The writer of the log flushes what there was when it last looked. */
void db_flush_step(struct sim *s)
{
    struct database *db = &s->db;
    switch (pick(&s->tape, 4)) {
    case 0:
        db_flush(s);
        break;
    case 1:
        if (db->mark_lsn > db->flush_lsn && !s->plan.embedded)
            durable_to(s, db->mark_lsn, db->mark_seq);
        break;
    default:
        db->mark_lsn = db->now.lsn;
        db->mark_seq = db->now.logged_seq;
        break;
    }
}

/* Statements of the relay and of operators are durable when they are done; an
 * embedded store may leave that to the next durable one. */
void db_written(struct sim *s, bool durable)
{
    s->db.now.lsn++;
    if (!s->plan.embedded || durable)
        db_flush(s);
    if (durable)
        s->db.told_flush = s->db.now.lsn;
}

static void lose(struct sim *s, int i)
{
    struct database *db = &s->db;
    if (db->committed & BIT(i)) {
        SAY(s, "e%d is lost", i);
        REACH(s, COMMITS_LOST);
    }
    db->committed &= ~BIT(i);
    db->gone |= BIT(i);
}

static void end_transactions(struct sim *s, bool keep_prepared)
{
    struct database *db = &s->db;
    int kept = 0;
    for (int k = 0; k < db->nopen; k++) {
        struct tx *tx = &db->txs[db->open[k]];
        if (tx->state == TX_ACTIVE ||
            (tx->state == TX_PREPARED && !keep_prepared)) {
            tx->state = TX_ABORTED;
        } else if (tx->state == TX_PREPARED) {
            tx->lock = ++db->next_lock; /* comes back under another */
            db->open[kept++] = db->open[k];
            REACH(s, PREPARED_RESTART);
        }
        if (tx->xid >= db->done_xid && tx->state != TX_PREPARED)
            db->done_xid = tx->xid + 1;
        tx->locks = tx->state == TX_PREPARED;
    }
    db->nopen = kept;
}

void db_crash(struct sim *s, bool backend)
{
    struct database *db = &s->db;
    SAY(s, "the server crashes: log %llu, flushed %llu, seq %lld, flushed %lld",
        (unsigned long long)db->now.lsn, (unsigned long long)db->flush_lsn,
        (long long)db->now.last_seq, (long long)db->flushed_seq);
    end_transactions(s, true);
    for (int i = 0; i < db->nevents; i++) {
        enum tx_state state = db->txs[db->events[i].tx].state;
        if (state == TX_ABORTED ||
            (state == TX_COMMITTED && db->events[i].lsn > db->flush_lsn))
            lose(s, i);
    }
    int64_t was = db->now.last_seq;
    if (s->plan.embedded)
        copy_state(&db->now, &db->flushed);
    db->now.last_seq = db->now.logged_seq = db->flushed_seq;
    db->now.lsn = db->told_flush = db->flush_lsn;
    db->mark_lsn = 0;
    if (db->now.last_seq < was)
        REACH(s, SEQ_BACK);
    if (db->now.last_seq > was)
        REACH(s, SEQ_JUMP);
    for (int64_t seq = was + 1; seq <= db->now.last_seq; seq++)
        db->at[seq] = -1;
    if (db->now.last_seq > db->top_seq)
        db->top_seq = db->now.last_seq;
    if (backend) {
        db->incarnation.stats_reset_us++;
        REACH(s, BACKEND_CRASH);
    } else {
        db->incarnation.started_us++;
        REACH(s, SERVER_CRASH);
    }
}

void db_backup(struct sim *s)
{
    db_flush(s);
    copy_state(&s->db.backup, &s->db.now);
    s->db.has_backup = true;
    SAY(s, "a backup is made, log %llu", (unsigned long long)s->db.now.lsn);
}

void db_restore(struct sim *s)
{
    struct database *db = &s->db;
    SAY(s, "the database is restored to log %llu",
        (unsigned long long)db->backup.lsn);
    end_transactions(s, false);
    copy_state(&db->now, &db->backup);
    db->now.last_seq = db->now.logged_seq;
    for (int i = 0; i < db->nevents; i++)
        if (db->txs[db->events[i].tx].state == TX_ABORTED ||
            db->events[i].lsn > db->now.lsn)
            lose(s, i);
    /* of a seq that was drawn again after the backup, the older event */
    for (int i = db->nevents - 1; i >= 0; i--)
        if (!(db->gone & BIT(i)) && (db->committed & BIT(i)))
            db->at[db->events[i].seq] = (int8_t)i;
    db->behind = false;
    db->mark_lsn = 0;
    durable_to(s, db->now.lsn, db->now.logged_seq);
    db->incarnation.started_us++;
    if (pick(&s->tape, 2))
        db->incarnation.system++;
    REACH(s, RESTORED);
}

/* --- reads ----------------------------------------------------------------- */

static void free_batch(struct ot_rows *rows)
{
    struct batch *batch = (struct batch *)rows;
    batch->relay->alive -= rows->n;
    if (batch->window)
        batch->relay->pinned -= rows->n;
    ot_free(batch);
}

static void fill(struct sim *s, const struct relay *r, struct ot_event *to,
                 int i, char *text)
{
    const struct event *event = &s->db.events[i];
    memset(to, 0, sizeof(*to));
    to->seq = event->seq;
    to->id.b[0] = (uint8_t)(i + 1);
    text[0] = topic_names[event->topic][0];
    to->topic = ot_slice(text, 1);
    if (event->key != KEYS) {
        text[1] = key_names[event->key][0];
        to->key = ot_slice(text + 1, 1);
    }
    to->payload = ot_slice(payload, event->payload);
    to->created_us = WALL;
    to->deliver_us = event->deliver_us;
    to->filtered = s->subs[r->sub].filtered >> i & 1;
    s->cover[C_FILTERED] += to->filtered;
}

/* What the events point to goes with the batch, so that nobody keeps it. */
struct ot_rows *db_rows(struct sim *s, struct relay *r, const int *events,
                        size_t n, bool window)
{
    struct batch *batch =
        ot_alloc(sizeof(*batch) + n * (sizeof(batch->events[0]) + 2));
    char *text = (char *)&batch->events[n];
    batch->rows = (struct ot_rows){.refs = 1,
                                   .free = free_batch,
                                   .events = batch->events,
                                   .n = (uint32_t)n};
    batch->relay = r;
    batch->window = window;
    for (size_t i = 0; i < n; i++, text += 2) {
        fill(s, r, &batch->events[i], events[i], text);
        batch->rows.bytes += ot_event_bytes(&batch->events[i]);
    }
    r->alive += (uint32_t)n;
    if (window)
        r->pinned += (uint32_t)n;
    return &batch->rows;
}

void db_locks(struct sim *s, struct relay *r)
{
    struct link *link = &r->link;
    link->nholders = 0;
    for (int i = 0; i < s->db.nopen; i++) {
        const struct tx *tx = &s->db.txs[s->db.open[i]];
        link->holders[link->nholders++] =
            (struct ot_holder){.lock = tx->lock,
                               .xid = tx->xid,
                               .prepared = tx->state == TX_PREPARED};
    }
}

static void take_snapshot(struct sim *s, struct link *link,
                          struct ot_snapshot *out)
{
    size_t n = 0;
    for (int i = 0; i < s->db.nopen; i++) {
        const struct tx *tx = &s->db.txs[s->db.open[i]];
        if (tx->xid == 0 || tx->xid >= s->db.done_xid ||
            tx->state > TX_PREPARED)
            continue;
        size_t k = n++;
        for (; k > 0 && link->xip[k - 1] > tx->xid; k--)
            link->xip[k] = link->xip[k - 1];
        link->xip[k] = tx->xid;
    }
    *out = (struct ot_snapshot){.xmin = n > 0 ? link->xip[0] : s->db.done_xid,
                                .xmax = s->db.done_xid,
                                .xip = link->xip,
                                .nxip = n};
}

/* What a client is told of the sequence: the embedded one is transactional. */
static int64_t last_seq(const struct sim *s)
{
    const struct database *db = &s->db;
    if (s->plan.embedded && db->nopen > 0 &&
        db->txs[db->open[0]].state == TX_ACTIVE)
        return db->txs[db->open[0]].first_seq;
    return db->now.last_seq;
}

static size_t find_rows(const struct sim *s, const struct ot_read_request *q,
                        int *found, bool *cut)
{
    const set visible = db_visible(s);
    const int64_t top = s->db.top_seq;
    size_t n = 0, bytes = 0, gap = 0;
    int64_t seq = q->ngaps > 0 ? q->gaps[0].first : q->position + 1;
    *cut = false;
    while (seq <= top) {
        while (gap < q->ngaps && q->gaps[gap].last < seq)
            gap++;
        if (seq <= q->position) { /* to the next gap, or to the tail */
            if (gap == q->ngaps)
                seq = q->position + 1;
            else if (seq < q->gaps[gap].first)
                seq = q->gaps[gap].first;
            if (seq > top)
                break;
        }
        int i = s->db.at[seq++];
        if (i < 0 || !(visible & BIT(i)))
            continue;
        found[n++] = i;
        bytes += s->db.events[i].payload;
        if (n == q->limit || bytes >= q->budget) {
            *cut = true;
            break;
        }
    }
    return n;
}

void db_read(struct sim *s, struct relay *r)
{
    struct link *link = &r->link;
    struct ot_read_reply *out = &link->read_said;
    int found[EVENTS];
    bool cut;
    size_t n = find_rows(s, &link->read, found, &cut);
    if (cut && n == link->read.limit)
        REACH(s, READ_CUT);
    else if (cut)
        REACH(s, READ_CUT_BYTES);
    *out = (struct ot_read_reply){
        .rows = db_rows(s, r, found, n, true),
        .cut = cut,
        .has_locks = link->read.with_locks,
        .holders = link->holders,
        .nholders = link->read.with_locks ? link->nholders : 0,
        .incarnation = s->db.incarnation,
        .last_seq = last_seq(s),
        .lsn = s->db.now.lsn,
        .flush_lsn = s->plan.embedded ? s->db.told_flush : s->db.flush_lsn,
        .db_now_us = db_now(s),
    };
    if (out->has_locks)
        take_snapshot(s, link, &out->snapshot);
    for (size_t i = 0; i < s->db.now.ncommands; i++)
        out->has_commands |= s->db.now.commands[i].sub == r->sub;
}

void db_fetch(struct sim *s, struct relay *r)
{
    struct link *link = &r->link;
    int found[EVENTS];
    size_t n = 0;
    for (size_t i = 0; i < link->nfetch; i++) {
        int k = s->db.at[link->fetch[i]];
        if (k >= 0 && (db_visible(s) & BIT(k)))
            found[n++] = k;
    }
    link->fetched = db_rows(s, r, found, n, false);
}

void db_load(struct sim *s, struct relay *r)
{
    const struct cursor *cur = &s->db.now.cur[r->sub];
    struct link *link = &r->link;
    struct cursor *to = &link->loaded;
    to->position = cur->position;
    to->ngaps = cur->ngaps;
    memcpy(to->gaps, cur->gaps, cur->ngaps * sizeof(cur->gaps[0]));
    to->nheld = cur->nheld;
    memcpy(to->held, cur->held, cur->nheld * sizeof(cur->held[0]));
    to->paused = cur->paused;
    to->fence = cur->owner == r->owner ? cur->fence : 0;
    to->expires_us = cur->expires_us;
    link->loaded_incarnation = s->db.incarnation;
    link->loaded_last = last_seq(s);
    link->loaded_now = db_now(s);
    link->loaded_flush = s->plan.embedded ? s->db.told_flush : s->db.flush_lsn;
}

/* --- retention ------------------------------------------------------------- */

void db_prune(struct sim *s)
{
    struct state *now = &s->db.now;
    for (int64_t seq = 1; seq <= s->db.top_seq; seq++) {
        int i = s->db.at[seq];
        bool kept = i < 0 || !(db_visible(s) & BIT(i));
        for (int k = 0; k < s->plan.nsubs && !kept; k++)
            kept = seq > now->cur[k].position || db_in_gap(&now->cur[k], seq) ||
                   db_held(s, k, i) != NULL;
        if (kept)
            continue;
        check_prune(s, i);
        SAY(s, "e%d is pruned", i);
        now->pruned |= BIT(i);
        REACH(s, PRUNED);
        db_written(s, false);
        return;
    }
}
