/* store.c - requests in, replies out, two connections between. */
#include "store/postgres/pg.h"

#include <unistd.h>

#include "outtray/schema.h"
#include "store/postgres/params.h"
#include "store/replies.h"
#include "store/stores.h"

static struct ot_pg *pg_of(struct ot_store *store)
{
    return (struct ot_pg *)(void *)store;
}

/* --- jobs ---------------------------------------------------------------- */

struct ot_pg_job *ot_pg_job(struct ot_pg *pg, enum ot_reply_kind kind,
                            const char *what)
{
    struct ot_pg_job *job = &pg->jobs[kind];

    ot_pg_script_clear(&job->script);
    memset(&job->reply, 0, sizeof(job->reply));
    job->reply.kind = kind;
    job->what = what;
    job->busy = true;
    job->heard = NULL;
    job->again = NULL;
    job->done = NULL;
    return job;
}

/* The level is named, because the default of a role may be another one. Not
 * READ WRITE: that would overrule an operator who made the database read-only.
 *
 * A commit that did not flush could be undone by a crash of the server, and a
 * lease with it; remote_apply is more than on and stays. */
void ot_pg_begin(struct ot_pg *pg, struct ot_pg_job *job, enum ot_pg_mode mode)
{
    static const char *const levels[] = {
        [OT_PG_READ] = "READ COMMITTED READ ONLY",
        [OT_PG_READ_ONCE] = "REPEATABLE READ READ ONLY",
        [OT_PG_WRITE] = "READ COMMITTED",
    };

    ot_pg_say(&job->script, 0, "BEGIN ISOLATION LEVEL %s", levels[mode]);
    ot_pg_say(&job->script, 0, "%s%s", pg->settings,
              mode != OT_PG_WRITE
                  ? ""
                  : ", set_config('synchronous_commit', CASE "
                    "current_setting('synchronous_commit') WHEN "
                    "'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)");
}

void ot_pg_commit(struct ot_pg_job *job)
{
    ot_pg_say(&job->script, 0, "COMMIT");
}

void ot_pg_look(struct ot_pg *pg, struct ot_pg_job *job)
{
    if (!pg->links[OT_PG_READS].ours)
        ot_pg_begin(pg, job, OT_PG_READ);
}

/* Up to the Sync, all is one transaction of READ COMMITTED in any case. */
void ot_pg_looked(struct ot_pg *pg, struct ot_pg_job *job)
{
    if (!pg->links[OT_PG_READS].ours)
        ot_pg_commit(job);
}

void ot_pg_garbled(struct ot_pg_job *job)
{
    if (job->reply.code == 0)
        job->reply.code =
            ot_fail(&job->reply.err, OUTTRAY_E_INTERNAL,
                    "%s: the server's answer is not what was asked for",
                    job->what);
}

int ot_pg_fail_altered(const struct ot_pg *pg, struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "outbox \"%s\": a column of the log has another type than "
                   "it was made with; `outtray doctor` says how to mend it",
                   pg->outbox);
}

/* What was there once was altered: init would refuse, upgrade find nothing. */
static const char *advice(const struct ot_pg *pg,
                          const struct outtray_error *err)
{
    switch (err->code) {
    case OUTTRAY_E_STORE_NO_SCHEMA:
        if (pg->schema == 0)
            return "make the outbox with `outtray init`, or correct "
                   "store.outbox";
        return "`outtray doctor` says what is missing and how to mend it";
    case OUTTRAY_E_STORE_CONDITION:
        return "`outtray doctor` says what was altered and how to mend it";
    case OUTTRAY_E_STORE_PERMISSION:
        return "`outtray init --relay-role ROLE` grants what a relay needs, "
               "and `outtray doctor` says if it is row level security";
    case OUTTRAY_E_STORE_STANDBY:
        return "connect to the primary (store.url takes several hosts)";
    case OUTTRAY_E_INVALID_UTF8:
        return "`outtray doctor` says how to mend such text";
    default:
        return NULL;
    }
}

void ot_pg_advise(const struct ot_pg *pg, struct outtray_error *err)
{
    const char *what = advice(pg, err);
    char state[sizeof(err->sqlstate)];

    if (what == NULL)
        return;
    memcpy(state, err->sqlstate, sizeof(state));
    ot_fail(err, err->code, "outbox \"%s\": %s; %s", pg->outbox, err->text,
            what);
    memcpy(err->sqlstate, state, sizeof(state));
}

