/* link.c - see link.h.
 *
 * Where libpq waits all the same: PQconnectStart and the first PQconnectPoll
 * of each host resolve its name with getaddrinfo, which blocks while a name
 * server does not answer. Addresses, unix sockets and names of /etc/hosts do
 * not wait; who cannot accept the rest gives hostaddr=… in store.url.
 */
#include "store/postgres/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>

#include "base/crash.h"
#include "store/postgres/error.h"
#include "store/postgres/params.h"

/* Rounds of reading in one go: a large result comes in many pieces. */
#define ROUNDS 256

/* After so long without an alarm the next one comes early again. */
static const int64_t CALM_US = 60000000;

static bool ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return fd >= 0 && poll(&p, 1, 0) > 0;
}

/* libpq would print notices to stderr. */
static void notice(void *ctx, const char *text)
{
    const struct ot_pg_link *link = ctx;
    size_t n = strcspn(text, "\n");

    ot_log(link->log, OT_DEBUG, "postgres", "%.*s", (int)n, text);
}

void ot_pg_link_ask(struct ot_pg_link *link, struct ot_pg_job *job)
{
    job->link = link;
    link->queue[link->nqueue++] = job;
}

/* Whom the server is asked about. A pooler has no such process: to have got
 * an answer where the session's own first statement has none says enough. Later
 * its sessions change, and only its life can be asked for. */
static int process_of(const struct ot_pg_link *link)
{
    return link->ours || link->greeting_due ? PQbackendPID(link->conn) : 0;
}

void ot_pg_link_close(struct ot_pg_link *link)
{
    if (link->running && process_of(link) != 0)
        link->probe.predecessor = process_of(link);
    ot_pg_probe_end(&link->probe);
    PQfinish(link->conn);
    link->conn = NULL;
    link->phase = OT_PG_OFF;
    link->nqueue = 0;
    link->running = false;
    link->rolling_back = false;
    link->unsent = false;
    link->greeted = false;
    link->greeting_due = false;
    link->ours = false;
    ot_pg_plans_forget(&link->plans);
}

/* --- connecting ---------------------------------------------------------- */

static int connect_start(struct ot_pg_link *link, int64_t now_us,
                         struct outtray_error *err)
{
    int code = ot_pg_connect_start_at(&link->conn, link->conf, link->attempt,
                                      &link->nhosts, err);

    if (code != 0)
        return code;
    PQsetNoticeProcessor(link->conn, notice, link);
    link->phase = OT_PG_CONNECTING;
    link->generation +=
        OT_PG_SOCKETS; /* the number of the last socket may be used again */
    link->poll = PGRES_POLLING_WRITING;
    link->deadline_us = now_us + link->connect_us;
    link->look_us = now_us + link->network_us / 2;
    return 0;
}

static int connected(struct ot_pg_link *link, struct outtray_error *err)
{
    PQsetErrorVerbosity(link->conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(link->conn, 1) != 0 ||
        PQenterPipelineMode(link->conn) != 1)
        return ot_pg_fail(err, link->conn, NULL, "cannot start the pipeline");
    link->phase = OT_PG_READY;
    link->tried = 0;
    return 0;
}

/* Is there a way past an attempt that hangs? Another one begins beside it, with
 * the next host if there are several; who comes first is taken. */
static bool second_attempt(struct ot_pg_link *link, int64_t now_us)
{
    struct ot_pg_probe *probe = &link->probe;
    uint32_t generation;

    if (probe->conn == NULL && now_us >= link->look_us)
        ot_pg_probe_connect(probe, link->conf, ++link->attempt, now_us);
    if (probe->conn == NULL)
        return false;
    switch (ot_pg_probe_service(probe)) {
    case OT_PG_ANSWERED:
        PQfinish(link->conn);
        link->conn = ot_pg_probe_take(probe);
        PQsetNoticeProcessor(link->conn, notice, link);
        generation = probe->generation;
        probe->generation = link->generation;
        link->generation = generation;
        return true;
    case OT_PG_LOOKING:
        if (now_us < probe->began_us + link->network_us / 2)
            return false;
        link->look_us = now_us;
        break;
    default:
        link->look_us = now_us + link->network_us / 4;
        break;
    }
    ot_pg_probe_end(probe);
    return false;
}

/* libpq goes on to the next host when one refuses, but not when one takes the
 * connection and hangs up, as whatever stands before a dead server does. */
static int connect_failed(struct ot_pg_link *link, int64_t now_us,
                          struct outtray_error *err)
{
    int code = ot_pg_fail_connect(err, link->conn);

