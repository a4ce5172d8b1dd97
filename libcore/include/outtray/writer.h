/** @file writer.h - events into an outbox in a SQLite file, with no database
 * connection of the application's.
 *
 * For a program whose only data are the events: a gateway takes them from
 * requests, writes many in one transaction, and answers when that is durable.
 * Where there are business rows to be written as well, use enqueue.h on their
 * connection instead. A relay runs in a process of its own beside it.
 */
#ifndef OUTTRAY_WRITER_H
#define OUTTRAY_WRITER_H

#include "enqueue.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A writer; one thread at a time may use it. */
struct outtray_writer;

/** Zero-initialise it; the zero is the default of every member but store. */
struct outtray_writer_options {
    const char *store;        /**< sqlite:///absolute/path, sqlite:relative */
    const char *outbox;       /**< prefix of the tables; NULL: "outtray" */
    int busy_ms;              /**< how long begin waits for the write lock, at
                                   most; 0: 2,000 */
    size_t max_payload_bytes; /**< 0: 921,600 */
    size_t max_headers_bytes; /**< 0: 32,768 */
};

/**
 * A writer of one outbox. It opens the file when it begins, and again after a
 * failure: what is wrong with the file is told by outtray_writer_begin.
 *
 * @param options  copied
 * @return 0; OUTTRAY_E_CONF, _URL, _NOMEM. On failure *out is NULL.
 * @thread any
 */
OUTTRAY_API int
outtray_writer_open(struct outtray_writer **out,
                    const struct outtray_writer_options *options,
                    struct outtray_error *err);

/**
 * Begin a transaction: the write lock of the file is held until its end. May
 * wait for busy_ms and for the disk.
 *
 * @return 0; OUTTRAY_E_STORE_BUSY: somebody else kept the lock; _STORE_…: what
 *         is wrong with the file; _MISUSE: one is open already; _FORKED.
 *         Nothing is written then.
 * @thread any, one at a time for a writer
 */
OUTTRAY_API int outtray_writer_begin(struct outtray_writer *,
                                     struct outtray_error *err);

/**
 * Add n events to the transaction, all or none.
 *
 * @param ids  the id of each, as text; NULL: the caller knows them
 * @return 0; OUTTRAY_E_EXISTS and all of class EVENT: these events are refused,
 *         and the transaction goes on without them; any other: the transaction
 *         is rolled back. _NOT_IN_TRANSACTION: there is none.
 * @thread as outtray_writer_begin
 */
OUTTRAY_API int outtray_writer_add(struct outtray_writer *,
                                   const struct outtray_event *events, size_t n,
                                   char (*ids)[37], struct outtray_error *err);

/**
 * Commit. When it returns 0, the disk has all events that were added.
 *
 * @return 0; OUTTRAY_E_COMMIT_UNKNOWN: the disk failed while it wrote, and the
 *         events are there after a crash, or not; any other: none is there.
 *         No transaction is open in any case.
 * @thread as outtray_writer_begin
 */
OUTTRAY_API int outtray_writer_commit(struct outtray_writer *,
                                      struct outtray_error *err);

/** Roll back; fine with no transaction open.
 * @thread as outtray_writer_begin */
OUTTRAY_API void outtray_writer_rollback(struct outtray_writer *);

/** Roll back, close the file, free. NULL is fine.
 * @thread any, but nobody else may use the writer meanwhile or later */
OUTTRAY_API void outtray_writer_close(struct outtray_writer *);

#ifdef __cplusplus
}
#endif
#endif
