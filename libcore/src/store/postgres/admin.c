/* admin.c - the connection of the admin half, and its small operations. */
#include "store/postgres/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crash.h"
#include "event/outbox.h"
#include "outtray/schema.h"
#include "store/postgres/error.h"
#include "store/postgres/params.h"
#include "store/schema.h"
#include "store/stores.h"

/* --- connecting ---------------------------------------------------------- */

/* NOTICEs ("schema exists, skipping") are for nobody. */
static void hear_notice(void *ctx, const PGresult *result)
{
    struct ot_pga *a = ctx;
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity != NULL && strcmp(severity, "WARNING") == 0)
        a->warned = true;
}

static void admin_close(struct ot_admin *base)
{
    struct ot_pga *a = ot_pga(base);

    if (a == NULL)
        return;
    PQfinish(a->c);
    ot_free(a->outbox);
    ot_free(a);
}

static int admin_open(struct ot_admin **out, const struct outtray_conf *conf,
                      struct outtray_error *err)
{
    const char *outbox = ot_conf_text(conf, "store.outbox");
    struct ot_pga *a;
    int rc;

    *out = NULL;
    rc = ot_outbox_check(outbox, OUTTRAY_E_CONF, err);
    if (rc != 0)
        return ot_fail_context(err, rc, "store.outbox '%s'", outbox);
    a = ot_alloc_zero(1, sizeof(*a));
    if (a == NULL)
        return ot_fail_nomem(err);
    a->base.ops = &ot_postgres_admin_ops;
    a->outbox = ot_strdup(outbox);
    a->strict = strcmp(ot_conf_text(conf, "relay.ordering"), "strict") == 0;
    a->max_payload_bytes =
        (size_t)ot_conf_int(conf, "enqueue.max_payload_bytes");
    a->timeout_ms = ot_conf_int(conf, "store.statement_timeout_ms");
    a->network_ms = ot_conf_int(conf, "store.network_timeout_ms");
    a->retention_us = ot_conf_us(conf, "prune.retention_ms");
    a->prunes = ot_conf_bool(conf, "prune.enabled");
    a->transaction_ms = ot_conf_us(conf, "doctor.transaction_age_ms") / 1000;
    a->snapshot_ms = ot_conf_us(conf, "doctor.snapshot_age_ms") / 1000;
    rc = a->outbox != NULL ? ot_pg_connect(&a->c, conf, err)
                           : ot_fail_nomem(err);
    if (rc != 0) {
        admin_close(&a->base);
        return rc;
    }
    snprintf(a->where, sizeof(a->where), "%s:%s/%s", PQhost(a->c), PQport(a->c),
             PQdb(a->c));
    PQsetNoticeReceiver(a->c, hear_notice, a);
    *out = &a->base;
    return 0;
}

/* --- statements ---------------------------------------------------------- */

void ot_pga_expand(const struct ot_pga *a, const char *sql,
                   struct ot_buffer *out)
{
    ot_sql_expand(out, sql, "\"", a->outbox);
}

int64_t ot_pga_int(const PGresult *r, int row, int column)
{
    return strtoll(PQgetvalue(r, row, column), NULL, 10);
}

bool ot_pga_bool(const PGresult *r, int row, int column)
{
    return PQgetvalue(r, row, column)[0] == 't';
}

/* What to do, for the failures that somebody can do something about. */
static const char *advice(int code)
{
    switch (code) {
    case OUTTRAY_E_STORE_NO_SCHEMA:
        return "; make the outbox with `outtray init`, or correct store.outbox";
    case OUTTRAY_E_STORE_PERMISSION:
        return "; the owner of the outbox can grant what is missing: `outtray "
               "init --app-role R --relay-role R`";
    case OUTTRAY_E_STORE_CONDITION:
        return "; `outtray doctor` says what was altered and how to mend it";
    case OUTTRAY_E_STORE_STANDBY:
        return "; connect to the primary";
    case OUTTRAY_E_STORE_FULL:
        return "; make room on the disk of the database";
    case OUTTRAY_E_INVALID_UTF8:
        return "; `outtray doctor` says how to mend such text";
    default:
        return "";
    }
}

static int explain(const struct ot_pga *a, const PGresult *result,
                   const char *what, struct outtray_error *err)
{
    struct outtray_error cause = {0};
    char text[160];

    snprintf(text, sizeof(text), "cannot %s of outbox \"%s\"", what, a->outbox);
    (void)ot_pg_fail(&cause, a->c, result, text);
    ot_fail(err, cause.code, "%s%s", cause.text, advice(cause.code));
    if (err != NULL)
        memcpy(err->sqlstate, cause.sqlstate, sizeof(err->sqlstate));
    return cause.code;
}

