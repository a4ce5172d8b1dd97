/* sqlite.c - the INSERT for SQLite: one row of values per event.
 *
 * Nothing is to be done for strict: the write lock is held from the first
 * write to the commit, so the order of seq is the order of commits. */
#include "enqueue/enqueue.h"

#include <stdio.h>

enum { COLUMNS = 7 };

size_t ot_sqlite_params(const struct ot_render *r)
{
    return r->style == OUTTRAY_LITERAL ? 0 : COLUMNS * r->n;
}

/* Microseconds since 1970 as digits; absent: at once. */
static struct ot_slice moment(int64_t us, char out[OT_MOMENT_MAX])
{
    if (us == 0)
        return ot_slice(NULL, 0);
    int n = snprintf(out, OT_MOMENT_MAX, "%lld", (long long)us);
    return ot_slice(out, (size_t)n);
}

static void row(struct ot_render *r, size_t i, char *moment_text)
{
    const struct outtray_event *e = &r->events[i];
    const struct ot_slice texts[] = {
        ot_slice(r->ids[i], 36), ot_borrow(e->topic),   ot_borrow(e->key),
        ot_borrow(e->type),      ot_borrow(e->headers),
    };

    ot_render_sql(r, "(");
    for (size_t t = 0; t < OT_COUNT(texts); t++) {
        ot_render_text(r, texts[t]);
        ot_render_sql(r, ", ");
    }
    ot_render_bytes(r, ot_borrow(e->payload));
    /* The parameter is text, the column a number. */
    ot_render_sql(r, ", CAST(");
    ot_render_text(r, moment(e->deliver_at_us, moment_text));
    ot_render_sql(r, " AS INTEGER))");
}

void ot_sqlite_insert(struct ot_render *r, char *moments)
{
    ot_buffer_printf(&r->sql,
                     "INSERT INTO \"%s_event\" (id, topic, key, type, headers, "
                     "payload, deliver_at) VALUES ",
                     r->outbox);
    for (size_t i = 0; i < r->n; i++) {
        if (i > 0)
            ot_render_sql(r, ", ");
        row(r, i, moments + i * OT_MOMENT_MAX);
    }
}
