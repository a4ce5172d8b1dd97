#include "cli/metrics.h"

/* A label's value: three characters need a backslash. */
static void label(struct ot_cli *cli, const char *name, const char *value)
{
    ot_out(cli, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            ot_out(cli, "\\n");
        else
            ot_out(cli, "%s%c", *value == '\\' || *value == '"' ? "\\" : "",
                   *value);
    }
    ot_out(cli, "\"");
}

static void head(struct ot_cli *cli, const char *name, const char *help)
{
    ot_out(cli, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* label_name NULL: the subscription is the only label. */
static void sample(struct ot_cli *cli, const char *name, const json_t *one,
                   const char *label_name, const char *label_value,
                   double value)
{
    ot_out(cli, "%s{", name);
    label(cli, "subscription",
          json_string_value(json_object_get(one, "subscription")));
    if (label_name != NULL) {
        ot_out(cli, ",");
        label(cli, label_name, label_value);
    }
    ot_out(cli, "} %.15g\n", value);
}

static double number(const json_t *one, const char *member)
{
    const json_t *value = json_object_get(one, member);

    return json_is_true(value) ? 1 : json_number_value(value);
}

/* --- what is not in one member --------------------------------------------- */

static const char *state_of(const json_t *one)
{
    return json_string_value(json_object_get(one, "state"));
}

static double relay_up(const json_t *one)
{
    return number(one, "lease_left_s") > 0 &&
           strcmp(state_of(one), "silent") != 0;
}

/* Nothing waits: 0. */
static double oldest(const json_t *one)
{
    const double age = number(one, "oldest_age_s");

    return age > 0 ? age : 0;
}

static const char *stall_of(const json_t *one)
{
    const json_t *said =
        json_object_get(json_object_get(one, "report"), "said");
    const char *reason = json_string_value(json_object_get(said, "reason"));

    return strcmp(state_of(one), "stalled") == 0 && reason != NULL ? reason
                                                                   : "none";
}

/* --- all of them ----------------------------------------------------------- */

static const struct {
    const char *name;
    const char *help;
    const char *member; /* or NULL, and */
    double (*value)(const json_t *one);
} numbers[] = {
    {"outtray_pending_events", "Events committed and not passed by the cursor.",
     "pending", NULL},
    {"outtray_oldest_undelivered_seconds",
     "Age of the oldest event that is neither delivered nor dead; 0: none.",
     NULL, oldest},
    {"outtray_relay_up",
     "1: a relay owns the subscription and renews its lease.", NULL, relay_up},
    {"outtray_paused", "1: outtray pause.", "paused", NULL},
    {"outtray_cursor_position", "The seq up to which the cursor has come.",
     "position", NULL},
    {"outtray_last_seq", "The newest seq of the log.", "last_seq", NULL},
    {"outtray_commands", "Commands that wait for the relay.", "commands", NULL},
};

static void print_held(struct ot_cli *cli, const json_t *subscriptions)
{
    const char *state;
    const json_t *one;
    json_t *n;
    size_t i;

    head(cli, "outtray_held_events",
         "Events taken out of the stream, by their state.");
    json_array_foreach(subscriptions, i, one)
    {
        json_object_foreach(json_object_get(one, "held"), state, n)
            sample(cli, "outtray_held_events", one, "state", state,
                   json_number_value(n));
    }
}

static void print_stalls(struct ot_cli *cli, const json_t *subscriptions)
{
    const json_t *one;
    size_t i;

    head(cli, "outtray_stalled",
         "1: the relay says that it waits for something (reason).");
    json_array_foreach(subscriptions, i, one)
        sample(cli, "outtray_stalled", one, "reason", stall_of(one),
               strcmp(stall_of(one), "none") != 0);
}

void ot_metrics_print(struct ot_cli *cli, const json_t *subscriptions)
{
    const json_t *one;
    size_t i;

    for (size_t m = 0; m < OT_COUNT(numbers); m++) {
        head(cli, numbers[m].name, numbers[m].help);
        json_array_foreach(subscriptions, i, one)
            sample(cli, numbers[m].name, one, NULL, NULL,
                   numbers[m].member != NULL ? number(one, numbers[m].member)
                                             : numbers[m].value(one));
    }
    print_held(cli, subscriptions);
    print_stalls(cli, subscriptions);
}
