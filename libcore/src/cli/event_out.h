/* event_out.h - an event and its fate, for people and for programs. */
#ifndef OT_CLI_EVENT_OUT_H
#define OT_CLI_EVENT_OUT_H

#include "cli/cli.h"

/* "pending", "held", "delivered". */
const char *ot_fate_name(const struct ot_event_info *);
/* One object; payload as payload (UTF-8) or payload_base64 if with_payload. */
json_t *ot_event_json(const struct ot_event_info *, bool with_payload);
/* A block of lines. */
void ot_event_print(struct ot_cli *, const struct ot_event_info *,
                    bool with_payload);
/* One line, for listings that do not end. */
void ot_event_line(struct ot_cli *, const struct ot_event_info *,
                   bool with_payload);

/* A copy that outlives the call of each(). */
struct ot_event_copy {
    struct ot_event_info info; /* its slices point into memory */
    char *memory;
};
int ot_event_copy(struct ot_event_copy *, const struct ot_event_info *);
void ot_event_copy_free(struct ot_event_copy *);
/* An ot_event_fn: ctx is a zeroed struct ot_event_copy that gets the first. */
int ot_event_copy_first(void *ctx, const struct ot_event_info *);

/* The event that an argument means: an id, or a seq. E_NOT_FOUND if it is not
 * in the log, with an explanation. */
int ot_event_find(struct ot_cli *, const char *text, bool with_payload,
                  struct ot_event_copy *out);

#endif
