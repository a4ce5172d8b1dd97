/* bare_producer.c - what librdkafka alone does with the events of `./dev
 * bench drain`: the floor that the relay is compared with. Same settings of
 * the client, topic handles, keys and payload sizes as the relay's; the
 * messages are made in memory. With "headers" each has the three that the
 * relay gives it, of the same length.
 *
 *   bare_producer BROKERS TOPIC COUNT SIZE KEYS plain|headers
 */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOL = 8 << 20 }; /* larger than lz4's window, so nothing repeats */

struct reports {
    long ok;
    long failed;
};

static void report(rd_kafka_t *rk, const rd_kafka_message_t *message,
                   void *opaque)
{
    struct reports *reports = opaque;
    (void)rk;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        reports->failed++;
    else
        reports->ok++;
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) ==
        RD_KAFKA_CONF_OK)
        return 0;
    fprintf(stderr, "bare_producer: %s: %s\n", name, text);
    return -1;
}

static rd_kafka_t *producer_new(const char *brokers, struct reports *reports)
{
    static const char *const settings[][2] = {
        {"enable.idempotence", "true"},
        {"compression.type", "lz4"},
        {"linger.ms", "0"},
        {"socket.nagle.disable", "true"},
        {"partitioner", "murmur2_random"},
        {"message.timeout.ms", "0"},
    };
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = set(conf, "bootstrap.servers", brokers);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        rc |= set(conf, settings[i][0], settings[i][1]);
    rd_kafka_conf_set_dr_msg_cb(conf, report);
    rd_kafka_conf_set_opaque(conf, reports);
    rd_kafka_t *rk = NULL;
    if (rc == 0)
        rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (rk == NULL) {
        fprintf(stderr, "bare_producer: %s\n", rc == 0 ? text : "settings");
        rd_kafka_conf_destroy(conf);
    }
    return rk;
}

/* Hexadecimal noise, which compresses about as well as small JSON does. */
static char *filler(size_t n)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    char *pool = malloc(n);
    for (size_t i = 0; pool != NULL && i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        pool[i] = "0123456789abcdef"[state & 15];
    }
    return pool;
}

/* Ids that differ as those of the relay do. */
static rd_kafka_headers_t *headers_of(long i)
{
    char id[40], order[40];
    uint64_t low = ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    snprintf(id, sizeof(id), "01980000-%04x-7%03x-8%03x-%012" PRIx64,
             (unsigned)(i >> 12 & 0xffff), (unsigned)(i & 0xfff),
             (unsigned)(low >> 52), low & 0xffffffffffffu);
    snprintf(order, sizeof(order), "1.%ld", i + 1);
    rd_kafka_header_add(headers, "id", -1, id, -1);
    rd_kafka_header_add(headers, "outtray-order", -1, order, -1);
    rd_kafka_header_add(headers, "type", -1, "order.created", -1);
    return headers;
}

/* The payload is not copied: it stays until the report is here. */
static rd_kafka_resp_err_t send_one(rd_kafka_t *rk, rd_kafka_topic_t *topic,
                                    char *value, size_t size, long i, long keys,
                                    bool with_headers)
{
    char key[32];
    size_t n = (size_t)snprintf(key, sizeof(key), "k%ld", i % keys);
    if (!with_headers) {
        if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, 0, value, size, key,
                             n, NULL) == 0)
            return RD_KAFKA_RESP_ERR_NO_ERROR;
        return rd_kafka_last_error();
    }
    rd_kafka_headers_t *headers = headers_of(i);
    rd_kafka_resp_err_t err =
        rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_KEY(key, n),
                          RD_KAFKA_V_MSGFLAGS(0), RD_KAFKA_V_VALUE(value, size),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return err;
}

static int produce(rd_kafka_t *rk, const char *name, long count, size_t size,
                   long keys, bool with_headers)
{
    char *pool = filler(POOL + size);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    int rc = pool == NULL || topic == NULL ? -1 : 0;
    for (long i = 0; rc == 0 && i < count; i++) {
        char *value = pool + (size_t)i * size % POOL;
        while ((err = send_one(rk, topic, value, size, i, keys,
                               with_headers)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(rk, 10);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            rc = -1;
        if ((i & 255) == 0)
            rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, 60000) != 0)
        return -1; /* what is still under way points into the pool */
    if (topic != NULL)
        rd_kafka_topic_destroy(topic);
    free(pool); /* every report is here: nothing is copied, nothing pending */
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: bare_producer BROKERS TOPIC COUNT SIZE KEYS "
                        "plain|headers\n");
        return 2;
    }
    struct reports reports = {0, 0};
    long count = atol(argv[3]);
    rd_kafka_t *rk = producer_new(argv[1], &reports);
    if (rk == NULL)
        return 1;
    int rc = produce(rk, argv[2], count, (size_t)atol(argv[4]), atol(argv[5]),
                     strcmp(argv[6], "headers") == 0);
    rd_kafka_destroy(rk);
    printf("ok %ld failed %ld\n", reports.ok, reports.failed);
    return rc == 0 && reports.ok == count && reports.failed == 0 ? 0 : 1;
}
