/* writer.c - transactions of applications. A key's row is locked before its
 * seq is drawn, and free again as soon as the transaction has ended. */
#include "sim.h"

static struct tx *tx_of(struct sim *s, int open)
{
    return &s->db.txs[s->db.open[open]];
}

static bool under_way(const struct tx *tx)
{
    return tx->state == TX_ACTIVE || tx->state == TX_PREPARED;
}

static bool key_is_locked(const struct sim *s, int key)
{
    if (key == KEYS)
        return false;
    for (int i = 0; i < s->db.nopen; i++) {
        const struct tx *tx = &s->db.txs[s->db.open[i]];
        if (under_way(tx) && tx->key == key)
            return true;
    }
    return false;
}

static bool has_room(const struct sim *s, int events)
{
    return s->db.nevents + events <= EVENTS && s->db.now.last_seq < SEQS - 40 &&
           !s->db.behind;
}

/* nextval: no xid yet. Of so many seqs only one record goes to the log. */
static int64_t nextval(struct sim *s)
{
    struct database *db = &s->db;
    int64_t seq = ++db->now.last_seq;
    if (seq > db->now.logged_seq) {
        db->now.logged_seq = seq + db->savings - 1;
        if (!s->plan.embedded)
            db->now.lsn++;
    }
    if (seq <= db->top_seq)
        REACH(s, SEQ_AGAIN);
    else
        db->top_seq = seq;
    return seq;
}

static int draw(struct sim *s, struct tx *tx)
{
    struct database *db = &s->db;
    struct tape *tape = &s->tape;
    int i = db->nevents++;
    struct event *event = &db->events[i];
    unsigned kind = pick(tape, 256);
    *event = (struct event){.seq = nextval(s),
                            .tx = (int)(tx - db->txs),
                            .key = tx->key,
                            .payload = 2};
    if (s->plan.topics)
        event->topic = kind & 1;
    if (s->plan.poison && (kind & 0x0e) == 0x0e)
        event->verdict = POISON;
    else if (s->plan.flaky && (kind & 0x0c) == 0x08)
        event->verdict = FLAKY;
    if (s->plan.schedule && (kind & 0x30) == 0x30)
        event->deliver_us = db_now(s) + (int64_t)pick(tape, 64) * 20 * MS;
    if (s->plan.large && (kind & 0x40))
        event->payload = 200;
    for (int k = 0; k < s->plan.nsubs; k++) {
        s->subs[k].flaky[i] = event->verdict == FLAKY ? 1 + (kind & 1) : 0;
        if (s->plan.filter && ((kind >> (6 + k)) & 1))
            s->subs[k].filtered |= BIT(i);
    }
    event->before =
        db->keys[tx->key] & (db->committed | tx->events) & ~db->gone;
    if (tx->key != KEYS)
        db->keys[tx->key] |= BIT(i);
    db->at[event->seq] = (int8_t)i;
    tx->drawn = i;
    SAY(
        s, "writer %d draws seq %lld for e%d, key %c%s", event->tx,
        (long long)event->seq, i, "abc-" [event->key],
        (const char *[]) { "", ", flaky", ", poison" }[event->verdict]);
    return i;
}

static void insert(struct sim *s, struct tx *tx)
{
    if (tx->drawn < 0)
        return;
    SAY(s, "writer %d inserts e%d", (int)(tx - s->db.txs), tx->drawn);
    if (tx->xid == 0)
        tx->xid = s->db.next_xid++;
    tx->events |= BIT(tx->drawn);
    if (tx->savepoint)
        tx->since |= BIT(tx->drawn);
    tx->drawn = -1;
}

static void begin(struct sim *s)
{
    struct database *db = &s->db;
    int key = (int)pick(&s->tape, KEYS + 1);
    if (db->ntxs == TXS || db->nopen == OPEN || !has_room(s, 1) ||
        key_is_locked(s, key))
        return;
    struct tx *tx = &db->txs[db->ntxs];
    *tx = (struct tx){.locks = true,
                      .lock = ++db->next_lock,
                      .key = key,
                      .drawn = -1,
                      .first_seq = db->now.last_seq};
    db->open[db->nopen++] = db->ntxs++;
    SAY(s, "writer %d begins, lock %llu", db->ntxs - 1,
        (unsigned long long)tx->lock);
}

