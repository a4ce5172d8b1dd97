/* kafka.h - the parts of the Kafka sink, for its own files.
 *
 * An event lives in a slot from submit to its completion. It waits in the line
 * of its topic until the topic is known to be good, then it is with the
 * client. When the client must go (a fatal error, abandon), everything it has
 * is purged, and nothing new is taken until the engine has seen the last
 * completion: so nothing overtakes what must be sent again.
 */
#ifndef OT_SINK_KAFKA_KAFKA_H
#define OT_SINK_KAFKA_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <sys/types.h>

#include "sink/done.h"
#include "sink/kafka/classify.h"
#include "sink/kafka/client.h"
#include "sink/kafka/overrides.h"
#include "sink/kafka/statistics.h"
#include "sink/kafka/trouble.h"
#include "sink/reasons.h"
#include "sink/sink.h"

#define OT_NO_SLOT UINT32_MAX
#define OT_NO_TURN (-1)

struct ot_kafka_slot {
    const struct ot_event *event; /* NULL: free */
    struct ot_kafka_topic *topic;
    uint64_t ticket;
    int64_t fence;
    uint32_t generation; /* of the opaque that goes with the message */
    uint32_t next;       /* in the line of its topic, or free */
    int32_t turn;        /* the partition that it is the first of */
    bool maybe_duplicate;
    bool timed; /* sent with the time of its event */
};

enum ot_kafka_topic_state {
    OT_TOPIC_NEW,    /* nothing known */
    OT_TOPIC_ASKING, /* events wait for the answer */
    OT_TOPIC_GOOD,
    OT_TOPIC_BAD, /* fails everything until the engine has seen it all */
};

struct ot_kafka_topic {
    struct ot_kafka_topic *next_in_bucket;
    struct ot_kafka_topic *newer, *older; /* by use */
    struct ot_kafka_topic *next_waiting;
    bool in_waiting;
    struct ot_slice of; /* the topic of its events; owned */
    char *name;         /* broker-side; owned */
    rd_kafka_topic_t *handle;
    enum ot_kafka_topic_state state;
    bool asked;                  /* an answer will carry its address */
    rd_kafka_resp_err_t verdict; /* why it is BAD, or must be */
    uint32_t first, last;        /* the line */
    uint8_t *partitions; /* what each has taken, see partitions.c; owned */
    int32_t npartitions; /* when it was asked for */
    int32_t unproven;    /* of these */
    size_t with_client;
    uint32_t lone;    /* sent with nothing of its topic beside it, or none */
    int64_t moved_us; /* last report, or first send */
    int64_t stuck_asked_us;
    int64_t too_old_us; /* a time that its broker refused; 0: none */
};

enum { OT_KAFKA_BUCKETS = 1024, OT_KAFKA_TOPICS = 1000, OT_KAFKA_PARTS = 6 };

struct ot_kafka_topics {
    struct ot_kafka_topic *bucket[OT_KAFKA_BUCKETS];
    struct ot_kafka_topic *newest, *oldest;
    struct ot_kafka_topic *waiting; /* have a line */
    size_t n, max;
    bool one_name; /* sink.topic has no ${topic}: all share one */
};

typedef int32_t ot_kafka_partitioner(const rd_kafka_topic_t *, const void *key,
                                     size_t n, int32_t partitions,
                                     void *topic_opaque, void *opaque);

/* The header outtray-order of the last message. */
struct ot_kafka_order {
    int64_t fence, seq;
    uint64_t room; /* what may be added to its last digit is less */
    char text[48];
    size_t n, seq_at; /* seq_at 0: there was none */
};

struct ot_kafka {
    struct ot_sink base;
    const struct ot_log *log;
    struct outtray_conf *conf;
    rd_kafka_conf_t *settings;
    struct ot_kafka_overrides overrides;
    char *hosts;
    bool auto_create;
    ot_kafka_partitioner *partitioner; /* that librdkafka uses for keys */
    struct ot_wake wake;

    struct ot_kafka_client *client; /* NULL: none yet */
    pid_t pid;                      /* that made the client */
    bool draining;                  /* it is purged and must go */
    int64_t not_before_us;          /* next client after a fatal error */
    int64_t fatal_us;               /* the last one */
    rd_kafka_resp_err_t fatal;      /* its cause, until something works */
    int64_t pause_us;
    uint64_t remade;
    unsigned unanswered; /* time-outs of requests, without a success between */

    struct ot_kafka_order order;
    rd_kafka_vu_t message[OT_KAFKA_PARTS]; /* the last one */
    struct ot_kafka_slot *slots;
    uint32_t nslots, free;
    size_t pending;     /* slots in use */
    size_t with_client; /* of these */
    struct ot_kafka_topics topics;

