/* memory.c - the tables, and the application that writes them. */
#include "store/memory/inside.h"

struct ot_memory *ot_memory_new(void)
{
    struct ot_memory *m = ot_alloc_zero(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->next_xid = 1000;
    m->lsn = m->flushed = 1;
    m->flush_always = true;
    m->incarnation.started_us = ot_wall_us();
    m->incarnation.system = (uint64_t)(uintptr_t)m;
    return m;
}

void ot_memory_free(struct ot_memory *m)
{
    struct command_row *commands;

    if (m == NULL)
        return;
    while (m->txs != NULL) {
        struct ot_memory_tx *tx = m->txs;

        m->txs = tx->next;
        ot_free(tx);
    }
    while (m->cursors != NULL) {
        struct cursor *c = m->cursors;

        m->cursors = c->next;
        memory_free_cursor(c);
    }
    for (size_t i = 0; i < nrows(m); i++)
        ot_free(rows_of(m)[i].memory);
    commands = (void *)m->commands.p;
    for (size_t i = 0; i < m->commands.n / sizeof(*commands); i++)
        ot_free(commands[i].subscription);
    ot_buffer_free(&m->rows);
    ot_buffer_free(&m->commands);
    ot_free(m);
}

/* --- rows ---------------------------------------------------------------- */

size_t memory_row_from(const struct ot_memory *m, int64_t seq)
{
    size_t low = 0, high = nrows(m);

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows_of(m)[middle].event.seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct row *memory_row(const struct ot_memory *m, int64_t seq)
{
    size_t i = memory_row_from(m, seq);

    return i < nrows(m) && rows_of(m)[i].event.seq == seq ? &rows_of(m)[i]
                                                          : NULL;
}

void memory_remove(struct ot_memory *m, size_t i)
{
    struct row *rows = rows_of(m);

    ot_free(rows[i].memory);
    memmove(&rows[i], &rows[i + 1], (nrows(m) - i - 1) * sizeof(*rows));
    m->rows.n -= sizeof(*rows);
}

/* --- transactions --------------------------------------------------------- */

struct ot_memory_tx *ot_memory_begin(struct ot_memory *m)
{
    struct ot_memory_tx *tx = ot_alloc_zero(1, sizeof(*tx));

    if (tx == NULL)
        return NULL;
    tx->m = m;
    tx->lock = (uint64_t)1 << 32 | ++m->last_lock;
    tx->next = m->txs;
    m->txs = tx;
    return tx;
}

int64_t ot_memory_draw(struct ot_memory_tx *tx)
{
    tx->locked = true;
    return ++tx->m->last_seq;
}

/* One block for all texts of the row. */
static bool copy_event(struct row *row, const struct ot_event *e)
{
    struct ot_slice *to[] = {&row->event.topic, &row->event.key,
                             &row->event.type, &row->event.headers,
                             &row->event.payload};
    size_t n = 1;
    char *p;

    row->event = *e;
    for (size_t i = 0; i < OT_COUNT(to); i++)
        n += to[i]->n;
    p = row->memory = ot_alloc(n);
    if (p == NULL)
        return false;
    for (size_t i = 0; i < OT_COUNT(to); i++) {
        if (to[i]->p == NULL)
            continue;
        if (to[i]->n > 0)
            memcpy(p, to[i]->p, to[i]->n);
        to[i]->p = p;
        p += to[i]->n;
    }
    return true;
}

int64_t ot_memory_enqueue(struct ot_memory_tx *tx, const struct ot_event *e)
{
    struct ot_memory *m = tx->m;
    struct row row = {.tx = tx};
    static const struct ot_uuid none;

    if (!ot_buffer_room(&m->rows, sizeof(row)) || !copy_event(&row, e))
        return 0;
    row.event.seq = ot_memory_draw(tx);
    row.event.filtered = false;
    if (tx->xid == 0)
        tx->xid = m->next_xid++;
    if (memcmp(&row.event.id, &none, sizeof(none)) == 0)
        ot_uuid_next(&m->ids, &row.event.id);
    if (row.event.created_us == 0)
        row.event.created_us = memory_now_us(m);
    ot_buffer_add(&m->rows, &row, sizeof(row));
    return row.event.seq;
}

void ot_memory_prepare(struct ot_memory_tx *tx)
{
    tx->prepared = true;
}

static void unlink_tx(struct ot_memory_tx *tx)
{
    struct ot_memory_tx **at = &tx->m->txs;

    while (*at != tx)
        at = &(*at)->next;
    *at = tx->next;
    ot_free(tx);
}

static void make_visible(struct ot_memory_tx *tx)
{
    struct ot_memory *m = tx->m;

    m->lsn++;
    for (size_t i = 0; i < nrows(m); i++) {
        if (rows_of(m)[i].tx != tx)
            continue;
        rows_of(m)[i].tx = NULL;
        rows_of(m)[i].lsn = m->lsn;
    }
    if (m->flush_always)
        m->flushed = m->lsn;
}

void ot_memory_commit(struct ot_memory_tx *tx)
{
    make_visible(tx);
    unlink_tx(tx);
}

void ot_memory_commit_locked(struct ot_memory_tx *tx)
{
    make_visible(tx);
    tx->committed = true;
}

void ot_memory_unlock(struct ot_memory_tx *tx)
{
    unlink_tx(tx);
}

void ot_memory_rollback(struct ot_memory_tx *tx)
{
    struct ot_memory *m = tx->m;

    for (size_t i = nrows(m); i-- > 0;)
        if (rows_of(m)[i].tx == tx)
            memory_remove(m, i);
    unlink_tx(tx);
}

/* --- what happens to it ---------------------------------------------------- */

void ot_memory_jump(struct ot_memory *m, int64_t seqs)
{
    m->last_seq += seqs;
}

void ot_memory_flush_always(struct ot_memory *m, bool on)
{
    m->flush_always = on;
}

void ot_memory_flush(struct ot_memory *m)
{
    m->flushed = m->lsn;
}

void ot_memory_crash(struct ot_memory *m)
{
    struct ot_memory_tx *next;
    int64_t last = 0;

    for (struct ot_memory_tx *tx = m->txs; tx != NULL; tx = next) {
        next = tx->next;
        if (tx->prepared && !tx->committed)
            tx->lock = (uint64_t)2 << 32 | ++m->last_lock;
        else if (tx->committed)
            unlink_tx(tx);
        else
            ot_memory_rollback(tx);
    }
    for (size_t i = nrows(m); i-- > 0;)
        if (rows_of(m)[i].tx == NULL && rows_of(m)[i].lsn > m->flushed) {
            last = rows_of(m)[i].event.seq;
            memory_remove(m, i);
        }
    /* The sequence was not flushed either, but never below a row. */
    if (last > 0) {
        size_t n = nrows(m);

        m->last_seq = last - 1;
        if (n > 0 && rows_of(m)[n - 1].event.seq > m->last_seq)
            m->last_seq = rows_of(m)[n - 1].event.seq;
    }
    m->lsn = m->flushed;
    m->incarnation.started_us++;
}

void ot_memory_advance(struct ot_memory *m, int64_t us)
{
    m->clock_us += us;
}

/* --- the operator ---------------------------------------------------------- */

int64_t ot_memory_command(struct ot_memory *m, const char *subscription,
                          enum ot_verb verb, int64_t seq)
{
    struct command_row row = {
        .command = {.id = m->last_command + 1, .verb = verb, .seq = seq},
    };

    if (!ot_buffer_room(&m->commands, sizeof(row)))
        return 0;
    row.subscription = ot_strdup(subscription);
    if (row.subscription == NULL)
        return 0;
    ot_buffer_add(&m->commands, &row, sizeof(row));
    return ++m->last_command;
}

const char *ot_memory_report(const struct ot_memory *m,
                             const char *subscription)
{
    const struct cursor *c = memory_cursor(m, subscription);

    return c != NULL ? c->report : NULL;
}

const char *ot_memory_error(const struct ot_memory *m, const char *subscription,
                            int64_t seq)
{
    const struct cursor *c = memory_cursor(m, subscription);

    return c != NULL ? memory_cursor_error(c, seq) : NULL;
}

size_t ot_memory_events(const struct ot_memory *m)
{
    size_t n = 0;

    for (size_t i = 0; i < nrows(m); i++)
        n += rows_of(m)[i].tx == NULL;
    return n;
}
