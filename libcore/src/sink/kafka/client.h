/* client.h - one producer of librdkafka, and the thread that may wait for it.
 *
 * Two calls of librdkafka block: asking for a topic and destroying the
 * producer. A thread of ours does both. Once a client is retired it belongs to
 * that thread alone, so that whoever retired it need not wait.
 */
#ifndef OT_SINK_KAFKA_CLIENT_H
#define OT_SINK_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>

#include "base/base.h"
#include "sink/kafka/token.h"
#include "sink/thread.h"

struct ot_kafka_client {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* reports, errors, logs */
    bool auto_create;
    struct ot_wake tell;               /* the loop's; not ours to close */
    struct ot_kafka_token_watch watch; /* these two: the thread's alone */
    int64_t look_us;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under lock */
    struct ot_kafka_ask *asks, **asks_end;
    struct ot_kafka_ask *again, **again_end; /* had no answer yet */
    struct ot_kafka_ask *answers, **answers_end;
    bool stop;
    bool left; /* nobody waits for the end: the thread frees */
    bool ended;
};

enum ot_kafka_purpose {
    OT_ASK_NEW,   /* may this topic be produced to? */
    OT_ASK_STUCK, /* why do its events not move? */
    OT_ASK_ALIVE, /* is anybody there? */
};

/* A question about a topic (or the cluster), later its answer. */
struct ot_kafka_ask {
    struct ot_kafka_ask *next;
    enum ot_kafka_purpose purpose;
    void *tag;               /* the caller's */
    rd_kafka_resp_err_t err; /* of the topic; NO_ERROR: it can be used */
    int partitions;
    int leaderless; /* partitions without a leader now */
    int replicas;   /* of the partition that has the fewest */
    int brokers;
    int64_t first_us; /* a broker answered */
    int64_t again_us; /* not before */
    char *topic;      /* NULL: the cluster */
};

/* conf is copied. Reports wake tell. NULL: err says why. */
struct ot_kafka_client *ot_kafka_client_new(const rd_kafka_conf_t *conf,
                                            bool auto_create,
                                            const struct ot_wake *tell,
                                            struct outtray_error *err);

/* The answer comes when a broker gave one: perhaps never. False: no memory. */
bool ot_kafka_client_ask(struct ot_kafka_client *, enum ot_kafka_purpose,
                         const char *topic, void *tag);

/* The next answer, or NULL; free it with ot_kafka_ask_free. */
struct ot_kafka_ask *ot_kafka_client_answer(struct ot_kafka_client *);
void ot_kafka_ask_free(struct ot_kafka_ask *);

/* Destroys the client, waiting for the end of it at most wait_us. Topic
 * handles and events of it must be gone; messages need not. */
void ot_kafka_client_retire(struct ot_kafka_client *, int64_t wait_us);

/* rd_kafka_new and its end, to see whether the settings fit together. */
int ot_kafka_client_try(const rd_kafka_conf_t *conf, struct outtray_error *err);

#endif
