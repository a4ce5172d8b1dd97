/* params.c - connecting as the configuration says. */
#include "store/postgres/params.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/postgres/error.h"

/* libpq wants two arrays that end with NULL; a later keyword wins. */
struct params {
    const char *names[24];
    const char *values[24];
    size_t n;
    char numbers[8][24]; /* what some values point to */
    size_t nnumbers;
    struct ot_buffer lists[3]; /* likewise */
};

static void add(struct params *p, const char *name, const char *value)
{
    p->names[p->n] = name;
    p->values[p->n++] = value;
}

static void add_number(struct params *p, const char *name, int64_t n)
{
    char *text = p->numbers[p->nnumbers++];

    snprintf(text, sizeof(p->numbers[0]), "%lld", (long long)n);
    add(p, name, text);
}

/* Keepalives notice a dead peer while nothing is under way, tcp_user_timeout
 * while something is: each covers half of the black holes. A little before the
 * time, so that it is told in time. */
struct patience {
    int64_t user_ms, idle_s, interval_s, count;
};

static struct patience patience(int64_t silence_ms)
{
    struct patience p = {.user_ms = silence_ms * 9 / 10, .count = 2};

    p.idle_s = p.user_ms / 2000 > 1 ? p.user_ms / 2000 : 1;
    p.interval_s = p.idle_s / 2 > 1 ? p.idle_s / 2 : 1;
    return p;
}

void ot_pg_keepalives(struct ot_buffer *out, int64_t silence_ms,
                      const char *local)
{
    struct patience p = patience(silence_ms);

    ot_buffer_printf(
        out,
        "pg_catalog.set_config('tcp_keepalives_idle', '%lld', %s), "
        "pg_catalog.set_config('tcp_keepalives_interval', '%lld', %s), "
        "pg_catalog.set_config('tcp_keepalives_count', '%lld', %s), "
        "pg_catalog.set_config('tcp_user_timeout', '%lld', %s)",
        (long long)p.idle_s, local, (long long)p.interval_s, local,
        (long long)p.count, local, (long long)p.user_ms, local);
}

static void add_timeouts(struct params *p, const struct outtray_conf *conf)
{
    struct patience silence =
        patience(ot_conf_int(conf, "store.network_timeout_ms"));

    add_number(p, "connect_timeout",
               (ot_conf_int(conf, "store.connect_timeout_ms") + 999) / 1000);
    add(p, "keepalives", "1");
    add_number(p, "keepalives_idle", silence.idle_s);
    add_number(p, "keepalives_interval", silence.interval_s);
    add_number(p, "keepalives_count", silence.count);
    add_number(p, "tcp_user_timeout", silence.user_ms);
}

/* libpq knows the scheme in lower case only, and takes everything else for
 * the name of a database. */
static int check_scheme(const struct ot_url *url, const char *text,
                        char **fixed, struct outtray_error *err)
{
    size_t n = strlen(url->scheme);

    *fixed = NULL;
    if (strncmp(text + n, "://", 3) != 0)
        return ot_fail(err, OUTTRAY_E_URL,
                       "store.url: write postgresql://user@host:port/database");
    *fixed = ot_strdup(text);
    if (*fixed == NULL)
        return ot_fail_nomem(err);
    memcpy(*fixed, url->scheme, n);
    return 0;
}

/* --- several hosts ------------------------------------------------------- */

static const char *find(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val;
    return NULL;
}

static unsigned count_items(const char *list)
{
    unsigned n = 1;

    for (; *list != '\0'; list++)
        n += *list == ',';
    return n;
}

/* "a,b,c" begun at item first: "b,c,a" for 1. */
static void rotate(const char *list, unsigned first, struct ot_buffer *out)
{
    const char *start = list;

    while (first-- > 0 && strchr(start, ',') != NULL)
        start = strchr(start, ',') + 1;
    ot_buffer_puts(out, start);
    if (start > list) {
        ot_buffer_putc(out, ',');
        ot_buffer_add(out, list, (size_t)(start - list - 1));
    }
}

