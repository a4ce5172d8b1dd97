/* message.c - an event becomes a message: key, payload and headers as they
 * are, so that a consumer of Debezium's outbox router reads them unchanged. */
#include "sink/kafka/kafka.h"

#include <stdio.h>

#include "base/crash.h"
#include "event/headers.h"

/* Slot and generation, so that a report can be told from an older one. */
static void *opaque_of(const struct ot_kafka_slot *s, uint32_t slot)
{
    uint64_t v = (uint64_t)s->generation << 32 | slot;
    return (void *)(uintptr_t)v;
}

uint32_t ot_kafka_slot_of(const struct ot_kafka *k, void *opaque)
{
    uint32_t slot = (uint32_t)(uintptr_t)opaque;
    const struct ot_kafka_slot *s = &k->slots[slot];
    if (slot >= k->nslots || s->event == NULL || opaque_of(s, slot) != opaque)
        return OT_NO_SLOT;
    return slot;
}

static rd_kafka_resp_err_t add(rd_kafka_headers_t *h, const char *name,
                               size_t name_n, const char *value, size_t value_n)
{
    return rd_kafka_header_add(h, name, (ssize_t)name_n, value,
                               (ssize_t)value_n);
}

static rd_kafka_resp_err_t add_own(rd_kafka_headers_t *h, struct ot_slice json)
{
    struct ot_headers walk;
    struct ot_buffer scratch = {0};
    struct ot_slice name, value;
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    int more;
    ot_headers_begin(&walk, json);
    while ((more = ot_headers_next(&walk, &scratch, &name, &value)) > 0 &&
           err == RD_KAFKA_RESP_ERR_NO_ERROR)
        /* librdkafka takes a length of 0 for the value as it is, but NULL as
         * null: an empty text stays an empty text. */
        err = add(h, name.p, name.n, value.n > 0 ? value.p : "", value.n);
    ot_buffer_free(&scratch);
    if (more == OUTTRAY_E_NOMEM)
        return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    return more < 0 ? RD_KAFKA_RESP_ERR__INVALID_ARG : err;
}

/* "fence.seq": mostly it is that of the event before but for the last digit,
 * else but for the seq. */
static struct ot_slice order_text(struct ot_kafka_order *o, int64_t fence,
                                  int64_t seq)
{
    uint64_t step = (uint64_t)seq - (uint64_t)o->seq; /* huge: backwards */

    o->seq = seq;
    if (step < o->room && o->fence == fence) {
        o->room -= step;
        o->text[o->n - 1] += (char)step;
    } else {
        if (o->fence != fence || o->seq_at == 0) {
            o->fence = fence;
            o->seq_at = ot_decimal(o->text, fence);
            o->text[o->seq_at++] = '.';
        }
        o->n = o->seq_at + ot_decimal(o->text + o->seq_at, seq);
        o->room = (uint64_t)('9' + 1 - o->text[o->n - 1]);
    }
    return ot_slice(o->text, o->n);
}

static rd_kafka_resp_err_t fill(struct ot_kafka *k, rd_kafka_headers_t *h,
                                const struct ot_kafka_slot *s)
{
    const struct ot_event *e = s->event;
    char id[36];
    ot_uuid_put(&e->id, id);
    rd_kafka_resp_err_t err =
        add(h, OT_HEADER_ID, sizeof(OT_HEADER_ID) - 1, id, sizeof(id));
    struct ot_slice order = order_text(&k->order, s->fence, e->seq);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = add(h, OT_HEADER_ORDER, sizeof(OT_HEADER_ORDER) - 1, order.p,
                  order.n);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR && e->type.p != NULL)
        err = add(h, OT_HEADER_TYPE, sizeof(OT_HEADER_TYPE) - 1, e->type.p,
                  e->type.n);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR && s->maybe_duplicate)
        err = add(h, OT_HEADER_DUPLICATE, sizeof(OT_HEADER_DUPLICATE) - 1,
                  "maybe", 5);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR && e->headers.p != NULL)
        err = add_own(h, e->headers);
    return err;
}

