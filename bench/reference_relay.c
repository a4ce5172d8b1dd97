/* reference_relay.c - two relays as they are often built, in the language and
 * with the clients of ours, so that the difference is the method.
 *
 *   status   a status column: claim a batch (FOR UPDATE SKIP LOCKED), publish
 *            it, mark it as done; one batch after the other
 *   cursor   an append-only log and the last seq that was read, written with
 *            each batch; the next batch is read while one is published. Fast,
 *            and it loses events: a transaction that commits late is passed.
 *
 * The table is TABLE(seq, topic, key, type, payload, status).
 *
 *   reference_relay status|cursor BROKERS TOPIC PGURL TABLE BATCH COUNT
 */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct relay {
    PGconn *db;
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    long sent, acked, failed;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "reference_relay: %s: %s\n", what, why);
    exit(1);
}

static void report(rd_kafka_t *rk, const rd_kafka_message_t *message,
                   void *opaque)
{
    struct relay *relay = opaque;
    (void)rk;
    relay->acked++;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        relay->failed++;
}

static void open_producer(struct relay *relay, const char *brokers,
                          const char *topic)
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
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text,
                          sizeof(text)) != RD_KAFKA_CONF_OK)
        die("settings", text);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text,
                              sizeof(text)) != RD_KAFKA_CONF_OK)
            die("settings", text);
    rd_kafka_conf_set_dr_msg_cb(conf, report);
    rd_kafka_conf_set_opaque(conf, relay);
    relay->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (relay->rk == NULL)
        die("producer", text);
    relay->topic = rd_kafka_topic_new(relay->rk, topic, NULL);
}

/* Binary results of a statement with one bigint parameter, or none. */
static PGresult *run(struct relay *relay, const char *sql, const char *value)
{
    PGresult *r = PQexecParams(relay->db, sql, value != NULL, NULL, &value,
                               NULL, NULL, 1);
    ExecStatusType status = PQresultStatus(r);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        die("statement", PQerrorMessage(relay->db));
    return r;
}

static long seq_at(const PGresult *r, int row)
{
    const unsigned char *p = (const unsigned char *)PQgetvalue(r, row, 0);
    long v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* Payloads stay in the result until the reports are here. */
static void publish(struct relay *relay, const PGresult *r)
{
    for (int i = 0; i < PQntuples(r); i++) {
        char seq[24];
        int n = snprintf(seq, sizeof(seq), "%ld", seq_at(r, i));
        rd_kafka_headers_t *headers = rd_kafka_headers_new(4);
        rd_kafka_resp_err_t err;
        rd_kafka_header_add(headers, "id", -1, seq, n);
        rd_kafka_header_add(headers, "type", -1, PQgetvalue(r, i, 2),
                            PQgetlength(r, i, 2));
        while ((err = rd_kafka_producev(
                    relay->rk, RD_KAFKA_V_RKT(relay->topic),
                    RD_KAFKA_V_KEY(PQgetvalue(r, i, 1), PQgetlength(r, i, 1)),
                    RD_KAFKA_V_MSGFLAGS(0),
                    RD_KAFKA_V_VALUE(PQgetvalue(r, i, 3), PQgetlength(r, i, 3)),
                    RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)) ==
               RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(relay->rk, 10);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            die("produce", rd_kafka_err2str(err));
        relay->sent++;
    }
}

static void wait_for(struct relay *relay, long sent)
{
    while (relay->acked < sent)
        rd_kafka_poll(relay->rk, 100);
    if (relay->failed > 0)
        die("produce", "a message was refused");
}

static void by_status(struct relay *relay, const char *table, int batch,
                      long count)
{
    char claim[700], done[300];
    snprintf(claim, sizeof(claim),
             "UPDATE %s SET status = 1 WHERE seq IN (SELECT seq FROM %s WHERE "
             "status = 0 ORDER BY seq LIMIT %d FOR UPDATE SKIP LOCKED) "
             "RETURNING seq, key, type, payload",
             table, table, batch);
    snprintf(done, sizeof(done),
             "UPDATE %s SET status = 2 WHERE seq = ANY ($1::bigint[])", table);
    char *seqs = malloc((size_t)batch * 21 + 3);
    while (relay->sent < count) {
        PGresult *r = run(relay, claim, NULL);
        int n = PQntuples(r);
        size_t used = 0;
        if (n == 0)
            die("claim", "the table is empty too soon");
        publish(relay, r);
        wait_for(relay, relay->sent);
        for (int i = 0; i < n; i++)
            used += (size_t)sprintf(seqs + used, "%c%ld", i == 0 ? '{' : ',',
                                    seq_at(r, i));
        strcpy(seqs + used, "}");
        PQclear(r);
        PQclear(run(relay, done, seqs));
    }
    free(seqs);
}

static void by_cursor(struct relay *relay, const char *table, int batch,
                      long count)
{
    char read[300], write[200], position[32] = "0";
    PGresult *under_way = NULL;
    snprintf(read, sizeof(read),
             "SELECT seq, key, type, payload FROM %s WHERE seq > $1::bigint "
             "ORDER BY seq LIMIT %d",
             table, batch);
    snprintf(write, sizeof(write), "UPDATE %s_cursor SET position = $1::bigint",
             table);
    while (relay->sent < count) {
        char before[32];
        long sent = relay->sent;
        PGresult *r = run(relay, read, position);
        int n = PQntuples(r);
        if (n == 0)
            die("read", "the table is empty too soon");
        strcpy(before, position);
        snprintf(position, sizeof(position), "%ld", seq_at(r, n - 1));
        publish(relay, r);
        if (under_way != NULL) {
            wait_for(relay, sent);
            PQclear(under_way);
            PQclear(run(relay, write, before));
        }
        under_way = r;
    }
    wait_for(relay, relay->sent);
    PQclear(under_way);
    PQclear(run(relay, write, position));
}

int main(int argc, char **argv)
{
    struct relay relay = {0};
    if (argc != 8) {
        fprintf(stderr, "usage: reference_relay status|cursor BROKERS TOPIC "
                        "PGURL TABLE BATCH COUNT\n");
        return 2;
    }
    relay.db = PQconnectdb(argv[4]);
    if (PQstatus(relay.db) != CONNECTION_OK)
        die("PostgreSQL", PQerrorMessage(relay.db));
    open_producer(&relay, argv[2], argv[3]);
    PQclear(run(&relay, "SET plan_cache_mode = force_custom_plan", NULL));
    PQclear(run(&relay, "SET enable_seqscan = off", NULL));
    if (strcmp(argv[1], "status") == 0)
        by_status(&relay, argv[5], atoi(argv[6]), atol(argv[7]));
    else
        by_cursor(&relay, argv[5], atoi(argv[6]), atol(argv[7]));
    rd_kafka_topic_destroy(relay.topic);
    rd_kafka_destroy(relay.rk);
    PQfinish(relay.db);
    printf("sent %ld\n", relay.sent);
    return 0;
}
