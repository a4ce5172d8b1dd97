/** @file enqueue.h - an event becomes SQL, for the caller's own connection.
 *
 * The library never touches the connection of the application: it validates
 * the events, gives each its id, and renders one statement in the style of the
 * caller's driver. Pure computation: no I/O but the system's randomness, no
 * database client behind it, so a web worker loads nothing else.
 */
#ifndef OUTTRAY_ENQUEUE_H
#define OUTTRAY_ENQUEUE_H

#include "types.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Borrowed bytes; p NULL means absent (SQL NULL). */
struct outtray_slice {
    const char *p;
    size_t n;
};

/** What the application wants to tell. Only topic is required. */
struct outtray_event {
    struct outtray_slice topic;   /**< UTF-8, 1 to 249 bytes */
    struct outtray_slice key;     /**< ordering key, UTF-8, up to 1024 bytes */
    struct outtray_slice type;    /**< UTF-8, up to 255 bytes */
    struct outtray_slice headers; /**< JSON: a flat object of strings, at most
                                       64; names are visible ASCII, not id, not
                                       type, nothing with outtray- in front:
                                       those the relay writes */
    struct outtray_slice payload; /**< bytes, never re-encoded; absent: a
                                       tombstone */
    struct outtray_slice id;      /**< UUID text; absent: a UUIDv7 is made */
    int64_t deliver_at_us;        /**< microseconds since 1970, not before;
                                       0: at once */
};

/** How the driver wants its parameters. */
enum outtray_style {
    OUTTRAY_DOLLAR,  /**< $1, $2: libpq, asyncpg, pgmoon */
    OUTTRAY_PERCENT, /**< %s: psycopg, Django (the SQL has no other %) */
    OUTTRAY_QMARK,   /**< ?: sqlite3, luadbi */
    OUTTRAY_LITERAL, /**< no parameters, all quoted: luasql. For PostgreSQL it
                          is plain ASCII and means the same under every
                          standard_conforming_strings and client_encoding */
    OUTTRAY_COPY,    /**< COPY … FROM STDIN (FORMAT binary), for PostgreSQL:
                          the one parameter is what to send after it. A
                          statement of two round trips, and several times
                          cheaper per event where there are hundreds. Only
                          where client_encoding is UTF8, and not with strict */
};

enum outtray_dialect {
    OUTTRAY_POSTGRESQL,
    OUTTRAY_SQLITE,
};

/** What a parameter is, so that a driver can bind it as it should. */
enum outtray_param_kind {
    OUTTRAY_PARAM_NULL,
    OUTTRAY_PARAM_TEXT,  /**< UTF-8 */
    OUTTRAY_PARAM_BYTES, /**< binary */
};

struct outtray_param {
    enum outtray_param_kind kind;
    struct outtray_slice
        value; /**< borrowed from the events or the statement */
};

/** One INSERT. Free it with outtray_statement_free. */
struct outtray_statement {
    const char *sql; /**< NUL-terminated */
    size_t sql_n;
    const struct outtray_param *params; /**< in the order of the placeholders */
    size_t nparams;
    const char (*ids)[37]; /**< the id of each event, NUL-terminated text */
    size_t nids;
    void *memory; /**< owned */
};

/* The text of a statement depends on the options and on whether there is one
 * event or more (SQLite: on their number), never on their content, so that
 * drivers can keep it prepared (OUTTRAY_LITERAL aside). */

/** What is the same for all events of an application. Zero-initialise it, the
 * zero is the default of every member. */
struct outtray_enqueue_options {
    const char *outbox; /**< schema or table prefix; NULL: "outtray" */
    enum outtray_style style;
    enum outtray_dialect dialect;
    bool strict;              /**< ordering = strict: take the advisory lock
                                   of every key before a seq is drawn
                                   (PostgreSQL; SQLite needs none) */
    size_t max_payload_bytes; /**< 0: 921,600 */
    size_t max_headers_bytes; /**< 0: 32,768 */
};

/**
 * Validate n events and render one INSERT of them: all or nothing.
 *
 * Any number goes into one statement for PostgreSQL (arrays, or COPY) and for
 * OUTTRAY_LITERAL, up to 256 MiB together; SQLite takes 32,766 parameters, that
 * is 4,680 events. Above it is OUTTRAY_E_TOO_LARGE: split it, a transaction can
 * hold several statements. seq follows the order of events.
 *
 * @param events  borrowed until outtray_statement_free: parameters point into
 *                them
 * @return 0; OUTTRAY_E_TOO_LARGE, _INVALID_UTF8, _INVALID_EVENT (err names the
 *         event by its index and the member), _MISUSE (no events, an outbox
 *         that is no identifier, OUTTRAY_COPY with SQLite or strict), _IO, _NOMEM. On failure out
 *         is zeroed and there is nothing to free.
 * @thread any
 */
OUTTRAY_API int
outtray_enqueue_build(struct outtray_statement *out,
                      const struct outtray_enqueue_options *options,
                      const struct outtray_event *events, size_t n,
                      struct outtray_error *err);

/** Free what outtray_enqueue_build made, and zero it; NULL and a zeroed
 * statement are fine.
 * @thread any, but nobody else may use the statement meanwhile */
OUTTRAY_API void outtray_statement_free(struct outtray_statement *);

/** A new UUIDv7 as text. @return 0 or OUTTRAY_E_IO. @thread any */
OUTTRAY_API int outtray_id_new(char out[37]);

#ifdef __cplusplus
}
#endif
#endif