void ot_pg_finished(struct ot_pg *pg, struct ot_pg_job *job)
{
    if (job->done != NULL)
        job->done(pg, job);
    if (job->reply.code != 0)
        ot_log(pg->log, OT_DEBUG, "postgres", "%s", job->reply.err.text);
    job->busy = false;
    pg->finished[pg->nfinished++] = job;
}

/* One connection is lost: both are, and with them all that is under way. The
 * other one may lead to a server that is no longer the primary. */
static void lose(struct ot_pg *pg, const struct outtray_error *why)
{
    for (int i = 0; i < OT_PG_LINKS; i++)
        ot_pg_link_close(&pg->links[i]);
    pg->has_ctid = false;
    for (int kind = 0; kind < OT_PG_JOBS; kind++) {
        struct ot_pg_job *job = &pg->jobs[kind];

        if (!job->busy)
            continue;
        job->reply.code = why->code;
        job->reply.err = *why;
        ot_pg_finished(pg, job);
    }
}

/* A primary that became a standby stays one: the next request connects anew,
 * perhaps to its successor. */
static bool demoted(const struct ot_pg *pg)
{
    for (size_t i = 0; i < pg->nfinished; i++)
        if (pg->finished[i]->reply.code == OUTTRAY_E_STORE_STANDBY)
            return true;
    return false;
}

/* --- requests ------------------------------------------------------------ */

/* A connection shared with a parent would garble both. Refused for good: the
 * child opens a store of its own. */
static bool forked(struct ot_pg *pg, enum ot_reply_kind kind)
{
    struct ot_pg_job *job;

    if (pg->pid == (int64_t)getpid())
        return false;
    job = ot_pg_job(pg, kind, "");
    job->reply.code = ot_fail(&job->reply.err, OUTTRAY_E_FORKED,
                              "the store was opened before fork; open it in "
                              "the child");
    if (kind == OT_REPLY_WRITE)
        job->reply.write.fate = OT_FATE_UNKNOWN;
    ot_pg_finished(pg, job);
    return true;
}

/* Out of memory while the script was written. */
static void check(struct ot_pg *pg, enum ot_reply_kind kind)
{
    struct ot_pg_job *job = &pg->jobs[kind];
    struct ot_pg_link *link = job->link;

    if (!job->busy || !ot_pg_script_failed(&job->script))
        return;
    link->nqueue--; /* it is the last */
    job->reply.code = ot_fail_nomem(&job->reply.err);
    ot_pg_finished(pg, job);
}

static void op_lease(struct ot_store *store, const struct ot_lease_request *q)
{
    if (forked(pg_of(store), OT_REPLY_LEASE))
        return;
    ot_pg_lease(pg_of(store), q);
    check(pg_of(store), OT_REPLY_LEASE);
}

static void op_release(struct ot_store *store, int64_t fence)
{
    if (forked(pg_of(store), OT_REPLY_RELEASE))
        return;
    ot_pg_release(pg_of(store), fence);
    check(pg_of(store), OT_REPLY_RELEASE);
}

static void op_load(struct ot_store *store)
{
    if (forked(pg_of(store), OT_REPLY_CURSOR))
        return;
    ot_pg_load(pg_of(store));
    check(pg_of(store), OT_REPLY_CURSOR);
}

static void op_read(struct ot_store *store, const struct ot_read_request *q)
{
    if (forked(pg_of(store), OT_REPLY_READ))
        return;
    ot_pg_read(pg_of(store), q);
    check(pg_of(store), OT_REPLY_READ);
    ot_pg_link_hurry(&pg_of(store)->links[OT_PG_READS]);
}

static void op_fetch(struct ot_store *store, const struct ot_fetch_request *q)
{
    if (forked(pg_of(store), OT_REPLY_FETCH))
        return;
    ot_pg_fetch(pg_of(store), q);
    check(pg_of(store), OT_REPLY_FETCH);
}

static void op_write(struct ot_store *store, const struct ot_write_request *q)
{
    if (forked(pg_of(store), OT_REPLY_WRITE))
        return;
    ot_pg_write(pg_of(store), q);
    check(pg_of(store), OT_REPLY_WRITE);
}

static void op_commands(struct ot_store *store)
{
    if (forked(pg_of(store), OT_REPLY_COMMANDS))
        return;
    ot_pg_commands(pg_of(store));
    check(pg_of(store), OT_REPLY_COMMANDS);
}

