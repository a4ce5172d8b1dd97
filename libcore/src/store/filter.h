/* filter.h - which topics a subscription takes (relay.topics). */
#ifndef OT_STORE_FILTER_H
#define OT_STORE_FILTER_H

#include "base/base.h"

struct ot_filter_term {
    struct ot_slice text; /* without the * */
    bool prefix;          /* it ended with a * */
};

struct ot_filter {
    char *memory;
    struct ot_filter_term *terms;
    size_t n; /* 0: every topic matches */
};

/* topics: names by comma, blanks around them do not count, a trailing * stands
 * for the rest of a name; NULL or "": all. E_CONF names the bad term. */
int ot_filter_parse(struct ot_filter *out, const char *topics,
                    struct outtray_error *err);
bool ot_filter_match(const struct ot_filter *, struct ot_slice topic);
void ot_filter_free(struct ot_filter *);

#endif
