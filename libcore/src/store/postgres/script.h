/* script.h - what one request says to the server: its statements with their
 * parameters, sent in one go.
 *
 * Statements go through the unnamed prepared statement, with their settings
 * inside the transaction: nothing is left behind in the session, so that a
 * transaction pooler may stand between. Where none does, those that are said
 * often have names (plans.h).
 *
 * Errors leave no session behind in a failed transaction either: the script
 * is  BEGIN … statements, sync, COMMIT, sync.  After an error the server
 * skips to the first sync; the COMMIT behind it then ends the transaction in
 * any case (as a rollback).
 */
#ifndef OT_PG_SCRIPT_H
#define OT_PG_SCRIPT_H

#include "store/postgres/plans.h"
#include "store/postgres/wire.h"

#define OT_PG_STATEMENTS 16
#define OT_PG_PARAMS     48

struct ot_pg_statement {
    size_t sql; /* offset in text */
    int tag;    /* what its result is; 0: of no interest */
    int param;  /* its first */
    int nparams;
    bool parses; /* sent: the result of its preparation comes first */
    int plan;    /* sent: under this name, or OT_NO_PLAN */
};

struct ot_pg_param {
    enum ot_pg_type type;
    size_t at; /* offset in bytes */
    int n;     /* -1: NULL */
};

struct ot_pg_script {
    struct ot_buffer text;  /* statements, each with its NUL */
    struct ot_buffer bytes; /* parameters */
    struct ot_pg_statement statements[OT_PG_STATEMENTS];
    int nstatements;
    struct ot_pg_param params[OT_PG_PARAMS];
    int nparams;
    size_t array; /* where the array that is being built begins */
};

void ot_pg_script_clear(struct ot_pg_script *);
void ot_pg_script_free(struct ot_pg_script *);

/* The text of the next statement; parameters follow. */
void ot_pg_say(struct ot_pg_script *, int tag, const char *fmt, ...)
    OUTTRAY_PRINTF(3, 4);
/* Begin a statement, and write its text into script->text by hand; it ends
 * with ot_pg_said. */
void ot_pg_say_begin(struct ot_pg_script *, int tag);
void ot_pg_said(struct ot_pg_script *);

void ot_pg_i64_param(struct ot_pg_script *, int64_t);
void ot_pg_time_param(struct ot_pg_script *, int64_t wall_us);
void ot_pg_bool_param(struct ot_pg_script *, bool);
void ot_pg_text_param(struct ot_pg_script *, struct ot_slice);
void ot_pg_bytes_param(struct ot_pg_script *, enum ot_pg_type, const void *p,
                       size_t n);
void ot_pg_null_param(struct ot_pg_script *, enum ot_pg_type);

/* An array: begin, its elements, end. type is the array's. */
void ot_pg_array_begin(struct ot_pg_script *, enum ot_pg_type type);
void ot_pg_array_i64(struct ot_pg_script *, int64_t);
void ot_pg_array_i32(struct ot_pg_script *, int32_t);
void ot_pg_array_bool(struct ot_pg_script *, bool);
void ot_pg_array_time(struct ot_pg_script *, int64_t wall_us); /* 0: NULL */
void ot_pg_array_text(struct ot_pg_script *, struct ot_slice); /* NULL too */
void ot_pg_array_end(struct ot_pg_script *);

bool ot_pg_script_failed(const struct ot_pg_script *); /* out of memory */
/* Into libpq's output buffer, with a Sync behind all of it; plans may be NULL.
 * false: the connection is broken. */
bool ot_pg_script_send(struct ot_pg_script *, PGconn *, struct ot_pg_plans *);

#endif
