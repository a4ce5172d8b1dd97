#include "cli/event_out.h"

static int run(struct ot_cli *cli, int argc, char **argv)
{
    struct ot_event_copy copy = {0};
    bool raw = ot_cli_has(cli, "raw");
    bool payload = raw || ot_cli_has(cli, "payload");
    int rc = ot_cli_args(cli, argc, 1, 1);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = ot_event_find(cli, argv[0], payload, &copy);
    if (rc != 0)
        return rc;
    const struct ot_event_info *info = &copy.info;
    if (raw)
        ot_out_bytes(cli, info->event.payload.p, info->event.payload.n);
    else if (cli->json)
        ot_out_json(cli, ot_event_json(info, payload));
    else
        ot_event_print(cli, info, payload);
    if (!raw && info->fate != OT_FATE_DELIVERED)
        ot_next(cli, "outtray explain%s %s", ot_cli_same(cli), argv[0]);
    ot_event_copy_free(&copy);
    return 0;
}

static const struct ot_cli_option options[] = {
    {"payload", 'p', NULL, "the payload as well"},
    {"raw", 0, NULL, "the payload alone, byte for byte"},
    {0},
};
static const int codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_NOT_FOUND,
    0,
};

const struct ot_cli_verb ot_cli_verb_show = {
    .name = "show",
    .group = "look",
    .summary = "one event and what became of it",
    .usage = "ID|SEQ",
    .purpose =
        "The event with its fate in the subscription (--subscription, "
        "main by default). The payload is shown only when asked for. "
        "With --json: one object with seq, id, topic, key, type, "
        "headers, created_at, deliver_at, payload_bytes, fate, held "
        "(null, or state, holds_key, attempts, next_attempt_at, "
        "first_error_at, last_error_at, error_code and error), for a "
        "pending event in_gap, and the payload if asked for: payload, or "
        "payload_base64 where it is not UTF-8.",
    .options = options,
    .example = "outtray show 019abc12-3456-7000-8000-000000000001 --payload\n"
               "outtray show 42 --raw > payload.bin",
    .codes = codes,
    .run = run,
};
