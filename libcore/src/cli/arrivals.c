/* arrivals.c - see arrivals.h. */
#include "cli/arrivals.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cli/input.h"
#include "cli/signals.h"

#define LINE_BYTES (64 << 20)

/* --- lines ---------------------------------------------------------------- */

static bool id_of_object(struct ot_slice line, struct ot_uuid *out)
{
    json_t *object = json_loadb(line.p, line.n, 0, NULL);
    json_t *id = json_object_get(object, "id");
    bool good =
        json_is_string(id) &&
        ot_uuid_parse(ot_slice(json_string_value(id), json_string_length(id)),
                      out);

    json_decref(object);
    return good;
}

static int add_line(struct ot_cli *cli, const struct ot_input *in,
                    struct ot_slice line, struct ot_reconcile *r)
{
    struct ot_uuid id;

    line = ot_slice_trim(line);
    if (line.n == 0)
        return 0;
    if (*line.p == '{' ? !id_of_object(line, &id) : !ot_uuid_parse(line, &id)) {
        ot_cli_fix(cli, "lines of UUIDs, or of objects with the member \"id\", "
                        "as --sink file: writes them");
        return ot_fail(&cli->err, OUTTRAY_E_CONF,
                       "%s, line %lld: neither an id nor an object with one",
                       in->name, (long long)in->number);
    }
    return ot_reconcile_arrived(r, id, &cli->err);
}

int ot_arrivals_lines(struct ot_cli *cli, const char *path,
                      struct ot_reconcile *r)
{
    bool piped = strcmp(path, "-") == 0;
    struct ot_input in = {.fd = piped ? STDIN_FILENO
                                      : open(path, O_RDONLY | O_CLOEXEC),
                          .name = piped ? "standard input" : path,
                          .most = LINE_BYTES};
    struct ot_slice line;
    int rc;

    if (in.fd < 0)
        return ot_fail(&cli->err, OUTTRAY_E_IO, "%s: %s", path,
                       strerror(errno));
    while ((rc = ot_input_line(&in, &line, &cli->err)) == 1) {
        rc = add_line(cli, &in, line, r);
        if (rc != 0)
            break;
    }
    ot_input_free(&in);
    if (!piped)
        close(in.fd);
    return rc;
}

/* --- a topic -------------------------------------------------------------- */

#ifdef OUTTRAY_WITH_KAFKA
#include "sink/kafka/reader.h"

enum { OPEN_MS = 10000, WAIT_MS = 200, SILENT_MS = 30000 };

/* To the end of every partition. A broker that went away is waited for. */
static int read_all(struct ot_cli *cli, struct ot_kafka_reader *reader,
                    const char *destination, struct ot_reconcile *r)
{
    int64_t heard_us = ot_now_us(), n = 0;
    struct ot_kafka_record record;
    int rc;

    for (;;) {
        if (ot_cli_signals_caught() != 0)
            return ot_fail(&cli->err, OUTTRAY_E_INTERRUPTED, "interrupted");
        rc = ot_kafka_reader_next(reader, WAIT_MS, &record, &cli->err);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            struct ot_uuid id = {{0}}; /* no event of ours: unknown */

            (void)ot_uuid_parse(record.id, &id);
            rc = ot_reconcile_arrived(r, id, &cli->err);
            if (rc != 0)
                return rc;
            heard_us = ot_now_us();
            if (++n % 10000 == 0)
                ot_progress(cli, "%s: %lld records", destination, (long long)n);
        } else if (ot_kafka_reader_at_end(reader, 1000)) {
            return 0;
        } else if (ot_now_us() - heard_us > SILENT_MS * INT64_C(1000)) {
            return ot_fail(&cli->err, OUTTRAY_E_SINK_UNAVAILABLE,
                           "topic %s: the broker has sent nothing for %d s",
                           destination, SILENT_MS / 1000);
        }
    }
}

int ot_arrivals_topic(struct ot_cli *cli, const char *destination,
                      int64_t since_us, struct ot_reconcile *r)
{
    struct ot_kafka_reader *reader = NULL;
    int rc = ot_kafka_reader_open(&reader, cli->conf, destination, since_us,
                                  OPEN_MS, &cli->err);

    if (rc == 0)
        rc = read_all(cli, reader, destination, r);
    ot_progress_end(cli);
    ot_kafka_reader_close(reader);
    return rc;
}
#else
int ot_arrivals_topic(struct ot_cli *cli, const char *destination,
                      int64_t since_us, struct ot_reconcile *r)
{
    (void)since_us;
    (void)r;
    return ot_fail(&cli->err, OUTTRAY_E_UNSUPPORTED,
                   "topic %s: this build cannot read from Kafka; pipe the ids "
                   "in with --arrived -",
                   destination);
}
#endif