/* As an array, which is cheaper for librdkafka to read than variable arguments:
 * each of its members has room for much more than is used. Without a flag the
 * payload stays ours: it is not copied, and the engine keeps it until the
 * completion. */
enum { TOPIC, KEY, PAYLOAD, HEADERS, TIME, OPAQUE };
_Static_assert(OPAQUE + 1 == OT_KAFKA_PARTS, "the array has room for these");

void ot_kafka_message_init(rd_kafka_vu_t message[OT_KAFKA_PARTS])
{
    message[TOPIC].vtype = RD_KAFKA_VTYPE_RKT;
    message[KEY].vtype = RD_KAFKA_VTYPE_KEY;
    message[PAYLOAD].vtype = RD_KAFKA_VTYPE_VALUE;
    message[HEADERS].vtype = RD_KAFKA_VTYPE_HEADERS;
    message[TIME].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    message[OPAQUE].vtype = RD_KAFKA_VTYPE_OPAQUE;
}

static rd_kafka_resp_err_t code_of(rd_kafka_error_t *error)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    return code;
}

/* Half of what a broker of Kafka 4 allows. */
static const int64_t AHEAD_US = 1800000000;

/* 0: librdkafka takes the time of now. A broker of Kafka 4 refuses what is an
 * hour ahead of its clock: where that of the database is wrong, all would be.
 * And a topic may refuse what is older than message.timestamp.before.max.ms:
 * after an outage of so long that would be all. */
static int64_t timestamp_ms(const struct ot_kafka *k,
                            const struct ot_kafka_topic *topic,
                            int64_t created_us)
{
    return created_us <= topic->too_old_us || created_us > k->wall_us + AHEAD_US
               ? 0
               : (int64_t)((uint64_t)created_us / 1000);
}

static rd_kafka_resp_err_t hand_over(struct ot_kafka *k,
                                     struct ot_kafka_slot *s,
                                     rd_kafka_headers_t *headers)
{
    const struct ot_event *e = s->event;
    rd_kafka_vu_t *m = k->message;
    m[TOPIC].u.rkt = s->topic->handle;
    m[KEY].u.mem.ptr = (void *)(uintptr_t)e->key.p;
    m[KEY].u.mem.size = e->key.n;
    m[PAYLOAD].u.mem.ptr = (void *)(uintptr_t)e->payload.p;
    m[PAYLOAD].u.mem.size = e->payload.n;
    m[HEADERS].u.headers = headers;
    m[TIME].u.i64 = timestamp_ms(k, s->topic, e->created_us);
    s->timed = m[TIME].u.i64 != 0;
    m[OPAQUE].u.ptr = opaque_of(s, (uint32_t)(s - k->slots));
    rd_kafka_error_t *error =
        rd_kafka_produceva(k->client->rk, m, OT_KAFKA_PARTS);
    return error == NULL ? RD_KAFKA_RESP_ERR_NO_ERROR : code_of(error);
}

rd_kafka_resp_err_t ot_kafka_produce(struct ot_kafka *k,
                                     struct ot_kafka_slot *s)
{
    struct ot_kafka_topic *t = s->topic;
    const struct ot_event *e = s->event;
    /* librdkafka makes room for so many; it grows. */
    rd_kafka_headers_t *headers =
        rd_kafka_headers_new(e->headers.p != NULL ? 8 : 4);
    rd_kafka_resp_err_t err = fill(k, headers, s);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = hand_over(k, s, headers);
    ot_crash_point("kafka.produced");
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
        return err;
    }
    if (t->with_client == 0) {
        t->moved_us = k->now_us;
        t->lone = (uint32_t)(s - k->slots);
    } else {
        t->lone = OT_NO_SLOT;
    }
    t->with_client++;
    k->with_client++;
    return err;
}
