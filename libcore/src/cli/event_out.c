#include "cli/event_out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"

const char *ot_fate_name(const struct ot_event_info *info)
{
    switch (info->fate) {
    case OT_FATE_PENDING:
        return "pending";
    case OT_FATE_HELD:
        return "held";
    case OT_FATE_DELIVERED:
        break;
    }
    return "delivered";
}

/* --- JSON ---------------------------------------------------------------- */

static json_t *held_json(const struct ot_event_info *info)
{
    const struct ot_held *h = &info->held;
    if (info->fate != OT_FATE_HELD)
        return json_null();
    return json_pack("{s:s,s:b,s:i,s:o,s:o,s:o,s:i,s:o}", "state",
                     ot_held_state_name(h->state), "holds_key", h->holds_key,
                     "attempts", (int)h->attempts, "next_attempt_at",
                     ot_json_time(h->next_us), "first_error_at",
                     ot_json_time(h->first_error_us), "last_error_at",
                     ot_json_time(h->last_error_us), "error_code",
                     (int)h->error_code, "error",
                     ot_json_text(ot_slice_of(info->error)));
}

static void add_payload(json_t *all, struct ot_slice payload)
{
    json_t *text =
        payload.p != NULL ? json_stringn(payload.p, payload.n) : json_null();
    if (text != NULL) {
        json_object_set_new(all, "payload", text);
        return;
    }
    struct ot_buffer b = {0};
    ot_base64_add(&b, payload);
    json_object_set_new(all, "payload_base64",
                        json_stringn(b.p != NULL ? b.p : "", b.n));
    ot_buffer_free(&b);
}

json_t *ot_event_json(const struct ot_event_info *info, bool with_payload)
{
    const struct ot_event *e = &info->event;
    char id[37];
    json_t *headers = e->headers.p != NULL
                          ? json_loadb(e->headers.p, e->headers.n, 0, NULL)
                          : json_null();
    if (headers == NULL)
        headers = ot_json_text(e->headers);
    json_t *all =
        json_pack("{s:I,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:s,s:o}", "seq",
                  (json_int_t)e->seq, "id", ot_uuid_text(e->id, id), "topic",
                  ot_json_text(e->topic), "key", ot_json_text(e->key), "type",
                  ot_json_text(e->type), "headers", headers, "created_at",
                  ot_json_time(e->created_us), "deliver_at",
                  ot_json_time(e->deliver_us), "payload_bytes",
                  (json_int_t)info->payload_bytes, "fate", ot_fate_name(info),
                  "held", held_json(info));
    if (all != NULL && info->fate == OT_FATE_PENDING)
        json_object_set_new(all, "in_gap", json_boolean(info->in_gap));
    if (all != NULL && with_payload)
        add_payload(all, e->payload);
    return all;
}

/* --- for people ---------------------------------------------------------- */

static void print_field(struct ot_cli *cli, const char *name,
                        struct ot_slice text)
{
    if (text.p == NULL)
        return;
    ot_out(cli, "  %-11s ", name);
    ot_out_safe(cli, text);
    ot_out(cli, "\n");
}

static void print_time(struct ot_cli *cli, const char *name, int64_t us)
{
    char text[32];
    if (us != 0)
        print_field(cli, name, ot_slice_of(ot_time_text(us, text)));
}

static void print_payload(struct ot_cli *cli, struct ot_slice payload)
{
    size_t at;
    if (payload.p == NULL) {
        ot_out(cli, "(none: a tombstone)");
    } else if (ot_utf8_valid(payload, &at)) {
        ot_out_safe(cli, payload);
    } else {
        struct ot_buffer b = {0};
        ot_base64_add(&b, payload);
        ot_out(cli, "base64 %s", b.p != NULL ? b.p : "");
        ot_buffer_free(&b);
    }
}

static void print_held(struct ot_cli *cli, const struct ot_event_info *info)
{
    const struct ot_held *h = &info->held;
    ot_out(cli, "  %-11s %s%s\n", "held", ot_held_state_name(h->state),
           h->holds_key ? ", later events of its key wait" : "");
    if (h->attempts > 0)
        ot_out(cli, "  %-11s %u\n", "attempts", h->attempts);
    print_time(cli, "next try", h->next_us);
    print_time(cli, "first error", h->first_error_us);
    print_time(cli, "last error", h->last_error_us);
    print_field(cli, "error", ot_slice_of(info->error));
}

