/* embedded.h - a small Kafka inside this process, for the demo.
 *
 * It is librdkafka's mock cluster: real wire protocol, real client code, no
 * disk, no replication, 5 MiB kept per partition, sequence numbers unchecked.
 * librdkafka calls it experimental, so its functions are looked up when they
 * are needed: a build without them lacks the demo's broker and nothing else.
 */
#ifndef OT_KAFKA_EMBEDDED_H
#define OT_KAFKA_EMBEDDED_H

#include "base/base.h"

/* Be the broker: writes "host:port\n" to ready_fd once it listens on loopback,
 * then obeys the bytes that come from control_fd: 'd' goes down (connections
 * are cut, new ones refused), 'u' comes up again; at its end the function
 * returns. Blocks; meant for a process of its own.
 * @return 0, E_UNSUPPORTED (this librdkafka has no mock cluster), E_IO */
int ot_kafka_embedded_run(const char *topic, int partitions, int control_fd,
                          int ready_fd, struct outtray_error *err);

#endif
