/* demo_tell.c - the result of the demo, for people and programs. */
#include "cli/demo/demo.h"

static json_t *result_json(const struct demo_result *r)
{
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:i,s:i,s:I,s:I,s:f,s:f,s:f,s:f}",
        "committed", (json_int_t)r->committed, "delivered",
        (json_int_t)r->delivered, "lost", (json_int_t)r->lost, "ghosts",
        (json_int_t)r->ghosts, "duplicates", (json_int_t)r->duplicates,
        "out_of_order", (json_int_t)r->out_of_order, "relay_kills",
        r->relay_kills, "writer_kills", r->writer_kills, "relay_pauses",
        r->relay_pauses, "broker_outages", r->broker_outages, "rolled_back",
        (json_int_t)r->rolled_back, "savepoints_rolled_back",
        (json_int_t)r->savepoints, "seconds", r->seconds, "events_per_s",
        r->events_per_s, "p50_ms", r->p50_ms, "p99_ms", r->p99_ms);
}

static void row(struct ot_cli *cli, const char *name, int64_t ours,
                const int64_t *naive, const char *note)
{
    char number[32];

    ot_out(cli, "%-26s %12s", name, ot_number_text(ours, number));
    if (naive != NULL)
        ot_out(cli, " %12s", ot_number_text(*naive, number));
    ot_out(cli, "%s%s\n", note[0] != '\0' ? "   " : "", note);
}

static void result_table(struct ot_cli *cli, const struct demo_result *ours,
                         const struct demo_result *naive)
{
#define ROW(name, member, note)           \
    row(cli, name, (int64_t)ours->member, \
        naive != NULL ? &(int64_t){(int64_t)naive->member} : NULL, note)
    if (naive != NULL)
        ot_out(cli, "%-26s %12s %12s\n", "", "outtray", "dual write");
    ROW("events committed", committed, "the business tables say so");
    ROW("records delivered", delivered, "a consumer of the topic saw them");
    ROW("lost", lost, "committed, never delivered");
    ROW("ghosts", ghosts, "delivered, never committed");
    ROW("duplicates", duplicates, "same event id, told by the id");
    ROW("out of order", out_of_order, "first deliveries of one key");
    ROW("transactions rolled back", rolled_back, "");
    ROW("savepoints rolled back", savepoints, "");
    ROW("relays killed", relay_kills, "SIGKILL at work");
    ROW("writers killed", writer_kills, "SIGKILL at work");
    if (ours->relay_pauses > 0)
        ROW("relays paused", relay_pauses, "SIGSTOP beyond the lease");
    ROW("broker outages", broker_outages, "");
    ROW("events per second", events_per_s, "from the first to the last");
    ROW("latency p50, ms", p50_ms, "from enqueue to the consumer");
    ROW("latency p99, ms", p99_ms, "kills and outage included");
#undef ROW
}

void demo_tell(struct ot_cli *cli, const struct demo *demo,
               const struct demo_result *ours, const struct demo_result *naive)
{
    char committed[32], lost[32];
    json_t *object;

    if (cli->json) {
        object = result_json(ours);
        json_object_set_new(object, "seed",
                            json_integer((json_int_t)demo->seed));
        if (naive != NULL)
            json_object_set_new(object, "dual_write", result_json(naive));
        ot_out_json(cli, object);
        return;
    }
    result_table(cli, ours, naive);
    if (naive != NULL && naive->lost + naive->ghosts + naive->out_of_order > 0)
        ot_out(cli,
               "\nThe dual write commits, then publishes: of its %s "
               "events %s (%.3f %%) never arrived.\n",
               ot_number_text(naive->committed, committed),
               ot_number_text(naive->lost, lost),
               100.0 * (double)naive->lost /
                   (double)(naive->committed > 0 ? naive->committed : 1));
}