/* A load of many rows, most of them in a transaction that never commits. */
static void bulk(struct sim *s, struct tx *tx)
{
    unsigned n = 2 + pick(&s->tape, 4), skip = pick(&s->tape, 24);
    if (!has_room(s, (int)n))
        return;
    for (unsigned i = 0; i < n; i++) {
        draw(s, tx);
        insert(s, tx);
        if (i == n / 2 && skip >= 8) {
            for (unsigned k = 0; k < skip; k++)
                s->db.at[nextval(s)] = -1;
            REACH(s, GAP_WIDE);
        }
    }
}

static void finish(struct sim *s, struct tx *tx, bool commit, bool flush)
{
    struct database *db = &s->db;
    insert(s, tx);
    SAY(s, "writer %d %s%s", (int)(tx - db->txs),
        commit ? "commits" : "rolls back", commit && !flush ? ", slowly" : "");
    if (tx->xid >= db->done_xid)
        db->done_xid = tx->xid + 1;
    if (!commit) {
        tx->state = TX_ABORTED;
        REACH(s, ROLLBACK);
        if (s->plan.embedded) {
            for (int64_t seq = tx->first_seq + 1; seq <= db->now.last_seq;
                 seq++)
                db->at[seq] = -1;
            db->now.last_seq = db->now.logged_seq = tx->first_seq;
        }
        return;
    }
    tx->state = TX_COMMITTED;
    tx->lsn = ++db->now.lsn;
    for (set rest = tx->events; rest != 0; rest &= rest - 1)
        db->events[__builtin_ctzll(rest)].lsn = tx->lsn;
    db->committed |= tx->events;
    if (flush && tx->xid != 0)
        db_flush(s);
}

void writer_unlock(struct sim *s, int open)
{
    struct database *db = &s->db;
    struct tx *tx = tx_of(s, open);
    if (under_way(tx))
        return;
    SAY(s, "writer %d unlocks", db->open[open]);
    tx->locks = false;
    db->open[open] = db->open[--db->nopen];
}

void writer_end(struct sim *s, int open, bool commit)
{
    struct tx *tx = tx_of(s, open);
    if (under_way(tx))
        finish(s, tx, commit, !s->plan.embedded);
    writer_unlock(s, open);
}

static void prepare(struct sim *s, struct tx *tx)
{
    insert(s, tx);
    SAY(s, "writer %d prepares", (int)(tx - s->db.txs));
    tx->state = TX_PREPARED;
    tx->lsn = ++s->db.now.lsn;
    db_flush(s);
    REACH(s, PREPARED);
}

static void savepoint(struct sim *s, struct tx *tx)
{
    if (!tx->savepoint) {
        tx->savepoint = true;
        tx->since = 0;
        return;
    }
    SAY(s, "writer %d rolls a savepoint back", (int)(tx - s->db.txs));
    tx->events &= ~tx->since;
    tx->savepoint = false;
    tx->drawn = -1;
    REACH(s, SAVEPOINT);
}

/* Visible first, without locks a moment later. */
static void end(struct sim *s, int open, bool commit, bool flush)
{
    finish(s, tx_of(s, open), commit, flush);
    if (pick(&s->tape, 4) != 3)
        writer_unlock(s, open);
}

static void go_on(struct sim *s, int open)
{
    struct tape *tape = &s->tape;
    struct tx *tx = tx_of(s, open);
    if (!under_way(tx)) {
        if (one_in(tape, 4))
            writer_unlock(s, open);
        return;
    }
    unsigned what = pick(tape, 16);
    bool flush = !s->plan.embedded && !(s->plan.slow_commit && one_in(tape, 2));
    if (s->plan.idle && what >= 6 && pick(tape, 32) != 31)
        return; /* it does other things */
    if (tx->state == TX_PREPARED) {
        if (what < 4)
            end(s, open, what != 3, flush);
    } else if (tx->drawn >= 0 && what < 12) {
        insert(s, tx);
    } else if (what < 5 && has_room(s, 1) && tx->drawn < 0) {
        draw(s, tx);
        if (what < 2)
            insert(s, tx);
    } else if (what == 5 && s->plan.bulk && tx->drawn < 0) {
        bulk(s, tx);
    } else if (what == 6 && s->plan.savepoints) {
        savepoint(s, tx);
    } else if (what == 7 && s->plan.prepare && tx->xid != 0) {
        prepare(s, tx);
    } else {
        end(s, open, what != 15, flush);
    }
}

void writer_step(struct sim *s)
{
    unsigned most = s->plan.embedded ? 1 : OPEN;
    unsigned i = pick(&s->tape, s->plan.embedded ? 1 : s->plan.crowd ? 6 : 3);
    if (i < (unsigned)s->db.nopen)
        go_on(s, (int)i);
    else if ((unsigned)s->db.nopen < most)
        begin(s);
}
