/* test_conformance_postgres.c - the battery on a real PostgreSQL, in a database
 * of its own, so that it can end the connections of the store. */
#include "conformance.h"

#ifndef OUTTRAY_WITH_POSTGRES
int main(void)
{
    fail_msg("this build has no PostgreSQL store");
    return 1;
}
#else

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/schema.h"

static char server_url[1024]; /* of the superuser's database */
static char url[1024];        /* of ours */
static char database[64];

static PGconn *connect_to(const char *to)
{
    const char *names[] = {"dbname", "application_name", "options", NULL};
    const char *values[] = {to, "battery", "-c client_min_messages=error",
                            NULL};
    PGconn *c = PQconnectdbParams(names, values, 1);

    if (PQstatus(c) != CONNECTION_OK) {
        fprintf(stderr, "%s", PQerrorMessage(c));
        exit(1);
    }
    return c;
}

static void run(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s in %.200s", PQerrorMessage(c), sql);
    PQclear(r);
}

static void run_on(const char *to, const char *sql)
{
    PGconn *c = connect_to(to);

    run(c, sql);
    PQfinish(c);
}

/* The URL of the server with another database. */
static void set_urls(void)
{
    const char *text = getenv("OUTTRAY_TEST_PG");
    const char *host, *path, *query;

    if (text == NULL) {
        fprintf(stderr, "OUTTRAY_TEST_PG is not set: run it through "
                        "./dev test\n");
        exit(1);
    }
    host = strstr(text, "://");
    if (host == NULL) {
        fprintf(stderr, "OUTTRAY_TEST_PG must be a postgresql:// URL\n");
        exit(1);
    }
    host += 3;
    query = strchr(host, '?');
    query = query != NULL ? query : host + strlen(host);
    path = strchr(host, '/');
    path = path != NULL && path < query ? path : query;
    snprintf(server_url, sizeof(server_url), "%s", text);
    snprintf(database, sizeof(database), "outtray_battery_%d", (int)getpid());
    snprintf(url, sizeof(url), "%.*s/%s%s", (int)(path - text), text, database,
             query);
}

/* --- the outbox ------------------------------------------------------------ */

static void migrate(PGconn *c)
{
    for (const struct ot_migration *m = ot_migrations; m->store != NULL; m++) {
        struct ot_buffer sql = {0};
        const char *p = m->sql, *at;

        if (strcmp(m->store, "postgres") != 0)
            continue;
        ot_buffer_puts(&sql, "BEGIN;\n");
        while ((at = strstr(p, "{{outbox}}")) != NULL) {
            ot_buffer_add(&sql, p, (size_t)(at - p));
            ot_buffer_puts(&sql, "\"outtray\"");
            p = at + strlen("{{outbox}}");
        }
        ot_buffer_puts(&sql, p);
        ot_buffer_printf(&sql,
                         ";UPDATE outtray.meta SET schema_version = %d;"
                         "COMMIT",
                         m->number);
        run(c, sql.p);
        ot_buffer_free(&sql);
    }
}

static void *make(void)
{
    PGconn *c = connect_to(url);

    migrate(c);
    return c;
}

static void drop(void *outbox)
{
    run(outbox, "DROP SCHEMA outtray CASCADE");
    PQfinish(outbox);
}

static struct outtray_conf *conf_of(void *outbox)
{
    struct outtray_conf *conf = outtray_conf_new();
    struct outtray_error err;

    (void)outbox;
    if (outtray_conf_set(conf, "store.url", url, &err) != 0)
        fail_msg("%s", err.text);
    return conf;
}

static struct ot_store *open_on(void *outbox, const struct outtray_conf *conf,
                                struct ot_uuid owner)
{
    struct outtray_error err;
    struct ot_store *s;

