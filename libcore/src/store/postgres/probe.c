/* probe.c - see probe.h. */
#include "store/postgres/probe.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/postgres/error.h"
#include "store/postgres/params.h"

/* At work: it computes, waits for a lock or a disk. One that waits for its
 * client has sent its answer, or still expects the rest of the request; unless
 * that has only just become so. */
#define WAITS_FOR_ITS_CLIENT                           \
    "(wait_event_type = 'Client' AND state_change <= " \
    "pg_catalog.clock_timestamp() - interval '1 s')"

/* Of a relay whose last request arrived in part, because its host lost power or
 * a middleman forgot the connection, the server keeps the session, and with it
 * the lock of the cursor's row, until TCP gives up, which takes hours; before
 * PostgreSQL 17 (transaction_timeout) no time-out of its own ends that. */
static const char question[] =
    "SELECT (SELECT count(*)::int FROM pg_catalog.pg_stat_activity "
    "WHERE pid = %d AND " WAITS_FOR_ITS_CLIENT " IS NOT TRUE), "
    "(SELECT min(pid) FROM pg_catalog.pg_stat_activity "
    "WHERE pid = ANY (pg_catalog.pg_blocking_pids(%d)) "
    "AND usename = current_user AND application_name = "
    "pg_catalog.current_setting('application_name') AND " WAITS_FOR_ITS_CLIENT
    " AND (pid = %d OR xact_start < pg_catalog.clock_timestamp() - "
    "%lld * interval '1 us'))";

/* libpq would print notices to stderr. */
static void notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static void began(struct ot_pg_probe *probe, int64_t now_us)
{
    probe->generation += OT_PG_SOCKETS;
    probe->began_us = now_us;
    probe->connecting = true;
    probe->poll = PGRES_POLLING_WRITING;
    if (probe->conn != NULL)
        PQsetNoticeProcessor(probe->conn, notice, NULL);
}

void ot_pg_probe_ask(struct ot_pg_probe *probe, const struct outtray_conf *conf,
                     const PGconn *silent, int64_t now_us)
{
    struct outtray_error err = {0};

    ot_pg_probe_end(probe);
    probe->about_session = true;
    probe->found = OT_PG_ANSWERED;
    probe->in_the_way = 0;
    probe->lease_us = ot_conf_us(conf, "relay.lease_ttl_ms");
    ot_pg_connect_start_like(&probe->conn, conf, silent, &err);
    began(probe, now_us);
}

void ot_pg_probe_connect(struct ot_pg_probe *probe,
                         const struct outtray_conf *conf, unsigned attempt,
                         int64_t now_us)
{
    struct outtray_error err = {0};

    ot_pg_probe_end(probe);
    probe->about_session = false;
    ot_pg_connect_start_at(&probe->conn, conf, attempt, NULL, &err);
    began(probe, now_us);
}

void ot_pg_probe_end(struct ot_pg_probe *probe)
{
    PQfinish(probe->conn);
    probe->conn = NULL;
}

PGconn *ot_pg_probe_take(struct ot_pg_probe *probe)
{
    PGconn *conn = probe->conn;

    probe->conn = NULL;
    return conn;
}

static bool ready(const struct ot_pg_probe *probe)
{
    bool reads = !probe->connecting || probe->poll == PGRES_POLLING_READING;
    struct pollfd p = {.fd = PQsocket(probe->conn),
                       .events = reads ? POLLIN : POLLOUT};

    return p.fd >= 0 && poll(&p, 1, 0) > 0;
}

/* Refused by the server itself, be it only for want of room: it lives. */
static bool server_spoke(const PGconn *conn)
{
    struct outtray_error err = {0};

    ot_pg_fail_connect(&err, conn);
    return err.sqlstate[0] != '\0' && strncmp(err.sqlstate, "57P", 3) != 0;
}

static enum ot_pg_finding connected(struct ot_pg_probe *probe)
{
    char sql[sizeof(question) + 64];

    probe->connecting = false;
    if (!probe->about_session || probe->pid == 0)
        return OT_PG_ANSWERED;
    snprintf(sql, sizeof(sql), question, probe->pid, probe->pid,
             probe->predecessor, (long long)probe->lease_us);
    /* A few bytes into an empty socket: nothing is left to be flushed. */
    return PQsendQuery(probe->conn, sql) == 1 ? OT_PG_LOOKING : OT_PG_NO_ANSWER;
}

static enum ot_pg_finding connect_go_on(struct ot_pg_probe *probe)
{
    while (ready(probe)) {
        probe->poll = PQconnectPoll(probe->conn);
        probe->generation += OT_PG_SOCKETS;
        if (probe->poll == PGRES_POLLING_FAILED)
            return probe->about_session && server_spoke(probe->conn)
                       ? OT_PG_ANSWERED
                       : OT_PG_NO_ANSWER;
        if (probe->poll == PGRES_POLLING_OK)
            return connected(probe);
    }
    return OT_PG_LOOKING;
}

static void hear_result(struct ot_pg_probe *probe, const PGresult *result)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQnfields(result) != 2)
        return;
    if (strcmp(PQgetvalue(result, 0, 0), "0") == 0)
        probe->found = OT_PG_FORSAKEN;
    probe->in_the_way = atoi(PQgetvalue(result, 0, 1));
}

/* True: there is an answer to wait for, once. */
static bool end_what_is_in_the_way(struct ot_pg_probe *probe)
{
    char sql[80];
    int pid = probe->in_the_way;

    if (pid == 0)
        return false;
    probe->in_the_way = 0;
    ot_log(probe->log, OT_WARN, "postgres",
           "ending process %d of the server: it keeps a lock for a relay that "
           "is gone",
           pid);
    snprintf(sql, sizeof(sql), "SELECT pg_catalog.pg_terminate_backend(%d)",
             pid);
    return PQsendQuery(probe->conn, sql) == 1;
}

static enum ot_pg_finding hear(struct ot_pg_probe *probe)
{
    PGresult *result;

    if (PQconsumeInput(probe->conn) != 1)
        return OT_PG_NO_ANSWER;
    while (!PQisBusy(probe->conn)) {
        result = PQgetResult(probe->conn);
        if (result == NULL && !end_what_is_in_the_way(probe))
            return probe->found;
        hear_result(probe, result);
        PQclear(result);
    }
    return OT_PG_LOOKING;
}

enum ot_pg_finding ot_pg_probe_service(struct ot_pg_probe *probe)
{
    if (probe->conn == NULL)
        return OT_PG_NO_ANSWER;
    if (probe->connecting)
        return connect_go_on(probe);
    return ready(probe) ? hear(probe) : OT_PG_LOOKING;
}

bool ot_pg_probe_fd(const struct ot_pg_probe *probe, struct ot_fd *out)
{
    if (probe->conn == NULL)
        return false;
    out->fd = PQsocket(probe->conn);
    out->generation = probe->generation;
    out->read = !probe->connecting || probe->poll == PGRES_POLLING_READING;
    out->write = !out->read;
    return out->fd >= 0;
}
