/* demo_reader.c - the consumer of the demo: writes down what arrives. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/demo/demo.h"
#include "sink/kafka/reader.h"

#define OPEN_MS 10000
#define WAIT_MS 100

/* The value of "name": N in the payload that the writer made. */
static long long number_in(struct ot_slice payload, const char *name)
{
    char text[200], *at;

    if (payload.p == NULL || payload.n >= sizeof(text))
        return -1;
    memcpy(text, payload.p, payload.n);
    text[payload.n] = '\0';
    at = strstr(text, name);
    if (at == NULL || (at = strchr(at, ':')) == NULL)
        return -1;
    return strtoll(at + 1, NULL, 10);
}

static void note(const struct ot_kafka_record *record, FILE *file)
{
    const int64_t at_us = number_in(record->payload, "\"at_us\"");
    struct demo_record line;

    memset(&line, 0, sizeof(line));
    line.latency_us = ot_wall_us() - at_us;
    line.order = (int32_t)number_in(record->payload, "\"order\"");
    line.version = (int32_t)number_in(record->payload, "\"version\"");
    if (record->id.p != NULL && record->id.n < sizeof(line.id))
        memcpy(line.id, record->id.p, record->id.n);
    fwrite(&line, sizeof(line), 1, file);
}

static int read_all(struct demo *demo, struct ot_kafka_reader *reader,
                    FILE *file, struct outtray_error *err)
{
    struct ot_kafka_record record;
    int rc;

    for (;;) {
        rc = ot_kafka_reader_next(reader, WAIT_MS, &record, err);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            note(&record, file);
            atomic_fetch_add(&demo->board->delivered, 1);
        } else if (atomic_load(&demo->board->finish) &&
                   ot_kafka_reader_at_end(reader, 1000)) {
            return 0;
        }
    }
}

int demo_reader(struct demo *demo, int index)
{
    struct ot_kafka_reader *reader = NULL;
    struct outtray_error err = {0};
    char path[320];
    FILE *file;
    int rc;

    (void)index;
    snprintf(path, sizeof(path), "%s/delivered", demo->dir);
    file = fopen(path, "wb");
    if (file == NULL)
        return 1;
    rc = ot_kafka_reader_open(&reader, demo->conf, demo->topic, 0, OPEN_MS,
                              &err);
    if (rc == 0)
        rc = read_all(demo, reader, file, &err);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.text);
    ot_kafka_reader_close(reader);
    if (fclose(file) != 0)
        rc = OUTTRAY_E_IO;
    return rc == 0 ? 0 : 1;
}
