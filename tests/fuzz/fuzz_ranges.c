/* fuzz_ranges.c - the gap rows of the cursor: what a write puts and deletes
 * turns the rows that were there into those of the plan. Seqs are small, so
 * that a row of bits is the other opinion. */
#include "engine/cursor.h"
#include "input.h"

enum { SEQS = 256, ROWS = 64 };

struct rows {
    struct ot_range v[SEQS];
    size_t n;
};

static void erase(struct rows *rows, int64_t first)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rows->v[i].first == first) {
            rows->v[i] = rows->v[--rows->n];
            return;
        }
    CHECK(!"a row is deleted that is not there");
}

static void apply(const struct ot_cursor *c, struct rows *rows)
{
    for (size_t i = 0; i < c->ndel; i++)
        erase(rows, c->del[i]);
    for (size_t i = 0; i < c->put.n; i++) {
        for (size_t k = 0; k < rows->n; k++)
            CHECK(rows->v[k].first != c->put.v[i].first);
        CHECK(rows->n < SEQS);
        rows->v[rows->n++] = c->put.v[i];
    }
}

static void mark(bool bits[SEQS], int64_t first, int64_t last, int64_t most)
{
    for (int64_t i = first; i <= last && i <= most; i++)
        bits[i] = true;
}

static void compare(const struct rows *rows, const bool bits[SEQS])
{
    bool have[SEQS] = {false};

    for (size_t i = 0; i < rows->n; i++) {
        CHECK(rows->v[i].first <= rows->v[i].last);
        for (int64_t s = rows->v[i].first; s <= rows->v[i].last; s++) {
            CHECK(s > 0 && s < SEQS && !have[s]); /* disjoint */
            have[s] = true;
        }
    }
    CHECK(memcmp(have, bits, sizeof(have)) == 0);
}

/* One write: a position, and ranges ascending by their first. */
static void step(struct ot_cursor *c, struct rows *rows, struct input *in,
                 int64_t *position)
{
    bool bits[SEQS] = {false};
    int64_t first = 1;

    *position += take_byte(in) % 16;
    if (*position >= SEQS)
        *position = SEQS - 1;
    ot_cursor_plan(c, *position);
    for (unsigned n = take_byte(in) % 12; n > 0 && first < SEQS - 1; n--) {
        int64_t last;

        first += take_byte(in) % 24;
        last = first + take_byte(in) % 8;
        if (last >= SEQS)
            break;
        CHECK(ot_cursor_add(c, first, last) == 0);
        mark(bits, first, last, *position);
    }
    CHECK(ot_cursor_difference(c) == 0);
    apply(c, rows);
    compare(rows, bits);
    ot_cursor_written(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct ot_cursor c = {0};
    struct rows rows = {.n = 0};
    int64_t position = 0;

    CHECK(ot_cursor_load(&c, 0, NULL, 0) == 0);
    while (in.n > 0)
        step(&c, &rows, &in, &position);
    ot_cursor_free(&c);
    return 0;
}