void ot_event_print(struct ot_cli *cli, const struct ot_event_info *info,
                    bool with_payload)
{
    const struct ot_event *e = &info->event;
    char id[37];
    ot_out(cli, "event %s: %s%s\n", ot_uuid_text(e->id, id), ot_fate_name(info),
           info->in_gap ? ", committed late" : "");
    ot_out(cli, "  %-11s %lld\n", "seq", (long long)e->seq);
    print_field(cli, "topic", e->topic);
    print_field(cli, "key", e->key);
    print_field(cli, "type", e->type);
    print_field(cli, "headers", e->headers);
    print_time(cli, "created", e->created_us);
    print_time(cli, "deliver at", e->deliver_us);
    if (info->fate == OT_FATE_HELD)
        print_held(cli, info);
    ot_out(cli, "  %-11s %zu bytes", "payload", info->payload_bytes);
    if (with_payload) {
        ot_out(cli, "\n");
        print_payload(cli, e->payload);
    }
    ot_out(cli, "\n");
}

void ot_event_line(struct ot_cli *cli, const struct ot_event_info *info,
                   bool with_payload)
{
    const struct ot_event *e = &info->event;
    char id[37], time[32];
    const char *fate = info->fate == OT_FATE_HELD
                           ? ot_held_state_name(info->held.state)
                           : ot_fate_name(info);
    ot_out(cli, "%s  %s  %-9s  ", ot_time_text(e->created_us, time),
           ot_uuid_text(e->id, id), fate);
    ot_out_safe(cli, e->topic);
    if (e->key.p != NULL) {
        ot_out(cli, "  key=");
        ot_out_safe(cli, e->key);
    }
    if (e->type.p != NULL) {
        ot_out(cli, "  type=");
        ot_out_safe(cli, e->type);
    }
    ot_out(cli, "  %zu B", info->payload_bytes);
    if (with_payload) {
        ot_out(cli, "  ");
        print_payload(cli, e->payload);
    }
    ot_out(cli, "\n");
}

/* --- copies -------------------------------------------------------------- */

static struct ot_slice copy_slice(char **to, struct ot_slice s)
{
    if (s.p == NULL)
        return s;
    struct ot_slice made = {*to, s.n};
    memcpy(*to, s.p, s.n);
    (*to)[s.n] = '\0';
    *to += s.n + 1;
    return made;
}

int ot_event_copy(struct ot_event_copy *out, const struct ot_event_info *info)
{
    const struct ot_event *e = &info->event;
    struct ot_slice error = ot_slice_of(info->error);
    char *to = ot_alloc(e->topic.n + e->key.n + e->type.n + e->headers.n +
                        e->payload.n + error.n + 6);
    if (to == NULL)
        return OUTTRAY_E_NOMEM;
    ot_event_copy_free(out);
    out->memory = to;
    out->info = *info;
    out->info.event.topic = copy_slice(&to, e->topic);
    out->info.event.key = copy_slice(&to, e->key);
    out->info.event.type = copy_slice(&to, e->type);
    out->info.event.headers = copy_slice(&to, e->headers);
    out->info.event.payload = copy_slice(&to, e->payload);
    out->info.error = copy_slice(&to, error).p;
    out->info.held.error = NULL;
    return 0;
}

void ot_event_copy_free(struct ot_event_copy *copy)
{
    ot_free(copy->memory);
    copy->memory = NULL;
}

int ot_event_copy_first(void *ctx, const struct ot_event_info *info)
{
    struct ot_event_copy *out = ctx;
    return out->memory == NULL ? ot_event_copy(out, info) : 0;
}

int ot_event_find(struct ot_cli *cli, const char *text, bool with_payload,
                  struct ot_event_copy *out)
{
    struct ot_uuid id;
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .held_state = -1,
        .with_payload = with_payload,
        .limit = 1,
    };
    char canonical[37];
    long long seq = 0;
    *out = (struct ot_event_copy){0};
    if (ot_uuid_parse(ot_slice_of(text), &id)) {
        query.id = ot_uuid_text(id, canonical);
    } else {
        char *end;
        errno = 0;
        seq = strtoll(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || seq < 1)
            return ot_cli_misuse(cli,
                                 "%s: neither an event id (a UUID) nor a "
                                 "seq",
                                 text);
        query.after_seq = seq - 1;
    }
    int rc = cli->admin->ops->events(cli->admin, &query, ot_event_copy_first,
                                     out, &cli->err);
    if (rc == 0 && out->memory != NULL &&
        (seq == 0 || out->info.event.seq == seq))
        return 0;
    ot_event_copy_free(out);
    if (rc != 0)
        return rc;
    ot_cli_fix(cli, "outtray tail -n 20%s", ot_cli_same(cli));
    return ot_fail(
        &cli->err, OUTTRAY_E_NOT_FOUND,
        "%s: no committed event in outbox %s: rolled back, not yet "
        "committed, deleted after its retention, or another outbox's",
        text, ot_conf_text(cli->conf, "store.outbox"));
}
