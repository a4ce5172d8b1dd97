/* reports.c - what librdkafka tells: delivery reports, errors, logs; and the
 * answers about topics. */
#include "sink/kafka/kafka.h"
#include "sink/kafka/settings.h"

#include <assert.h>
#include <stdio.h>

/* Between two clients after the second fatal error within a minute. */
static const int64_t PAUSE_US = 1000000;
static const int64_t PAUSE_MAX_US = 30000000;
static const int64_t CALM_US = 60000000;
static const int64_t TOKEN_US = 15000000;
/* Connections that came up and then heard no answer. */
enum { SLOW = 3 };

/* A token that has ended is told, and not that brokers refuse it; librdkafka
 * asks for another one every 10 s. */
static void keep_trouble(struct ot_kafka *k, rd_kafka_resp_err_t err,
                         const char *said)
{
    struct ot_kafka_trouble now;
    ot_kafka_trouble_of(err, said, k->certificate, k->settings, &now);
    if (now.of_token)
        k->token_us = k->now_us;
    else if (err == RD_KAFKA_RESP_ERR__AUTHENTICATION && k->trouble.of_token &&
             k->now_us < k->token_us + TOKEN_US)
        return;
    k->trouble = now;
}

static void note_trouble(struct ot_kafka *k, rd_kafka_resp_err_t err,
                         const char *said)
{
    bool news = k->trouble.text[0] == '\0';
    if (news) {
        k->trouble_since_us = k->now_us;
        k->trouble_said = false;
    }
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || news)
        keep_trouble(k, err, said);
    if ((err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
         err == RD_KAFKA_RESP_ERR__AUTHENTICATION) &&
        !k->down) {
        k->down = true;
        k->down_since_us = k->now_us;
    }
}

static void note_alive(struct ot_kafka *k)
{
    if (k->down && k->down_said) {
        char text[32];
        ot_log(k->log, OT_INFO, "kafka", "%s answers again after %s", k->hosts,
               ot_duration_text(k->now_us - k->down_since_us, text));
    }
    k->down = false;
    k->down_said = false;
    k->worked = true;
    k->trouble.text[0] = '\0';
    k->certificate[0] = '\0';
}

static void reset_topics(struct ot_kafka *k)
{
    for (struct ot_kafka_topic *t = k->topics.newest; t != NULL; t = t->older) {
        if (t->handle != NULL)
            rd_kafka_topic_destroy(t->handle);
        t->handle = NULL;
        t->state = OT_TOPIC_NEW;
        t->asked = false;
        t->verdict = RD_KAFKA_RESP_ERR_NO_ERROR;
        t->lone = OT_NO_SLOT;
    }
}

/* What is purged is purged because of its topic, or of a fatal error. */
static rd_kafka_resp_err_t purge_cause(const struct ot_kafka *k,
                                       const struct ot_kafka_topic *topic,
                                       rd_kafka_resp_err_t purged)
{
    if (topic->verdict != RD_KAFKA_RESP_ERR_NO_ERROR)
        return topic->verdict;
    return k->fatal != RD_KAFKA_RESP_ERR_NO_ERROR &&
                   ot_kafka_is_outage(k->fatal)
               ? k->fatal
               : purged;
}

void ot_kafka_drain(struct ot_kafka *k, const char *why)
{
    if (k->client == NULL || k->draining)
        return;
    ot_log(k->log, OT_DEBUG, "kafka", "the producer goes: %s", why);
    k->draining = true;
    k->more = true;
    for (struct ot_kafka_topic *t = k->topics.newest; t != NULL; t = t->older) {
        ot_kafka_fail_line(k, t,
                           purge_cause(k, t, RD_KAFKA_RESP_ERR__PURGE_QUEUE));
    }
    rd_kafka_purge(k->client->rk, RD_KAFKA_PURGE_F_QUEUE |
                                      RD_KAFKA_PURGE_F_INFLIGHT |
                                      RD_KAFKA_PURGE_F_NON_BLOCKING);
}

