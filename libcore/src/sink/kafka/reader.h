/* reader.h - reads a topic back, all partitions from the beginning or a time.
 *
 * No consumer group, no commits: it looks, and leaves nothing behind. Used to
 * reconcile what was delivered with what was committed.
 */
#ifndef OT_KAFKA_READER_H
#define OT_KAFKA_READER_H

#include "conf/conf.h"

struct ot_kafka_reader;

struct ot_kafka_record {
    int32_t partition;
    int64_t offset;
    int64_t timestamp_us;    /* the record's own, CreateTime or append time */
    struct ot_slice key;     /* p NULL: none */
    struct ot_slice payload; /* p NULL: a tombstone */
    struct ot_slice id;      /* header id; p NULL: none */
};

/* destination: the broker-side name of the topic. since_us: not the records
 * before this time, in their own timestamps; 0: all. Waits up to timeout_ms for
 * the broker to know it. @return 0, E_CONF, E_SINK_UNAVAILABLE,
 * E_SINK_MISCONFIGURED (there is no such topic) */
int ot_kafka_reader_open(struct ot_kafka_reader **out,
                         const struct outtray_conf *conf,
                         const char *destination, int64_t since_us,
                         int timeout_ms, struct outtray_error *err);

/* The next record of any partition; per partition by offset. Its slices are
 * valid until the next call. @return 1; 0: nothing within timeout_ms;
 * E_SINK */
int ot_kafka_reader_next(struct ot_kafka_reader *, int timeout_ms,
                         struct ot_kafka_record *out,
                         struct outtray_error *err);

/* Has every record been read that was in the topic when this was asked? False
 * also while the broker does not answer. */
bool ot_kafka_reader_at_end(struct ot_kafka_reader *, int timeout_ms);

void ot_kafka_reader_close(struct ot_kafka_reader *); /* NULL is fine */

#endif
