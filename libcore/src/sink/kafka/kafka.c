/* kafka.c - events to Kafka. OK means that all in-sync replicas have it. */
#include "sink/kafka/kafka.h"
#include "sink/builtin.h"
#include "sink/kafka/settings.h"

#include <stdio.h>
#include <unistd.h>

static const int64_t LOOK_US = 1000000;
static const int64_t SAY_US = 2000000; /* idle connections come and go */
static const int64_t STUCK_US = 5000000;
static const int64_t STUCK_AGAIN_US = 10000000;
static const int64_t CLOSE_DRAIN_US = 500000;
static const int64_t CLOSE_US = 900000;

static struct ot_kafka *self(struct ot_sink *sink)
{
    return (struct ot_kafka *)sink;
}

static void release(struct ot_kafka *k)
{
    ot_kafka_topics_free(&k->topics);
    if (k->settings != NULL)
        rd_kafka_conf_destroy(k->settings);
    if (k->wake.read_fd >= 0)
        ot_wake_close(&k->wake);
    ot_done_free(&k->done);
    ot_reasons_forget(&k->reasons);
    outtray_conf_free(k->conf);
    ot_kafka_overrides_free(&k->overrides);
    ot_free(k->slots);
    ot_free(k->hosts);
    ot_free(k);
}

/* A child of a fork must not share its parent's. */
static bool renew_wake(struct ot_kafka *k)
{
    if (k->wake.read_fd >= 0)
        ot_wake_close(&k->wake);
    k->pid = getpid();
    return ot_wake_open(&k->wake) == 0;
}

static int make_slots(struct ot_kafka *k, int64_t n, struct outtray_error *err)
{
    k->nslots = (uint32_t)(n < 1 ? 1 : n);
    k->slots = ot_alloc_zero(k->nslots, sizeof(*k->slots));
    if (k->slots == NULL || !ot_done_reserve(&k->done, k->nslots + 1))
        return ot_fail_nomem(err);
    for (uint32_t i = 0; i < k->nslots; i++)
        k->slots[i].next = i + 1 < k->nslots ? i + 1 : OT_NO_SLOT;
    return 0;
}

static int set_up(struct ot_kafka *k, const struct ot_url *url,
                  struct outtray_error *err)
{
    if (url->hosts[0] == '\0')
        return ot_fail(err, OUTTRAY_E_URL,
                       "sink.url names no broker: write "
                       "kafka://host:port,host:port");
    if (url->path[0] != '\0' && strcmp(url->path, "/") != 0)
        return ot_fail(err, OUTTRAY_E_URL,
                       "sink.url: \"%s\" after the hosts: the broker's topic "
                       "is set by sink.topic",
                       url->path);
    if ((k->hosts = ot_strdup(url->hosts)) == NULL)
        return ot_fail_nomem(err);
    int code = ot_kafka_overrides_read(
        &k->overrides, ot_conf_text(k->conf, "sink.classify"), err);
    if (code == 0)
        code = ot_kafka_settings(&k->settings, k->conf, url, err);
    if (code == 0)
        code = ot_kafka_client_try(k->settings, err);
    if (code != 0)
        return code;
    char *create = ot_kafka_setting(k->settings, "allow.auto.create.topics");
    k->auto_create = create != NULL && strcmp(create, "true") == 0;
    ot_free(create);
    k->partitioner = ot_kafka_partitioner_of(k->settings);
    return make_slots(k, ot_conf_int(k->conf, "relay.window_events"), err);
}

