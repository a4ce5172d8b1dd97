/* reasons.c - texts that completions point to. */
#include "sink/reasons.h"

#include <stdio.h>

const char *ot_reason(struct ot_reasons *r, const char *text)
{
    uint64_t hash = ot_hash(ot_slice_of(text));
    struct ot_reason_text **bucket = &r->bucket[hash % OT_COUNT(r->bucket)];
    struct ot_reason_text *one = *bucket;
    while (one != NULL && strcmp(one->text, text) != 0)
        one = one->next;
    if (one != NULL)
        return one->text;
    size_t n = strlen(text) + 1;
    one = ot_alloc(sizeof(*one) + n);
    if (one == NULL) {
        snprintf(r->unowned, sizeof(r->unowned), "%s", text);
        return r->unowned;
    }
    memcpy(one->text, text, n);
    one->next = *bucket;
    *bucket = one;
    r->n++;
    return one->text;
}

void ot_reasons_forget(struct ot_reasons *r)
{
    for (size_t i = 0; r->n > 0 && i < OT_COUNT(r->bucket); i++)
        while (r->bucket[i] != NULL) {
            struct ot_reason_text *one = r->bucket[i];
            r->bucket[i] = one->next;
            ot_free(one);
            r->n--;
        }
}
