/* pg_scratch.h - a database of a test's own, on the server of
 * OUTTRAY_TEST_PG, with a role that has a relay's rights and no more.
 * OUTTRAY_TEST_PG_POOLER, "host:port", is where the role connects instead: a
 * pooler in front of the same server. */
#ifndef TESTS_PG_SCRATCH_H
#define TESTS_PG_SCRATCH_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base.h"
#include "conf/conf.h"
#include "store/schema.h"

struct pg_scratch {
    char name[64];   /* of the database and of the role */
    char url[512];   /* superuser, this database */
    char relay[512]; /* the role, this database */
    PGconn *server;  /* superuser, the database of OUTTRAY_TEST_PG */
    PGconn *db;      /* superuser, this database */
};

static inline void pg_check(PGconn *c, PGresult *r, const char *sql)
{
    ExecStatusType s = PQresultStatus(r);

    if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
        fail_msg("%s%.2000s", PQerrorMessage(c), sql);
    PQclear(r);
}

static inline void pg_run(PGconn *c, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
static inline void pg_run(PGconn *c, const char *fmt, ...)
{
    char sql[4000];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);
    pg_check(c, PQexec(c, sql), sql);
}

static inline int64_t pg_int(PGconn *c, const char *fmt, ...)
    OUTTRAY_PRINTF(2, 3);
static inline int64_t pg_int(PGconn *c, const char *fmt, ...)
{
    char sql[4000];
    va_list args;
    PGresult *r;
    int64_t value;

    va_start(args, fmt);
    vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);
    r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) == 0)
        fail_msg("%s%s", PQerrorMessage(c), sql);
    value = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return value;
}

static inline PGconn *pg_connect(const char *url)
{
    PGconn *c = PQconnectdb(url);

    if (PQstatus(c) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(c));
    PQclear(PQexec(c, "SET client_min_messages = error"));
    return c;
}

/* The migrations, in a schema of that name. */
static inline void pg_migrate(PGconn *c, const char *outbox)
{
    for (const struct ot_migration *m = ot_migrations; m->store != NULL; m++) {
        struct ot_buffer sql = {0};
        const char *p = m->sql, *at;

        if (strcmp(m->store, "postgres") != 0)
            continue;
        ot_buffer_puts(&sql, "BEGIN;");
        while ((at = strstr(p, "{{outbox}}")) != NULL) {
            ot_buffer_add(&sql, p, (size_t)(at - p));
            ot_buffer_printf(&sql, "\"%s\"", outbox);
            p = at + strlen("{{outbox}}");
        }
        ot_buffer_puts(&sql, p);
        ot_buffer_printf(&sql, "UPDATE \"%s\".meta SET schema_version = %d;",
                         outbox, m->number);
        ot_buffer_puts(&sql, "COMMIT");
        pg_check(c, PQexec(c, sql.p), "migration");
        ot_buffer_free(&sql);
    }
}

/* What the migration says that a relay needs. */
static inline void pg_grant_relay(PGconn *c, const char *outbox,
                                  const char *role)
{
    pg_run(c, "GRANT USAGE ON SCHEMA \"%s\" TO \"%s\"", outbox, role);
    pg_run(c,
           "GRANT SELECT, DELETE, UPDATE (headers, payload) "
           "ON \"%s\".event TO \"%s\"",
           outbox, role);
    pg_run(c,
           "GRANT SELECT ON \"%s\".event_seq_seq, \"%s\".meta, \"%s\".pending, "
           "\"%s\".dead, \"%s\".status TO \"%s\"",
           outbox, outbox, outbox, outbox, outbox, role);
    pg_run(c,
           "GRANT SELECT, INSERT, UPDATE, DELETE ON \"%s\".cursor, "
           "\"%s\".gap, \"%s\".held, \"%s\".command TO \"%s\"",
           outbox, outbox, outbox, outbox, role);
}

static inline void pg_url(const char *base, const char *user,
                          const char *database, char *out, size_t size)
{
    PQconninfoOption *o = PQconninfoParse(base, NULL), *i;
    const char *host = "", *port = "", *old = "postgres";

    assert_non_null(o);
    for (i = o; i->keyword != NULL; i++) {
        if (i->val == NULL)
            continue;
        if (strcmp(i->keyword, "host") == 0)
            host = i->val;
        else if (strcmp(i->keyword, "port") == 0)
            port = i->val;
        else if (strcmp(i->keyword, "user") == 0)
            old = i->val;
    }
    if (user != NULL && getenv("OUTTRAY_TEST_PG_POOLER") != NULL) {
        host = getenv("OUTTRAY_TEST_PG_POOLER");
        port = "";
    }
    snprintf(out, size, "postgresql://%s%s@%s%s%s/%s", user ? user : old,
             user ? ":secret" : "", host, port[0] != '\0' ? ":" : "", port,
             database);
    PQconninfoFree(o);
}

static inline void pg_scratch_make(struct pg_scratch *s, const char *what)
{
    const char *url = getenv("OUTTRAY_TEST_PG");

    memset(s, 0, sizeof(*s));
    if (url == NULL)
        fail_msg("OUTTRAY_TEST_PG is not set: run it through ./dev test");
    snprintf(s->name, sizeof(s->name), "outtray_%s_%d", what, (int)getpid());
    s->server = pg_connect(url);
    pg_run(s->server, "CREATE DATABASE \"%s\"", s->name);
    pg_run(s->server, "CREATE ROLE \"%s\" LOGIN PASSWORD 'secret'", s->name);
    pg_url(url, NULL, s->name, s->url, sizeof(s->url));
    pg_url(url, s->name, s->name, s->relay, sizeof(s->relay));
    s->db = pg_connect(s->url);
}

/* And an outbox in it, where unqualified names are looked up. */
static inline void pg_scratch_outbox(struct pg_scratch *s, const char *what,
                                     const char *outbox)
{
    pg_scratch_make(s, what);
    pg_migrate(s->db, outbox);
    pg_grant_relay(s->db, outbox, s->name);
    pg_run(s->db, "SET search_path = \"%s\"", outbox);
}

static inline void pg_scratch_drop(struct pg_scratch *s)
{
    PQfinish(s->db);
    pg_run(s->server, "DROP DATABASE \"%s\" WITH (FORCE)", s->name);
    pg_run(s->server, "DROP ROLE \"%s\"", s->name);
    PQfinish(s->server);
}

static inline struct outtray_conf *pg_conf(const char *url, const char *outbox)
{
    struct outtray_conf *conf = outtray_conf_new();
    struct outtray_error err;

    if (outtray_conf_set(conf, "store.url", url, &err) != 0 ||
        outtray_conf_set(conf, "store.outbox", outbox, &err) != 0)
        fail_msg("%s", err.text);
    return conf;
}

#endif
