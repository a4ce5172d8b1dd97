/* error.c - SQLSTATEs and libpq's messages. */
#include "store/postgres/error.h"

#include <stdio.h>

struct row {
    const char *prefix; /* of the SQLSTATE; a longer one comes first */
    int code;
};

static const struct row rows[] = {
    /* Also 08P01: pgbouncer's word for a server that it cannot reach. */
    {"08", OUTTRAY_E_STORE_UNAVAILABLE},
    {"22P05", OUTTRAY_E_INVALID_UTF8}, /* not in the database's encoding */
    {"23505", OUTTRAY_E_EXISTS},
    {"25006", OUTTRAY_E_STORE_STANDBY}, /* read-only transaction */
    /* idle_in_transaction_session_timeout, transaction_timeout: the server
     * ends the session, and says why. */
    {"25P03", OUTTRAY_E_STORE_UNAVAILABLE},
    {"25P04", OUTTRAY_E_STORE_UNAVAILABLE},
    {"28", OUTTRAY_E_STORE_AUTH},
    {"3D000", OUTTRAY_E_STORE_NO_SCHEMA}, /* no such database */
    {"3F000", OUTTRAY_E_STORE_NO_SCHEMA},
    {"40", OUTTRAY_E_STORE_BUSY}, /* serialization, deadlock */
    {"42501", OUTTRAY_E_STORE_PERMISSION},
    {"42P01", OUTTRAY_E_STORE_NO_SCHEMA}, /* no such table */
    {"42P07", OUTTRAY_E_EXISTS},
    /* No such column, another type, no such key: somebody altered it. */
    {"42", OUTTRAY_E_STORE_CONDITION},
    {"53100", OUTTRAY_E_STORE_FULL},
    {"53", OUTTRAY_E_STORE_BUSY},    /* connections, memory */
    {"55P03", OUTTRAY_E_STORE_BUSY}, /* lock_timeout */
    {"55006", OUTTRAY_E_STORE_BUSY},
    {"57014", OUTTRAY_E_STORE_BUSY},      /* statement_timeout */
    {"57P", OUTTRAY_E_STORE_UNAVAILABLE}, /* shutdown, crash, starting up */
    {"58030", OUTTRAY_E_STORE_FULL},      /* I/O error */
};

int ot_pg_code(const char *sqlstate)
{
    if (sqlstate == NULL || sqlstate[0] == '\0')
        return OUTTRAY_E_STORE_UNAVAILABLE;
    for (size_t i = 0; i < OT_COUNT(rows); i++)
        if (strncmp(rows[i].prefix, sqlstate, strlen(rows[i].prefix)) == 0)
            return rows[i].code;
    return OUTTRAY_E_STORE;
}

static void set_sqlstate(struct outtray_error *err, const char *sqlstate)
{
    if (err != NULL && sqlstate != NULL && strlen(sqlstate) == 5)
        memcpy(err->sqlstate, sqlstate, 6);
}

/* Several lines become one: "a; b". Lines that begin with a tab are libpq's
 * questions back ("Is the server running?"). */
static void one_line(const char *text, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    while (*text != '\0') {
        size_t line = strcspn(text, "\n");
        int got;

        if (line != 0 && text[0] != '\t' && n < size) {
            got = snprintf(out + n, size - n, "%s%.*s", n != 0 ? "; " : "",
                           (int)line, text);
            n += got > 0 ? (size_t)got : 0;
        }
        text += line + (text[line] != '\0');
    }
}

static const char *field(const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);

    return text != NULL ? text : "";
}

int ot_pg_fail(struct outtray_error *err, const PGconn *c,
               const PGresult *result, const char *what)
{
    const char *sqlstate = field(result, PG_DIAG_SQLSTATE);
    const char *detail = field(result, PG_DIAG_MESSAGE_DETAIL);
    const char *hint = field(result, PG_DIAG_MESSAGE_HINT);
    char text[400], more[300], both[300];
    int code = ot_pg_code(sqlstate);

    if (sqlstate[0] == '\0') {
        one_line(PQerrorMessage(c), text, sizeof(text));
        ot_fail(err, code, "%s: %s", what,
                text[0] != '\0' ? text : "the connection is lost");
        return code;
    }
    one_line(field(result, PG_DIAG_MESSAGE_PRIMARY), text, sizeof(text));
    snprintf(both, sizeof(both), "%s%s%s", detail,
             detail[0] != '\0' && hint[0] != '\0' ? " " : "", hint);
    one_line(both, more, sizeof(more));
    ot_fail(err, code, more[0] != '\0' ? "%s: %s (%s)" : "%s: %s%s", what, text,
            more);
    set_sqlstate(err, sqlstate);
    return code;
}

