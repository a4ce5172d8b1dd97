/* script.c - what the fault sink does to whom, as a line of text. */
#include "sink/fault/script.h"

#include <stdlib.h>

static const struct {
    const char *name;
    enum ot_fault_verb verb;
} verbs[] = {
    {"ok", OT_FAULT_OK},
    {"retry", OT_FAULT_RETRY},
    {"reject", OT_FAULT_REJECT},
    {"poison", OT_FAULT_POISON},
    {"misconfigured", OT_FAULT_MISCONFIGURED},
    {"unavailable", OT_FAULT_UNAVAILABLE},
    {"unknown", OT_FAULT_UNKNOWN},
    {"lost", OT_FAULT_LOST},
    {"hang", OT_FAULT_HANG},
    {"busy", OT_FAULT_BUSY},
    {"delay", OT_FAULT_DELAY},
    {"shuffle", OT_FAULT_SHUFFLE},
    {"inorder", OT_FAULT_INORDER},
    {"again", OT_FAULT_AGAIN},
};
static const char verb_names[] =
    "ok retry reject poison misconfigured unavailable unknown lost hang busy "
    "delay shuffle inorder again";

static const struct {
    const char *name;
    int field;
} fields[] = {
    {"key=", OT_KEY}, {"topic=", OT_TOPIC}, {"type=", OT_TYPE}, {"id=", OT_ID}};

/* The step that always follows the last. */
static struct ot_fault_step *plain_ok(struct ot_fault_script *script)
{
    return &script->steps[script->n];
}

static int64_t parse_time(const char *p)
{
    char *unit;
    long long v = strtoll(p, &unit, 10);
    if (unit == p || v < 0 || v > 1000000000)
        return -1;
    if (strcmp(unit, "us") == 0)
        return v;
    if (strcmp(unit, "ms") == 0)
        return v * 1000;
    if (strcmp(unit, "s") == 0)
        return v * 1000000;
    return strcmp(unit, "min") == 0 ? v * 60000000 : -1;
}

static int64_t parse_count(const char *p)
{
    char *end;
    long long v = strtoll(p, &end, 10);
    return end == p || *end != '\0' || v < 1 ? -1 : v;
}

static bool parse_who(struct ot_fault_step *step, const char *p)
{
    for (size_t i = 0; i < OT_COUNT(fields); i++) {
        size_t n = strlen(fields[i].name);
        if (strncmp(p, fields[i].name, n) != 0)
            continue;
        step->field = fields[i].field;
        step->value = ot_slice_of(p + n);
        return true;
    }
    return false;
}

/* One step; text is cut into its parts. */
static int parse_step(struct ot_fault_step *step, char *text,
                      struct outtray_error *err)
{
    *step = (struct ot_fault_step){.time_us = -1, .ends_us = OT_NEVER};
    char *p = text + strcspn(text, "*:/@");
    while (*p != '\0') {
        char what = *p;
        *p++ = '\0';
        char *end = what == '@' ? p + strlen(p) : p + strcspn(p, "*:/@");
        char after = *end;
        *end = '\0';
        bool good = true;
        if (what == '*')
            good = (step->count = parse_count(p)) > 0;
        else if (what == ':')
            good = (step->time_us = parse_time(p)) >= 0;
        else if (what == '/')
            good = (step->one_in = parse_count(p)) > 0;
        else
            good = parse_who(step, p);
        if (!good)
            return ot_fail(err, OUTTRAY_E_URL,
                           "fault: script: \"%s%c%s\": write STEP*COUNT, "
                           "STEP:5s, STEP/20 or STEP@key=VALUE",
                           text, what, p);
        *end = after;
        p = end;
    }
    for (size_t i = 0; i < OT_COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, text) == 0) {
            step->verb = verbs[i].verb;
            return 0;
        }
    }
    return ot_fail(err, OUTTRAY_E_URL,
                   "fault: script: there is no step \"%s\": take one of %s",
                   text, verb_names);
}

static bool is_rule(const struct ot_fault_step *step)
{
    return step->field != OT_ANYONE || step->one_in > 0;
}

