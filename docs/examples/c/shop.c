#include <libpq-fe.h>
#include <outtray.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 16, BYTEA = 17, TEXT = 25 };

/* Run a statement of the library on the connection of the application. */
static int execute(PGconn *db, const struct outtray_statement *st)
{
    Oid types[MOST];
    const char *values[MOST];
    int lengths[MOST], formats[MOST];

    for (size_t i = 0; i < st->nparams; i++) {
        const struct outtray_param *p = &st->params[i];

        types[i] = p->kind == OUTTRAY_PARAM_BYTES ? BYTEA : TEXT;
        values[i] = p->kind == OUTTRAY_PARAM_NULL ? NULL : p->value.p;
        lengths[i] = (int)p->value.n;
        formats[i] = 1; /* as it is: nothing is copied or quoted */
    }
    PGresult *r = PQexecParams(db, st->sql, (int)st->nparams, types, values,
                               lengths, formats, 0);
    int ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok ? 0 : -1;
}

static int sql(PGconn *db, const char *text)
{
    PGresult *r = PQexec(db, text);
    int ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok ? 0 : -1;
}

static struct outtray_slice slice(const char *text)
{
    return (struct outtray_slice){text, strlen(text)};
}

/* The order and its event, or neither. */
static int pay(PGconn *db)
{
    const struct outtray_enqueue_options options = {.style = OUTTRAY_DOLLAR};
    const struct outtray_event event = {
        .topic = slice("orders"),
        .key = slice("7"),
        .type = slice("order.paid"),
        .payload = slice("{\"order\": 7}"),
    };
    struct outtray_statement st;
    struct outtray_error err;
    int rc = outtray_enqueue_build(&st, &options, &event, 1, &err);

    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", outtray_error_name(rc), err.text);
        return rc;
    }
    rc = sql(db, "BEGIN");
    if (rc == 0)
        rc = sql(db, "INSERT INTO orders VALUES (7, 'paid')");
    if (rc == 0)
        rc = execute(db, &st);
    if (rc == 0)
        rc = sql(db, "COMMIT");
    if (rc == 0)
        printf("event %s\n", st.ids[0]);
    else
        fprintf(stderr, "%s", PQerrorMessage(db));
    outtray_statement_free(&st);
    return rc;
}

int main(int argc, char **argv)
{
    PGconn *db = PQconnectdb(argc > 1 ? argv[1] : "");
    int rc = pay(db);

    PQfinish(db);
    return rc != 0;
}
