/* client.c - one producer of librdkafka, and the thread that may wait for it. */
#include "sink/kafka/client.h"

static const int ASK_MS = 500; /* the first try: a stop waits for its end */
static const int ASK_MAX_MS = 8000;
static const int64_t AGAIN_US = 100000;
static const int64_t TOKEN_US = 1000000;
/* A topic that was just made is not known to every broker at once. */
static const int64_t SPREAD_US = 500000;
static const int64_t AUTO_CREATE_US = 5000000;

void ot_kafka_ask_free(struct ot_kafka_ask *ask)
{
    if (ask != NULL)
        ot_free(ask->topic);
    ot_free(ask);
}

static void free_list(struct ot_kafka_ask *ask)
{
    while (ask != NULL) {
        struct ot_kafka_ask *next = ask->next;
        ot_kafka_ask_free(ask);
        ask = next;
    }
}

/* Threads of librdkafka leave the host's signals alone. */
static rd_kafka_t *new_producer(const rd_kafka_conf_t *conf,
                                struct outtray_error *err)
{
    char text[400];
    struct ot_signals s;
    rd_kafka_conf_t *copy = rd_kafka_conf_dup(conf);
    ot_signals_block(&s);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, copy, text, sizeof(text));
    ot_signals_restore(&s);
    if (rk == NULL) {
        rd_kafka_conf_destroy(copy);
        ot_fail(err, OUTTRAY_E_CONF, "kafka: %s", text);
        return NULL;
    }
    /* Tokens are got by librdkafka's own functions, on its own thread: they
     * may wait, and the main queue would hand them to us. */
    rd_kafka_error_destroy(rd_kafka_sasl_background_callbacks_enable(rk));
    return rk;
}

int ot_kafka_client_try(const rd_kafka_conf_t *conf, struct outtray_error *err)
{
    rd_kafka_conf_t *alone = rd_kafka_conf_dup(conf);
    char text[200];
    /* Without servers nothing is connected to. */
    rd_kafka_conf_set(alone, "bootstrap.servers", "", text, sizeof(text));
    struct outtray_error why = {0};
    rd_kafka_t *rk = new_producer(alone, &why);
    rd_kafka_conf_destroy(alone);
    if (rk == NULL) {
        if (err != NULL)
            *err = why;
        return why.code;
    }
    rd_kafka_destroy(rk);
    return 0;
}

static void look_at(struct ot_kafka_ask *ask,
                    const struct rd_kafka_metadata *md)
{
    ask->brokers = md->broker_cnt;
    ask->err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (ask->topic == NULL)
        return;
    ask->err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    for (int i = 0; i < md->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *t = &md->topics[i];
        if (strcmp(t->topic, ask->topic) != 0)
            continue;
        ask->err = t->err;
        ask->partitions = t->partition_cnt;
        for (int j = 0; j < t->partition_cnt; j++) {
            ask->leaderless += t->partitions[j].leader < 0;
            if (j == 0 || t->partitions[j].replica_cnt < ask->replicas)
                ask->replicas = t->partitions[j].replica_cnt;
        }
    }
}

enum finding { KNOWN, TOO_EARLY, NOBODY };

static enum finding find_out(struct ot_kafka_client *c,
                             struct ot_kafka_ask *ask, int timeout_ms)
{
    rd_kafka_topic_t *topic = NULL;
    if (ask->topic != NULL) {
        topic = rd_kafka_topic_new(c->rk, ask->topic, NULL);
        if (topic == NULL) {
            ask->err = rd_kafka_last_error();
            return KNOWN;
        }
    }
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_resp_err_t err =
        rd_kafka_metadata(c->rk, 0, topic, &md, timeout_ms);
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return NOBODY;
    if (ask->first_us == 0)
        ask->first_us = ot_now_us();
    look_at(ask, md);
    rd_kafka_metadata_destroy(md);
    int64_t patience_us = c->auto_create ? AUTO_CREATE_US : SPREAD_US;
    return ask->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
                   ot_now_us() - ask->first_us < patience_us
               ? TOO_EARLY
               : KNOWN;
}

static void append(struct ot_kafka_ask ***end, struct ot_kafka_ask *ask)
{
    ask->next = NULL;
    **end = ask;
    *end = &ask->next;
}

static struct ot_kafka_ask *take_first(struct ot_kafka_ask **list,
                                       struct ot_kafka_ask ***end)
{
    struct ot_kafka_ask *ask = *list;
    if (ask == NULL)
        return NULL;
    *list = ask->next;
    if (*list == NULL)
        *end = list;
    return ask;
}

/* The next question that is due; NULL: waited for one. */
static struct ot_kafka_ask *next_ask(struct ot_kafka_client *c)
{
    struct ot_kafka_ask *ask = take_first(&c->asks, &c->asks_end);
    if (ask != NULL)
        return ask;
    int64_t again_us = c->again != NULL ? c->again->again_us : OT_NEVER;
    int64_t until_us =
        c->watch.path != NULL && c->look_us < again_us ? c->look_us : again_us;
    if (until_us == OT_NEVER)
        pthread_cond_wait(&c->wake, &c->lock);
    else if (until_us > ot_now_us())
        ot_cond_wait_until(&c->wake, &c->lock, until_us);
    else if (until_us == again_us)
        return take_first(&c->again, &c->again_end);
    return NULL;
}

