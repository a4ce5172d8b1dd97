/* fixture.h - an outbox in a SQLite file, and a relay of it. */
#ifndef RELAY_FIXTURE_H
#define RELAY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "outtray.h"
#include "relay/apply.h"
#include "store/admin.h"

#define PATIENCE_US 60000000

struct fixture {
    char dir[64];
    char out[96];
    struct outtray_conf *conf;
    struct ot_admin *admin;
    struct outtray_error err;
    char log[65536];
};

static inline void set(struct fixture *fixture, const char *name,
                       const char *value)
{
    if (outtray_conf_set(fixture->conf, name, value, &fixture->err) != 0)
        fail_msg("%s", fixture->err.text);
}

static inline int each_line(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    return 0;
}

static inline int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct ot_init_options options = {0};
    char url[128];

    strcpy(fixture->dir, "/tmp/outtray-relay-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    fixture->conf = outtray_conf_new();
    snprintf(url, sizeof(url), "sqlite://%s/outbox.db", fixture->dir);
    set(fixture, "store.url", url);
    snprintf(fixture->out, sizeof(fixture->out), "%s/out", fixture->dir);
    snprintf(url, sizeof(url), "file://%s", fixture->out);
    set(fixture, "sink.url", url);
    set(fixture, "log.level", "debug");
    if (ot_admin_open(&fixture->admin, fixture->conf, &fixture->err) != 0 ||
        fixture->admin->ops->init(fixture->admin, &options, each_line, NULL,
                                  &fixture->err) != 0)
        fail_msg("%s", fixture->err.text);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    fixture->admin->ops->close(fixture->admin);
    outtray_conf_free(fixture->conf);
    snprintf(command, sizeof(command), "rm -rf %s", fixture->dir);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static inline void keep_log(void *ctx, enum outtray_log_level level,
                            const char *facility, const char *text)
{
    struct fixture *fixture = ctx;
    size_t n = strlen(fixture->log);

    (void)level;
    snprintf(fixture->log + n, sizeof(fixture->log) - n, "%s: %s\n", facility,
             text);
}

/* Enqueue first … last; the payload is the number, the key one of `keys`. */
static inline void enqueue_keys(struct fixture *fixture, int first, int last,
                                int keys)
{
    const struct ot_admin_ops *ops = fixture->admin->ops;
    struct outtray_event event = {.topic = {"orders", 6}};
    char payload[16], key[16];

    assert_int_equal(ops->begin(fixture->admin, &fixture->err), 0);
    for (int i = first; i <= last; i++) {
        event.payload.n = (size_t)snprintf(payload, sizeof(payload), "%d", i);
        event.payload.p = payload;
        event.key.n = (size_t)snprintf(key, sizeof(key), "k%d", i % keys);
        event.key.p = key;
        if (ops->enqueue(fixture->admin, &event, 1, &fixture->err) != 0)
            fail_msg("%s", fixture->err.text);
    }
    assert_int_equal(ops->end(fixture->admin, true, &fixture->err), 0);
}

static inline void enqueue(struct fixture *fixture, int first, int last)
{
    enqueue_keys(fixture, first, last, 1);
}

static inline struct outtray_relay *open_relay(struct fixture *fixture)
{
    struct outtray_relay *relay;

    if (outtray_relay_open(&relay, fixture->conf, keep_log, fixture,
                           &fixture->err) != 0)
        fail_msg("%s", fixture->err.text);
    return relay;
}

#endif