/* Without a COMMIT the server keeps nothing. */
static int interrupted(const struct ot_pga *a, const char *what,
                       struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_INTERRUPTED,
                   "interrupted while it waited to %s of outbox \"%s\": this "
                   "changed nothing",
                   what, a->outbox);
}

/* Takes the result over. */
static int finish(struct ot_pga *a, PGresult *result, const char *what,
                  PGresult **out, struct outtray_error *err)
{
    ExecStatusType status = PQresultStatus(result);
    int rc = 0;

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        rc = a->cancelled ? interrupted(a, what, err)
                          : explain(a, result, what, err);
    if (rc != 0 || out == NULL)
        PQclear(result);
    else
        *out = result;
    return rc;
}

int ot_pga_run(struct ot_pga *a, const char *sql, const char *what,
               PGresult **out, struct outtray_error *err)
{
    struct ot_buffer text = {0};
    int rc;

    if (out != NULL)
        *out = NULL;
    ot_pga_expand(a, sql, &text);
    rc = text.failed ? ot_fail_nomem(err)
                     : finish(a, ot_pga_answer(a, PQsendQuery(a->c, text.p)),
                              what, out, err);
    ot_buffer_free(&text);
    return rc;
}

int ot_pga_run_with(struct ot_pga *a, const char *sql,
                    const struct ot_pga_value *values, int n, const char *what,
                    PGresult **out, struct outtray_error *err)
{
    struct ot_buffer text = {0};
    Oid types[8];
    const char *texts[8];
    int rc;

    if (out != NULL)
        *out = NULL;
    for (int i = 0; i < n; i++) {
        types[i] = values[i].type;
        texts[i] = values[i].text;
    }
    ot_pga_expand(a, sql, &text);
    rc = text.failed
             ? ot_fail_nomem(err)
             : finish(a,
                      ot_pga_answer(a, PQsendQueryParams(a->c, text.p, n, types,
                                                         texts, NULL, NULL, 0)),
                      what, out, err);
    ot_buffer_free(&text);
    return rc;
}

/* row_security: off makes an error of what would be rows hidden in silence.
 * The planner's settings keep every look at the log on its index. */
static const char *const beginnings[] = {
    [OT_PGA_READ] = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; "
                    "SET LOCAL lock_timeout = '2s'; "
                    "SET LOCAL enable_seqscan = off; "
                    "SET LOCAL enable_bitmapscan = off; "
                    "SET LOCAL enable_hashjoin = off; "
                    "SET LOCAL enable_mergejoin = off; "
                    "SET LOCAL jit = off; ",
    [OT_PGA_CHECK] = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; "
                     "SET LOCAL lock_timeout = '2s'; "
                     "SET LOCAL jit = off; ",
    [OT_PGA_SCAN] = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; ",
    [OT_PGA_WRITE] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
                     "SET LOCAL enable_seqscan = off; "
                     "SET LOCAL enable_bitmapscan = off; "
                     "SET LOCAL jit = off; ",
    /* A queued ACCESS EXCLUSIVE lock makes every enqueuer wait behind it. */
    [OT_PGA_SCHEMA] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
                      "SET LOCAL lock_timeout = '5s'; "
                      "SET LOCAL client_min_messages = warning; ",
};

/* Locks must not outlive who took them: the server rolls back what stands
 * still between two statements for pause_ms (0: for ever), and sees to it that
 * its client lives. */
static int begin(struct ot_pga *a, enum ot_pga_tx kind, int64_t pause_ms,
                 struct outtray_error *err)
{
    bool limited = kind != OT_PGA_SCAN && kind != OT_PGA_SCHEMA;
    struct ot_buffer sql = {0};
    int rc;

    if (a->open)
        return ot_fail(err, OUTTRAY_E_MISUSE,
                       "a transaction is open: end it first");
    a->writes = kind == OT_PGA_WRITE || kind == OT_PGA_SCHEMA;
    ot_buffer_printf(&sql,
                     "%s"
                     "SET LOCAL search_path = pg_catalog, pg_temp; "
                     "SET LOCAL row_security = off; "
                     "SET LOCAL idle_in_transaction_session_timeout = %lld; "
                     "SET LOCAL statement_timeout = %lld; "
                     "SELECT " OT_PG_ENCODING("true") ", ",
                     beginnings[kind], (long long)pause_ms,
                     limited ? (long long)a->timeout_ms : 0LL);
    ot_pg_keepalives(&sql, a->network_ms, "true");
    rc = sql.failed ? ot_fail_nomem(err)
                    : ot_pga_run(a, sql.p, "begin a transaction", NULL, err);
    ot_buffer_free(&sql);
    if (rc != 0) /* it may have begun all the same */
        (void)ot_pga_run(a, "ROLLBACK", "roll back", NULL, NULL);
    return rc;
}

