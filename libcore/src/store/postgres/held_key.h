/* held_key.h - the key of an event as `held` has it, for its index. */
#ifndef OT_PG_HELD_KEY_H
#define OT_PG_HELD_KEY_H

/* A key that is longer than enqueue takes (OT_KEY_MAX, 1024 bytes) was inserted
 * by hand. Whole it might not fit into an index, and an event that cannot be
 * held stops all others. So many characters fit, of four bytes each as well. */
#define OT_PG_CUT_KEY "600"

/* SQL, of a row with the column key. */
#define OT_PG_HELD_KEY                                                 \
    "CASE WHEN octet_length(key) > 1024 THEN left(key, " OT_PG_CUT_KEY \
    ") ELSE key END"

/* SQL, of the row h of held, in the outbox %s: the key of its event. */
#define OT_PG_WHOLE_KEY                                                  \
    "CASE WHEN length(h.key) = " OT_PG_CUT_KEY " THEN coalesce((SELECT " \
    "e.key FROM \"%s\".event e WHERE e.seq = h.seq), h.key) ELSE h.key END"

#endif