/* Of several servers the one that takes writes; begin with number attempt. */
static int add_hosts(struct params *p, const char *text, unsigned attempt,
                     unsigned *nhosts, struct outtray_error *err)
{
    static const char *const lists[] = {"host", "hostaddr", "port"};
    PQconninfoOption *options = PQconninfoParse(text, NULL);
    const char *hosts;
    int rc = 0;

    *nhosts = 1;
    if (options == NULL) /* its message might quote a password */
        return ot_fail(err, OUTTRAY_E_URL,
                       "store.url has a parameter that PostgreSQL does not "
                       "know; write postgresql://user@host:port/database");
    hosts = find(options, "hostaddr");
    if (hosts == NULL)
        hosts = find(options, "host");
    if (hosts != NULL)
        *nhosts = count_items(hosts);
    if (*nhosts > 1 && find(options, "target_session_attrs") == NULL)
        add(p, "target_session_attrs", "read-write");
    for (size_t i = 0; *nhosts > 1 && i < OT_COUNT(lists) && rc == 0; i++) {
        const char *list = find(options, lists[i]);

        if (list == NULL)
            continue;
        rotate(list, attempt % *nhosts, &p->lists[i]);
        if (p->lists[i].failed)
            rc = ot_fail_nomem(err);
        add(p, lists[i], p->lists[i].p);
    }
    PQconninfoFree(options);
    return rc;
}

/* --- TLS ----------------------------------------------------------------- */

