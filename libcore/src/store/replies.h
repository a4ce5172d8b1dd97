/* replies.h - answers that wait for the relay to take them. */
#ifndef OT_STORE_REPLIES_H
#define OT_STORE_REPLIES_H

#include "store/store.h"

#define OT_REPLIES (OT_REPLY_PRUNE + 1) /* one of each kind at most */

struct ot_replies {
    struct ot_reply v[OT_REPLIES]; /* a ring */
    unsigned first, n;
};

void ot_replies_put(struct ot_replies *, const struct ot_reply *);
/* The oldest; false: there is none. Its rows are the caller's. */
bool ot_replies_take(struct ot_replies *, struct ot_reply *out);
void ot_replies_drop(struct ot_replies *); /* all, with their rows */

/* Gives back the rows that the reply brings. */
void ot_reply_drop_rows(struct ot_reply *);

/* For the ops of a store that answers in the call: nothing to wait on. */
size_t ot_store_no_fds(const struct ot_store *, struct ot_fd *, size_t max);

#endif
