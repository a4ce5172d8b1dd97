#include "cli/cli.h"
#include "cli/input.h"
#include "cli/ndjson.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static struct ot_enqueue_limits limits_of(const struct ot_cli *cli)
{
    return (struct ot_enqueue_limits){
        .payload_bytes =
            (size_t)ot_conf_int(cli->conf, "enqueue.max_payload_bytes"),
        .headers_bytes = 32768,
    };
}

/* --- one event ----------------------------------------------------------- */

static int read_headers(struct ot_cli *cli, struct outtray_event *e,
                        char **dumped)
{
    json_t *all = json_object();
    const char *text;
    int rc = 0;
    for (size_t i = 0;
         rc == 0 && (text = ot_cli_get_nth(cli, "header", i)) != NULL; i++) {
        const char *equals = strchr(text, '=');
        size_t n = equals != NULL ? (size_t)(equals - text) : 0;
        char name[256];
        if (n == 0 || n >= sizeof name) {
            rc = ot_cli_misuse(cli, "--header %s: not NAME=VALUE", text);
            break;
        }
        memcpy(name, text, n);
        name[n] = '\0';
        if (json_object_get(all, name) != NULL)
            rc = ot_cli_misuse(cli, "--header %s is given twice", name);
        else if (json_object_set_new(all, name, json_string(equals + 1)) != 0)
            rc = ot_cli_misuse(cli, "--header %s: not UTF-8", name);
    }
    if (rc == 0 && json_object_size(all) > 0) {
        char *made = json_dumps(all, JSON_COMPACT);
        *dumped = made != NULL ? ot_strdup(made) : NULL;
        free(made);
        if (*dumped == NULL)
            rc = ot_fail_nomem(&cli->err);
        else
            e->headers = (struct outtray_slice){*dumped, strlen(*dumped)};
    }
    json_decref(all);
    return rc;
}

/* The argument, "-" for standard input, or a file; none: a tombstone. */
static int read_payload(struct ot_cli *cli, const char *argument,
                        struct ot_buffer *bytes, struct outtray_event *e)
{
    const char *file = ot_cli_get(cli, "file");
    size_t most = limits_of(cli).payload_bytes;
    int rc = 0;
    if (file != NULL && argument != NULL)
        return ot_cli_misuse(cli, "PAYLOAD and --file are both given");
    if (file != NULL && strcmp(file, "-") != 0) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return ot_fail(&cli->err, OUTTRAY_E_IO, "%s: %s", file,
                           strerror(errno));
        rc = ot_input_all(fd, file, most, bytes, &cli->err);
        close(fd);
    } else if (file != NULL ||
               (argument != NULL && strcmp(argument, "-") == 0)) {
        rc = ot_input_all(STDIN_FILENO, "standard input", most, bytes,
                          &cli->err);
    } else if (argument != NULL) {
        ot_buffer_puts(bytes, argument);
        rc = bytes->failed ? ot_fail_nomem(&cli->err) : 0;
    } else {
        return 0;
    }
    e->payload = (struct outtray_slice){bytes->p, bytes->n};
    return rc;
}

static int read_event(struct ot_cli *cli, char **argv, int argc,
                      struct outtray_event *e)
{
    const char *key = ot_cli_get(cli, "key");
    const char *type = ot_cli_get(cli, "type");
    const char *id = ot_cli_get(cli, "id");
    const char *at = ot_cli_get(cli, "deliver-at");
    (void)argc;
    e->topic = (struct outtray_slice){argv[0], strlen(argv[0])};
    if (key != NULL)
        e->key = (struct outtray_slice){key, strlen(key)};
    if (type != NULL)
        e->type = (struct outtray_slice){type, strlen(type)};
    if (id != NULL)
        e->id = (struct outtray_slice){id, strlen(id)};
    if (at == NULL)
        return 0;
    if (ot_time_parse(at, ot_wall_us(), &e->deliver_at_us, &cli->err) != 0)
        return ot_cli_misuse(cli,
                             "--deliver-at %s: neither +90s, +5m, +2h, +1d "
                             "nor a time like 2026-11-23T21:18:45Z",
                             at);
    return 0;
}

static int insert(struct ot_cli *cli, const struct outtray_event *events,
                  size_t n)
{
    const struct ot_admin_ops *ops = cli->admin->ops;
    ot_cli_signals_careful(NULL, NULL);
    int rc = ops->begin(cli->admin, &cli->err);
    if (rc != 0)
        return rc;
    rc = ops->enqueue(cli->admin, events, n, &cli->err);
    if (rc != 0) {
        (void)ops->end(cli->admin, false, NULL);
        return rc;
    }
    return ops->end(cli->admin, true, &cli->err);
}

