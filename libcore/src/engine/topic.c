/* topic.c - destinations that refuse events: their events wait, and one real
 * event at a time probes. */
#include "engine/internal.h"

static struct ot_topic *find(const struct ot_engine *e, uint64_t hash)
{
    for (size_t i = 0; i < e->ntopics; i++)
        if (e->topics[i].hash == hash)
            return &e->topics[i];
    return NULL;
}

bool ot_topic_blocked(const struct ot_engine *e, uint64_t hash)
{
    return e->ntopics > 0 && find(e, hash) != NULL;
}

uint64_t ot_topic_of(struct ot_engine *e, uint32_t item_id)
{
    struct ot_item *item = ot_item(e, item_id);
    if (item->topic == 0)
        item->topic = ot_hash(item->event->topic);
    return item->topic;
}

static struct ot_topic *add(struct ot_engine *e, uint64_t hash)
{
    if (OT_GROW(e->topics, e->topics_size, e->ntopics + 1) != 0) {
        e->nomem = true;
        return NULL;
    }
    struct ot_topic *topic = &e->topics[e->ntopics++];
    *topic = (struct ot_topic){.hash = hash};
    return topic;
}

void ot_topic_refused(struct ot_engine *e, uint64_t hash, bool probed,
                      int64_t after_us)
{
    struct ot_topic *topic = find(e, hash);
    if (topic == NULL) {
        topic = add(e, hash);
        if (topic == NULL)
            return;
        topic->delay_us = e->opt.probe_min_us;
    } else if (!probed) {
        return; /* sent together with one that was counted */
    } else {
        int64_t delay = topic->delay_us * 2;
        topic->delay_us =
            delay < e->opt.probe_max_us ? delay : e->opt.probe_max_us;
    }
    topic->refused = true;
    if (after_us < topic->delay_us)
        after_us = topic->delay_us;
    topic->probe_us = e->now_us + after_us;
}

/* Events of the topic wait in the database: is it well by now? */
void ot_topic_waiting(struct ot_engine *e, uint64_t hash)
{
    struct ot_topic *topic = find(e, hash);
    if (topic == NULL && (topic = add(e, hash)) != NULL) {
        topic->delay_us = e->opt.probe_min_us;
        topic->probe_us = e->now_us;
    }
}

void ot_topic_open(struct ot_engine *e, uint64_t hash)
{
    struct ot_topic *topic = e->ntopics > 0 ? find(e, hash) : NULL;
    if (topic == NULL)
        return;
    if (topic->refused)
        ot_log(e->log, OT_INFO, "engine", "a destination takes events again");
    *topic = e->topics[--e->ntopics];
    for (size_t i = 0; i < e->nentries && !e->nomem; i++) {
        struct ot_entry *entry = &e->entries[i];
        if (entry->used && entry->h.state == OT_HELD_WAITING &&
            entry->h.topic == hash && entry->item == OT_NIL)
            ot_drain_ready(e, (uint32_t)i);
    }
}

static bool may_probe(struct ot_engine *e, uint32_t id)
{
    struct ot_entry *entry = ot_entry(e, id);
    if (entry->item != OT_NIL || entry->queued || entry->fetching)
        return false;
    if (entry->lane == OT_NIL)
        return true;
    const struct ot_lane *lane = ot_lane(e, entry->lane);
    return lane->held_first == id && lane->first == OT_NIL;
}

/* The oldest event that waits for the topic and may go first in its key. */
static bool probe(struct ot_engine *e, uint64_t hash)
{
    uint32_t best = OT_NIL;
    bool any = false;
    for (size_t i = 0; i < e->nentries; i++) {
        struct ot_entry *entry = &e->entries[i];
        if (!entry->used || entry->h.state != OT_HELD_WAITING ||
            entry->h.topic != hash)
            continue;
        any = true;
        if (entry->probe &&
            (entry->item != OT_NIL || entry->queued || entry->fetching))
            return true; /* on its way */
        if ((best == OT_NIL || entry->h.seq < ot_entry(e, best)->h.seq) &&
            may_probe(e, (uint32_t)i))
            best = (uint32_t)i;
    }
    if (best != OT_NIL) {
        ot_entry(e, best)->probe = true;
        ot_drain_ready(e, best);
    }
    return any;
}

void ot_topic_due(struct ot_engine *e)
{
    for (size_t i = 0; i < e->ntopics;) {
        struct ot_topic *topic = &e->topics[i];
        if (topic->probe_us <= e->now_us) {
            topic->probe_us = e->now_us + topic->delay_us;
            if (!probe(e, topic->hash)) {
                *topic = e->topics[--e->ntopics]; /* nobody waits any more */
                continue;
            }
        }
        i++;
    }
}

int64_t ot_topic_next(const struct ot_engine *e)
{
    int64_t at_us = OT_NEVER;
    for (size_t i = 0; i < e->ntopics; i++)
        if (e->topics[i].probe_us < at_us)
            at_us = e->topics[i].probe_us;
    return at_us;
}