void ot_kafka_retire(struct ot_kafka *k, int64_t wait_us)
{
    if (k->client == NULL)
        return;
    if (k->reports != NULL)
        rd_kafka_event_destroy(k->reports);
    k->reports = NULL;
    k->more = false;
    k->draining = false;
    k->alive_asked = false;
    k->measured = false;
    reset_topics(k);
    ot_kafka_client_retire(k->client, wait_us);
    k->client = NULL;
    ot_wake_clear(&k->wake);
}

/* A producer with a fatal error does nothing any more: it goes, and the next
 * one is made when the engine has seen what became of its events. */
static void on_fatal(struct ot_kafka *k)
{
    char text[300] = "";
    rd_kafka_resp_err_t err =
        rd_kafka_fatal_error(k->client->rk, text, sizeof(text));
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR || k->draining)
        return;
    bool news = k->fatal != err;
    bool often = k->fatal_us != 0 && k->now_us < k->fatal_us + CALM_US;
    k->pause_us = !often ? 0 : k->pause_us == 0 ? PAUSE_US : k->pause_us * 2;
    if (k->pause_us > PAUSE_MAX_US)
        k->pause_us = PAUSE_MAX_US;
    k->fatal_us = k->now_us;
    k->not_before_us = k->now_us + k->pause_us;
    k->remade++;
    k->fatal = err;
    ot_log(k->log, news ? OT_WARN : OT_DEBUG, "kafka",
           "the producer failed for good and is made anew (%llu times so "
           "far): %s (%s)",
           (unsigned long long)k->remade, text, rd_kafka_err2name(err));
    ot_kafka_drain(k, "fatal error");
}

/* A broker that took the connection, and three times in a row did not answer a
 * request in time, may be slow, and would never get to an answer. One that
 * answers nothing at all is not meant: to it there is no connection, and no
 * event is sent. */
static void slow_broker(struct ot_kafka *k)
{
    if (k->draining || ++k->unanswered < SLOW)
        return;
    k->unanswered = 0;
    if (!ot_kafka_wait_longer(k->settings))
        return;
    char *ms = ot_kafka_setting(k->settings, "socket.timeout.ms");
    char *bytes = ot_kafka_setting(k->settings, "batch.size");
    ot_log(k->log, OT_WARN, "kafka",
           "%s connects and does not answer in time: from now on "
           "kafka.socket.timeout.ms is %s and kafka.batch.size %s",
           k->hosts, ms != NULL ? ms : "?", bytes != NULL ? bytes : "?");
    ot_free(ms);
    ot_free(bytes);
    ot_kafka_drain(k, "a slow broker");
}

static void on_log(struct ot_kafka *k, rd_kafka_event_t *event)
{
    const char *facility, *text;
    int level;
    if (rd_kafka_event_log(event, &facility, &text, &level) != 0)
        return;
    /* Its error events will not do: of alike ones it keeps most to itself. */
    if (strstr(text, ": Timed out ProduceRequest in flight") != NULL &&
        strstr(text, "timeout #0)") != NULL)
        slow_broker(k);
    ot_kafka_trouble_certificate(text, k->certificate, sizeof(k->certificate));
    ot_log(k->log, OT_DEBUG, "kafka", "%s: %s", facility, text);
}

/* Everything but reports. */
static void on_event(struct ot_kafka *k, rd_kafka_event_t *event)
{
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG) {
        on_log(k, event);
    } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
        if (rd_kafka_event_error_is_fatal(event))
            on_fatal(k);
        else
            note_trouble(k, rd_kafka_event_error(event),
                         rd_kafka_event_error_string(event));
    } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_STATS) {
        ot_kafka_measured(k, rd_kafka_event_stats(event));
    }
    rd_kafka_event_destroy(event);
}

void ot_kafka_listen(struct ot_kafka *k)
{
    while (k->client != NULL && k->reports == NULL && k->more) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(k->client->queue, 0);
        if (event == NULL)
            k->more = false; /* the next one wakes us */
        else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            k->reports = event;
        else
            on_event(k, event);
    }
}

