/* event.h - one row of the log, as it travels through the relay. */
#ifndef OT_EVENT_H
#define OT_EVENT_H

#include "base/base.h"

/* Slices are borrowed from the batch that was read (struct ot_rows) and live
 * as long as it is pinned. */
struct ot_event {
    int64_t seq;           /* order in its outbox; never shown as identity */
    struct ot_uuid id;     /* public identity: what consumers deduplicate on */
    struct ot_slice topic; /* logical destination */
    struct ot_slice key;   /* ordering and partition key; p NULL: none */
    struct ot_slice type;  /* p NULL: none */
    struct ot_slice headers; /* a flat JSON object of strings; p NULL: none */
    struct ot_slice payload; /* p NULL: a tombstone */
    int64_t created_us;      /* wall time of the database */
    int64_t deliver_us;      /* not before; 0: at once */
    bool filtered; /* the subscription's filter excludes it: settle unread */
};

/* Bytes an event is counted with against the window and the limiter. */
static inline size_t ot_event_bytes(const struct ot_event *e)
{
    return 64 + e->topic.n + e->key.n + e->type.n + e->headers.n + e->payload.n;
}

#endif
