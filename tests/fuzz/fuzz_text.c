/* fuzz_text.c - small things that people type: times, ids, topic filters,
 * names of outboxes, scripts of the fault sink. */
#include "event/outbox.h"
#include "input.h"
#include "sink/fault/script.h"
#include "store/filter.h"

static void time_(const char *text)
{
    int64_t us;
    char again[32];
    struct outtray_error err = {0};

    if (ot_time_parse(text, INT64_C(1800000000000000), &us, &err) != 0)
        CHECK(err.code != 0);
    else
        (void)ot_time_text(us, again);
}

static void uuid(const char *text, size_t n)
{
    struct ot_uuid a, b;
    char again[37];

    if (!ot_uuid_parse(ot_slice(text, n), &a))
        return;
    ot_uuid_text(a, again);
    CHECK(ot_uuid_parse(ot_slice_of(again), &b));
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);
}

static void filter(const char *text)
{
    struct ot_filter f;
    struct outtray_error err = {0};

    if (ot_filter_parse(&f, text, &err) != 0) {
        CHECK(err.code != 0);
        return;
    }
    for (size_t i = 0; i < f.n; i++)
        CHECK(ot_filter_match(&f, f.terms[i].text));
    ot_filter_free(&f);
}

static void script(const char *text)
{
    struct ot_fault_script s = {0};
    struct outtray_error err = {0};

    if (ot_fault_parse(&s, text, &err) != 0)
        CHECK(err.code != 0);
    else
        ot_fault_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    size_t n;
    uint8_t kind = take_byte(&in);
    char *text = take_line(&in, &n);

    if (kind % 5 == 0)
        time_(text);
    else if (kind % 5 == 1)
        uuid(text, n);
    else if (kind % 5 == 2)
        filter(text);
    else if (kind % 5 == 3)
        script(text);
    else
        (void)ot_outbox_check(text, OUTTRAY_E_CONF, NULL);
    free(text);
    return 0;
}