static void op_prune(struct ot_store *store, const struct ot_prune_request *q)
{
    if (forked(pg_of(store), OT_REPLY_PRUNE))
        return;
    ot_pg_prune(pg_of(store), q);
    check(pg_of(store), OT_REPLY_PRUNE);
}

/* --- the rest ------------------------------------------------------------ */

static int64_t op_service(struct ot_store *store, int64_t now_us)
{
    struct ot_pg *pg = pg_of(store);
    struct outtray_error err;
    int64_t next = OT_NEVER;

    if (pg->pid != (int64_t)getpid())
        return OT_NEVER;
    ot_error_clear(&err);
    for (int i = 0; i < OT_PG_LINKS; i++) {
        struct ot_pg_link *link = &pg->links[i];
        bool idle = link->nqueue == 0;

        if (ot_pg_link_service(pg, link, now_us, &err) == 0)
            continue;
        if (idle && !demoted(pg)) {
            /* Nothing was asked: the next request connects anew. */
            ot_pg_link_close(link);
            pg->has_ctid = false;
        } else {
            lose(pg, &err);
        }
    }
    if (demoted(pg)) {
        ot_fail(&err, OUTTRAY_E_STORE_STANDBY,
                "the database is a standby or read-only; connect to the "
                "primary (store.url takes several hosts)");
        lose(pg, &err);
    }
    if (pg->nfinished > 0)
        return now_us;
    for (int i = 0; i < OT_PG_LINKS; i++) {
        int64_t deadline = ot_pg_link_deadline(&pg->links[i]);

        next = deadline < next ? deadline : next;
    }
    return next;
}

static size_t op_fds(const struct ot_store *store, struct ot_fd *out,
                     size_t max)
{
    const struct ot_pg *pg = (const struct ot_pg *)(const void *)store;
    size_t n = 0;

    for (int i = 0; i < OT_PG_LINKS && n + 2 <= max; i++)
        n += ot_pg_link_fds(&pg->links[i], &out[n]);
    return n;
}

static bool op_next(struct ot_store *store, struct ot_reply *out)
{
    struct ot_pg *pg = pg_of(store);

    if (pg->nfinished == 0)
        return false;
    *out = pg->finished[0]->reply;
    pg->nfinished--;
    memmove(pg->finished, pg->finished + 1,
            pg->nfinished * sizeof(pg->finished[0]));
    return true;
}

static void op_close(struct ot_store *store)
{
    struct ot_pg *pg = pg_of(store);
    struct ot_reply reply;

    if (pg == NULL)
        return;
    while (op_next(store, &reply))
        ot_reply_drop_rows(&reply);
    for (int kind = 0; kind < OT_PG_JOBS; kind++) {
        struct ot_pg_job *job = &pg->jobs[kind];

        if (job->busy) { /* lets go of half an answer */
            job->reply.code = OUTTRAY_E_INTERRUPTED;
            if (job->done != NULL)
                job->done(pg, job);
        }
        ot_pg_script_free(&job->script);
    }
    for (int i = 0; i < OT_PG_LINKS; i++)
        ot_pg_link_close(&pg->links[i]);
    ot_buffer_free(&pg->holders);
    ot_buffer_free(&pg->xip);
    ot_buffer_free(&pg->read_sql);
    ot_buffer_free(&pg->gaps);
    ot_buffer_free(&pg->held);
    ot_buffer_free(&pg->commands);
    ot_filter_free(&pg->filter);
    outtray_conf_free(pg->conf);
    ot_free(pg->settings);
    for (int i = 0; i < OT_PG_LINKS; i++)
        ot_free(pg->greetings[i]);
    ot_free(pg);
}

/* --- open ---------------------------------------------------------------- */

/* Inside every transaction, and gone with it: SET behind a transaction pooler
 * is lost, and found by somebody else. Without row_security = off, a policy
 * would hide rows without a word; so it is an error. */
#define SETTINGS(local)                                                    \
    "set_config('search_path', 'pg_catalog, pg_temp', " local "), "        \
    "set_config('row_security', 'off', " local "), "                       \
    "set_config('statement_timeout', '%lld', " local "), " OT_PG_ENCODING( \
        local) ", "                                                        \
               "set_config('max_parallel_workers_per_gather', '0', " local \
               "), " OT_PG_PLANNER(local)

/* Where no pooler stands between, once for the session: a look at the log is
 * then a statement and nothing else. */
static const char ours[] =
    SETTINGS("false") ", set_config('default_transaction_isolation', "
                      "'read committed', false), "
                      "set_config('default_transaction_read_only', 'on', "
                      "false), "
                      "set_config('plan_cache_mode', 'force_generic_plan', "
                      "false), ";

