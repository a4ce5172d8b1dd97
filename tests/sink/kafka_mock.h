/* kafka_mock.h - one mock for all tests of a program, and sinks on it. */
#ifndef KAFKA_MOCK_H
#define KAFKA_MOCK_H

#include "kafka_rig.h"

#include "sink/kafka/kafka.h"

static struct subject kafka = {.name = "kafka"};

/* With a topic of its own. */
static struct rig *open_with(const char *const *settings)
{
    static struct rig r;
    new_topic(&broker);
    kafka.topic = broker.topic;
    subject = &kafka;
    open_kafka(&r, &broker, settings);
    return &r;
}

static struct ot_kafka *inside(struct rig *r)
{
    return (struct ot_kafka *)r->sink;
}

static inline int start(void **state)
{
    (void)state;
    mock_start(&broker, 3);
    return 0;
}

#endif