static const rd_kafka_message_t *next_report(struct ot_kafka *k)
{
    for (;;) {
        if (k->reports == NULL)
            ot_kafka_listen(k);
        if (k->reports == NULL)
            return NULL;
        const rd_kafka_message_t *m = rd_kafka_event_message_next(k->reports);
        if (m != NULL)
            return m;
        rd_kafka_event_destroy(k->reports);
        k->reports = NULL;
    }
}

static const char *said_of(const rd_kafka_message_t *m)
{
#if RD_KAFKA_VERSION >= 0x020400ff
    return rd_kafka_message_produce_errstr(m);
#else
    (void)m;
    return NULL;
#endif
}

static void classify(struct ot_kafka *k, const rd_kafka_message_t *m,
                     struct ot_kafka_topic *topic, bool was_alone,
                     struct ot_completion *out)
{
    rd_kafka_resp_err_t err = m->err;
    bool purged = err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
                  err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
    if (purged)
        err = purge_cause(k, topic, err);
    const struct ot_kafka_class *c = ot_kafka_class(k, err);
    out->outcome = c->outcome;
    out->scope = c->scope;
    out->native_code = err;
    out->maybe_persisted =
        rd_kafka_message_status(m) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    if (out->maybe_persisted && out->outcome == OT_UNAVAILABLE)
        out->outcome = OT_UNKNOWN;
    if (out->scope == OT_ITS_BATCH && was_alone)
        out->scope = OT_THIS_EVENT;
    out->reason = ot_kafka_reason(k, topic->name, err, said_of(m));
    if (ot_kafka_blames_topic(k, err) && topic->state != OT_TOPIC_BAD)
        ot_kafka_fail_topic(k, topic, err);
    if (err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT &&
        topic->state == OT_TOPIC_GOOD)
        topic->state = OT_TOPIC_NEW; /* ask for the true cause */
}

/* An event that is refused for its time goes once more, with that of now; so do
 * those that are not younger, from then on. */
static bool too_old(struct ot_kafka *k, const struct ot_kafka_slot *s,
                    rd_kafka_resp_err_t err, struct ot_completion *out)
{
    struct ot_kafka_topic *topic = s->topic;

    if (err != RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP || !s->timed ||
        ot_kafka_override(&k->overrides, err) != NULL)
        return false;
    if (topic->too_old_us == 0)
        ot_log(k->log, OT_INFO, "kafka",
               "topic %s refuses the times of events "
               "(message.timestamp.before.max.ms): such events are sent with "
               "the time of now",
               topic->name);
    if (s->event->created_us > topic->too_old_us)
        topic->too_old_us = s->event->created_us;
    out->outcome = OT_UNKNOWN;
    out->scope = OT_THIS_EVENT;
    out->native_code = err;
    out->reason = "kafka: refused for its time (INVALID_TIMESTAMP): sent again "
                  "with the time of now";
    return true;
}

/* Success without an offset: the broker said DUPLICATE_SEQUENCE_NUMBER, which
 * librdkafka takes for "it is there". On a partition whose leader has just
 * come up it need not be: the first batch is refused, the one behind it is
 * taken, and the first one's repeat then looks like an old one. Seen with Kafka
 * 4.3.1: the event was nowhere. So it proves nothing, and is sent again.
 * partitions.c keeps it from events with a key. */
static void doubt(struct ot_completion *out)
{
    out->outcome = OT_UNKNOWN;
    out->scope = OT_THIS_EVENT;
    out->maybe_persisted = true;
    out->native_code = RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
    out->reason = "kafka: acknowledged as a copy without saying of what "
                  "(DUPLICATE_SEQUENCE_NUMBER): sent again to be sure";
}

