/* report_text.h - what a relay writes down about itself, as JSON. */
#ifndef OT_REPORT_TEXT_H
#define OT_REPORT_TEXT_H

#include "conf/conf.h"
#include "relay/report.h"

struct ot_report_text {
    char text[OT_REPORT_SIZE];
    char sink[200]; /* the URL, without secrets */
    char host[64];
    int64_t pid;
    int64_t ttl_us;
    uint64_t delivered; /* when the rate was last measured */
    int64_t measured_us;
    double rate; /* delivered per second */
};

void ot_report_text_init(struct ot_report_text *,
                         const struct outtray_conf *conf);

/* Writes and returns text: the state of report, the numbers of the driver's
 * engine. Measures the rate. */
const char *ot_report_text(struct ot_report_text *, const struct ot_report *,
                           const struct ot_driver *, int64_t now_us);

#endif
