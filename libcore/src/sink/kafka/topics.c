/* topics.c - topics in use, the longest unused of them forgotten. */
#include "sink/kafka/kafka.h"

static struct ot_kafka_topic **bucket_of(struct ot_kafka_topics *t,
                                         struct ot_slice of)
{
    return &t->bucket[ot_hash(of) % OT_KAFKA_BUCKETS];
}

static void unlink_age(struct ot_kafka_topics *t, struct ot_kafka_topic *topic)
{
    *(topic->newer != NULL ? &topic->newer->older : &t->newest) = topic->older;
    *(topic->older != NULL ? &topic->older->newer : &t->oldest) = topic->newer;
    topic->newer = NULL;
    topic->older = NULL;
}

static void link_newest(struct ot_kafka_topics *t, struct ot_kafka_topic *topic)
{
    topic->older = t->newest;
    *(t->newest != NULL ? &t->newest->newer : &t->oldest) = topic;
    t->newest = topic;
}

static void release(struct ot_kafka_topic *topic)
{
    if (topic->handle != NULL)
        rd_kafka_topic_destroy(topic->handle);
    ot_free(topic->partitions);
    ot_free((char *)topic->of.p);
    ot_free(topic->name);
    ot_free(topic);
}

static bool is_idle(const struct ot_kafka_topic *topic)
{
    return topic->with_client == 0 && topic->first == OT_NO_SLOT &&
           !topic->asked && !topic->in_waiting;
}

/* A producer keeps what it knows of a topic as long as there is a handle: with
 * topics that come and go that is a leak. */
static bool forget_oldest(struct ot_kafka_topics *t)
{
    struct ot_kafka_topic *topic = t->oldest;
    for (int i = 0; topic != NULL && !is_idle(topic); i++)
        topic = i < 64 ? topic->newer : NULL;
    if (topic == NULL)
        return false; /* busy: the window bounds their number */
    struct ot_kafka_topic **at = bucket_of(t, topic->of);
    while (*at != topic)
        at = &(*at)->next_in_bucket;
    *at = topic->next_in_bucket;
    unlink_age(t, topic);
    t->n--;
    release(topic);
    return true;
}

static struct ot_kafka_topic *make(struct ot_kafka *k, struct ot_slice of,
                                   struct ot_slice name)
{
    struct ot_kafka_topics *t = &k->topics;
    struct ot_kafka_topic *topic = ot_alloc_zero(1, sizeof(*topic));
    struct ot_buffer text = {0};
    if (topic == NULL)
        return NULL;
    ot_sink_destination(k->conf, name, &text);
    topic->name = text.failed ? NULL : text.p;
    topic->of = ot_slice(ot_strndup(of.n > 0 ? of.p : "", of.n), of.n);
    topic->first = OT_NO_SLOT;
    topic->last = OT_NO_SLOT;
    topic->lone = OT_NO_SLOT;
    if (topic->name == NULL || topic->of.p == NULL) {
        ot_buffer_free(&text);
        topic->name = NULL;
        release(topic);
        return NULL;
    }
    while (t->n >= t->max && forget_oldest(t))
        ;
    struct ot_kafka_topic **at = bucket_of(t, of);
    topic->next_in_bucket = *at;
    *at = topic;
    link_newest(t, topic);
    t->n++;
    return topic;
}

struct ot_kafka_topic *ot_kafka_topic(struct ot_kafka *k, struct ot_slice of)
{
    struct ot_kafka_topics *t = &k->topics;
    struct ot_slice name = of;
    if (t->newest != NULL && (t->one_name || ot_slice_equal(t->newest->of, of)))
        return t->newest;
    if (t->one_name)
        of = ot_slice("", 0); /* one line, or a key would be reordered */
    struct ot_kafka_topic *topic = *bucket_of(t, of);
    while (topic != NULL && !ot_slice_equal(topic->of, of))
        topic = topic->next_in_bucket;
    if (topic == NULL)
        return make(k, of, name);
    unlink_age(t, topic);
    link_newest(t, topic);
    return topic;
}

void ot_kafka_topics_free(struct ot_kafka_topics *t)
{
    while (t->newest != NULL) {
        struct ot_kafka_topic *topic = t->newest;
        t->newest = topic->older;
        release(topic);
    }
    *t = (struct ot_kafka_topics){0};
}

void ot_kafka_line_add(struct ot_kafka *k, struct ot_kafka_topic *topic,
                       uint32_t slot)
{
    k->slots[slot].next = OT_NO_SLOT;
    *(topic->last != OT_NO_SLOT ? &k->slots[topic->last].next : &topic->first) =
        slot;
    topic->last = slot;
    if (!topic->in_waiting) {
        topic->in_waiting = true;
        topic->next_waiting = k->topics.waiting;
        k->topics.waiting = topic;
    }
}

uint32_t ot_kafka_line_take(struct ot_kafka *k, struct ot_kafka_topic *topic)
{
    uint32_t slot = topic->first;
    if (slot == OT_NO_SLOT)
        return slot;
    topic->first = k->slots[slot].next;
    if (topic->first == OT_NO_SLOT)
        topic->last = OT_NO_SLOT;
    k->slots[slot].next = OT_NO_SLOT;
    return slot;
}
