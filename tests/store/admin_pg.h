/* admin_pg.h - an admin of an outbox in a database of the test's own; read by
 * one test file of each program. */
#ifndef STORE_ADMIN_PG_H
#define STORE_ADMIN_PG_H

#include "support/pg_scratch.h"

#include "store/stores.h"

static struct pg_scratch pg;
static struct outtray_conf *conf;
static struct ot_admin *admin;
static struct outtray_error err;
static const struct ot_init_options no_options;

/* How long open_as waits for a server. */
static const char *patience = "10s";

static inline int open_as(const char *url, const char *outbox,
                          struct ot_admin **out)
{
    struct outtray_conf *c = pg_conf(url, outbox);
    int rc;

    assert_int_equal(
        outtray_conf_set(c, "store.connect_timeout_ms", patience, &err), 0);
    ot_error_clear(&err);
    rc = ot_postgres_admin_ops.open(out, c, &err);
    outtray_conf_free(c);
    return rc;
}

static inline void ok(int rc)
{
    if (rc != 0)
        fail_msg("%s: %s", outtray_error_name(rc), err.text);
}

/* It failed with this code; the text is one line and has these words. */
static inline void failed(int rc, int code, const char *words)
{
    if (rc != code)
        fail_msg("%s instead of %s: %s", outtray_error_name(rc),
                 outtray_error_name(code), rc != 0 ? err.text : "");
    assert_int_equal(err.code, code);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' has no '%s'", err.text, words);
    assert_null(strchr(err.text, '\n'));
    assert_null(strstr(err.text, "secret"));
}

static inline int setup(void **state)
{
    (void)state;
    ot_error_clear(&err);
    pg_scratch_make(&pg, "admin");
    conf = pg_conf(pg.url, "shop");
    ok(ot_admin_open(&admin, conf, &err));
    return 0;
}

static inline int setup_outbox(void **state)
{
    setup(state);
    ok(admin->ops->init(admin, &no_options, NULL, NULL, &err));
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    admin->ops->close(admin);
    outtray_conf_free(conf);
    pg_scratch_drop(&pg);
    return 0;
}

static inline int collect(void *ctx, const char *line)
{
    ot_buffer_printf(ctx, "%s\n", line);
    return 0;
}

/* 20 events; main has read up to 10; 3 is in a gap, 5 and 12 are held, 4 dead.
 */
static inline void make_scene(void)
{
    pg_run(pg.db,
           "INSERT INTO shop.event (topic, key, payload) SELECT 't' || i %% 2, "
           "'k' || i %% 3, decode(lpad(to_hex(i), 2, '0'), 'hex') FROM "
           "generate_series(1, 20) i;"
           "INSERT INTO shop.cursor (subscription, position, owner, fence, "
           "lease_expires_at, written_at) VALUES ('main', 10, "
           "'11111111-2222-4333-8444-555555555555', 3, clock_timestamp() + "
           "interval '10 s', clock_timestamp() - interval '1 s');"
           "INSERT INTO shop.gap VALUES ('main', 3, 3), ('main', 7, 6 + 1);"
           "DELETE FROM shop.event WHERE seq = 7;"
           "INSERT INTO shop.held (subscription, seq, key, topic, state, "
           "holds_key, attempts, next_attempt_at, first_error_at, "
           "last_error_at, retried_us, error_code, error) VALUES "
           "('main', 4, 'k1', 't0', 'dead', true, 9, NULL, now(), now(), 77, "
           "10, 'too large'), ('main', 5, 'k2', 't1', 'retrying', true, 1, "
           "now(), now(), now(), 0, -5, 'later'), ('main', 12, 'k0', 't0', "
           "'blocked', false, 0, NULL, NULL, NULL, 0, 0, NULL);"
           "INSERT INTO shop.command (subscription, verb) VALUES ('main', "
           "'pause')");
}

#define BARE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define FULL(f) cmocka_unit_test_setup_teardown(f, setup_outbox, teardown)

#endif