/* What stands in line goes back as well, or it would overtake. */
static void doubt_line(struct ot_kafka *k, struct ot_kafka_topic *topic)
{
    uint32_t slot;
    while ((slot = ot_kafka_line_take(k, topic)) != OT_NO_SLOT) {
        struct ot_completion c = {.ticket = k->slots[slot].ticket};
        doubt(&c);
        c.maybe_persisted = false;
        ot_done_push(&k->done, &c);
        ot_kafka_slot_free(k, slot);
    }
}

size_t ot_kafka_take_reports(struct ot_kafka *k, struct ot_completion *out,
                             size_t max)
{
    size_t n = 0;
    bool delivered = false;
    const rd_kafka_message_t *m;
    while (n < max && (m = next_report(k)) != NULL) {
        uint32_t slot = ot_kafka_slot_of(k, m->_private);
        assert(slot != OT_NO_SLOT); /* one report per message [INV-7] */
        if (slot == OT_NO_SLOT)
            continue;
        const struct ot_kafka_slot *s = &k->slots[slot];
        struct ot_kafka_topic *topic = s->topic;
        bool was_alone = topic->lone == slot;
        topic->with_client--;
        topic->moved_us = k->now_us;
        if (was_alone)
            topic->lone = OT_NO_SLOT;
        k->with_client--;
        struct ot_completion *c = &out[n++];
        *c = (struct ot_completion){.ticket = s->ticket};
        bool taken = m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->offset >= 0;
        if (topic->unproven > 0)
            ot_kafka_partition_heard(topic, s->turn, m->partition, taken);
        if (taken) {
            delivered = true;
        } else if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            doubt(c);
            doubt_line(k, topic);
        } else if (!too_old(k, &k->slots[slot], m->err, c)) {
            classify(k, m, topic, was_alone, c);
        }
        ot_kafka_slot_free(k, slot);
    }
    if (delivered) {
        k->unanswered = 0;
        note_alive(k);
        k->fatal = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    return n;
}

static void on_new(struct ot_kafka *k, struct ot_kafka_topic *topic,
                   const struct ot_kafka_ask *answer)
{
    if (ot_kafka_classify(answer->err)->outcome == OT_MISCONFIGURED) {
        ot_kafka_fail_topic(k, topic, answer->err);
        return;
    }
    if (topic->handle == NULL)
        topic->handle = rd_kafka_topic_new(k->client->rk, topic->name, NULL);
    if (topic->handle == NULL)
        ot_kafka_fail_topic(k, topic, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION);
    else if (!ot_kafka_partitions_set(topic, answer->partitions))
        ot_kafka_fail_topic(k, topic, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE);
    else
        topic->state = OT_TOPIC_GOOD;
}

/* Without a local time-out librdkafka keeps events for ever if the right to
 * see their topic was taken away: then the client must go. */
static void on_stuck(struct ot_kafka *k, struct ot_kafka_topic *topic,
                     const struct ot_kafka_ask *answer)
{
    if (topic->with_client == 0)
        return;
    if (ot_kafka_classify(answer->err)->outcome == OT_MISCONFIGURED) {
        topic->verdict = answer->err;
        ot_kafka_drain(k, "a topic is refused");
    } else if (answer->leaderless > 0) {
        snprintf(k->stuck, sizeof(k->stuck),
                 "topic %.100s: %d of %d partitions have no leader: look at "
                 "the brokers",
                 topic->name, answer->leaderless, answer->partitions);
    }
}

void ot_kafka_take_answers(struct ot_kafka *k)
{
    struct ot_kafka_ask *answer;
    while (k->client != NULL && !k->draining &&
           (answer = ot_kafka_client_answer(k->client)) != NULL) {
        struct ot_kafka_topic *topic = answer->tag;
        note_alive(k);
        if (topic == NULL)
            k->alive_asked = false;
        else
            topic->asked = false;
        if (topic != NULL && topic->state == OT_TOPIC_ASKING)
            on_new(k, topic, answer);
        else if (topic != NULL && answer->purpose == OT_ASK_STUCK)
            on_stuck(k, topic, answer);
        ot_kafka_ask_free(answer);
    }
}
