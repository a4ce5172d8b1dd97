/* inside.h - the tables of the memory store. */
#ifndef OT_MEMORY_INSIDE_H
#define OT_MEMORY_INSIDE_H

#include "store/memory/memory.h"

struct ot_memory_tx {
    struct ot_memory *m;
    struct ot_memory_tx *next;
    uint64_t lock; /* its virtual transaction */
    uint64_t xid;  /* 0: none yet */
    bool locked;   /* it holds the lock on the log */
    bool prepared;
    bool committed; /* and still locked */
};

struct row {
    struct ot_event event; /* points into memory */
    char *memory;
    const struct ot_memory_tx *tx; /* NULL: committed */
    uint64_t lsn;                  /* of the commit */
};

struct held_row {
    struct ot_held held;
    char *error; /* owned */
};

struct command_row {
    struct ot_command command;
    char *subscription; /* owned */
};

struct cursor {
    struct cursor *next;
    char *subscription; /* owned */
    int64_t position;
    bool paused;
    bool owned;
    struct ot_uuid owner;
    int64_t fence;
    int64_t expires_us;
    char *report;          /* owned; NULL: none yet */
    struct ot_buffer gaps; /* struct ot_range, ascending */
    struct ot_buffer held; /* struct held_row, by seq */
};

struct ot_memory {
    struct ot_memory_tx *txs; /* open, or still locked */
    struct ot_buffer rows;    /* struct row, by seq; dead ones are removed */
    struct cursor *cursors;
    struct ot_buffer commands; /* struct command_row, by id */
    int64_t last_seq;
    int64_t last_command;
    uint64_t last_lock;
    uint64_t next_xid;
    uint64_t lsn, flushed;
    bool flush_always;
    int64_t clock_us; /* added to the system's */
    struct ot_incarnation incarnation;
    struct ot_uuid_source ids;
    unsigned users; /* stores; the last one of a private database frees it */
    bool private;
};

static inline struct row *rows_of(const struct ot_memory *m)
{
    return (struct row *)(void *)m->rows.p;
}

static inline size_t nrows(const struct ot_memory *m)
{
    return m->rows.n / sizeof(struct row);
}

static inline int64_t memory_now_us(const struct ot_memory *m)
{
    return ot_wall_us() + m->clock_us;
}

/* Index of the first row with at least this seq. */
size_t memory_row_from(const struct ot_memory *, int64_t seq);
struct row *memory_row(const struct ot_memory *, int64_t seq); /* or NULL */
void memory_remove(struct ot_memory *, size_t i);

/* cursor.c */
struct cursor *memory_cursor(const struct ot_memory *, const char *name);
void memory_free_cursor(struct cursor *);
/* NULL, or no memory for it: the last one stays. */
void memory_cursor_report(struct cursor *, const char *report);
/* The text of a held event, or NULL. */
const char *memory_cursor_error(const struct cursor *, int64_t seq);
/* Position, gaps, held rows, pause and report: all, or false and nothing. */
bool memory_cursor_write(struct cursor *, const struct ot_write_request *);

#endif
