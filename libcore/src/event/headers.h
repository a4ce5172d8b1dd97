/* headers.h - the headers of an event: a flat JSON object of strings.
 *
 * They are checked once, before the row exists, and walked once per event on
 * the way to the broker, as the database kept the text (PostgreSQL's json
 * keeps every blank). One reader serves both, so nothing that passes the check
 * can fail later; a row that did not come through the builder still can. */
#ifndef OT_EVENT_HEADERS_H
#define OT_EVENT_HEADERS_H

#include "base/base.h"

/* What the relay itself writes beside the headers of an event, on every sink
 * that has headers. An event may not bring them: consumers would not know
 * whose they are. The names without prefix are those of Debezium's outbox
 * router (`id` by default, `type` when it is placed as a header). */
#define OT_HEADER_ID    "id"            /* the event's id: deduplicate on it */
#define OT_HEADER_TYPE  "type"          /* the event's type, if it has one */
#define OT_HEADER_ORDER "outtray-order" /* "fence.seq": drop what is older */
#define OT_HEADER_DUPLICATE \
    "outtray-duplicate"             /* "maybe": sent again, the first
                                                   try may have arrived */
#define OT_HEADER_PREFIX "outtray-" /* reserved as a whole */

#define OT_HEADERS_MAX     64  /* of one event */
#define OT_HEADER_NAME_MAX 255 /* bytes */

/* Is it one of the names above? ASCII case does not matter: HTTP's does not. */
bool ot_header_reserved(struct ot_slice name);

/* A walk over the headers; only headers.c looks inside. */
struct ot_headers {
    const char *p; /* next byte */
    const char *end;
    enum { OT_HEADERS_START, OT_HEADERS_MORE, OT_HEADERS_END } at;
    int failed; /* the error that sticks, or 0 */
};

/* json absent (p NULL) has no headers. json must outlive the walk. */
void ot_headers_begin(struct ot_headers *, struct ot_slice json);

/* The next header, in the order of the text.
 *
 * name and value point into json, or into scratch if they have escapes: valid
 * until the next call with that scratch. Allocates nothing unless an escape
 * makes scratch grow. The bytes are not checked for UTF-8.
 *
 * Returns 1; 0 at the end; OUTTRAY_E_INVALID_EVENT if the text is anything but
 * a flat object of strings (a number, a nested value, a NUL as \u0000, half a
 * surrogate pair, text after the object, …); OUTTRAY_E_NOMEM. An error sticks.
 */
int ot_headers_next(struct ot_headers *, struct ot_buffer *scratch,
                    struct ot_slice *name, struct ot_slice *value);

/* May an event have these headers? Beyond the form: UTF-8, at most max_bytes
 * of text and OT_HEADERS_MAX of them, names of 1 to OT_HEADER_NAME_MAX visible
 * ASCII characters, none twice, none reserved. err begins with "headers". */
int ot_headers_check(struct ot_slice json, size_t max_bytes,
                     struct outtray_error *err);

#endif
