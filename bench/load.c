/* load.c - commits events by a schedule, and sees when a consumer has them.
 *
 * Event i is due at start + i / rate, whatever became of those before it: a
 * late database or relay makes no pause in what is asked of it, so it cannot
 * hide its delays. Each of so many connections commits every n-th event. One
 * clock for all: the time from the return of the commit to the return of the
 * consumer's poll, and that from the moment the event was due.
 *
 *   load BROKERS TOPIC PGURL INSERT RATE COUNT SKIP CONNECTIONS [direct]
 *
 * INSERT has $1 for the payload. The first SKIP events are not counted. With
 * "direct" the event goes to the broker from here, at once after its commit:
 * the least that the machine, the broker and a consumer need. Prints
 * percentiles in ms.
 */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    const char *url, *insert;
    long count, skip;
    double rate;
    int connections;
    int64_t start_us;
    rd_kafka_t *producer; /* NULL: a relay does it */
    rd_kafka_topic_t *topic;
    _Atomic int64_t *committed_us; /* 0: not yet */
    int64_t *arrived_us;
    atomic_bool failed;
} load;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void sleep_until(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int64_t due_us(long i)
{
    return load.start_us + (int64_t)((double)i * 1e6 / load.rate);
}

/* As a relay sets its own. */
static void open_producer(const char *brokers, const char *topic)
{
    static const char *const settings[][2] = {
        {"enable.idempotence", "true"},
        {"compression.type", "lz4"},
        {"linger.ms", "0"},
        {"socket.nagle.disable", "true"},
        {"message.timeout.ms", "0"},
    };
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text));
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text,
                          sizeof(text));
    load.producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (load.producer == NULL) {
        fprintf(stderr, "load: %s\n", text);
        exit(1);
    }
    load.topic = rd_kafka_topic_new(load.producer, topic, NULL);
}

static void produce(long i, const char *payload)
{
    char key[24];
    int n = snprintf(key, sizeof(key), "k%ld", i % 1000);
    if (rd_kafka_produce(load.topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                         (void *)payload, strlen(payload), key, (size_t)n,
                         NULL) != 0) {
        fprintf(stderr, "load: %s\n", rd_kafka_err2str(rd_kafka_last_error()));
        load.failed = true;
    }
}

static void *writer(void *number)
{
    PGconn *db = PQconnectdb(load.url);
    if (PQstatus(db) != CONNECTION_OK) {
        fprintf(stderr, "load: %s", PQerrorMessage(db));
        load.failed = true;
    }
    PQclear(PQprepare(db, "insert", load.insert, 1, NULL));
    for (long i = (long)(intptr_t)number; i < load.count && !load.failed;
         i += load.connections) {
        char payload[201];
        const char *value = payload;
        int n = snprintf(payload, sizeof(payload), "%012ld", i);
        memset(payload + n, 'x', sizeof(payload) - 1 - (size_t)n);
        payload[sizeof(payload) - 1] = '\0';
        sleep_until(due_us(i));
        PGresult *r = PQexecPrepared(db, "insert", 1, &value, NULL, NULL, 0);
        load.committed_us[i] = now_us();
        if (PQresultStatus(r) != PGRES_COMMAND_OK &&
            PQresultStatus(r) != PGRES_TUPLES_OK) {
            fprintf(stderr, "load: %s", PQerrorMessage(db));
            load.failed = true;
        }
        if (load.producer != NULL)
            produce(i, payload);
        PQclear(r);
    }
    PQfinish(db);
    return NULL;
}

