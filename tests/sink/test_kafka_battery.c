/* The battery for Kafka: against librdkafka's mock and a real broker. */
#include "kafka_rig.h"

static struct subject kafka = {.name = "kafka"};
static const char *const small_window[] = {"relay.window_events=4000", NULL};

static void fresh_topic(void)
{
    new_topic(&broker);
    kafka.topic = broker.topic;
}

static void open_it(struct rig *r)
{
    open_kafka(r, &broker, small_window);
}

static struct arrived read_it(size_t expected)
{
    return read_numbers(&broker, 4, expected);
}

int main(void)
{
    kafka.open = open_it;
    kafka.read = read_it;
    kafka.clear = fresh_topic;
    mock_start(&broker, 3);
    kafka.name = "kafka, mock";
    int failed = run_battery(&kafka);
    broker_stop(&broker);
    real_start(&broker);
    kafka.name = "kafka, real";
    failed += run_battery(&kafka);
    broker_stop(&broker);
    return failed;
}