static void report_one(struct ot_cli *cli, const struct outtray_event *e)
{
    if (cli->json)
        ot_out_json(cli, json_pack("{s:i,s:o}", "enqueued", 1, "id",
                                   ot_json_text(ot_slice(e->id.p, e->id.n))));
    else
        ot_out(cli, "%.*s\n", (int)e->id.n, e->id.p);
    /* Where a sink is set, stdout: would take its events away from it. */
    ot_next(cli, "outtray relay%s%s", ot_cli_same(cli),
            ot_conf_is_set(cli->conf, "sink.url")
                ? ""
                : " --sink stdout: --until-empty");
}

/* There is only one: its number says nothing. */
static void without_number(struct outtray_error *err)
{
    static const char number[] = "event 0: ";
    const size_t n = sizeof number - 1;
    if (strncmp(err->text, number, n) == 0)
        memmove(err->text, err->text + n, strlen(err->text + n) + 1);
}

static int enqueue_one(struct ot_cli *cli, int argc, char **argv)
{
    struct outtray_event e = {0};
    struct ot_buffer payload = {0};
    char *headers = NULL;
    char id[37];
    struct ot_enqueue_limits limits = limits_of(cli);
    int rc = ot_cli_args(cli, argc, 1, 2);
    if (rc == 0)
        rc = read_event(cli, argv, argc, &e);
    if (rc == 0)
        rc = read_headers(cli, &e, &headers);
    if (rc == 0)
        rc = read_payload(cli, argc > 1 ? argv[1] : NULL, &payload, &e);
    if (rc == 0 && e.id.p == NULL) {
        /* Made here, because it is printed. */
        rc = outtray_id_new(id);
        e.id = (struct outtray_slice){id, 36};
    }
    if (rc == 0)
        rc = ot_enqueue_check(&e, 0, &limits, &cli->err);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc == 0)
        rc = insert(cli, &e, 1);
    if (rc == 0)
        report_one(cli, &e);
    else
        without_number(&cli->err);
    ot_free(headers);
    ot_buffer_free(&payload);
    return rc;
}

/* --- many ---------------------------------------------------------------- */

struct load {
    struct ot_cli *cli;
    struct ot_input lines;
    struct ot_batch *batch;
    int64_t count;
    int64_t shown_us; /* when the progress was drawn last */
    bool open;        /* the transaction */
};

/* The transaction begins here and not before something is read: on SQLite an
 * application that writes would wait for whoever types the lines. */
static int flush(struct load *load)
{
    struct ot_cli *cli = load->cli;
    struct ot_batch *batch = load->batch;
    int rc = 0;
    if (!load->open)
        rc = cli->admin->ops->begin(cli->admin, &cli->err);
    load->open = rc == 0;
    if (rc != 0 || batch->n == 0)
        return rc;
    rc = cli->admin->ops->enqueue(cli->admin, batch->events, batch->n,
                                  &cli->err);
    if (rc != 0)
        return ot_fail_context(&cli->err, rc, "lines %lld to %lld",
                               (long long)batch->lines[0],
                               (long long)batch->lines[batch->n - 1]);
    load->count += (int64_t)batch->n;
    ot_batch_clear(batch);
    int64_t now = ot_now_us();
    if (now - load->shown_us > 100000) {
        char text[32];
        load->shown_us = now;
        ot_progress(cli, "%s events", ot_number_text(load->count, text));
    }
    return 0;
}

static bool blank(struct ot_slice line)
{
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] != ' ' && line.p[i] != '\t')
            return false;
    }
    return true;
}

static int load_lines(struct load *load)
{
    struct ot_cli *cli = load->cli;
    struct ot_enqueue_limits limits = limits_of(cli);
    int64_t now_us = ot_wall_us();
    struct ot_slice line;
    int rc;
    while ((rc = ot_input_line(&load->lines, &line, &cli->err)) > 0) {
        if (blank(line))
            continue;
        rc = ot_batch_add(load->batch, line, load->lines.number, now_us,
                          &limits, &cli->err);
        if (rc == 0 && ot_batch_full(load->batch))
            rc = flush(load);
        if (rc != 0)
            return rc;
    }
    return rc == 0 ? flush(load) : rc;
}

