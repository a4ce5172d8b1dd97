/* replies.c - see replies.h. */
#include "store/replies.h"

void ot_replies_put(struct ot_replies *r, const struct ot_reply *reply)
{
    r->v[(r->first + r->n) % OT_REPLIES] = *reply;
    r->n++;
}

bool ot_replies_take(struct ot_replies *r, struct ot_reply *out)
{
    if (r->n == 0)
        return false;
    *out = r->v[r->first];
    r->first = (r->first + 1) % OT_REPLIES;
    r->n--;
    return true;
}

void ot_replies_drop(struct ot_replies *r)
{
    struct ot_reply reply;

    while (ot_replies_take(r, &reply))
        ot_reply_drop_rows(&reply);
}

void ot_reply_drop_rows(struct ot_reply *reply)
{
    if (reply->kind == OT_REPLY_READ)
        ot_rows_unref(reply->read.rows);
    if (reply->kind == OT_REPLY_FETCH)
        ot_rows_unref(reply->fetch.rows);
}

size_t ot_store_no_fds(const struct ot_store *s, struct ot_fd *out, size_t max)
{
    (void)s;
    (void)out;
    (void)max;
    return 0;
}
