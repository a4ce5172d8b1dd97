/* insert.c - rendered by enqueue/ like everybody's, then bound and run here. */
#include "store/sqlite/insert.h"

/* The statement of the last call again, if it is the same text: a long import
 * is the same INSERT many times. */
static int prepare(struct ot_sqlite_insert *insert, struct ot_sqlite_db *db,
                   const char *sql, struct outtray_error *err)
{
    int rc;

    if (insert->stmt != NULL && strcmp(insert->sql, sql) == 0)
        return 0;
    ot_sqlite_insert_end(insert, db);
    insert->sql = ot_strdup(sql);
    if (insert->sql == NULL)
        return ot_fail_nomem(err);
    rc = db->f.prepare_v2(db->c, sql, -1, &insert->stmt, NULL);
    return rc == SQLITE_OK ? 0 : ot_sqlite_fail(db, rc, "enqueueing", err);
}

static void bind(struct ot_sqlite_db *db, sqlite3_stmt *stmt, int i,
                 const struct outtray_param *p)
{
    const char *bytes = p->value.p != NULL ? p->value.p : "";

    if (p->kind == OUTTRAY_PARAM_NULL)
        db->f.bind_null(stmt, i);
    else if (p->kind == OUTTRAY_PARAM_TEXT)
        db->f.bind_text(stmt, i, bytes, (int)p->value.n, SQLITE_STATIC);
    else
        db->f.bind_blob(stmt, i, bytes, (int)p->value.n, SQLITE_STATIC);
}

/* What the schema refused is the event's fault, not the database's. */
static int blame(int code, struct outtray_error *err)
{
    if ((err->native & 0xff) != SQLITE_CONSTRAINT)
        return code;
    err->code = err->native == SQLITE_CONSTRAINT_UNIQUE
                    ? OUTTRAY_E_EXISTS
                    : OUTTRAY_E_INVALID_EVENT;
    return err->code;
}

int ot_sqlite_insert_run(struct ot_sqlite_insert *insert,
                         struct ot_sqlite_db *db,
                         const struct outtray_enqueue_options *limits,
                         const struct outtray_event *events, size_t n,
                         char (*ids)[37], struct outtray_error *err)
{
    struct outtray_enqueue_options options = *limits;
    struct outtray_statement st;
    int code;

    options.outbox = db->outbox;
    options.style = OUTTRAY_QMARK;
    options.dialect = OUTTRAY_SQLITE;
    code = outtray_enqueue_build(&st, &options, events, n, err);
    if (code != 0)
        return code;
    code = prepare(insert, db, st.sql, err);
    if (code == 0) {
        for (size_t i = 0; i < st.nparams; i++)
            bind(db, insert->stmt, (int)i + 1, &st.params[i]);
        err->native = 0;
        code = ot_sqlite_run(db, insert->stmt, err);
        if (code != 0)
            code = blame(code, err);
        else if (ids != NULL)
            memcpy(ids, st.ids, n * sizeof(*ids));
    }
    outtray_statement_free(&st);
    return code;
}

void ot_sqlite_insert_end(struct ot_sqlite_insert *insert,
                          struct ot_sqlite_db *db)
{
    if (insert->stmt != NULL)
        db->f.finalize(insert->stmt);
    ot_free(insert->sql);
    memset(insert, 0, sizeof(*insert));
}
