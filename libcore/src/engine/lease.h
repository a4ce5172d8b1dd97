/* lease.h - may this relay act, and until when? */
#ifndef OT_ENGINE_LEASE_H
#define OT_ENGINE_LEASE_H

#include "base/base.h"
#include "store/store.h"

struct ot_lease {
    int64_t ttl_us;
    int64_t fence;       /* 0: none */
    int64_t last_fence;  /* the highest that was granted */
    int64_t deadline_us; /* own clock, from before the request was sent */
    int64_t renew_us;
    bool hurried;   /* renew_us was brought forward */
    int64_t ask_us; /* no lease: when to ask for it */
};

void ot_lease_granted(struct ot_lease *, int64_t fence, int64_t sent_us);
/* The database, asked at sent_us, says that so much of it is left. */
void ot_lease_seen(struct ot_lease *, int64_t left_us, int64_t sent_us);
/* Somebody else has it, for free_in_us more. */
void ot_lease_taken(struct ot_lease *, struct ot_rng *, int64_t free_in_us,
                    int64_t now_us);
void ot_lease_forget(struct ot_lease *);
/* Renew it soon: there is something to say. At most fifteen times in a ttl. */
void ot_lease_hurry(struct ot_lease *);
/* Held, and its time has come: it is never revived, only taken again. */
bool ot_lease_expired(const struct ot_lease *, int64_t now_us);

#endif
