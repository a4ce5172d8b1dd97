/* copy.c - many events for PostgreSQL as a COPY in its binary format.
 *
 * The server parses no text, makes no rows of arrays and writes a page of rows
 * at a time: a third to a seventh of the time of the INSERT. seq is drawn row by
 * row, in the order of the events.
 *
 * Text in binary format is in client_encoding, which the caller looks at.
 */
#include "enqueue/enqueue.h"

enum { FIELDS = 7, UUID_BYTES = 16, MOMENT_BYTES = 8 };
/* Of a row: the number of fields, the length of each, what has a fixed one. */
enum { ROW = 2 + 4 * FIELDS + UUID_BYTES + MOMENT_BYTES };

/* Signature, flags, length of an extension that there is not. */
static const char header[19] = "PGCOPY\n\377\r\n";
static const char trailer[2] = "\377\377";

/* PostgreSQL counts from 2000-01-01. */
#define EPOCH_US INT64_C(946684800000000)

static void big_endian(struct ot_buffer *out, uint64_t value, int bytes)
{
    char text[8];

    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        text[i] = (char)(value & 0xff);
    ot_buffer_add(out, text, (size_t)bytes);
}

static void field(struct ot_buffer *out, struct outtray_slice value)
{
    if (value.p == NULL) {
        big_endian(out, UINT32_MAX, 4);
        return;
    }
    big_endian(out, value.n, 4);
    ot_buffer_add(out, value.p, value.n);
}

static void row(struct ot_buffer *out, const struct outtray_event *e,
                const char id_text[37])
{
    struct ot_uuid id;

    (void)ot_uuid_parse(ot_slice(id_text, 36), &id); /* made or checked here */
    big_endian(out, FIELDS, 2);
    field(out, (struct outtray_slice){(const char *)id.b, UUID_BYTES});
    field(out, e->topic);
    field(out, e->key);
    field(out, e->type);
    field(out, e->headers);
    field(out, e->payload);
    if (e->deliver_at_us == 0) {
        field(out, (struct outtray_slice){0});
        return;
    }
    big_endian(out, MOMENT_BYTES, 4);
    big_endian(out, (uint64_t)(e->deliver_at_us - EPOCH_US), MOMENT_BYTES);
}

/* All of it is known before: growing would copy it again and again. */
static size_t bytes_of(const struct ot_render *r)
{
    size_t n = sizeof(header) + sizeof(trailer);

    for (size_t i = 0; i < r->n; i++) {
        const struct outtray_event *e = &r->events[i];
        n += ROW + e->topic.n + e->key.n + e->type.n + e->headers.n +
             e->payload.n;
    }
    return n;
}

void ot_postgres_copy(struct ot_render *r)
{
    struct ot_buffer *data = &r->texts[0];

    data->size = bytes_of(r) + 1;
    ot_buffer_add(data, header, sizeof(header));
    for (size_t i = 0; i < r->n; i++)
        row(data, &r->events[i], r->ids[i]);
    ot_buffer_add(data, trailer, sizeof(trailer));
    ot_render_sql(r, "COPY \"");
    ot_render_sql(r, r->outbox);
    ot_render_sql(r, "\".event (id, topic, key, type, headers, payload, "
                     "deliver_at) FROM STDIN (FORMAT binary)");
    ot_render_data(r, ot_slice(data->p != NULL ? data->p : "", data->n));
}