/* The system's certificate authorities, where distributions keep them. */
static const char *system_authorities(void)
{
    static const char *const files[] = {
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    };

    for (size_t i = 0; i < OT_COUNT(files); i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}

static bool has_own_authorities(void)
{
    char path[512];
    const char *home = getenv("HOME");

    if (getenv("PGSSLROOTCERT") != NULL)
        return true;
    snprintf(path, sizeof(path), "%s/.postgresql/root.crt",
             home != NULL ? home : "");
    return access(path, R_OK) == 0;
}

static void add_tls(struct params *p, const struct outtray_conf *conf,
                    const struct ot_url *url)
{
    const char *authorities = system_authorities();

    if (!ot_conf_store_verify(conf, url))
        return;
    if (ot_url_param(url, "sslmode") == NULL)
        add(p, "sslmode", "verify-full");
    if (authorities != NULL && ot_url_param(url, "sslrootcert") == NULL &&
        !has_own_authorities())
        add(p, "sslrootcert", authorities);
}

/* --- connecting ---------------------------------------------------------- */

static int start(PGconn **out, const struct params *p,
                 struct outtray_error *err)
{
    int code;

    *out = PQconnectStartParams(p->names, p->values, 1);
    if (*out == NULL)
        return ot_fail_nomem(err);
    PQsetErrorVerbosity(*out, PQERRORS_VERBOSE);
    if (PQstatus(*out) != CONNECTION_BAD)
        return 0;
    code = ot_pg_fail_connect(err, *out);
    PQfinish(*out);
    *out = NULL;
    return code;
}

/* Which of the servers. */
struct place {
    unsigned attempt;
    unsigned *nhosts;
    const PGconn *like; /* or that one */
};

static void add_like(struct params *p, const PGconn *like)
{
    const char *address = PQhostaddr(like);

    add(p, "host", PQhost(like));
    if (address != NULL && address[0] != '\0')
        add(p, "hostaddr", address);
    add(p, "port", PQport(like));
    add(p, "target_session_attrs", "any");
}

static int start_at(PGconn **out, const struct outtray_conf *conf,
                    const struct ot_url *url, const char *text,
                    const struct place *place, struct outtray_error *err)
{
    struct params p = {.n = 0};
    int rc = 0;

    /* Defaults, then what the URL says, then what must be. */
    add_timeouts(&p, conf);
    add(&p, "fallback_application_name", "outtray");
    /* Asking for a Kerberos ticket may block where nothing may. */
    add(&p, "gssencmode", "disable");
    add(&p, "dbname", text);
    add(&p, "client_encoding", "UTF8");
    add_tls(&p, conf, url);
    if (place->like != NULL)
        add_like(&p, place->like);
    else
        rc = add_hosts(&p, text, place->attempt, place->nhosts, err);
    if (rc == 0)
        rc = start(out, &p, err);
    for (size_t i = 0; i < OT_COUNT(p.lists); i++)
        ot_buffer_free(&p.lists[i]);
    return rc;
}

static int start_with(PGconn **out, const struct outtray_conf *conf,
                      const struct place *place, struct outtray_error *err)
{
    const char *text = ot_conf_secret(conf, "store.url");
    struct ot_url url;
    char *fixed;
    int code;

    *out = NULL;
    if (text == NULL)
        return ot_fail(err, OUTTRAY_E_CONF, "store.url is not set");
    code = ot_conf_check_store(conf, err);
    if (code != 0)
        return code;
    code = ot_url_parse(text, &url, err);
    if (code != 0)
        return code;
    code = check_scheme(&url, text, &fixed, err);
    if (code == 0)
        code = start_at(out, conf, &url, fixed, place, err);
    ot_free(fixed);
    ot_url_free(&url);
    return code;
}

int ot_pg_connect_start_at(PGconn **out, const struct outtray_conf *conf,
                           unsigned attempt, unsigned *nhosts,
                           struct outtray_error *err)
{
    unsigned n = 1;
    struct place place = {.attempt = attempt, .nhosts = &n};
    int code = start_with(out, conf, &place, err);

    if (nhosts != NULL)
        *nhosts = n;
    return code;
}

int ot_pg_connect_start_like(PGconn **out, const struct outtray_conf *conf,
                             const PGconn *like, struct outtray_error *err)
{
    unsigned n = 1;
    struct place place = {.nhosts = &n, .like = like};

    return start_with(out, conf, &place, err);
}

/* Waits for what libpq wants; false when the time is over. */
static bool wait_for(const PGconn *c, PostgresPollingStatusType want,
                     int64_t deadline_us)
{
    struct pollfd fd = {.fd = PQsocket(c)};
    int64_t left;
    int n;

    fd.events = want == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    do {
        left = deadline_us - ot_now_us();
        n = poll(&fd, 1, left > 0 ? (int)(left / 1000 + 1) : 0);
    } while (n < 0 && errno == EINTR);
    return n != 0;
}

/* *silent: it ended because nobody answered. */
static int drive(PGconn *c, int64_t timeout_us, bool *silent,
                 struct outtray_error *err)
{
    int64_t deadline = ot_now_us() + timeout_us;
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;

    *silent = false;
    while (want != PGRES_POLLING_OK && want != PGRES_POLLING_FAILED) {
        if (!wait_for(c, want, deadline)) {
            *silent = true;
            return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                           "database %s on %s, port %s: no answer within "
                           "%lld ms: check host and port of store.url",
                           PQdb(c), PQhost(c), PQport(c),
                           (long long)(timeout_us / 1000));
        }
        want = PQconnectPoll(c);
    }
    return want == PGRES_POLLING_OK ? 0 : ot_pg_fail_connect(err, c);
}

int ot_pg_connect(PGconn **out, const struct outtray_conf *conf,
                  struct outtray_error *err)
{
    int64_t timeout = ot_conf_us(conf, "store.connect_timeout_ms");
    unsigned nhosts = 1;
    bool silent = true;
    int rc = 0;

    *out = NULL;
    for (unsigned attempt = 0; silent && attempt < nhosts; attempt++) {
        rc = ot_pg_connect_start_at(out, conf, attempt, &nhosts, err);
        if (rc != 0)
            return rc;
        rc = drive(*out, timeout, &silent, err);
        if (rc == 0) {
            PQsetErrorVerbosity(*out, PQERRORS_DEFAULT);
            return 0;
        }
        PQfinish(*out);
        *out = NULL;
    }
    return rc;
}
