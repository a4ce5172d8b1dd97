/* url.c - URLs of stores and sinks.
 *
 * Stricter than most parsers, on purpose: the host that is checked here must
 * be the host that a client library connects to, so everything that two
 * parsers could read in two ways is refused.
 */
#include "conf/conf.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

static bool is_scheme_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first &&
            ((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'));
}

/* Length of "scheme" in "scheme:…", 0 if there is none. */
static size_t scheme_length(const char *text)
{
    size_t n = 0;

    while (is_scheme_char(text[n], n == 0))
        n++;
    return text[n] == ':' ? n : 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Percent-decoding of n bytes; NULL with *why set, or out of memory without. */
static char *decode(const char *p, size_t n, const char **why)
{
    char *out = ot_alloc(n + 1), *end = out;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        int high, low;

        if (p[i] != '%') {
            *end++ = p[i];
            continue;
        }
        high = i + 2 < n ? hex_digit(p[i + 1]) : -1;
        low = high >= 0 ? hex_digit(p[i + 2]) : -1;
        if (low < 0 || high * 16 + low == 0) {
            *why = "a % must be followed by two hexadecimal digits (write % "
                   "itself as %25)";
            ot_free(out);
            return NULL;
        }
        *end++ = (char)(high * 16 + low);
        i += 2;
    }
    *end = '\0';
    return out;
}

/* A URL while it is parsed. */
struct parsing {
    struct ot_url *url;
    const char *why; /* what is wrong with it; NULL and failed: no memory */
};

static bool take(struct parsing *x, char **out, const char *p, size_t n)
{
    *out = decode(p, n, &x->why);
    return *out != NULL;
}

static bool refuse(struct parsing *x, const char *why)
{
    x->why = why;
    return false;
}

static bool parse_port(struct parsing *x, const char *p, size_t n)
{
    int port = 0;

    for (size_t i = 0; i < n; i++)
        port = p[i] >= '0' && p[i] <= '9' && port < 65536
                   ? port * 10 + p[i] - '0'
                   : 65536;
    return n != 0 && port >= 1 && port <= 65535
               ? true
               : refuse(x, "a port is a number from 1 to 65535");
}

/* One of "name", "name:1", "[::1]:1", "%2Fvar%2Frun" (still encoded). */
static bool check_host(struct parsing *x, const char *p, size_t n)
{
    size_t i = 0;

    if (n == 0)
        return refuse(x, "a host is empty");
    if (p[0] == '[') {
        char address[INET6_ADDRSTRLEN];
        struct in6_addr in6;

        while (i < n && p[i] != ']')
            i++;
        if (i == n || i - 1 >= sizeof(address))
            return refuse(x, "an IPv6 address is written [::1]");
        memcpy(address, p + 1, i - 1);
        address[i - 1] = '\0';
        if (inet_pton(AF_INET6, address, &in6) != 1)
            return refuse(x, "there is no IPv6 address between [ and ]");
        i++;
    } else {
        while (i < n && p[i] != ':')
            i++;
        if (i == 0)
            return refuse(x, "a host is empty");
        if (memchr(p, '[', i) != NULL || memchr(p, ']', i) != NULL)
            return refuse(x, "an IPv6 address is written [::1]");
    }
    if (i == n)
        return true;
    return p[i] == ':' ? parse_port(x, p + i + 1, n - i - 1)
                       : refuse(x, "after ] comes a port or nothing");
}

static bool parse_hosts(struct parsing *x, const char *p, size_t n)
{
    for (size_t start = 0; n != 0 && start <= n;) {
        const char *comma = memchr(p + start, ',', n - start);
        size_t end = comma != NULL ? (size_t)(comma - p) : n;

        if (!check_host(x, p + start, end - start))
            return false;
        start = end + 1;
    }
    if (!take(x, &x->url->hosts, p, n))
        return false;
    /* An encoded separator would be one host here and two for a client. */
    for (size_t i = 0; i + 2 < n; i++)
        if (p[i] == '%' && (strncasecmp(p + i, "%2c", 3) == 0 ||
                            strncasecmp(p + i, "%3a", 3) == 0 ||
                            strncasecmp(p + i, "%40", 3) == 0))
            return refuse(x, "a host has an encoded , : or @");
    return true;
}

static bool parse_user(struct parsing *x, const char *p, size_t n)
{
    const char *colon = memchr(p, ':', n);
    size_t user = colon != NULL ? (size_t)(colon - p) : n;

    return take(x, &x->url->user, p, user) &&
           (colon == NULL ||
            take(x, &x->url->password, colon + 1, n - user - 1));
}

static bool parse_authority(struct parsing *x, const char *p, size_t n)
{
    const char *at = memchr(p, '@', n);
    size_t user = at != NULL ? (size_t)(at - p) : 0;

    for (size_t i = 0; i < n; i++)
        if (p[i] == ' ' || p[i] == '\\' || p[i] == '#')
            return refuse(x, "a blank, \\ or # before the path: write it in a "
                             "password as %20, %5C or %23");
    if (at == NULL)
        return parse_hosts(x, p, n);
    if (memchr(at + 1, '@', n - user - 1) != NULL)
        return refuse(x, "more than one @: write @ in a password as %40");
    return parse_user(x, p, user) && parse_hosts(x, at + 1, n - user - 1);
}

static bool parse_param(struct parsing *x, struct ot_url_param *param,
                        const char *p, size_t n)
{
    const char *equals = memchr(p, '=', n);
    size_t name = equals != NULL ? (size_t)(equals - p) : n;

    if (equals == NULL || name == 0)
        return refuse(x, "after ? come name=value, separated by &");
    return take(x, &param->name, p, name) &&
           take(x, &param->value, equals + 1, n - name - 1);
}

/* Two values of one name: clients differ in which one counts. */
static bool is_repeated(const struct ot_url *url)
{
    const struct ot_url_param *last = &url->params[url->nparams - 1];

    for (const struct ot_url_param *p = url->params; p < last; p++)
        if (strcmp(p->name, last->name) == 0)
            return true;
    return false;
}

static bool parse_query(struct parsing *x, const char *p)
{
    size_t count = 1;

    for (const char *c = p; *c != '\0'; c++)
        count += *c == '&';
    x->url->params = ot_alloc_zero(count, sizeof(*x->url->params));
    if (x->url->params == NULL)
        return false;
    while (*p != '\0') {
        size_t n = strcspn(p, "&");

        if (!parse_param(x, &x->url->params[x->url->nparams++], p, n))
            return false;
        if (is_repeated(x->url))
            return refuse(x, "a parameter is there twice");
        p += n + (p[n] == '&');
    }
    return true;
}

/* These have a path and no host: "sqlite://outbox.db" forgot a slash. */
static bool without_host(const char *scheme)
{
    return strcmp(scheme, "sqlite") == 0 || strcmp(scheme, "file") == 0;
}

static bool parse(struct parsing *x, const char *text)
{
    size_t n = scheme_length(text);
    const char *p = text + n + 1;
    size_t part;

    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return refuse(x, "there is a control character in it");
    if (n == 0)
        return refuse(x, "it must begin with a scheme, as in "
                         "postgresql://user@host/database, sqlite:shop.db, "
                         "kafka://host:9092 or stdout:");
    if (!take(x, &x->url->scheme, text, n))
        return false;
    for (char *c = x->url->scheme; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    part = 0;
    if (p[0] == '/' && p[1] == '/') {
        p += 2;
        part = strcspn(p, "/?");
        if (part != 0 && without_host(x->url->scheme))
            return refuse(x, "this scheme has no host: write three slashes "
                             "before an absolute path (sqlite:///path), none "
                             "before a relative one (sqlite:path)");
    }
    if (!parse_authority(x, p, part))
        return false;
    p += part;
    part = strcspn(p, "?");
    if (!take(x, &x->url->path, p, part))
        return false;
    p += part;
    return *p == '\0' || parse_query(x, p + 1);
}

int ot_url_parse(const char *text, struct ot_url *out,
                 struct outtray_error *err)
{
    struct parsing x = {out, NULL};
    struct ot_buffer shown = {0};
    int rc;

    *out = (struct ot_url){0};
    if (parse(&x, text))
        return 0;
    ot_url_free(out);
    ot_url_print(text, &shown);
    bool known = scheme_length(text) != 0; /* or all of it is hidden */
    if (x.why == NULL || shown.failed || shown.p == NULL)
        rc = ot_fail_nomem(err);
    else
        rc = ot_fail(err, OUTTRAY_E_URL,
                     "the URL%s%.200s%s cannot be "
                     "understood: %s",
                     known ? " '" : "", known ? shown.p : "", known ? "'" : "",
                     x.why);
    ot_buffer_free(&shown);
    return rc;
}

const char *ot_url_param(const struct ot_url *url, const char *name)
{
    for (size_t i = 0; i < url->nparams; i++)
        if (strcmp(url->params[i].name, name) == 0)
            return url->params[i].value;
    return NULL;
}

void ot_url_free(struct ot_url *url)
{
    for (size_t i = 0; i < url->nparams; i++) {
        ot_free(url->params[i].name);
        ot_free(url->params[i].value);
    }
    ot_free(url->params);
    ot_free(url->scheme);
    ot_free(url->user);
    ot_free(url->password);
    ot_free(url->hosts);
    ot_free(url->path);
    *url = (struct ot_url){0};
}

/* --- printing ------------------------------------------------------------ */

static bool secret_param(const char *name)
{
    static const char *const words[] = {"password", "passwd", "secret", "token",
                                        "pem"};

    for (size_t i = 0; i < OT_COUNT(words); i++)
        for (const char *p = name; *p != '\0'; p++)
            if (strncasecmp(p, words[i], strlen(words[i])) == 0)
                return true;
    return false;
}

/* The query as it was written, but parameters that are secrets. */
static void print_params(const struct ot_url *url, const char *p,
                         struct ot_buffer *out)
{
    ot_buffer_putc(out, '?');
    for (size_t i = 0; i < url->nparams; i++) {
        size_t n = strcspn(p, "&"), name = strcspn(p, "=");

        if (secret_param(url->params[i].name)) {
            ot_buffer_add(out, p, name);
            ot_buffer_puts(out, "=***");
        } else {
            ot_buffer_add(out, p, n);
        }
        p += n;
        if (*p == '&') {
            ot_buffer_putc(out, '&');
            p++;
        }
    }
}

/* A password that somebody wrote into the query a second time, under whatever
 * name, is not printed there either. */
static void print_query(const struct ot_url *url, const char *p,
                        struct ot_buffer *out)
{
    const char *secret = url->password != NULL ? url->password : "";
    size_t n = strlen(secret);
    struct ot_buffer shown = {0};
    const char *at;

    print_params(url, p, &shown);
    out->failed |= shown.failed;
    if (!shown.failed) {
        for (p = shown.p; n > 0 && (at = strstr(p, secret)) != NULL;
             p = at + n) {
            ot_buffer_add(out, p, (size_t)(at - p));
            ot_buffer_puts(out, "***");
        }
        ot_buffer_puts(out, p);
    }
    ot_buffer_free(&shown);
}

/* text is well-formed: its only @ before the path ends the user's part. */
static void print_parsed(const struct ot_url *url, const char *text,
                         struct ot_buffer *out)
{
    const char *query = strchr(text, '?');
    const char *at = url->password != NULL ? strchr(text, '@') : NULL;
    size_t n = query != NULL ? (size_t)(query - text) : strlen(text);

    if (at != NULL) {
        size_t user = strlen(url->scheme) + 3;

        user += strcspn(text + user, ":");
        ot_buffer_add(out, text, user);
        ot_buffer_puts(out, ":***");
        ot_buffer_add(out, at, n - (size_t)(at - text));
    } else {
        ot_buffer_add(out, text, n);
    }
    if (query != NULL)
        print_query(url, query + 1, out);
}

void ot_url_print(const char *text, struct ot_buffer *out)
{
    struct ot_url url = {0};
    struct parsing x = {&url, NULL};

    if (parse(&x, text)) {
        print_parsed(&url, text, out);
    } else {
        /* Nobody knows where the password is: show none of it. */
        ot_buffer_add(out, text, scheme_length(text));
        ot_buffer_puts(out, scheme_length(text) != 0 ? ":***" : "***");
    }
    ot_url_free(&url);
}

/* --- hosts --------------------------------------------------------------- */

static bool is_loopback(const char *p, size_t n)
{
    char name[64];
    struct in_addr in;
    struct in6_addr in6;
    bool six = n != 0 && p[0] == '[';

    if (n != 0 && (p[0] == '/' || p[0] == '@')) /* a unix socket */
        return true;
    if (six) {
        const char *end = memchr(p, ']', n);

        p++;
        n = end != NULL ? (size_t)(end - p) : 0;
    } else {
        const char *colon = memchr(p, ':', n);

        /* "::1" without brackets is what libpq's host= takes. */
        if (colon != NULL &&
            memchr(colon + 1, ':', n - (size_t)(colon - p) - 1) == NULL)
            n = (size_t)(colon - p);
    }
    if (n == 0 || n >= sizeof(name))
        return false;
    memcpy(name, p, n);
    name[n] = '\0';
    if (inet_pton(AF_INET, name, &in) == 1)
        return ntohl(in.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, name, &in6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&in6);
    return !six && strcasecmp(name, "localhost") == 0;
}

bool ot_hosts_loopback(const char *hosts)
{
    while (*hosts != '\0') {
        size_t n = strcspn(hosts, ",");

        if (!is_loopback(hosts, n))
            return false;
        hosts += n + (hosts[n] == ',');
    }
    return true;
}