static rd_kafka_t *open_consumer(const char *brokers, const char *topic)
{
    static const char *const settings[][2] = {
        {"group.id", "load"},
        {"enable.auto.commit", "false"},
        {"auto.offset.reset", "earliest"},
        {"fetch.wait.max.ms", "10"},
        {"socket.nagle.disable", "true"},
    };
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(6);
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text));
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text,
                          sizeof(text));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (rk == NULL) {
        fprintf(stderr, "load: %s\n", text);
        exit(1);
    }
    rd_kafka_poll_set_consumer(rk);
    for (int32_t p = 0; p < 6; p++)
        rd_kafka_topic_partition_list_add(list, topic, p)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static long consume(rd_kafka_t *rk, int64_t until_us)
{
    long arrived = 0;
    while (arrived < load.count && now_us() < until_us && !load.failed) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->len >= 12) {
            char digits[13] = {0};
            memcpy(digits, m->payload, 12);
            long i = atol(digits);
            if (i >= 0 && i < load.count && load.arrived_us[i] == 0) {
                load.arrived_us[i] = now_us();
                arrived++;
            }
        }
        rd_kafka_message_destroy(m);
    }
    return arrived;
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void tell(const char *name, int64_t *us, long n)
{
    static const double parts[] = {0.5, 0.99, 0.999};
    static const char *const names[] = {"p50", "p99", "p99_9"};
    qsort(us, (size_t)n, sizeof(*us), compare);
    for (int i = 0; i < 3; i++)
        printf("%s_%s %.3f\n", name, names[i],
               (double)us[(long)((double)(n - 1) * parts[i])] / 1000);
    printf("%s_max %.3f\n", name, (double)us[n - 1] / 1000);
}

static void report(void)
{
    long n = load.count - load.skip;
    int64_t *from_commit = calloc((size_t)n, sizeof(*from_commit));
    int64_t *from_due = calloc((size_t)n, sizeof(*from_due));
    int64_t *insert = calloc((size_t)n, sizeof(*insert));
    for (long i = 0; i < n; i++) {
        int64_t arrived = load.arrived_us[i + load.skip];
        int64_t committed = load.committed_us[i + load.skip];
        /* The consumer may have it before the committer is told. */
        from_commit[i] = arrived > committed ? arrived - committed : 0;
        from_due[i] = arrived - due_us(i + load.skip);
        insert[i] = committed - due_us(i + load.skip);
    }
    tell("commit", from_commit, n);
    tell("due", from_due, n);
    tell("insert", insert, n);
    free(from_commit);
    free(from_due);
    free(insert);
}

int main(int argc, char **argv)
{
    if (argc != 9 && (argc != 10 || strcmp(argv[9], "direct") != 0)) {
        fprintf(stderr, "usage: load BROKERS TOPIC PGURL INSERT RATE COUNT "
                        "SKIP CONNECTIONS [direct]\n");
        return 2;
    }
    load.url = argv[3];
    load.insert = argv[4];
    load.rate = atof(argv[5]);
    load.count = atol(argv[6]);
    load.skip = atol(argv[7]);
    load.connections = atoi(argv[8]);
    load.committed_us = calloc((size_t)load.count, sizeof(*load.committed_us));
    load.arrived_us = calloc((size_t)load.count, sizeof(*load.arrived_us));
    pthread_t *threads = calloc((size_t)load.connections, sizeof(*threads));
    rd_kafka_t *rk = open_consumer(argv[1], argv[2]);
    if (argc == 10)
        open_producer(argv[1], argv[2]);
    consume(rk, now_us() + 1000000); /* it finds its partitions */
    load.start_us = now_us() + 500000;
    for (int i = 0; i < load.connections; i++)
        pthread_create(&threads[i], NULL, writer, (void *)(intptr_t)i);
    long arrived = consume(rk, due_us(load.count) + 30000000);
    for (int i = 0; i < load.connections; i++)
        pthread_join(threads[i], NULL);
    if (load.producer != NULL) {
        rd_kafka_topic_destroy(load.topic);
        rd_kafka_destroy(load.producer);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    if (load.failed || arrived < load.count) {
        fprintf(stderr, "load: %ld of %ld events arrived\n", arrived,
                load.count);
        return 1;
    }
    report();
    return 0;
}