static int kafka_open(struct ot_sink **out, const struct outtray_conf *conf,
                      const struct ot_log *log, struct outtray_error *err)
{
    *out = NULL;
    struct ot_url url;
    int code = ot_url_parse(ot_conf_secret(conf, "sink.url"), &url, err);
    if (code != 0)
        return ot_fail_context(err, code, "sink.url");
    struct ot_kafka *k = ot_alloc_zero(1, sizeof(*k));
    if (k == NULL) {
        ot_url_free(&url);
        return ot_fail_nomem(err);
    }
    k->base.ops = &ot_sink_kafka;
    k->log = log;
    k->wake = (struct ot_wake){-1, -1};
    k->free = 0;
    ot_kafka_message_init(k->message);
    k->conf = outtray_conf_copy(conf);
    const char *form = ot_conf_text(conf, "sink.topic");
    k->topics.max = OT_KAFKA_TOPICS;
    k->topics.one_name =
        form != NULL && *form != '\0' && strstr(form, "${topic}") == NULL;
    if (k->conf == NULL)
        code = ot_fail_nomem(err);
    else if (!renew_wake(k))
        code = ot_fail(err, OUTTRAY_E_IO, "kafka: " OT_NO_WAKE);
    else
        code = set_up(k, &url, err);
    ot_url_free(&url);
    if (code != 0) {
        release(k);
        return code;
    }
    *out = &k->base;
    return 0;
}

static bool forked(const struct ot_kafka *k)
{
    return k->client != NULL && k->pid != getpid();
}

/* A purged client goes once the engine has seen the last of its events. */
static bool drained(struct ot_kafka *k)
{
    if (!k->draining)
        return true;
    if (k->pending > 0 || k->done.n > 0)
        return false;
    ot_kafka_retire(k, 0);
    return true;
}

/* Why nothing can be sent now; NULL: it can. */
static const char *refusal(struct ot_kafka *k, int64_t *retry_after_us)
{
    *retry_after_us = 0;
    if (forked(k))
        return "kafka: the sink was used before this process forked: open it "
               "in the child";
    if (k->client != NULL)
        return NULL;
    if (k->now_us < k->not_before_us) {
        *retry_after_us = k->not_before_us - k->now_us;
        return ot_kafka_reason(k, NULL, k->fatal, NULL);
    }
    struct outtray_error err = {0};
    if (k->pid != getpid() && !renew_wake(k))
        return "kafka: " OT_NO_WAKE;
    k->client =
        ot_kafka_client_new(k->settings, k->auto_create, &k->wake, &err);
    if (k->client == NULL)
        return ot_reason(&k->reasons, err.text);
    k->more = true;
    return NULL;
}

static void refuse(struct ot_kafka *k, uint64_t ticket, const char *why,
                   int64_t retry_after_us)
{
    struct ot_completion c = {
        .ticket = ticket,
        .outcome = OT_UNAVAILABLE,
        .scope = OT_THE_SINK,
        .retry_after_us = retry_after_us,
        .reason = why,
    };
    ot_done_push(&k->done, &c);
}

enum step { TAKEN, FAILED, FULL };

/* Its topic is not known to be good, or others wait for it already. */
static enum step wait_in_line(struct ot_kafka *k, struct ot_kafka_topic *topic,
                              uint32_t slot)
{
    if (topic->state == OT_TOPIC_BAD) {
        ot_kafka_fail(k, slot, topic->verdict);
        return FAILED;
    }
    if (topic->state == OT_TOPIC_NEW)
        ot_kafka_ask(k, topic);
    ot_kafka_line_add(k, topic, slot);
    return TAKEN;
}

/* One event: into its line, to the client, or failed at once. */
static enum step submit_one(struct ot_kafka *k, const struct ot_send *send)
{
    struct ot_kafka_topic *topic = ot_kafka_topic(k, send->event->topic);
    if (topic == NULL) {
        if (k->pending > 0 || k->done.n > 0)
            return FULL;
        refuse(k, send->ticket, "kafka: out of memory", 0);
        return FAILED;
    }
    if (topic->state == OT_TOPIC_BAD && topic->with_client == 0 &&
        k->done.n == 0)
        topic->state = OT_TOPIC_NEW; /* the engine knows: look again */
    uint32_t slot = ot_kafka_slot_take(k, send, topic);
    if (slot == OT_NO_SLOT)
        return FULL;
    if (topic->first != OT_NO_SLOT || topic->state != OT_TOPIC_GOOD)
        return wait_in_line(k, topic, slot);
    /* No turns once all partitions have taken something. */
    rd_kafka_resp_err_t err = topic->unproven == 0
                                  ? ot_kafka_produce(k, &k->slots[slot])
                                  : ot_kafka_produce_in_turn(k, slot);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return TAKEN;
    if (err == RD_KAFKA_RESP_ERR__IN_PROGRESS) {
        ot_kafka_line_add(k, topic, slot);
        return TAKEN;
    }
    if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && k->with_client > 0) {
        ot_kafka_slot_free(k, slot);
        return FULL;
    }
    if (ot_kafka_blames_topic(k, err))
        ot_kafka_fail_topic(k, topic, err);
    ot_kafka_fail(k, slot, err);
    return FAILED;
}

