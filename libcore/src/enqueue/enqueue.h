/* enqueue.h - between the parts of the builder: check, render, dialects.
 *
 * A dialect writes one INSERT as SQL text with values in it; render.c turns
 * each value into a placeholder and a parameter, or into a literal. So the
 * four styles cannot drift apart: there is one statement per dialect.
 */
#ifndef OT_ENQUEUE_H
#define OT_ENQUEUE_H

#include "base/base.h"
#include "outtray/enqueue.h"

#define OT_TOPIC_MAX 249  /* bytes, Kafka's limit of a name */
#define OT_KEY_MAX   1024 /* bytes */
#define OT_TYPE_MAX  255  /* bytes */
/* A statement's bytes stay far below PostgreSQL's limit of 1 GiB for one
 * value, also as hexadecimal digits. */
#define OT_BATCH_BYTES_MAX ((size_t)256 << 20)
#define OT_SQLITE_PARAMS   32766 /* SQLITE_MAX_VARIABLE_NUMBER since 3.32 */

struct ot_enqueue_limits {
    size_t payload_bytes;
    size_t headers_bytes;
};

static inline struct ot_slice ot_borrow(struct outtray_slice s)
{
    return ot_slice(s.p, s.n);
}

/* --- validate.c ---------------------------------------------------------- */

/* May this event become a row? err names it by its index. */
int ot_enqueue_check(const struct outtray_event *, size_t index,
                     const struct ot_enqueue_limits *,
                     struct outtray_error *err);

/* Rules that span events: ids that are given twice, all bytes together. */
int ot_enqueue_check_batch(const struct outtray_event *events, size_t n,
                           struct outtray_error *err);

/* --- render.c ------------------------------------------------------------ */

enum { OT_TEXTS_MAX = 9 };

/* A statement in the making. */
struct ot_render {
    enum outtray_style style;
    enum outtray_dialect dialect;
    const char *outbox;
    bool strict;
    const struct outtray_event *events;
    size_t n;
    const char (*ids)[37]; /* of the events */
    struct ot_buffer sql;
    struct outtray_param *params; /* room for all of them */
    size_t nparams;
    struct ot_buffer texts[OT_TEXTS_MAX]; /* values that are made here, not
                                             borrowed from an event */
};

void ot_render_sql(struct ot_render *, const char *sql);
/* A value; p NULL is SQL NULL. It must live as long as the statement, unless
 * the style is OUTTRAY_LITERAL. */
void ot_render_text(struct ot_render *, struct ot_slice value);
void ot_render_bytes(struct ot_render *, struct ot_slice value);
/* A parameter that has no placeholder. */
void ot_render_data(struct ot_render *, struct ot_slice value);

/* Room for "2026-11-23T21:18:45.123456Z" and for microseconds as digits. */
enum { OT_MOMENT_MAX = 32 };

/* --- dialects ------------------------------------------------------------ */

/* Parameters the statement will have, 0 if the style has none. */
size_t ot_postgres_params(const struct ot_render *);
size_t ot_sqlite_params(const struct ot_render *);

/* Writes the INSERT. moments: n * OT_MOMENT_MAX bytes that live as long as the
 * statement. */
void ot_postgres_insert(struct ot_render *, char *moments);
void ot_sqlite_insert(struct ot_render *, char *moments);

/* The same events as a COPY. */
void ot_postgres_copy(struct ot_render *);

#endif
