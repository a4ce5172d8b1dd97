/* fuzz_headers.c - what the check lets pass, the walk can walk, and Jansson
 * reads the same. */
#include <jansson.h>

#include "event/headers.h"
#include "input.h"

static size_t walk(struct ot_slice json, json_t *object, int *rc)
{
    struct ot_buffer scratch = {0};
    struct ot_headers walk;
    struct ot_slice name, value;
    size_t n = 0;

    ot_headers_begin(&walk, json);
    while ((*rc = ot_headers_next(&walk, &scratch, &name, &value)) == 1) {
        n++;
        if (object == NULL)
            continue;
        const json_t *other = json_object_getn(object, name.p, name.n);
        CHECK(other != NULL && json_is_string(other));
        CHECK(json_string_length(other) == value.n);
        CHECK(memcmp(json_string_value(other), value.p, value.n) == 0);
    }
    ot_buffer_free(&scratch);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char *text = take_rest(&in);
    struct ot_slice json = {text, size};
    struct outtray_error err = {0};
    int rc;

    if (ot_headers_check(json, 4096, &err) == 0) {
        json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        CHECK(object != NULL && json_is_object(object));
        CHECK(walk(json, object, &rc) == json_object_size(object));
        CHECK(rc == 0);
        json_decref(object);
    } else {
        CHECK(err.code != 0);
        (void)walk(json, NULL, &rc);
    }
    free(text);
    return 0;
}