static size_t kafka_submit(struct ot_sink *sink, const struct ot_send *sends,
                           size_t n)
{
    struct ot_kafka *k = self(sink);
    k->now_us = ot_now_us();
    k->wall_us = ot_wall_us();
    if (n == 0 || (!forked(k) && !drained(k)))
        return 0;
    if (k->pending + k->done.n >= k->nslots)
        return 0;
    int64_t retry_after_us;
    const char *why = refusal(k, &retry_after_us);
    if (why != NULL) {
        refuse(k, sends[0].ticket, why, retry_after_us);
        return 1;
    }
    size_t room = k->nslots - k->pending - k->done.n;
    if (n > room)
        n = room;
    for (size_t i = 0; i < n; i++) {
        enum step step = submit_one(k, &sends[i]);
        if (step != TAKEN)
            return step == FULL ? i : i + 1;
    }
    return n;
}

static bool untold(const struct ot_kafka *k)
{
    return k->trouble.text[0] != '\0' && !k->trouble_said;
}

/* Topics whose events do not move, and brokers that may be back. */
static void look(struct ot_kafka *k)
{
    if (k->now_us < k->looked_us + LOOK_US)
        return;
    k->looked_us = k->now_us;
    k->stuck[0] = k->with_client == 0 ? '\0' : k->stuck[0];
    for (struct ot_kafka_topic *t = k->topics.newest; t != NULL; t = t->older) {
        if (t->with_client == 0 || t->asked ||
            k->now_us < t->moved_us + STUCK_US ||
            k->now_us < t->stuck_asked_us + STUCK_AGAIN_US)
            continue;
        t->stuck_asked_us = k->now_us;
        t->asked = ot_kafka_client_ask(k->client, OT_ASK_STUCK, t->name, t);
    }
    if (k->down && !k->down_said && k->now_us > k->down_since_us + SAY_US) {
        k->down_said = true;
        k->trouble_said = true;
        ot_log(k->log, OT_WARN, "kafka", "no broker of %s can be used: %s",
               k->hosts, k->trouble.text);
    }
    if (!k->down && untold(k) && k->now_us > k->trouble_since_us + SAY_US) {
        k->trouble_said = true;
        ot_log(k->log, OT_INFO, "kafka", "%s", k->trouble.text);
    }
    if (k->down && !k->alive_asked)
        k->alive_asked =
            ot_kafka_client_ask(k->client, OT_ASK_ALIVE, NULL, NULL);
}

static int64_t kafka_service(struct ot_sink *sink, int64_t now_us)
{
    struct ot_kafka *k = self(sink);
    if (k->client == NULL || forked(k))
        return k->done.n > 0 ? now_us : OT_NEVER;
    k->now_us = now_us;
    ot_wake_clear(&k->wake);
    k->more = true;
    ot_kafka_listen(k);
    ot_kafka_take_answers(k);
    if (drained(k) && k->client != NULL && !k->draining) {
        ot_kafka_flow(k);
        look(k);
    }
    if (k->reports != NULL || k->done.n > 0)
        return now_us;
    if (k->client == NULL || (k->pending == 0 && !k->down && !untold(k)))
        return OT_NEVER;
    return now_us + LOOK_US;
}

static size_t kafka_fds(const struct ot_sink *sink, struct ot_fd *out,
                        size_t max)
{
    const struct ot_kafka *k = (const struct ot_kafka *)sink;
    if (max == 0)
        return 0;
    out[0] = (struct ot_fd){
        .fd = k->wake.read_fd, .read = true, .generation = (uint32_t)k->pid};
    return 1;
}

