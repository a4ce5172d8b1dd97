/* naive.h - what is written when nobody has an outbox: publish after commit.
 *
 * Fair to its users: the same client library with the same settings, every
 * publish waits for the acknowledgement, and gives up after a second as most
 * request handlers would.
 */
#ifndef OT_DEMO_NAIVE_H
#define OT_DEMO_NAIVE_H

#include "conf/conf.h"
#include "outtray/enqueue.h"

struct demo_naive;

int demo_naive_open(struct demo_naive **out, const struct outtray_conf *conf,
                    struct outtray_error *err);
/* Returns whether the broker took it in time. */
bool demo_naive_publish(struct demo_naive *, const struct outtray_event *);
void demo_naive_close(struct demo_naive *); /* NULL is fine */

#endif
