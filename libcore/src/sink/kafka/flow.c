/* flow.c - slots, the lines of topics, and what fails before it is sent. */
#include "sink/kafka/kafka.h"

#include <stdio.h>

uint32_t ot_kafka_slot_take(struct ot_kafka *k, const struct ot_send *send,
                            struct ot_kafka_topic *topic)
{
    uint32_t slot = k->free;
    if (slot == OT_NO_SLOT)
        return slot;
    struct ot_kafka_slot *s = &k->slots[slot];
    k->free = s->next;
    if (k->free != OT_NO_SLOT)
        OT_PREFETCH(&k->slots[k->free]);
    *s = (struct ot_kafka_slot){
        .event = send->event,
        .topic = topic,
        .ticket = send->ticket,
        .fence = send->fence,
        .generation = s->generation,
        .next = OT_NO_SLOT,
        .turn = OT_NO_TURN,
        .maybe_duplicate = send->maybe_duplicate,
    };
    k->pending++;
    return slot;
}

void ot_kafka_slot_free(struct ot_kafka *k, uint32_t slot)
{
    struct ot_kafka_slot *s = &k->slots[slot];
    s->event = NULL;
    s->topic = NULL;
    s->generation++;
    s->next = k->free;
    k->free = slot;
    k->pending--;
}

const struct ot_kafka_class *ot_kafka_class(const struct ot_kafka *k,
                                            rd_kafka_resp_err_t err)
{
    const struct ot_kafka_class *own = ot_kafka_override(&k->overrides, err);
    return own != NULL ? own : ot_kafka_classify(err);
}

bool ot_kafka_blames_topic(const struct ot_kafka *k, rd_kafka_resp_err_t err)
{
    return ot_kafka_classify(err)->scope == OT_ITS_TOPIC ||
           ot_kafka_class(k, err)->scope == OT_ITS_TOPIC;
}

const char *ot_kafka_reason(struct ot_kafka *k, const char *topic,
                            rd_kafka_resp_err_t err, const char *said)
{
    const struct ot_kafka_class *c = ot_kafka_class(k, err);
    bool own = ot_kafka_override(&k->overrides, err) != NULL;
    char text[400];
    bool about = topic != NULL && c->scope != OT_THE_SINK;
    snprintf(text, sizeof(text), "kafka: %s%.120s%s%.150s (%s%s%s)%s%s",
             about ? "topic " : "", about ? topic : "", about ? ": " : "",
             said != NULL ? said : rd_kafka_err2str(err),
             rd_kafka_err2name(err), own ? ", by sink.classify " : "",
             own ? ot_outcome_name(c->outcome) : "",
             c->advice != NULL ? ": " : "", c->advice != NULL ? c->advice : "");
    return ot_reason(&k->reasons, text);
}

void ot_kafka_fail(struct ot_kafka *k, uint32_t slot, rd_kafka_resp_err_t err)
{
    const struct ot_kafka_slot *s = &k->slots[slot];
    const struct ot_kafka_class *c = ot_kafka_class(k, err);
    struct ot_completion done = {
        .ticket = s->ticket,
        .outcome = c->outcome,
        .scope = c->scope,
        .native_code = err,
    };
    if (err == RD_KAFKA_RESP_ERR__INVALID_ARG) {
        done.outcome = OT_REJECTED;
        done.reason = "kafka: the headers are not a flat JSON object of "
                      "strings: this row did not come through the enqueue "
                      "function";
    } else if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        done.outcome = OT_REJECTED;
        done.reason = "kafka: the event is larger than "
                      "kafka.queue.buffering.max.kbytes";
    } else {
        done.reason = ot_kafka_reason(k, s->topic->name, err, NULL);
    }
    if (done.scope == OT_ITS_BATCH)
        done.scope = OT_THIS_EVENT; /* it never had neighbours */
    ot_done_push(&k->done, &done);
    ot_kafka_slot_free(k, slot);
}

void ot_kafka_fail_line(struct ot_kafka *k, struct ot_kafka_topic *topic,
                        rd_kafka_resp_err_t err)
{
    uint32_t slot;
    while ((slot = ot_kafka_line_take(k, topic)) != OT_NO_SLOT)
        ot_kafka_fail(k, slot, err);
}

/* What stands in line goes with it, so that nothing overtakes. */
void ot_kafka_fail_topic(struct ot_kafka *k, struct ot_kafka_topic *topic,
                         rd_kafka_resp_err_t err)
{
    topic->state = OT_TOPIC_BAD;
    topic->verdict = err;
    ot_kafka_fail_line(k, topic, err);
}

void ot_kafka_ask(struct ot_kafka *k, struct ot_kafka_topic *topic)
{
    if (!topic->asked)
        topic->asked =
            ot_kafka_client_ask(k->client, OT_ASK_NEW, topic->name, topic);
    topic->state = topic->asked ? OT_TOPIC_ASKING : OT_TOPIC_NEW;
}

/* False: the client is full. */
static bool send_line(struct ot_kafka *k, struct ot_kafka_topic *topic)
{
    while (topic->first != OT_NO_SLOT && topic->state == OT_TOPIC_GOOD) {
        rd_kafka_resp_err_t err = ot_kafka_produce_in_turn(k, topic->first);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            ot_kafka_line_take(k, topic);
        } else if (err == RD_KAFKA_RESP_ERR__IN_PROGRESS) {
            return true; /* a report is on the way */
        } else if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && k->with_client > 0) {
            return false;
        } else if (ot_kafka_blames_topic(k, err)) {
            ot_kafka_fail_topic(k, topic, err);
        } else if (err == RD_KAFKA_RESP_ERR__FATAL) {
            return false; /* its error event is on the way */
        } else {
            ot_kafka_fail(k, ot_kafka_line_take(k, topic), err);
        }
    }
    return true;
}

void ot_kafka_flow(struct ot_kafka *k)
{
    struct ot_kafka_topic *waiting = k->topics.waiting;
    bool room = k->client != NULL && !k->draining;
    k->topics.waiting = NULL;
    while (waiting != NULL) {
        struct ot_kafka_topic *topic = waiting;
        waiting = topic->next_waiting;
        if (room && topic->state == OT_TOPIC_NEW && topic->first != OT_NO_SLOT)
            ot_kafka_ask(k, topic);
        if (room)
            room = send_line(k, topic);
        topic->in_waiting = topic->first != OT_NO_SLOT;
        if (topic->in_waiting) {
            topic->next_waiting = k->topics.waiting;
            k->topics.waiting = topic;
        }
    }
}
