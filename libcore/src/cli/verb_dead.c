#include "cli/event_out.h"
#include "cli/table.h"

struct listing {
    struct ot_cli *cli;
    struct ot_table table;
    size_t n;
};

static int each(void *ctx, const struct ot_event_info *info)
{
    struct listing *list = ctx;
    const struct ot_event *e = &info->event;
    char text[37];
    list->n++;
    if (list->cli->json) {
        ot_out_json(list->cli, ot_event_json(info, false));
        return ot_cli_out_ok(list->cli) ? 0 : 1;
    }
    ot_table_add(&list->table, ot_uuid_text(e->id, text));
    ot_table_add_slice(&list->table, e->topic);
    ot_table_add_slice(&list->table, e->key);
    ot_table_add_number(&list->table, info->held.attempts);
    ot_table_add(&list->table, ot_time_text(info->held.last_error_us, text));
    ot_table_add(&list->table, info->error != NULL ? info->error : "");
    return list->table.failed ? OUTTRAY_E_NOMEM : 0;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    static const struct ot_column columns[] = {
        {"ID", false},   {"TOPIC", false},      {"KEY", false},
        {"TRIES", true}, {"LAST ERROR", false}, {"WHY", false},
    };
    struct listing list = {.cli = cli,
                           .table = {.columns = columns,
                                     .ncolumns = OT_COUNT(columns)}};
    struct ot_event_query query = {
        .subscription = ot_conf_text(cli->conf, "relay.subscription"),
        .key = ot_cli_get(cli, "key"),
        .topic = ot_cli_get(cli, "topic"),
        .held_only = true,
        .held_state = OT_HELD_DEAD,
    };
    int64_t limit;
    (void)argv;
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_cli_get_int(cli, "limit", 0, 1, UINT32_MAX, &limit);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    query.limit = (uint32_t)limit;
    rc = cli->admin->ops->events(cli->admin, &query, each, &list, &cli->err);
    if (rc >= 0 && !cli->json) {
        if (list.n > 0)
            ot_table_print(cli, &list.table);
        else
            ot_say(cli, "no dead events");
        if (list.n > 0)
            ot_next(cli,
                    "outtray redrive%s ID (send it again) or outtray "
                    "skip%s ID (give it up)",
                    ot_cli_same(cli), ot_cli_same(cli));
    }
    ot_table_free(&list.table);
    return rc < 0 ? rc : 0;
}

static const struct ot_cli_option options[] = {
    {"key", 'k', "KEY", "only events of this key"},
    {"topic", 't', "TOPIC", "only events of this topic"},
    {"limit", 'n', "N", "at most so many (all)"},
    {0},
};

const struct ot_cli_verb ot_cli_verb_dead = {
    .name = "dead",
    .group = "repair",
    .summary = "list the events that were given up on, with the reason",
    .purpose =
        "An event is dead when the broker rejected it for good, or when it "
        "failed by itself for longer than retry.max_age_ms. It is kept until "
        "redrive sends it again or skip gives it up; under on_reject = park "
        "later events of its key wait for that. With --json: one object a "
        "line, as from show.",
    .options = options,
    .example = "outtray dead --topic orders.created",
    .run = run,
};