/* --- connecting ---------------------------------------------------------- */

/* There is no result yet, only text. With PQERRORS_VERBOSE it has
 * "FATAL:  28P01: …" in every language. */
static bool find_sqlstate(const char *text, char out[6])
{
    for (const char *p = text; (p = strstr(p, ":  ")) != NULL; p++) {
        const char *state = p + 3;
        size_t n = strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");

        if (n == 5 && state[5] == ':') {
            memcpy(out, state, 5);
            out[5] = '\0';
            return true;
        }
    }
    out[0] = '\0';
    return false;
}

/* Without the noise of PQERRORS_VERBOSE: the state and "LOCATION:  …". */
static void clean(const char *text, const char *sqlstate, char *out,
                  size_t size)
{
    char *p;

    one_line(text, out, size);
    p = strstr(out, "; LOCATION:");
    if (p != NULL)
        *p = '\0';
    if (sqlstate[0] == '\0')
        return;
    p = strstr(out, sqlstate);
    if (p != NULL) /* "28P01: text" */
        memmove(p, p + 7, strlen(p + 7) + 1);
}

/* libpq's own words, where it was to find a server that takes writes. */
static bool read_only(const char *text)
{
    return strstr(text, "session is read-only") != NULL;
}

static const char *advice(const PGconn *c, const char *sqlstate,
                          const char *text)
{
    if (PQconnectionNeedsPassword(c))
        return "it wants a password: put one into store.url, or into the "
               "password file of libpq (~/.pgpass)";
    if (strncmp(sqlstate, "28", 2) == 0)
        return "check user and password of store.url, and pg_hba.conf";
    if (strcmp(sqlstate, "3D000") == 0)
        return "make it (createdb), or correct the database of store.url";
    if (strcmp(sqlstate, "42501") == 0)
        return "GRANT CONNECT ON DATABASE to the role";
    if (strcmp(sqlstate, "53300") == 0)
        return "all connections are taken: end some (SELECT application_name, "
               "state, count(*) FROM pg_stat_activity GROUP BY 1, 2), or raise "
               "the CONNECTION LIMIT of the role or database, or "
               "max_connections";
    if (sqlstate[0] != '\0')
        return NULL;
    if (read_only(text))
        return "none of the hosts takes writes: name the primary in store.url";
    if (strstr(text, "local user with ID") != NULL)
        return "name a user: postgresql://user@host:port/database";
    if (strstr(text, "Too many open files") != NULL)
        return "raise the limit of open files (ulimit -n)";
    if (strstr(text, "SSL") != NULL || strstr(text, "certificate") != NULL)
        return "check sslmode and sslrootcert of store.url, or write "
               "store.tls=off if the network is to be trusted";
    return "check host and port of store.url, and that the server runs";
}

int ot_pg_fail_connect(struct outtray_error *err, const PGconn *c)
{
    char sqlstate[6], text[400];
    const char *what, *db = PQdb(c);
    int code;

    find_sqlstate(PQerrorMessage(c), sqlstate);
    clean(PQerrorMessage(c), sqlstate, text, sizeof(text));
    what = advice(c, sqlstate, text);
    if (PQconnectionNeedsPassword(c))
        code = OUTTRAY_E_STORE_AUTH;
    else if (sqlstate[0] == '\0' && read_only(text))
        code = OUTTRAY_E_STORE_STANDBY;
    else
        code = ot_pg_code(sqlstate);
    ot_fail(err, code, "database %s: %s%s%s", db != NULL ? db : "",
            text[0] != '\0' ? text : "no connection", what != NULL ? ": " : "",
            what != NULL ? what : "");
    set_sqlstate(err, sqlstate);
    return code;
}

int ot_pg_fail_functions(struct outtray_error *err, struct ot_slice functions,
                         struct ot_slice role)
{
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "role %.*s may not execute %.*s, by which the server is "
                   "told from a copy of it; GRANT EXECUTE ON FUNCTION %.*s TO "
                   "\"%.*s\", typed by a superuser in this database",
                   (int)role.n, role.p, (int)functions.n, functions.p,
                   (int)functions.n, functions.p, (int)role.n, role.p);
}
