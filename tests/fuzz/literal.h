/* literal.h - an event from a fuzzer's bytes, and its literal statement. */
#ifndef FUZZ_LITERAL_H
#define FUZZ_LITERAL_H

#include "input.h"
#include "outtray/enqueue.h"

struct literal {
    char *memory[5];
    struct outtray_event event;
    struct outtray_statement statement;
};

static inline struct outtray_slice literal_line(struct literal *l, int i,
                                                struct input *in, bool absent)
{
    size_t n;

    l->memory[i] = take_line(in, &n);
    return (struct outtray_slice){absent ? NULL : l->memory[i], n};
}

/* False: the builder refuses the event. Free it in any case. */
static inline bool literal_make(struct literal *l, struct input in,
                                enum outtray_dialect dialect)
{
    struct outtray_enqueue_options options = {
        .outbox = "fuzz", .dialect = dialect, .style = OUTTRAY_LITERAL};
    struct outtray_error err = {0};
    uint8_t absent = take_byte(&in);

    memset(l, 0, sizeof(*l));
    l->event.topic = literal_line(l, 0, &in, false);
    l->event.key = literal_line(l, 1, &in, absent & 1);
    l->event.type = literal_line(l, 2, &in, absent & 2);
    l->event.headers = literal_line(l, 3, &in, !(absent & 4));
    l->event.payload = (struct outtray_slice){
        absent & 8 ? NULL : (const char *)in.p, absent & 8 ? 0 : in.n};
    if (!(absent & 8) && in.n == 0)
        l->event.payload.p = "";
    if (outtray_enqueue_build(&l->statement, &options, &l->event, 1, &err) == 0)
        return true;
    CHECK(err.code != 0 && err.text[0] != '\0');
    return false;
}

static inline void literal_free(struct literal *l)
{
    outtray_statement_free(&l->statement);
    for (size_t i = 0; i < OT_COUNT(l->memory); i++)
        free(l->memory[i]);
}

static inline void literal_same(struct outtray_slice want, const void *got,
                                size_t n, bool null)
{
    CHECK((want.p == NULL) == null);
    CHECK(null || (want.n == n && (n == 0 || memcmp(want.p, got, n) == 0)));
}

#endif
