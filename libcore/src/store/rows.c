/* rows.c - copying events into one block. */
#include "store/rows.h"

enum { TOPIC, KEY, TYPE, HEADERS, PAYLOAD, TEXTS };

struct ot_rows_item {
    int64_t seq;
    struct ot_uuid id;
    int64_t created_us;
    int64_t deliver_us;
    bool filtered;
    bool there[TEXTS]; /* false: NULL */
    size_t at[TEXTS];  /* in bytes: it moves while it grows */
    size_t len[TEXTS];
};

static void keep(struct ot_rows_builder *b, struct ot_rows_item *item,
                 int which, struct ot_slice s)
{
    item->there[which] = s.p != NULL;
    item->at[which] = b->bytes.n;
    item->len[which] = s.p != NULL ? s.n : 0;
    if (item->len[which] > 0)
        ot_buffer_slice(&b->bytes, s);
}

int ot_rows_add(struct ot_rows_builder *b, const struct ot_event *e)
{
    struct ot_rows_item *item;

    if (b->n == b->size) {
        uint32_t size = b->size > 0 ? b->size * 2 : 64;
        void *p = ot_resize(b->items, size * sizeof(*b->items));

        if (p == NULL)
            return OUTTRAY_E_NOMEM;
        b->items = p;
        b->size = size;
    }
    item = &b->items[b->n];
    memset(item, 0, sizeof(*item));
    item->seq = e->seq;
    item->created_us = e->created_us;
    item->filtered = e->filtered;
    if (!e->filtered) {
        item->id = e->id;
        item->deliver_us = e->deliver_us;
        keep(b, item, TOPIC, e->topic);
        keep(b, item, KEY, e->key);
        keep(b, item, TYPE, e->type);
        keep(b, item, HEADERS, e->headers);
        keep(b, item, PAYLOAD, e->payload);
    }
    if (b->bytes.failed)
        return OUTTRAY_E_NOMEM;
    b->n++;
    return 0;
}

static struct ot_slice take(const struct ot_rows_item *item, int which,
                            const char *bytes)
{
    if (!item->there[which])
        return ot_slice(NULL, 0);
    return ot_slice(bytes + item->at[which], item->len[which]);
}

static void free_rows(struct ot_rows *rows)
{
    ot_free(rows);
}

struct ot_rows *ot_rows_finish(struct ot_rows_builder *b)
{
    size_t head = sizeof(struct ot_rows) + b->n * sizeof(struct ot_event);
    /* One byte more, so that an empty text still has an address in it. */
    struct ot_rows *rows = ot_alloc(head + b->bytes.n + 1);
    char *bytes;

    if (rows == NULL)
        return NULL;
    memset(rows, 0, head);
    bytes = (char *)rows + head;
    if (b->bytes.n > 0)
        memcpy(bytes, b->bytes.p, b->bytes.n);
    bytes[b->bytes.n] = '\0';
    rows->refs = 1;
    rows->free = free_rows;
    rows->events = (struct ot_event *)(void *)(rows + 1);
    rows->n = b->n;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct ot_rows_item *item = &b->items[i];
        struct ot_event *e = &rows->events[i];

        e->seq = item->seq;
        e->id = item->id;
        e->created_us = item->created_us;
        e->deliver_us = item->deliver_us;
        e->filtered = item->filtered;
        e->topic = take(item, TOPIC, bytes);
        e->key = take(item, KEY, bytes);
        e->type = take(item, TYPE, bytes);
        e->headers = take(item, HEADERS, bytes);
        e->payload = take(item, PAYLOAD, bytes);
        rows->bytes += ot_event_bytes(e);
    }
    ot_rows_restart(b);
    return rows;
}

void ot_rows_restart(struct ot_rows_builder *b)
{
    b->n = 0;
    if (b->bytes.failed)
        ot_buffer_free(&b->bytes);
    else
        ot_buffer_clear(&b->bytes);
}

void ot_rows_builder_free(struct ot_rows_builder *b)
{
    ot_free(b->items);
    ot_buffer_free(&b->bytes);
    memset(b, 0, sizeof(*b));
}
