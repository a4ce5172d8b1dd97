/* rows.c - copying events. */
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

static size_t counted(const struct ot_event *e)
{
    return ot_event_bytes(e->filtered ? &(struct ot_event){0} : e);
}

int ot_rows_add(struct ot_rows_builder *b, const struct ot_event *e,
                size_t budget, bool *cut)
{
    size_t bytes = b->counted + counted(e);
    struct ot_rows_item *item;

    *cut = b->n > 0 && bytes > budget;
    if (*cut)
        return 0;
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
    b->counted = bytes;
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

struct copied_rows {
    struct ot_rows rows;
    char *bytes; /* the slices point into it */
    struct ot_event events[];
};

static void free_rows(struct ot_rows *rows)
{
    struct copied_rows *copied = (struct copied_rows *)(void *)rows;

    ot_free(copied->bytes);
    ot_free(copied);
}

/* The batch takes the bytes over, cut to their size: a copy of them would
 * double what a batch of large payloads needs. */
static char *take_bytes(struct ot_rows_builder *b)
{
    /* One byte more, so that an empty text still has an address in it. */
    char *bytes = ot_resize(b->bytes.p, b->bytes.n + 1);

    if (bytes == NULL)
        return NULL;
    bytes[b->bytes.n] = '\0';
    memset(&b->bytes, 0, sizeof(b->bytes));
    return bytes;
}

struct ot_rows *ot_rows_finish(struct ot_rows_builder *b)
{
    size_t head = sizeof(struct copied_rows) + b->n * sizeof(struct ot_event);
    struct copied_rows *copied = ot_alloc_zero(1, head);
    struct ot_rows *rows;
    const char *bytes;

    if (copied == NULL)
        return NULL;
    copied->bytes = take_bytes(b);
    if (copied->bytes == NULL) {
        ot_free(copied);
        return NULL;
    }
    bytes = copied->bytes;
    rows = &copied->rows;
    rows->refs = 1;
    rows->free = free_rows;
    rows->events = copied->events;
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
    b->counted = 0;
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
