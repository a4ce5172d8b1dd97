/* postgres.c - the INSERT for PostgreSQL, in four shapes: one event or many,
 * plain or strict.
 *
 * Every parameter is cast from text (or bytea) to its type in the statement,
 * so a driver needs to know no type but these two. A literal of one event has
 * the type of its column without a cast, which costs the server a third of its
 * work for the statement. Many events go as arrays:
 * the text of the statement, and with it its plan, is the same for any number
 * of them, and no limit of parameters applies. The payloads of a batch are one
 * value, cut by the server: bytes in an array would be doubled by escapes.
 *
 * seq is an identity column: it is drawn in the order of the SELECT, after its
 * ORDER BY, and after whatever the FROM clause did, which is how strict has
 * its locks first.
 */
#include "enqueue/enqueue.h"

#include <stdio.h>
#include <time.h>

/* The values in the order of the columns. */
enum { COLUMNS = 7, BATCH_VALUES = 9 };

/* texts of a batch */
enum { IDS, TOPICS, KEYS, TYPES, HEADERS, FIRSTS, SIZES, MOMENTS, PAYLOADS };

size_t ot_postgres_params(const struct ot_render *r)
{
    if (r->style == OUTTRAY_LITERAL)
        return 0;
    if (r->style == OUTTRAY_COPY)
        return 1;
    return r->n == 1 ? COLUMNS : BATCH_VALUES;
}

static struct ot_slice moment(int64_t us, char out[OT_MOMENT_MAX])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;

    if (us == 0)
        return ot_slice(NULL, 0);
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, OT_MOMENT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(out + n, OT_MOMENT_MAX - n, ".%06dZ",
                          (int)(us % 1000000));
    return ot_slice(out, n);
}

/* With what stands after it. */
static void cast(struct ot_render *r, const char *type, const char *then)
{
    if (r->style != OUTTRAY_LITERAL)
        ot_render_sql(r, type);
    ot_render_sql(r, then);
}

static void value(struct ot_render *r, struct ot_slice text, const char *type,
                  const char *then)
{
    ot_render_text(r, text);
    cast(r, type, then);
}

/* A literal with digits is an expression of text, which json does not take. */
static void headers(struct ot_render *r, struct ot_slice json)
{
    ot_render_text(r, json);
    if (r->style != OUTTRAY_LITERAL)
        ot_render_sql(r, "::text::json, ");
    else
        ot_render_sql(r, json.p != NULL ? "::json, " : ", ");
}

static void insert_into(struct ot_render *r)
{
    ot_render_sql(r, "INSERT INTO \"");
    ot_render_sql(r, r->outbox);
    ot_render_sql(r, "\".event (id, topic, key, type, headers, payload, "
                     "deliver_at) ");
}

/* --- one event ----------------------------------------------------------- */

static void one(struct ot_render *r, char *moment_text)
{
    const struct outtray_event *e = &r->events[0];

    insert_into(r);
    ot_render_sql(r, r->strict ? "SELECT " : "VALUES (");
    value(r, ot_slice(r->ids[0], 36), "::text::uuid", ", ");
    value(r, ot_borrow(e->topic), "::text", ", ");
    if (r->strict)
        ot_render_sql(r, "l.key, ");
    else
        value(r, ot_borrow(e->key), "::text", ", ");
    value(r, ot_borrow(e->type), "::text", ", ");
    headers(r, ot_borrow(e->headers));
    ot_render_bytes(r, ot_borrow(e->payload));
    cast(r, "::bytea", ", ");
    value(r, moment(e->deliver_at_us, moment_text), "::text::timestamptz",
          r->strict ? "" : ")");
    if (!r->strict)
        return;
    /* The lock is volatile, so the planner may neither drop the column nobody
     * reads nor pull the subquery up into the SELECT that draws the seq. No
     * key: the functions are strict, nothing is locked. */
    ot_render_sql(r, " FROM (SELECT k.key, "
                     "pg_advisory_xact_lock(hashtextextended(k.key, 0)) "
                     "FROM (SELECT ");
    ot_render_text(r, ot_borrow(e->key));
    ot_render_sql(r, "::text AS key) k) l");
}

/* --- many events --------------------------------------------------------- */