static size_t kafka_completions(struct ot_sink *sink, struct ot_completion *out,
                                size_t max)
{
    struct ot_kafka *k = self(sink);
    size_t n = 0;
    if (k->done.n == 0)
        ot_reasons_forget(&k->reasons);
    if (forked(k))
        return ot_done_take(&k->done, out, max);
    if (k->client != NULL) {
        n = ot_kafka_take_reports(k, out, max);
        if (!k->draining && k->topics.waiting != NULL)
            ot_kafka_flow(k);
    }
    n += ot_done_take(&k->done, out + n, max - n);
    drained(k);
    return n;
}

static void kafka_abandon(struct ot_sink *sink)
{
    struct ot_kafka *k = self(sink);
    if (forked(k))
        return;
    k->now_us = ot_now_us();
    if (k->pending > 0)
        ot_kafka_drain(k, "abandoned");
}

static void kafka_health(const struct ot_sink *sink, struct ot_health *out)
{
    const struct ot_kafka *k = (const struct ot_kafka *)sink;
    *out = (struct ot_health){.in_flight = k->pending};
    int64_t moved_us = OT_NEVER;
    for (const struct ot_kafka_topic *t = k->topics.newest; t != NULL;
         t = t->older)
        if (t->with_client > 0 && t->moved_us < moved_us)
            moved_us = t->moved_us;
    int64_t still_us = moved_us == OT_NEVER ? 0 : ot_now_us() - moved_us;
    if (k->down) {
        out->state = OT_HEALTH_DOWN;
        snprintf(out->reason, sizeof(out->reason), "%s", k->trouble.text);
    } else if (still_us > STUCK_US) {
        const char *why = k->stuck[0] != '\0' ? k->stuck : k->trouble.text;
        char text[32];
        out->state = OT_HEALTH_DEGRADED;
        snprintf(out->reason, sizeof(out->reason), "no answer for %s%s%.150s",
                 ot_duration_text(still_us, text), why[0] != '\0' ? ": " : "",
                 why);
    } else if (k->trouble.text[0] != '\0') {
        out->state = OT_HEALTH_DEGRADED;
        snprintf(out->reason, sizeof(out->reason), "%s", k->trouble.text);
    } else {
        out->state = k->worked ? OT_HEALTH_UP : OT_HEALTH_UNKNOWN;
    }
}

static bool kafka_stats(const struct ot_sink *sink, struct ot_sink_stats *out)
{
    const struct ot_kafka *k = (const struct ot_kafka *)sink;
    if (k->measured)
        *out = k->stats;
    return k->measured;
}

/* Reports that nobody asks for any more: they free the messages, so that no
 * thread of librdkafka looks at a payload after close. */
static void drain_for_close(struct ot_kafka *k, int64_t until_us)
{
    struct ot_completion waste[64];
    ot_kafka_drain(k, "closed");
    while (k->with_client > 0 && ot_now_us() < until_us) {
        rd_kafka_event_t *event =
            k->reports != NULL ? NULL
                               : rd_kafka_queue_poll(k->client->queue, 20);
        if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            k->reports = event;
        else if (event != NULL)
            rd_kafka_event_destroy(event);
        k->more = true;
        ot_kafka_take_reports(k, waste, OT_COUNT(waste));
    }
}

static void kafka_close(struct ot_sink *sink)
{
    struct ot_kafka *k = self(sink);
    int64_t now_us = ot_now_us();
    if (forked(k)) {
        /* Nothing of librdkafka may be touched in a child: it is left. */
        k->topics = (struct ot_kafka_topics){0};
    } else if (k->client != NULL) {
        drain_for_close(k, now_us + CLOSE_DRAIN_US);
        ot_kafka_retire(k, now_us + CLOSE_US - ot_now_us());
    }
    release(k);
}

const struct ot_sink_ops ot_sink_kafka = {
    .abi = OT_SINK_ABI,
    .caps = OT_SINK_ORDERED | OT_SINK_BATCHES | OT_SINK_CHECKS,
    .scheme = "kafka",
    .open = kafka_open,
    .submit = kafka_submit,
    .service = kafka_service,
    .fds = kafka_fds,
    .completions = kafka_completions,
    .abandon = kafka_abandon,
    .check = ot_kafka_check,
    .health = kafka_health,
    .close = kafka_close,
    .stats = kafka_stats,
};