    link->attempt++;
    if (++link->tried >= link->nhosts) {
        link->tried = 0;
        return code;
    }
    PQfinish(link->conn);
    link->conn = NULL;
    code = connect_start(link, now_us, err);
    if (code == 0)
        ot_error_clear(err);
    return code;
}

static int connect_go_on(struct ot_pg_link *link, int64_t now_us,
                         struct outtray_error *err)
{
    while (link->phase == OT_PG_CONNECTING) {
        short events = link->poll == PGRES_POLLING_READING ? POLLIN : POLLOUT;

        /* It takes its turn for granted: it must not be asked too early. */
        if (!ready(PQsocket(link->conn), events))
            break;
        link->poll = PQconnectPoll(link->conn);
        link->generation +=
            OT_PG_SOCKETS; /* it may have gone on to another address */
        if (link->poll == PGRES_POLLING_FAILED)
            return connect_failed(link, now_us, err);
        if (link->poll == PGRES_POLLING_OK)
            return connected(link, err);
    }
    if (second_attempt(link, now_us))
        return connected(link, err);
    if (now_us < link->deadline_us)
        return 0;
    link->attempt++;
    return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                   "database %s on %s: no answer within %lld ms: check "
                   "host and port of store.url",
                   PQdb(link->conn), PQhost(link->conn),
                   (long long)(link->connect_us / 1000));
}

/* --- silence ------------------------------------------------------------- */

/* There is a sign of life, or a request to which one is due. */
static void heard(struct ot_pg_link *link, int64_t now_us)
{
    ot_pg_probe_end(&link->probe);
    link->deadline_us = now_us + link->silence_us;
    link->look_us =
        now_us + link->patience_us / (link->probe.predecessor != 0 ? 8 : 2);
    link->forlorn_us = now_us + link->patience_us;
}

/* The next alarm takes twice as long, if it comes soon: a server that answers
 * nobody in time may all the same do its work, and must get to its end. */
static int give_up(struct ot_pg_link *link, int64_t now_us, const char *what,
                   struct outtray_error *err)
{
    bool again = link->alarm_us != 0 && now_us < link->alarm_us + CALM_US;

    link->alarm_us = now_us;
    link->patience_us = again ? link->patience_us * 2 : link->network_us * 2;
    if (link->patience_us > link->silence_us)
        link->patience_us = link->silence_us;
    return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE, "%s: %s",
                   link->queue[0]->what, what);
}

/* A request is out and nothing comes back. */
static int watch(struct ot_pg_link *link, int64_t now_us,
                 struct outtray_error *err)
{
    enum ot_pg_finding found = OT_PG_LOOKING;

    if (now_us >= link->deadline_us)
        return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                       "%s: the server said nothing for %lld ms",
                       link->queue[0]->what,
                       (long long)(link->silence_us / 1000));
    if (link->probe.conn == NULL && now_us >= link->look_us) {
        link->probe.pid = process_of(link);
        ot_pg_probe_ask(&link->probe, link->conf, link->conn, now_us);
    }
    if (link->probe.conn != NULL)
        found = ot_pg_probe_service(&link->probe);
    switch (found) {
    case OT_PG_FORSAKEN:
        return give_up(link, now_us,
                       "the server answered, or waits for the request: the "
                       "connection has lost something",
                       err);
    case OT_PG_ANSWERED:
        ot_pg_probe_end(&link->probe);
        link->look_us = now_us + link->patience_us / 2;
        link->forlorn_us = now_us + link->patience_us;
        break;
    case OT_PG_NO_ANSWER:
        ot_pg_probe_end(&link->probe);
        link->look_us = now_us + link->patience_us / 8;
        break;
    case OT_PG_LOOKING:
        break;
    }
    if (now_us < link->forlorn_us)
        return 0;
    return give_up(
        link, now_us,
        "the database has not answered in time, nor does it answer a "
        "new connection",
        err);
}

/* --- sending and receiving ----------------------------------------------- */

static int flush(struct ot_pg_link *link, struct outtray_error *err)
{
    int rc = PQflush(link->conn);

    link->unsent = rc == 1;
    ot_crash_point("postgres.sent");
    return rc < 0 ? ot_pg_fail(err, link->conn, NULL, "sending") : 0;
}

/* Is there a pooler? It tells its clients a process number of its own making,
 * and the server itself another one. Asked with the first job, not before it,
 * so that it costs no round trip. */
