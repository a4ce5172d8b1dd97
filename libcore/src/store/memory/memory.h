/* memory.h - a store in the memory of one process, for tests.
 *
 * It behaves like PostgreSQL where that is hard: seqs become visible out of
 * order, transactions hold locks, commits may be lost in a crash. A test is
 * all of the world around it: it runs the transactions of the application, in
 * any order, and breaks things. The simplest example of a store as well.
 *
 * One thread. A store opened by URL ("memory:") has a database of its own.
 */
#ifndef OT_MEMORY_H
#define OT_MEMORY_H

#include "store/store.h"

struct ot_memory;    /* the database */
struct ot_memory_tx; /* a transaction of the application */

struct ot_memory *ot_memory_new(void); /* NULL: out of memory */
/* After its stores were closed. Open transactions go with it. */
void ot_memory_free(struct ot_memory *);
/* A relay's store on it; conf's store.url is not looked at. */
int ot_memory_open(struct ot_memory *, struct ot_store **out,
                   const struct outtray_conf *, struct ot_uuid owner,
                   const struct ot_log *, struct outtray_error *err);

/* --- the application ----------------------------------------------------- */

struct ot_memory_tx *ot_memory_begin(struct ot_memory *); /* NULL: no memory */
/* Locks the log, draws a seq, writes the row (copied; seq is ignored, an absent
 * id or created_us is made). Returns the seq; 0: out of memory. */
int64_t ot_memory_enqueue(struct ot_memory_tx *, const struct ot_event *);
/* Locks the log and draws a seq, and has no xid yet: as a writer that stopped
 * between nextval and its row. */
int64_t ot_memory_draw(struct ot_memory_tx *);
/* Survives a crash, keeps its lock until it is ended. */
void ot_memory_prepare(struct ot_memory_tx *);
/* Visible, and the locks are gone; tx is freed. */
void ot_memory_commit(struct ot_memory_tx *);
void ot_memory_rollback(struct ot_memory_tx *);
/* Visible, but the locks are still held: as PostgreSQL is for a moment. Then
 * ot_memory_unlock, which frees tx. */
void ot_memory_commit_locked(struct ot_memory_tx *);
void ot_memory_unlock(struct ot_memory_tx *);

/* --- what happens to it -------------------------------------------------- */

/* Seqs that nobody will ever see, as after a crash or a cached sequence. */
void ot_memory_jump(struct ot_memory *, int64_t seqs);
/* false: commits wait for ot_memory_flush or a durable write (as with
 * synchronous_commit = off). true from the start. */
void ot_memory_flush_always(struct ot_memory *, bool on);
void ot_memory_flush(struct ot_memory *);
/* A new incarnation: open transactions are rolled back (prepared ones wait
 * under a new lock), unflushed commits never happened, and their seqs are
 * drawn again. What the relays wrote is kept. The application's tx handles
 * that are not prepared are freed. */
void ot_memory_crash(struct ot_memory *);
/* Moves the clock of the database. */
void ot_memory_advance(struct ot_memory *, int64_t us);
/* The next request of this store gets no answer but E_STORE_UNAVAILABLE;
 * lands: it was carried out all the same. */
void ot_memory_break(struct ot_store *, bool lands);

/* --- the operator -------------------------------------------------------- */

/* Returns the id of the command; 0: out of memory. */
int64_t ot_memory_command(struct ot_memory *, const char *subscription,
                          enum ot_verb, int64_t seq);
/* What the owner said of itself last, or NULL; until the next of it. */
const char *ot_memory_report(const struct ot_memory *,
                             const char *subscription);
/* The text of the error of a held event, or NULL; until the next write. */
const char *ot_memory_error(const struct ot_memory *, const char *subscription,
                            int64_t seq);
size_t ot_memory_events(const struct ot_memory *); /* committed rows */

#endif
