/* lines.h - events as NDJSON, for sinks that write text.
 *
 * One event is one line:
 *     {"id":"…","order":"fence.seq","topic":"…","key":"…"|null,
 *      "type":"…"|null,"headers":{…}|null,"payload":"…"|null,
 *      "created_at":"…"}
 * A payload that is not UTF-8 comes as "payload_base64" instead, and a line
 * that may be there twice ends with "maybe_duplicate":true.
 */
#ifndef OT_SINK_LINES_H
#define OT_SINK_LINES_H

#include "sink/sink.h"

/* What every line begins with: how a torn one is known as ours. */
#define OT_LINE_BEGIN "{\"id\":\""

void ot_line_add(struct ot_buffer *, const struct ot_send *);

/* Lines in the order of their events, and where each ends. */
struct ot_lines {
    struct ot_buffer text;
    struct ot_lines_end {
        uint64_t ticket;
        size_t end; /* offset after its newline */
    } * ends;
    size_t n, size;
};

bool ot_lines_add(struct ot_lines *, const struct ot_send *); /* or nothing */
void ot_lines_clear(struct ot_lines *);
void ot_lines_free(struct ot_lines *);

#endif