/* A relay that is gone, or stands still, keeps its sessions, and what the server
 * holds for them, no longer than its lease; if that is shorter than a network
 * may be silent, as long as that. */
static int make_greetings(struct ot_pg *pg, long long timeout_ms)
{
    int64_t silence_ms = ot_conf_int(pg->conf, "store.network_timeout_ms");
    int64_t lease_ms = ot_conf_int(pg->conf, "relay.lease_ttl_ms");

    if (silence_ms < lease_ms)
        silence_ms = lease_ms;
    for (int i = 0; i < OT_PG_LINKS; i++) {
        struct ot_buffer text = {0};

        ot_buffer_puts(&text, "SELECT ");
        if (i == OT_PG_READS)
            ot_buffer_printf(&text, ours, timeout_ms);
        ot_pg_keepalives(&text, silence_ms, "false");
        ot_buffer_puts(&text, " WHERE pg_catalog.pg_backend_pid() = $1");
        pg->greetings[i] = text.p;
        if (text.failed)
            return OUTTRAY_E_NOMEM;
    }
    return 0;
}

static int make_settings(struct ot_pg *pg)
{
    long long timeout =
        (long long)(ot_conf_us(pg->conf, "store.statement_timeout_ms") / 1000);
    struct ot_buffer text = {0};

    ot_buffer_printf(&text, "SELECT " SETTINGS("true"), timeout);
    pg->settings = text.p;
    return text.failed ? OUTTRAY_E_NOMEM : make_greetings(pg, timeout);
}

static void make_links(struct ot_pg *pg)
{
    for (int i = 0; i < OT_PG_LINKS; i++) {
        struct ot_pg_link *link = &pg->links[i];

        link->conf = pg->conf;
        link->generation = (uint32_t)i;
        link->probe.generation = (uint32_t)(OT_PG_LINKS + i);
        link->log = link->probe.log = pg->log;
        link->connect_us = ot_conf_us(pg->conf, "store.connect_timeout_ms");
        link->silence_us = ot_conf_us(pg->conf, "store.statement_timeout_ms") +
                           ot_conf_us(pg->conf, "store.network_timeout_ms");
        link->network_us =
            ot_conf_us(pg->conf, "store.network_timeout_ms") * 9 / 10;
        link->patience_us = link->network_us;
        link->greeting = pg->greetings[i];
    }
}

static int op_open(struct ot_store **out, const struct outtray_conf *conf,
                   struct ot_uuid owner, const struct ot_log *log,
                   struct outtray_error *err)
{
    struct ot_pg *pg = ot_alloc_zero(1, sizeof(*pg));
    int code;

    *out = NULL;
    if (pg == NULL)
        return ot_fail_nomem(err);
    pg->base.ops = &ot_postgres_store_ops;
    pg->owner = owner;
    pg->log = log;
    pg->pid = (int64_t)getpid();
    pg->version = outtray_schema_version(OUTTRAY_POSTGRESQL);
    pg->conf = outtray_conf_copy(conf);
    if (pg->conf == NULL || make_settings(pg) != 0) {
        op_close(&pg->base);
        return ot_fail_nomem(err);
    }
    pg->outbox = ot_conf_text(pg->conf, "store.outbox");
    pg->subscription = ot_conf_text(pg->conf, "relay.subscription");
    pg->topics = ot_conf_text(pg->conf, "relay.topics");
    pg->start_now = strcmp(ot_conf_text(pg->conf, "relay.start"), "now") == 0;
    make_links(pg);
    code = ot_outbox_check(pg->outbox, OUTTRAY_E_CONF, err);
    if (code != 0)
        ot_fail_context(err, code, "store.outbox \"%s\": ", pg->outbox);
    if (code == 0)
        code = ot_filter_parse(&pg->filter, pg->topics, err);
    if (code != 0) {
        op_close(&pg->base);
        return code;
    }
    *out = &pg->base;
    return 0;
}

const struct ot_store_ops ot_postgres_store_ops = {
    .abi = OT_STORE_ABI,
    .caps = OT_STORE_GAPS,
    .scheme = "postgresql",
    .open = op_open,
    .lease = op_lease,
    .release = op_release,
    .load = op_load,
    .read = op_read,
    .fetch = op_fetch,
    .write = op_write,
    .commands = op_commands,
    .prune = op_prune,
    .service = op_service,
    .fds = op_fds,
    .next = op_next,
    .close = op_close,
};
