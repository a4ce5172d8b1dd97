/* cursor.c - a subscription: its position, gaps and held events. */
#include "store/memory/inside.h"

struct cursor *memory_cursor(const struct ot_memory *m, const char *name)
{
    struct cursor *c = m->cursors;

    while (c != NULL && strcmp(c->subscription, name) != 0)
        c = c->next;
    return c;
}

void memory_free_cursor(struct cursor *c)
{
    struct held_row *held = (void *)c->held.p;

    for (size_t i = 0; i < c->held.n / sizeof(*held); i++)
        ot_free(held[i].error);
    ot_buffer_free(&c->held);
    ot_buffer_free(&c->gaps);
    ot_free(c->report);
    ot_free(c->subscription);
    ot_free(c);
}

void memory_cursor_report(struct cursor *c, const char *report)
{
    char *copy = report != NULL ? ot_strdup(report) : NULL;

    if (copy == NULL)
        return;
    ot_free(c->report);
    c->report = copy;
}

static void del_gap(struct cursor *c, int64_t first)
{
    struct ot_range *gaps = (void *)c->gaps.p;
    size_t n = c->gaps.n / sizeof(*gaps), i = 0;

    while (i < n && gaps[i].first != first)
        i++;
    if (i == n)
        return;
    memmove(&gaps[i], &gaps[i + 1], (n - i - 1) * sizeof(*gaps));
    c->gaps.n -= sizeof(*gaps);
}

/* There is room for it. */
static void put_gap(struct cursor *c, struct ot_range gap)
{
    struct ot_range *gaps;
    size_t n, i = 0;

    del_gap(c, gap.first);
    ot_buffer_add(&c->gaps, &gap, sizeof(gap));
    gaps = (void *)c->gaps.p;
    n = c->gaps.n / sizeof(*gaps);
    while (gaps[i].first < gap.first)
        i++;
    memmove(&gaps[i + 1], &gaps[i], (n - i - 1) * sizeof(*gaps));
    gaps[i] = gap;
}

static struct held_row *find_held(const struct cursor *c, int64_t seq)
{
    struct held_row *held = (void *)c->held.p;

    for (size_t i = 0; i < c->held.n / sizeof(*held); i++)
        if (held[i].held.seq == seq)
            return &held[i];
    return NULL;
}

static void del_held(struct cursor *c, int64_t seq)
{
    struct held_row *row = find_held(c, seq);

    if (row == NULL)
        return;
    ot_free(row->error);
    memmove(row, row + 1, (size_t)(c->held.p + c->held.n - (char *)(row + 1)));
    c->held.n -= sizeof(*row);
}

const char *memory_cursor_error(const struct cursor *c, int64_t seq)
{
    const struct held_row *row = find_held(c, seq);

    return row != NULL ? row->error : NULL;
}

/* Takes over the text of the row; there is room for it. */
static void put_held(struct cursor *c, struct held_row row)
{
    struct held_row *held = find_held(c, row.held.seq);
    size_t n, i = 0;

    if (held != NULL && row.error == NULL &&
        held->held.last_error_us == row.held.last_error_us) {
        row.error = held->error;
        held->error = NULL;
    }
    del_held(c, row.held.seq);
    ot_buffer_add(&c->held, &row, sizeof(row));
    held = (void *)c->held.p;
    n = c->held.n / sizeof(*held);
    while (held[i].held.seq < row.held.seq)
        i++;
    memmove(&held[i + 1], &held[i], (n - i - 1) * sizeof(*held));
    held[i] = row;
}

static void free_held(struct held_row *rows, size_t n)
{
    for (size_t i = 0; rows != NULL && i < n; i++)
        ot_free(rows[i].error);
    ot_free(rows);
}

/* All that the puts of a write need, so that from then on nothing can fail: all
 * of it or nothing. out is an array of nheld_put rows. */
static bool make_room(struct cursor *c, const struct ot_write_request *q,
                      struct held_row **out)
{
    struct held_row *rows = NULL;

    *out = NULL;
    if (!ot_buffer_room(&c->gaps, q->ngaps_put * sizeof(struct ot_range)) ||
        !ot_buffer_room(&c->held, q->nheld_put * sizeof(*rows)))
        return false;
    if (q->nheld_put == 0)
        return true;
    rows = ot_alloc_zero(q->nheld_put, sizeof(*rows));
    if (rows == NULL)
        return false;
    for (size_t i = 0; i < q->nheld_put; i++) {
        const char *error = q->held_put[i].error;

        rows[i].held = q->held_put[i];
        rows[i].held.error = NULL;
        rows[i].error = error != NULL ? ot_strdup(error) : NULL;
        if (error != NULL && rows[i].error == NULL) {
            free_held(rows, q->nheld_put);
            return false;
        }
    }
    *out = rows;
    return true;
}

bool memory_cursor_write(struct cursor *c, const struct ot_write_request *q)
{
    struct held_row *held;

    if (!make_room(c, q, &held))
        return false;
    c->position = q->position;
    for (size_t i = 0; i < q->ngaps_del; i++)
        del_gap(c, q->gaps_del[i]);
    for (size_t i = 0; i < q->ngaps_put; i++)
        put_gap(c, q->gaps_put[i]);
    for (size_t i = 0; i < q->nheld_del; i++)
        del_held(c, q->held_del[i]);
    for (size_t i = 0; held != NULL && i < q->nheld_put; i++)
        put_held(c, held[i]);
    ot_free(held); /* the texts are with the cursor now */
    if (q->set_paused >= 0)
        c->paused = q->set_paused != 0;
    memory_cursor_report(c, q->report);
    return true;
}