/* Between its statements there is a round trip and no more. */
int ot_pga_begin(struct ot_pga *a, enum ot_pga_tx kind,
                 struct outtray_error *err)
{
    return begin(a, kind, a->network_ms * 2, err);
}

/* Whoever interrupts a COMMIT has to be told what became of it. A server that is
 * told to wait for no standby commits, and warns. */
static int commit(struct ot_pga *a, PGresult **result,
                  struct outtray_error *err)
{
    int rc;

    a->warned = false;
    rc = ot_pga_run(a, "COMMIT", "commit the transaction", result, err);
    if (rc != 0 && a->silent)
        return ot_fail(err, OUTTRAY_E_INTERRUPTED,
                       "interrupted while the database committed, and it does "
                       "not answer: whether it is done is not known");
    if (rc != 0 || !a->cancelled || !a->warned)
        return rc;
    PQclear(*result);
    return ot_fail(err, OUTTRAY_E_INTERRUPTED,
                   "interrupted while the commit waited for a synchronous "
                   "standby: it is done, but no standby has it yet, and a "
                   "failover to one would undo it");
}

int ot_pga_end(struct ot_pga *a, int rc, struct outtray_error *err)
{
    PGresult *result;

    if (rc == 0 && a->cancelled)
        rc = interrupted(a, "commit a change", err);
    if (rc != 0) {
        (void)ot_pga_run(a, "ROLLBACK", "roll back", NULL, NULL);
        return rc;
    }
    ot_crash_point("postgres.commit");
    rc = commit(a, &result, err);
    ot_crash_point("postgres.committed");
    if (rc != 0)
        return rc;
    /* COMMIT of a transaction that failed before rolls back, and is content. */
    if (strcmp(PQcmdStatus(result), "COMMIT") != 0)
        rc = ot_fail(err, OUTTRAY_E_STORE,
                     "the transaction was rolled back: a statement in it had "
                     "failed");
    PQclear(result);
    return rc;
}

/* --- what is there ------------------------------------------------------- */

int ot_pga_version_wanted(void)
{
    return outtray_schema_version(OUTTRAY_POSTGRESQL);
}

/* By the catalog: to_regclass needs rights on the schema. */
static const char meta_there[] =
    "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = $1 AND c.relname = 'meta'";

int ot_pga_version(struct ot_pga *a, int *out, struct outtray_error *err)
{
    struct ot_pga_value name = {OT_PGA_TEXT, a->outbox};
    PGresult *result;
    bool there;
    int rc;

    *out = 0;
    rc = ot_pga_run_with(a, meta_there, &name, 1, "look for the tables",
                         &result, err);
    if (rc != 0)
        return rc;
    there = PQntuples(result) != 0;
    PQclear(result);
    if (!there)
        return 0;
    rc = ot_pga_run(a, "SELECT schema_version FROM {{outbox}}.meta",
                    "read the version", &result, err);
    if (rc != 0)
        return rc;
    if (PQntuples(result) != 0)
        *out = (int)ot_pga_int(result, 0, 0);
    else
        rc = ot_fail(err, OUTTRAY_E_STORE_VERSION,
                     "outbox \"%s\" says nothing of its version (table meta is "
                     "empty); `outtray doctor` says how to write it again",
                     a->outbox);
    PQclear(result);
    return rc;
}

int ot_pga_need_outbox(struct ot_pga *a, struct outtray_error *err)
{
    int version, rc = ot_pga_version(a, &version, err);

    if (rc != 0)
        return rc;
    if (version == 0)
        return ot_fail(err, OUTTRAY_E_STORE_NO_SCHEMA,
                       "there is no outbox \"%s\" at %s; make it with `outtray "
                       "init`, or correct store.outbox or store.url",
                       a->outbox, a->where);
    if (version > ot_pga_version_wanted())
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "outbox \"%s\" has schema version %d, this program "
                       "knows %d: install a newer outtray",
                       a->outbox, version, ot_pga_version_wanted());
    if (version < ot_pga_version_wanted() - 1)
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "outbox \"%s\" has schema version %d, this program "
                       "needs %d; run `outtray upgrade`",
                       a->outbox, version, ot_pga_version_wanted());
    return 0;
}