int ot_fault_parse(struct ot_fault_script *script, const char *text,
                   struct outtray_error *err)
{
    *script = (struct ot_fault_script){0};
    size_t n = 1;
    for (const char *p = text; *p != '\0'; p++)
        n += *p == ',';
    script->text = ot_strdup(text);
    script->steps = ot_alloc_zero(n + 1, sizeof(*script->steps));
    if (script->text == NULL || script->steps == NULL) {
        ot_fault_free(script);
        return ot_fail_nomem(err);
    }
    bool delivers = false;
    char *p = script->text;
    while (p != NULL && *p != '\0') {
        char *comma = strchr(p, ',');
        if (comma != NULL)
            *comma = '\0';
        struct ot_fault_step *step = &script->steps[script->n++];
        int code = parse_step(step, p, err);
        if (code == 0 && step->verb < OT_FAULT_HANG && step->time_us == 0)
            code = ot_fail(err, OUTTRAY_E_URL,
                           "fault: script: \"%s\" for no time at all", p);
        if (code == 0 && step->verb == OT_FAULT_AGAIN && is_rule(step))
            code = ot_fail(err, OUTTRAY_E_URL,
                           "fault: script: \"again\" cannot be a rule");
        if (code == 0 && step->verb == OT_FAULT_AGAIN && !delivers)
            code = ot_fail(err, OUTTRAY_E_URL,
                           "fault: script: \"again\" needs an outcome before "
                           "it, such as ok*10");
        if (code != 0) {
            ot_fault_free(script);
            return code;
        }
        delivers = delivers || (step->verb < OT_FAULT_HANG && !is_rule(step));
        p = comma != NULL ? comma + 1 : NULL;
    }
    *plain_ok(script) = (struct ot_fault_step){.time_us = -1};
    return 0;
}

void ot_fault_free(struct ot_fault_script *script)
{
    ot_free(script->text);
    ot_free(script->steps);
    *script = (struct ot_fault_script){0};
}

static bool is_about(const struct ot_fault_step *step, const struct ot_event *e)
{
    char id[37];
    switch (step->field) {
    case OT_ANYONE:
        return true;
    case OT_KEY:
        return e->key.p != NULL && ot_slice_equal(e->key, step->value);
    case OT_TOPIC:
        return ot_slice_equal(e->topic, step->value);
    case OT_TYPE:
        return e->type.p != NULL && ot_slice_equal(e->type, step->value);
    case OT_ID:
        return ot_slice_equal(ot_slice_of(ot_uuid_text(e->id, id)),
                              step->value);
    }
    return false;
}

/* Has it nothing left to say? Begins its time if it has. */
static bool is_over(struct ot_fault_step *step, int64_t now_us, bool rule)
{
    if (step->verb < OT_FAULT_HANG && step->time_us >= 0) {
        if (step->ends_us == OT_NEVER)
            step->ends_us = now_us + step->time_us;
        if (now_us >= step->ends_us)
            return true;
        return step->count > 0 && step->used >= step->count;
    }
    int64_t count = step->count > 0 ? step->count : rule ? INT64_MAX : 1;
    return step->used >= count;
}

static struct ot_fault_step *matching_rule(struct ot_fault_script *script,
                                           const struct ot_event *e,
                                           int64_t now_us, struct ot_rng *rng,
                                           bool ruled)
{
    for (size_t i = 0; i < script->n; i++) {
        struct ot_fault_step *step = &script->steps[i];
        if (!is_rule(step) || !is_about(step, e))
            continue;
        if (ruled && step->verb >= OT_FAULT_HANG)
            continue;
        if (step->one_in > 0 && ot_rng_between(rng, 1, step->one_in) != 1)
            continue;
        if (!is_over(step, now_us, true))
            return step;
    }
    return NULL;
}

static void start_again(struct ot_fault_script *script)
{
    script->next = 0;
    for (size_t i = 0; i < script->n; i++) {
        if (is_rule(&script->steps[i]))
            continue;
        script->steps[i].used = 0;
        script->steps[i].ends_us = OT_NEVER;
    }
}

struct ot_fault_step *ot_fault_next(struct ot_fault_script *script,
                                    const struct ot_event *e, int64_t now_us,
                                    struct ot_rng *rng, bool ruled)
{
    struct ot_fault_step *step = matching_rule(script, e, now_us, rng, ruled);
    if (step != NULL) {
        step->used++;
        return step;
    }
    while (script->next < script->n) {
        step = &script->steps[script->next];
        if (is_rule(step)) {
            script->next++;
        } else if (step->verb == OT_FAULT_AGAIN) {
            start_again(script);
        } else if (is_over(step, now_us, false)) {
            script->next++;
        } else {
            step->used++;
            return step;
        }
    }
    return plain_ok(script);
}
