/* partitions.c - the first event of a producer goes to a partition alone.
 *
 * A leader that has just come up may refuse a producer's first request and
 * take the one behind it. When librdkafka repeats the first, the leader takes
 * it for an old one (DUPLICATE_SEQUENCE_NUMBER), and the first event of a key
 * would arrive after later ones. Seen with Kafka 4.3.1 on topics just made.
 * Once the leader has taken something it puts right what comes out of turn, so
 * only that waits for its answer. Events without a key have no order to keep.
 */
#include "sink/kafka/kafka.h"
#include "sink/kafka/settings.h"

#include <string.h>

enum { UNTRIED, TRIED, PROVEN };

/* The partitioners of librdkafka, by the names of its setting. */
static const struct {
    const char *name;
    ot_kafka_partitioner *function;
} partitioners[] = {
    {"murmur2_random", rd_kafka_msg_partitioner_murmur2_random},
    {"murmur2", rd_kafka_msg_partitioner_murmur2},
    {"consistent_random", rd_kafka_msg_partitioner_consistent_random},
    {"consistent", rd_kafka_msg_partitioner_consistent},
    {"fnv1a_random", rd_kafka_msg_partitioner_fnv1a_random},
    {"fnv1a", rd_kafka_msg_partitioner_fnv1a},
};

ot_kafka_partitioner *ot_kafka_partitioner_of(const rd_kafka_conf_t *conf)
{
    ot_kafka_partitioner *found = NULL; /* one that is not known here */
    char *name = ot_kafka_setting(conf, "partitioner");
    for (size_t i = 0; name != NULL && i < OT_COUNT(partitioners); i++)
        if (strcmp(name, partitioners[i].name) == 0)
            found = partitioners[i].function;
    ot_free(name);
    return found;
}

bool ot_kafka_partitions_set(struct ot_kafka_topic *topic, int n)
{
    ot_free(topic->partitions);
    topic->partitions = NULL;
    topic->npartitions = 0;
    topic->unproven = 0;
    if (n <= 0)
        return true;
    topic->partitions = ot_alloc_zero((size_t)n, 1);
    if (topic->partitions == NULL)
        return false;
    topic->npartitions = n;
    topic->unproven = n;
    return true;
}

/* The partition in which it has to wait its turn, or OT_NO_TURN. */
static int32_t turn_of(const struct ot_kafka *k, const struct ot_kafka_slot *s)
{
    const struct ot_kafka_topic *t = s->topic;
    const struct ot_slice key = s->event->key;
    if (t->unproven == 0 || key.n == 0 || k->partitioner == NULL)
        return OT_NO_TURN;
    int32_t p =
        k->partitioner(t->handle, key.p, key.n, t->npartitions, NULL, NULL);
    return p >= 0 && p < t->npartitions ? p : OT_NO_TURN;
}

rd_kafka_resp_err_t ot_kafka_produce_in_turn(struct ot_kafka *k, uint32_t slot)
{
    struct ot_kafka_slot *s = &k->slots[slot];
    int32_t turn = turn_of(k, s);
    uint8_t *state = turn != OT_NO_TURN ? &s->topic->partitions[turn] : NULL;
    if (state != NULL && *state == TRIED)
        return RD_KAFKA_RESP_ERR__IN_PROGRESS;
    rd_kafka_resp_err_t err = ot_kafka_produce(k, s);
    if (state != NULL && *state == UNTRIED &&
        err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *state = TRIED;
        s->turn = turn;
    }
    return err;
}

/* Whoever waits for a turn waits for the report of the event that has it,
 * wherever that went: to another partition if some were added meanwhile, or to
 * none. */
void ot_kafka_partition_heard(struct ot_kafka_topic *topic, int32_t turn,
                              int32_t partition, bool taken)
{
    if (turn != OT_NO_TURN && turn < topic->npartitions &&
        topic->partitions[turn] == TRIED)
        topic->partitions[turn] = UNTRIED;
    if (!taken)
        return;
    if (partition >= 0 && partition < topic->npartitions &&
        topic->partitions[partition] != PROVEN) {
        topic->partitions[partition] = PROVEN;
        topic->unproven--;
    }
    if (turn != OT_NO_TURN && turn != partition &&
        topic->state == OT_TOPIC_GOOD)
        topic->state = OT_TOPIC_NEW; /* how many are there now? */
}