static int admin_facts(struct ot_admin *base, struct ot_store_facts *out,
                       struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    PGresult *result;
    int rc;

    memset(out, 0, sizeof(*out));
    memcpy(out->where, a->where, sizeof(out->where));
    out->schema_wanted = ot_pga_version_wanted();
    rc = ot_pga_run(a,
                    "SELECT split_part(current_setting('server_version'), ' ', "
                    "1), NOT pg_is_in_recovery() AND "
                    "current_setting('default_transaction_read_only') = 'off'",
                    "ask the server", &result, err);
    if (rc != 0)
        return rc;
    out->connected = true;
    out->writable = ot_pga_bool(result, 0, 1);
    snprintf(out->server, sizeof(out->server), "PostgreSQL %.100s",
             ot_pga_text(result, 0, 0));
    PQclear(result);
    return ot_pga_version(a, &out->schema_version, err);
}

/* --- enqueue ------------------------------------------------------------- */

/* The caller may read slowly from somewhere between two statements. */
static int admin_begin(struct ot_admin *base, struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    int rc = begin(a, OT_PGA_WRITE, 0, err);

    a->open = a->open || rc == 0;
    return rc;
}

/* Parameters go as bytes with their length: they need no NUL and no escape,
 * and the binary form of text and bytea is the value itself. */
static int send(struct ot_pga *a, const struct outtray_statement *s,
                struct outtray_error *err)
{
    enum { MOST = 16 };
    Oid types[MOST];
    const char *values[MOST];
    int lengths[MOST], formats[MOST];

    if (s->nparams > MOST)
        return ot_fail(err, OUTTRAY_E_INTERNAL, "%zu parameters", s->nparams);
    for (size_t i = 0; i < s->nparams; i++) {
        const struct outtray_param *p = &s->params[i];

        types[i] = p->kind == OUTTRAY_PARAM_BYTES ? OT_PGA_BYTEA : OT_PGA_TEXT;
        values[i] = p->kind == OUTTRAY_PARAM_NULL ? NULL : p->value.p;
        lengths[i] = (int)p->value.n;
        formats[i] = 1;
    }
    return finish(
        a,
        ot_pga_answer(a, PQsendQueryParams(a->c, s->sql, (int)s->nparams, types,
                                           values, lengths, formats, 0)),
        "write to the log", NULL, err);
}

static int admin_enqueue(struct ot_admin *base,
                         const struct outtray_event *events, size_t n,
                         struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    struct outtray_enqueue_options options = {
        .outbox = a->outbox,
        .style = OUTTRAY_DOLLAR,
        .dialect = OUTTRAY_POSTGRESQL,
        .strict = a->strict,
        .max_payload_bytes = a->max_payload_bytes,
    };
    struct outtray_statement statement;
    int rc;

    if (!a->open)
        return ot_fail(err, OUTTRAY_E_MISUSE,
                       "no transaction is open: begin one first");
    rc = outtray_enqueue_build(&statement, &options, events, n, err);
    if (rc != 0)
        return rc;
    rc = send(a, &statement, err);
    outtray_statement_free(&statement);
    return rc;
}

static int admin_end(struct ot_admin *base, bool commit,
                     struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);

    if (!a->open)
        return ot_fail(err, OUTTRAY_E_MISUSE,
                       "no transaction is open: begin one first");
    a->open = false;
    if (commit)
        return ot_pga_end(a, 0, err);
    return ot_pga_run(a, "ROLLBACK", "roll back", NULL, err);
}

static int admin_sql(struct ot_admin *base, const char *sql, char *cell,
                     size_t size, struct outtray_error *err)
{
    struct ot_pga *a = ot_pga(base);
    PGresult *result;
    int rc = finish(a, ot_pga_answer(a, PQsendQuery(a->c, sql)),
                    "run a statement beside the tables", &result, err);

    if (cell != NULL && size != 0)
        snprintf(cell, size, "%s",
                 rc == 0 && PQntuples(result) > 0 && PQnfields(result) > 0
                     ? PQgetvalue(result, 0, 0)
                     : "");
    if (rc == 0)
        PQclear(result);
    return rc;
}

const struct ot_admin_ops ot_postgres_admin_ops = {
    .open = admin_open,
    .close = admin_close,
    .facts = admin_facts,
    .doctor = ot_pga_doctor,
    .obstacles = ot_pga_obstacles,
    .init = ot_pga_init,
    .upgrade = ot_pga_upgrade,
    .drop = ot_pga_drop,
    .begin = admin_begin,
    .enqueue = admin_enqueue,
    .end = admin_end,
    .status = ot_pga_status,
    .events = ot_pga_events,
    .command = ot_pga_command,
    .prune = ot_pga_prune,
    .sql = admin_sql,
};