static bool greet(struct ot_pg_link *link)
{
    uint32_t pid = htonl((uint32_t)PQbackendPID(link->conn));
    const Oid types[] = {OT_PG_INT4};
    const char *const values[] = {(const char *)&pid};
    const int lengths[] = {sizeof(pid)}, formats[] = {1};

    link->greeted = true;
    link->greeting_due = true;
    return PQsendQueryParams(link->conn, link->greeting, 1, types, values,
                             lengths, formats, 1) == 1 &&
           PQpipelineSync(link->conn) == 1;
}

static void hear_greeting(struct ot_pg_link *link, PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        link->ours = PQntuples(result) == 1;
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
        link->greeting_due = false;
    PQclear(result);
}

static int send_job(struct ot_pg_link *link, struct outtray_error *err)
{
    struct ot_pg_job *job = link->queue[0];
    bool planned = link->ours && !link->rolling_back;
    struct ot_pg_plans *plans = planned ? &link->plans : NULL;

    link->running = true;
    link->statement = 0;
    link->answered = false;
    heard(link, ot_now_us());
    ot_crash_point("postgres.send");
    if ((!link->greeted && !greet(link)) ||
        !ot_pg_script_send(&job->script, link->conn, plans))
        return ot_pg_fail(err, link->conn, NULL, job->what);
    return flush(link, err);
}

void ot_pg_link_hurry(struct ot_pg_link *link)
{
    struct outtray_error err;

    if (link->phase != OT_PG_READY || link->running || link->nqueue == 0)
        return;
    /* libpq remembers a failure: the next service hears of it. */
    ot_error_clear(&err);
    if (send_job(link, &err) != 0)
        link->deadline_us = 0;
}

/* A statement failed, and with it all behind it, COMMIT too. */
static bool rolls_back(struct ot_pg_link *link, struct ot_pg_job *job)
{
    link->rolling_back = !link->rolling_back && job->reply.code != 0 &&
                         PQtransactionStatus(link->conn) == PQTRANS_INERROR;
    if (!link->rolling_back)
        return false;
    ot_pg_script_clear(&job->script);
    ot_pg_say(&job->script, 0, "ROLLBACK");
    return !ot_pg_script_failed(&job->script);
}

static void end_job(struct ot_pg *pg, struct ot_pg_link *link)
{
    struct ot_pg_job *job = link->queue[0];

    ot_crash_point("postgres.answered");
    link->running = false;
    if (link->replan)
        ot_pg_plans_forget(&link->plans);
    link->replan = false;
    if (rolls_back(link, job))
        return;
    if (job->reply.code == 0 && job->again != NULL && job->again(pg, job)) {
        if (!ot_pg_script_failed(&job->script))
            return;
        job->reply.code = ot_fail_nomem(&job->reply.err);
    }
    if (job->reply.code == 0 && (job->reply.kind == OT_REPLY_LEASE ||
                                 job->reply.kind == OT_REPLY_WRITE))
        link->probe.predecessor = 0; /* the row of the cursor is free */
    link->nqueue--;
    memmove(link->queue, link->queue + 1,
            link->nqueue * sizeof(link->queue[0]));
    ot_pg_finished(pg, job);
}

/* The result of a plan would have other types than it was made for, or the
 * server has lost it: it is as well that all of them are made anew. */
static bool outlived(struct ot_pg_link *link, const PGresult *result)
{
    static const char *const states[] = {"0A000", "26000", "42P05"};
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (!link->ours || state == NULL)
        return false;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        link->replan |= strcmp(state, states[i]) == 0;
    return link->replan;
}

static void hear_result(struct ot_pg *pg, struct ot_pg_link *link,
                        PGresult *result)
{
    struct ot_pg_job *job = link->queue[0];
    struct ot_pg_statement *statement =
        &job->script.statements[link->statement];
    int tag = statement->tag;
    bool taken = false;

    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (statement->parses)
            link->plans.plans[statement->plan].ready = true;
        else if (tag != 0 && job->reply.code == 0)
            taken = job->heard(pg, job, tag, result);
        break;
    case PGRES_PIPELINE_SYNC:
        link->answered = true;
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default: /* the first error explains the others */
        if (job->reply.code != 0)
            break;
        if (outlived(link, result)) {
            job->reply.code =
                ot_fail(&job->reply.err, OUTTRAY_E_STORE_BUSY,
                        "%s: a table changed; its plan is made anew",
                        job->what);
            break;
        }
        job->reply.code =
            ot_pg_fail(&job->reply.err, link->conn, result, job->what);
        ot_pg_advise(pg, &job->reply.err);
        break;
    }
    if (!taken)
        PQclear(result);
}

