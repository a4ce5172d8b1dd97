/* cursor.c - position and gaps, written by difference. */
#include "engine/cursor.h"
#include "engine/array.h"

void ot_cursor_free(struct ot_cursor *cursor)
{
    ot_free(cursor->gaps.v);
    ot_free(cursor->next.v);
    ot_free(cursor->put.v);
    ot_free(cursor->del);
    memset(cursor, 0, sizeof(*cursor));
}

static int append(struct ot_ranges *ranges, struct ot_range range)
{
    if (OT_GROW(ranges->v, ranges->size, ranges->n + 1) != 0)
        return OUTTRAY_E_NOMEM;
    ranges->v[ranges->n++] = range;
    return 0;
}

int ot_cursor_load(struct ot_cursor *cursor, int64_t position,
                   const struct ot_range *gaps, size_t n)
{
    cursor->gaps.n = 0;
    cursor->position = position;
    for (size_t i = 0; i < n; i++)
        if (append(&cursor->gaps, gaps[i]) != 0)
            return OUTTRAY_E_NOMEM;
    return 0;
}

void ot_cursor_plan(struct ot_cursor *cursor, int64_t position)
{
    cursor->next_position = position;
    cursor->next.n = 0;
}

int ot_cursor_add(struct ot_cursor *cursor, int64_t first, int64_t last)
{
    if (last > cursor->next_position)
        last = cursor->next_position;
    if (first > last)
        return 0;
    if (cursor->next.n > 0) {
        struct ot_range *before = &cursor->next.v[cursor->next.n - 1];
        if (first <= before->last + 1) {
            if (last > before->last)
                before->last = last;
            return 0;
        }
    }
    return append(&cursor->next, (struct ot_range){first, last});
}

static int del(struct ot_cursor *cursor, int64_t first)
{
    if (OT_GROW(cursor->del, cursor->del_size, cursor->ndel + 1) != 0)
        return OUTTRAY_E_NOMEM;
    cursor->del[cursor->ndel++] = first;
    return 0;
}

int ot_cursor_difference(struct ot_cursor *cursor)
{
    const struct ot_ranges *old = &cursor->gaps, *now = &cursor->next;
    size_t i = 0, k = 0;
    int code = 0;
    cursor->put.n = 0;
    cursor->ndel = 0;
    while (code == 0 && (i < old->n || k < now->n)) {
        if (i < old->n && k < now->n && old->v[i].first == now->v[k].first &&
            old->v[i].last == now->v[k].last) {
            i++;
            k++;
        } else if (k == now->n ||
                   (i < old->n && old->v[i].first <= now->v[k].first)) {
            code = del(cursor, old->v[i++].first);
        } else {
            code = append(&cursor->put, now->v[k++]);
        }
    }
    return code;
}

bool ot_cursor_differs(const struct ot_cursor *cursor)
{
    return cursor->next_position != cursor->position || cursor->put.n > 0 ||
           cursor->ndel > 0;
}

void ot_cursor_written(struct ot_cursor *cursor)
{
    struct ot_ranges old = cursor->gaps;
    cursor->position = cursor->next_position;
    cursor->gaps = cursor->next;
    cursor->next = old;
    cursor->next.n = 0;
}
