/* ndjson.h - lines of JSON become events to enqueue.
 *
 * One object a line: topic, key, type, headers, payload or payload_base64,
 * deliver_at, id. A payload that is a string is its text; any other JSON is
 * taken as it stands in the line, byte for byte.
 */
#ifndef OT_CLI_NDJSON_H
#define OT_CLI_NDJSON_H

#include <jansson.h>

#include "base/base.h"
#include "enqueue/enqueue.h"

enum { OT_BATCH_EVENTS = 1000, OT_BATCH_BYTES = 4 << 20 };

struct ot_batch {
    struct outtray_event events[OT_BATCH_EVENTS];
    int64_t lines[OT_BATCH_EVENTS]; /* where each event stood */
    size_t n;
    size_t bytes;
    json_t *docs[OT_BATCH_EVENTS]; /* what the events point into */
    char *owned[OT_BATCH_EVENTS * 2];
    size_t nowned;
};

static inline bool ot_batch_full(const struct ot_batch *batch)
{
    return batch->n == OT_BATCH_EVENTS || batch->bytes >= OT_BATCH_BYTES;
}

/* Parses and validates; err names line and member. now_us: what "+5m" is
 * relative to. */
int ot_batch_add(struct ot_batch *, struct ot_slice line, int64_t number,
                 int64_t now_us, const struct ot_enqueue_limits *,
                 struct outtray_error *err);
void ot_batch_clear(struct ot_batch *);

#endif