/* The results of a statement have ended. */
static void go_on(struct ot_pg_link *link)
{
    struct ot_pg_script *script = &link->queue[0]->script;
    struct ot_pg_statement *statement = &script->statements[link->statement];

    if (statement->parses)
        statement->parses = false;
    else if (link->statement + 1 < script->nstatements)
        link->statement++;
}

/* All results that are there. */
static void hear(struct ot_pg *pg, struct ot_pg_link *link)
{
    while (link->running && PQisBusy(link->conn) == 0) {
        PGresult *result = PQgetResult(link->conn);

        if (result == NULL && PQstatus(link->conn) == CONNECTION_BAD)
            break;
        if (link->greeting_due) {
            hear_greeting(link, result);
            continue;
        }
        if (result != NULL)
            hear_result(pg, link, result);
        else
            go_on(link);
        if (link->answered)
            end_job(pg, link);
    }
}

/* The reason a job was given by the server is better than "the connection
 * broke", which comes after it. */
static int broken(struct ot_pg_link *link, struct outtray_error *err)
{
    const struct ot_pg_job *job = link->nqueue > 0 ? link->queue[0] : NULL;

    if (job != NULL && link->running &&
        job->reply.code == OUTTRAY_E_STORE_UNAVAILABLE) {
        *err = job->reply.err;
        return job->reply.code;
    }
    return ot_pg_fail(err, link->conn, NULL, job ? job->what : "waiting");
}

static int receive(struct ot_pg *pg, struct ot_pg_link *link, int64_t now_us,
                   struct outtray_error *err)
{
    bool good;

    for (int round = 0; round < ROUNDS; round++) {
        if (!ready(PQsocket(link->conn), POLLIN))
            return 0;
        good = PQconsumeInput(link->conn) == 1;
        ot_crash_point("postgres.heard");
        heard(link, now_us);
        hear(pg, link);
        if (!good || PQstatus(link->conn) == CONNECTION_BAD)
            return broken(link, err);
        if (link->unsent && flush(link, err) != 0)
            return err->code;
    }
    return 0;
}

int ot_pg_link_service(struct ot_pg *pg, struct ot_pg_link *link,
                       int64_t now_us, struct outtray_error *err)
{
    int code = 0;

    if (link->phase == OT_PG_OFF && link->nqueue > 0)
        code = connect_start(link, now_us, err);
    if (code == 0 && link->phase == OT_PG_CONNECTING)
        code = connect_go_on(link, now_us, err);
    if (code != 0 || link->phase != OT_PG_READY)
        return code;
    if (link->unsent)
        code = flush(link, err);
    if (code == 0)
        code = receive(pg, link, now_us, err);
    while (code == 0 && link->nqueue > 0 && !link->running) {
        code = send_job(link, err);
        if (code == 0)
            code = receive(pg, link, now_us, err);
    }
    if (code == 0 && link->running)
        code = watch(link, now_us, err);
    return code;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When the probe goes out, or has had its time. */
static int64_t probe_due(const struct ot_pg_link *link, int64_t time_us)
{
    return link->probe.conn == NULL ? link->look_us
                                    : link->probe.began_us + time_us;
}

int64_t ot_pg_link_deadline(const struct ot_pg_link *link)
{
    if (link->phase == OT_PG_OFF)
        return link->nqueue > 0 ? 0 : OT_NEVER;
    if (link->phase == OT_PG_CONNECTING)
        return sooner(link->deadline_us, probe_due(link, link->network_us / 2));
    if (link->running)
        return sooner(link->deadline_us,
                      probe_due(link, link->forlorn_us - link->probe.began_us));
    return link->nqueue > 0 ? 0 : OT_NEVER;
}

static bool link_fd(const struct ot_pg_link *link, struct ot_fd *out)
{
    if (link->phase == OT_PG_OFF)
        return false;
    out->fd = PQsocket(link->conn);
    out->generation = link->generation;
    if (link->phase == OT_PG_CONNECTING) {
        out->read = link->poll == PGRES_POLLING_READING;
        out->write = !out->read;
    } else {
        out->read = true;
        out->write = link->unsent;
    }
    return out->fd >= 0;
}

size_t ot_pg_link_fds(const struct ot_pg_link *link, struct ot_fd out[2])
{
    size_t n = 0;

    if (link_fd(link, &out[n]))
        n++;
    if (ot_pg_probe_fd(&link->probe, &out[n]))
        n++;
    return n;
}