static void look_at_token(struct ot_kafka_client *c)
{
    if (c->watch.path == NULL || ot_now_us() < c->look_us)
        return;
    c->look_us = ot_now_us() + TOKEN_US;
    pthread_mutex_unlock(&c->lock);
    ot_kafka_token_look(&c->watch, c->rk);
    pthread_mutex_lock(&c->lock);
}

/* Asks one question after the other until it is told to stop. */
static void serve(struct ot_kafka_client *c)
{
    int timeout_ms = ASK_MS;
    while (!c->stop) {
        look_at_token(c);
        struct ot_kafka_ask *ask = c->stop ? NULL : next_ask(c);
        if (ask == NULL)
            continue;
        pthread_mutex_unlock(&c->lock);
        enum finding found = find_out(c, ask, timeout_ms);
        /* A slow network needs more than the first try allows. */
        timeout_ms = found != NOBODY ? ASK_MS : timeout_ms * 2;
        if (timeout_ms > ASK_MAX_MS)
            timeout_ms = ASK_MAX_MS;
        ask->again_us = ot_now_us() + AGAIN_US;
        pthread_mutex_lock(&c->lock);
        append(found == KNOWN ? &c->answers_end : &c->again_end, ask);
        if (found == KNOWN && !c->stop)
            ot_wake_up(&c->tell);
    }
}

static void release(struct ot_kafka_client *c)
{
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    ot_kafka_token_watch_end(&c->watch);
    ot_free(c);
}

static void *run(void *arg)
{
    struct ot_kafka_client *c = arg;
    pthread_mutex_lock(&c->lock);
    serve(c);
    pthread_mutex_unlock(&c->lock);
    free_list(c->asks);
    free_list(c->again);
    free_list(c->answers);
    rd_kafka_queue_destroy(c->queue);
    rd_kafka_destroy(c->rk);
    pthread_mutex_lock(&c->lock);
    c->ended = true;
    bool left = c->left;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    if (left)
        release(c);
    return NULL;
}

struct ot_kafka_client *ot_kafka_client_new(const rd_kafka_conf_t *conf,
                                            bool auto_create,
                                            const struct ot_wake *tell,
                                            struct outtray_error *err)
{
    static const uint64_t one = 1;
    struct ot_kafka_client *c = ot_alloc_zero(1, sizeof(*c));
    if (c == NULL) {
        ot_fail_nomem(err);
        return NULL;
    }
    c->asks_end = &c->asks;
    c->again_end = &c->again;
    c->answers_end = &c->answers;
    c->auto_create = auto_create;
    c->tell = *tell;
    if (!ot_kafka_token_watch(&c->watch, conf)) {
        ot_free(c);
        ot_fail_nomem(err);
        return NULL;
    }
    c->rk = new_producer(conf, err);
    if (c->rk == NULL) {
        ot_kafka_token_watch_end(&c->watch);
        ot_free(c);
        return NULL;
    }
    c->queue = rd_kafka_queue_get_main(c->rk);
    rd_kafka_set_log_queue(c->rk, NULL); /* its own: the main one */
    rd_kafka_queue_io_event_enable(c->queue, tell->write_fd, &one, sizeof(one));
    pthread_mutex_init(&c->lock, NULL);
    ot_cond_init(&c->wake);
    if (ot_thread_start(&c->thread, run, c) != 0) {
        rd_kafka_queue_destroy(c->queue);
        rd_kafka_destroy(c->rk);
        release(c);
        ot_fail(err, OUTTRAY_E_NOMEM, "kafka: no thread can be started");
        return NULL;
    }
    return c;
}

bool ot_kafka_client_ask(struct ot_kafka_client *c,
                         enum ot_kafka_purpose purpose, const char *topic,
                         void *tag)
{
    struct ot_kafka_ask *ask = ot_alloc_zero(1, sizeof(*ask));
    if (ask == NULL)
        return false;
    ask->purpose = purpose;
    ask->tag = tag;
    if (topic != NULL && (ask->topic = ot_strdup(topic)) == NULL) {
        ot_free(ask);
        return false;
    }
    pthread_mutex_lock(&c->lock);
    append(&c->asks_end, ask);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    return true;
}

struct ot_kafka_ask *ot_kafka_client_answer(struct ot_kafka_client *c)
{
    pthread_mutex_lock(&c->lock);
    struct ot_kafka_ask *ask = take_first(&c->answers, &c->answers_end);
    pthread_mutex_unlock(&c->lock);
    return ask;
}

void ot_kafka_client_retire(struct ot_kafka_client *c, int64_t wait_us)
{
    int64_t until_us = ot_now_us() + wait_us;
    rd_kafka_queue_io_event_enable(c->queue, -1, NULL, 0);
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->wake);
    while (wait_us > 0 && !c->ended &&
           ot_cond_wait_until(&c->wake, &c->lock, until_us))
        ;
    bool ended = c->ended;
    c->left = !ended;
    if (!ended)
        pthread_detach(c->thread);
    pthread_mutex_unlock(&c->lock);
    if (ended) {
        pthread_join(c->thread, NULL);
        release(c);
    }
}