static int enqueue_many(struct ot_cli *cli, int argc)
{
    /* A payload may be escaped: six characters for one. */
    struct load load = {
        .cli = cli,
        .lines = {.fd = STDIN_FILENO,
                  .name = "standard input",
                  .most = limits_of(cli).payload_bytes * 6 + (1 << 20)},
    };
    int rc = ot_cli_args(cli, argc, 0, 0);
    if (rc == 0)
        rc = ot_cli_admin(cli);
    if (rc != 0)
        return rc;
    load.batch = ot_alloc_zero(1, sizeof *load.batch);
    if (load.batch == NULL)
        return ot_fail_nomem(&cli->err);
    if (cli->term.in)
        ot_say(cli, "one JSON object a line, Ctrl-D ends");
    ot_cli_signals_careful(NULL, NULL);
    rc = load_lines(&load);
    if (rc == 0)
        rc = cli->admin->ops->end(cli->admin, true, &cli->err);
    else if (load.open)
        (void)cli->admin->ops->end(cli->admin, false, NULL);
    if (rc != 0 && strcmp(outtray_error_class(rc), "EVENT") == 0)
        ot_cli_fix(cli, "correct the line and send all of it again: nothing "
                        "was enqueued");
    ot_batch_clear(load.batch);
    ot_free(load.batch);
    ot_input_free(&load.lines);
    if (rc != 0)
        return rc;
    char text[32];
    if (cli->json)
        ot_out_json(cli,
                    json_pack("{s:I}", "enqueued", (json_int_t)load.count));
    else
        ot_out(cli, "%s %s enqueued\n", ot_number_text(load.count, text),
               ot_events_word(load.count));
    ot_next(cli, "outtray status%s", ot_cli_same(cli));
    return 0;
}

static int run(struct ot_cli *cli, int argc, char **argv)
{
    if (ot_cli_has(cli, "ndjson"))
        return enqueue_many(cli, argc);
    return enqueue_one(cli, argc, argv);
}

static const struct ot_cli_option options[] = {
    {"key", 'k', "KEY", "ordering and partition key"},
    {"type", 't', "TYPE", "what happened, for consumers: OrderCreated"},
    {"header", 'H', "NAME=VALUE", "a header; may be repeated"},
    {"file", 'f', "FILE", "the payload is in this file; -: standard input"},
    {"deliver-at", 0, "TIME",
     "not before: +90s, +5m, +2h, +1d or "
     "2026-11-23T21:18:45Z"},
    {"id", 0, "UUID",
     "the event's id, if the caller has one; else a UUIDv7 is "
     "made"},
    {"ndjson", 0, NULL, "many events from standard input, in one transaction"},
    {0},
};
static const int codes[] = {
    OT_USUAL_CODES,
    OUTTRAY_E_TOO_LARGE,
    OUTTRAY_E_INVALID_UTF8,
    OUTTRAY_E_INVALID_EVENT,
    OUTTRAY_E_STORE_PERMISSION,
    OUTTRAY_E_STORE_BUSY,
    OUTTRAY_E_STORE_FULL,
    OUTTRAY_E_IO,
    OUTTRAY_E_INTERRUPTED,
    0,
};

const struct ot_cli_verb ot_cli_verb_enqueue = {
    .name = "enqueue",
    .group = "run",
    .summary = "put events into the outbox",
    .usage = "TOPIC [PAYLOAD|-] | --ndjson",
    .purpose =
        "Enqueues one event and prints its id. PAYLOAD is text; - reads "
        "standard input, --file a file; without any the event is a tombstone "
        "(no payload, which is not an empty one).\n\n"
        "With --ndjson, standard input has one JSON object a line: topic, and "
        "as wanted key, type, headers (an object of strings), payload (a "
        "string, or any JSON, which is taken as it is written) or "
        "payload_base64, deliver_at, id. All lines are one transaction: an "
        "error names its line and member, and nothing is enqueued. It begins "
        "with the thousandth line or the end; on SQLite other writers wait "
        "from then on. "
        "With --json: one object with enqueued, the number of events, and "
        "without --ndjson the id.\n\n"
        "An application enqueues in its own transaction, by the library or the "
        "SQL function, not by this command.",
    .options = options,
    .example = "outtray enqueue orders.created '{\"id\": 7}' --key 7 "
               "--type OrderCreated\n"
               "outtray enqueue --ndjson < events.ndjson",
    .codes = codes,
    .run = run,
};