    (void)outbox;
    if (ot_store_open(&s, conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

/* --- the application ------------------------------------------------------- */

/* Connections of the application that have nothing to do. */
static PGconn *idle[8];
static size_t nidle;

/* Nothing is flushed at a commit: what the store says about durability must
 * come from its own doing. */
static void *begin(void *outbox)
{
    PGconn *c;

    (void)outbox;
    if (nidle > 0) {
        c = idle[--nidle];
    } else {
        c = connect_to(url);
        run(c, "SET synchronous_commit = off");
    }
    run(c, "BEGIN");
    return c;
}

static void done(PGconn *c)
{
    if (nidle < OT_COUNT(idle))
        idle[nidle++] = c;
    else
        PQfinish(c);
}

static int64_t enqueue(void *tx, const struct ot_event *e)
{
    static const char sql[] =
        "INSERT INTO outtray.event (topic, key, type, headers, payload, "
        "deliver_at, id) VALUES ($1, $2, $3, $4, $5, "
        "'epoch'::timestamptz + $6::bigint * interval '1 microsecond', "
        "coalesce($7::uuid, outtray.new_id())) RETURNING seq";
    static const struct ot_uuid none;
    static const Oid types[7] = {25, 25, 25, 114, 17, 0, 0};
    static const int formats[7] = {0, 0, 0, 0, 1, 0, 0};
    struct ot_slice slices[5] = {e->topic, e->key, e->type, e->headers,
                                 e->payload};
    const char *values[7] = {0};
    char *texts[5], deliver[32], id[37];
    int lengths[7] = {0};
    PGresult *r;
    int64_t seq;

    for (int i = 0; i < 5; i++) {
        texts[i] = calloc(1, slices[i].n + 1);
        if (slices[i].n > 0)
            memcpy(texts[i], slices[i].p, slices[i].n);
        values[i] = slices[i].p != NULL ? texts[i] : NULL;
        lengths[i] = (int)slices[i].n;
    }
    snprintf(deliver, sizeof(deliver), "%" PRId64, e->deliver_us);
    values[5] = e->deliver_us != 0 ? deliver : NULL;
    if (memcmp(&e->id, &none, sizeof(none)) != 0)
        values[6] = ot_uuid_text(e->id, id);
    r = PQexecParams(tx, sql, 7, types, values, lengths, formats, 0);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s", PQerrorMessage(tx));
    seq = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    for (int i = 0; i < 5; i++)
        free(texts[i]);
    return seq;
}

static void commit(void *tx)
{
    run(tx, "COMMIT");
    done(tx);
}

static void rollback(void *tx)
{
    run(tx, "ROLLBACK");
    done(tx);
}

static void command(void *outbox, const char *subscription, enum ot_verb verb,
                    int64_t seq)
{
    char sql[256], argument[32] = "NULL";

    if (seq > 0)
        snprintf(argument, sizeof(argument), "'%" PRId64 "'", seq);
    snprintf(sql, sizeof(sql),
             "INSERT INTO outtray.command (subscription, verb, argument) "
             "VALUES ('%s', '%s', %s)",
             subscription, ot_verb_name(verb), argument);
    run(outbox, sql);
}

static void cut(void *outbox, struct ot_store *s)
{
    (void)s;
    run(outbox, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() "
                "AND application_name <> 'battery' "
                "AND backend_type = 'client backend'");
}

static void mend(void *outbox)
{
    (void)outbox;
}

int main(void)
{
    static const struct adapter adapter = {
        .name = "postgres",
        .caps = OT_STORE_GAPS,
        .make = make,
        .drop = drop,
        .conf = conf_of,
        .open = open_on,
        .begin = begin,
        .enqueue = enqueue,
        .commit = commit,
        .rollback = rollback,
        .command = command,
        .cut = cut,
        .mend = mend,
    };
    char sql[128];
    int failed;

    set_urls();
    snprintf(sql, sizeof(sql), "CREATE DATABASE %s", database);
    run_on(server_url, sql);
    failed = conformance_run(&adapter);
    while (nidle > 0)
        PQfinish(idle[--nidle]);
    snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", database);
    run_on(server_url, sql);
    return failed;
}
#endif
