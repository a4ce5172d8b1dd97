/* message.c - an event becomes a message: key, payload and headers as they
 * are, so that a consumer of Debezium's outbox router reads them unchanged. */
#include "sink/kafka/kafka.h"

#include <stdio.h>

#include "base/crash.h"
#include "event/headers.h"

/* Slot and generation, so that a report can be told from an older one. */
static void *opaque_of(const struct ot_kafka *k, uint32_t slot)
{
    uint64_t v = (uint64_t)k->slots[slot].generation << 32 | slot;
    return (void *)(uintptr_t)v;
}

uint32_t ot_kafka_slot_of(const struct ot_kafka *k, void *opaque)
{
    uint32_t slot = (uint32_t)(uintptr_t)opaque;
    if (slot >= k->nslots || k->slots[slot].event == NULL ||
        opaque_of(k, slot) != opaque)
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

/* "fence.seq": the fence changes with the lease. */
static size_t order_text(struct ot_kafka *k, const struct ot_kafka_slot *s,
                         char text[48])
{
    if (k->fence != s->fence || k->fence_n == 0) {
        k->fence = s->fence;
        k->fence_n = ot_decimal(k->fence_text, s->fence);
        k->fence_text[k->fence_n++] = '.';
    }
    memcpy(text, k->fence_text, sizeof(k->fence_text));
    return k->fence_n + ot_decimal(text + k->fence_n, s->event->seq);
}

static rd_kafka_resp_err_t fill(struct ot_kafka *k, rd_kafka_headers_t *h,
                                const struct ot_kafka_slot *s)
{
    const struct ot_event *e = s->event;
    char text[48];
    ot_uuid_text(e->id, text);
    rd_kafka_resp_err_t err =
        add(h, OT_HEADER_ID, sizeof(OT_HEADER_ID) - 1, text, 36);
    size_t n = order_text(k, s, text);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = add(h, OT_HEADER_ORDER, sizeof(OT_HEADER_ORDER) - 1, text, n);
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

rd_kafka_resp_err_t ot_kafka_produce(struct ot_kafka *k, uint32_t slot)
{
    struct ot_kafka_slot *s = &k->slots[slot];
    struct ot_kafka_topic *t = s->topic;
    const struct ot_event *e = s->event;
    /* librdkafka makes room for so many; it grows. */
    rd_kafka_headers_t *headers =
        rd_kafka_headers_new(e->headers.p != NULL ? 8 : 4);
    rd_kafka_resp_err_t err = fill(k, headers, s);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        /* Without a flag the payload stays ours: it is not copied, and the
         * engine keeps it until the completion. */
        err = rd_kafka_producev(
            k->client->rk, RD_KAFKA_V_RKT(t->handle),
            RD_KAFKA_V_KEY(e->key.p, e->key.n), RD_KAFKA_V_MSGFLAGS(0),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)e->payload.p, e->payload.n),
            RD_KAFKA_V_HEADERS(headers),
            RD_KAFKA_V_TIMESTAMP(e->created_us > 0 ? e->created_us / 1000 : 0),
            RD_KAFKA_V_OPAQUE(opaque_of(k, slot)), RD_KAFKA_V_END);
    ot_crash_point("kafka.produced");
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
        return err;
    }
    if (t->with_client == 0) {
        t->moved_us = k->now_us;
        t->lone = slot;
    } else {
        t->lone = OT_NO_SLOT;
    }
    t->with_client++;
    k->with_client++;
    return err;
}