static void array_text(struct ot_buffer *out, struct ot_slice s)
{
    const char *p = s.p, *end = s.p + s.n;

    if (s.p == NULL) {
        ot_buffer_puts(out, "NULL,");
        return;
    }
    ot_buffer_putc(out, '"');
    while (p < end) {
        const char *upto = p;
        while (upto < end && *upto != '"' && *upto != '\\')
            upto++;
        ot_buffer_add(out, p, (size_t)(upto - p));
        if (upto < end) {
            ot_buffer_putc(out, '\\');
            ot_buffer_putc(out, *upto++);
        }
        p = upto;
    }
    ot_buffer_puts(out, "\",");
}

/* The last comma becomes the brace. */
static void close_array(struct ot_buffer *out)
{
    if (!out->failed)
        out->p[out->n - 1] = '}';
}

static struct ot_slice text_of(const struct ot_render *r, int which)
{
    const struct ot_buffer *b = &r->texts[which];

    return ot_slice(b->p != NULL ? b->p : "", b->n);
}

static void fill(struct ot_render *r)
{
    struct ot_buffer *t = r->texts;
    char text[OT_MOMENT_MAX];

    for (int i = IDS; i <= MOMENTS; i++)
        ot_buffer_putc(&t[i], '{');
    for (size_t i = 0; i < r->n; i++) {
        const struct outtray_event *e = &r->events[i];
        array_text(&t[IDS], ot_slice(r->ids[i], 36));
        array_text(&t[TOPICS], ot_borrow(e->topic));
        array_text(&t[KEYS], ot_borrow(e->key));
        array_text(&t[TYPES], ot_borrow(e->type));
        array_text(&t[HEADERS], ot_borrow(e->headers));
        ot_buffer_printf(&t[FIRSTS], "%zu,", t[PAYLOADS].n + 1);
        if (e->payload.p == NULL)
            ot_buffer_puts(&t[SIZES], "NULL,");
        else
            ot_buffer_printf(&t[SIZES], "%zu,", e->payload.n);
        ot_buffer_slice(&t[PAYLOADS], ot_borrow(e->payload));
        array_text(&t[MOMENTS], moment(e->deliver_at_us, text));
    }
    for (int i = IDS; i <= MOMENTS; i++)
        close_array(&t[i]);
}

/* unnest(…) WITH ORDINALITY AS u(…): PostgreSQL knows that its rows come by n,
 * so the ORDER BY costs no sort in the plain shape. */
static void from_arrays(struct ot_render *r)
{
    static const char *const casts[] = {
        [IDS] = "uuid",      [TOPICS] = "text",         [KEYS] = "text",
        [TYPES] = "text",    [HEADERS] = "json",        [FIRSTS] = "integer",
        [SIZES] = "integer", [MOMENTS] = "timestamptz",
    };

    ot_render_sql(r, "unnest(");
    for (int i = IDS; i <= MOMENTS; i++) {
        ot_render_text(r, text_of(r, i));
        ot_buffer_printf(&r->sql, "::text::%s[]%s", casts[i],
                         i < MOMENTS ? ", " : "");
    }
    ot_render_sql(r, ") WITH ORDINALITY AS u(id, topic, key, type, headers, "
                     "first, size, deliver_at, n)");
}

static void select_rows(struct ot_render *r)
{
    ot_render_sql(r, "SELECT u.id, u.topic, u.key, u.type, u.headers, "
                     "substring(");
    ot_render_bytes(r, text_of(r, PAYLOADS));
    ot_render_sql(r, "::bytea FROM u.first FOR u.size), u.deliver_at FROM ");
}

static void many(struct ot_render *r)
{
    fill(r);
    if (!r->strict) {
        insert_into(r);
        select_rows(r);
        from_arrays(r);
        ot_render_sql(r, " ORDER BY u.n");
        return;
    }
    /* All locks of the batch before its first seq, in one order for everybody,
     * so that two batches cannot wait for each other. l is an aggregate: it
     * has its row only after the last lock. */
    ot_render_sql(r, "WITH u AS MATERIALIZED (SELECT * FROM ");
    from_arrays(r);
    ot_render_sql(r, "), l AS MATERIALIZED (SELECT "
                     "count(pg_advisory_xact_lock(k.lock)) FROM (SELECT "
                     "DISTINCT hashtextextended(u.key, 0) AS lock FROM u WHERE "
                     "u.key IS NOT NULL ORDER BY 1) k) ");
    insert_into(r);
    select_rows(r);
    ot_render_sql(r, "u CROSS JOIN l ORDER BY u.n");
}

void ot_postgres_insert(struct ot_render *r, char *moments)
{
    if (r->style == OUTTRAY_COPY)
        ot_postgres_copy(r);
    else if (r->n == 1)
        one(r, moments);
    else
        many(r);
}