    rd_kafka_event_t *reports; /* being read */
    bool more;                 /* the queue may have more */
    struct ot_done done;       /* completions that no report brings */
    struct ot_reasons reasons;

    int64_t now_us;
    int64_t wall_us;   /* when events were submitted last */
    int64_t looked_us; /* for stuck topics, and whether anybody is there */
    bool alive_asked;
    bool worked; /* anything ever */
    bool down;
    bool down_said; /* in the log */
    int64_t down_since_us;
    struct ot_kafka_trouble trouble; /* text "" if all is well */
    int64_t trouble_since_us;
    bool trouble_said;     /* in the log */
    int64_t token_us;      /* the last time that it was of_token */
    char certificate[160]; /* what is wrong with the last one seen */
    char stuck[200];

    bool measured; /* stats are of this client */
    struct ot_sink_stats stats;
    int64_t throttled_us; /* a broker last held back, 0: none does */
    bool unread_said;     /* in the log */
};

/* topics.c */
struct ot_kafka_topic *ot_kafka_topic(struct ot_kafka *, struct ot_slice of);
void ot_kafka_topics_free(struct ot_kafka_topics *);
void ot_kafka_line_add(struct ot_kafka *, struct ot_kafka_topic *,
                       uint32_t slot);
uint32_t ot_kafka_line_take(struct ot_kafka *, struct ot_kafka_topic *);

/* message.c */
void ot_kafka_message_init(rd_kafka_vu_t message[OT_KAFKA_PARTS]);
/* The slot's event goes to the client, or the error. */
rd_kafka_resp_err_t ot_kafka_produce(struct ot_kafka *, struct ot_kafka_slot *);
uint32_t ot_kafka_slot_of(const struct ot_kafka *, void *opaque);

/* partitions.c */
ot_kafka_partitioner *ot_kafka_partitioner_of(const rd_kafka_conf_t *);
/* A producer begins with so many partitions; false: no memory. */
bool ot_kafka_partitions_set(struct ot_kafka_topic *, int n);
/* As ot_kafka_produce, or _IN_PROGRESS: it has to wait for a report. */
rd_kafka_resp_err_t ot_kafka_produce_in_turn(struct ot_kafka *, uint32_t slot);
void ot_kafka_partition_heard(struct ot_kafka_topic *, int32_t turn,
                              int32_t partition, bool taken);

/* flow.c */
uint32_t ot_kafka_slot_take(struct ot_kafka *, const struct ot_send *,
                            struct ot_kafka_topic *);
void ot_kafka_slot_free(struct ot_kafka *, uint32_t slot);
/* What an error means to an event that has it: what the operator says of it,
 * else ot_kafka_classify. Never NULL. */
const struct ot_kafka_class *ot_kafka_class(const struct ot_kafka *,
                                            rd_kafka_resp_err_t err);
/* Is the topic to blame, so that nothing of it can be sent? */
bool ot_kafka_blames_topic(const struct ot_kafka *, rd_kafka_resp_err_t err);
/* Completes a slot that is not with the client. */
void ot_kafka_fail(struct ot_kafka *, uint32_t slot, rd_kafka_resp_err_t err);
/* All that stands in the line of a topic. */
void ot_kafka_fail_line(struct ot_kafka *, struct ot_kafka_topic *,
                        rd_kafka_resp_err_t err);
void ot_kafka_fail_topic(struct ot_kafka *, struct ot_kafka_topic *,
                         rd_kafka_resp_err_t err);
void ot_kafka_ask(struct ot_kafka *, struct ot_kafka_topic *);
/* Sends what can be sent of the lines. */
void ot_kafka_flow(struct ot_kafka *);
const char *ot_kafka_reason(struct ot_kafka *, const char *topic,
                            rd_kafka_resp_err_t err, const char *said);

/* reports.c */
size_t ot_kafka_take_reports(struct ot_kafka *, struct ot_completion *out,
                             size_t max);
void ot_kafka_take_answers(struct ot_kafka *);
/* Reads errors and logs at the head of the queue up to the first report. */
void ot_kafka_listen(struct ot_kafka *);
/* Purges the client: everything pending completes, then it is retired. */
void ot_kafka_drain(struct ot_kafka *, const char *why);
/* Gives the client to its thread. */
void ot_kafka_retire(struct ot_kafka *, int64_t wait_us);

/* hints.c: warns of a topic that loses or rejects events later. */
void ot_kafka_hint(const struct ot_kafka *, rd_kafka_t *,
                   const struct ot_kafka_ask *topic, int timeout_ms);

/* check.c */
int ot_kafka_check(struct ot_sink *, const char *destination, int timeout_ms,
                   struct outtray_error *err);

#endif
