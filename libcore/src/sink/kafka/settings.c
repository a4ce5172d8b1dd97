/* settings.c - from the configuration of the relay to librdkafka's. */
#include "sink/kafka/settings.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sink/kafka/token.h"
#include "sink/kafka/trouble.h"

/* What the relay needs to keep its promises, and what suits it better than
 * librdkafka's defaults. docs/sinks.md explains each. */
static const struct {
    const char *name;
    const char *value;
} defaults[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.timeout.ms", "0"},       /* an outage is a state, not an error */
    {"partitioner", "murmur2_random"}, /* the partition Java would choose */
    {"linger.ms", "0"}, /* the relay knows where its batch ends */
    {"compression.type", "lz4"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    /* A request that is not answered goes to a new connection. A broker that
     * works on it all the same knows it again; see slow_broker. */
    {"socket.timeout.ms", "4000"},
    {"socket.connection.setup.timeout.ms", "4000"},
    {"reconnect.backoff.ms", "100"},
    {"reconnect.backoff.max.ms", "1000"},
    {"allow.auto.create.topics", "false"}, /* a typo makes no topic */
    {"topic.metadata.propagation.max.ms", "5000"},
    {"ssl.endpoint.identification.algorithm", "https"},
    {"log.connection.close", "false"},
    {"log.queue", "true"},
};

/* What may not be set, and why. value NULL: to whatever. */
static const struct {
    const char *name;
    const char *value;
    const char *why;
} denied[] = {
    {"bootstrap.servers", NULL, "the servers come from sink.url"},
    {"metadata.broker.list", NULL, "the servers come from sink.url"},
    {"sasl.username", NULL, "the user comes from sink.url"},
    {"sasl.password", NULL, "the password comes from sink.url"},
    {"enable.idempotence", "false",
     "without idempotence a retry reorders and duplicates events"},
    {"enable.gapless.guarantee", "true",
     "one rejected event would stop all topics"},
    {"delivery.report.only.error", "true",
     "the relay counts an event as delivered by its report only"},
    {"partitioner", "random", "the events of a key would lose their order"},
    {"transactional.id", NULL, "the relay does not use transactions"},
    {"statistics.interval.ms", NULL, "write sink.statistics_ms"},
    {"enabled_events", NULL, "the relay sets it"},
    {"log.queue", NULL, "the relay sets it"},
    {"internal.termination.signal", NULL,
     "signals belong to the program around the relay"},
    {"enable.sasl.oauthbearer.unsecure.jwt", "true",
     "librdkafka does not renew such a token, and delivery would end with it"},
    {"test.mock.num.brokers", NULL, "it would replace the servers"},
    {"test.mock.broker.rtt", NULL, "it is for tests of librdkafka"},
};

/* Common names that librdkafka's dump has under an older one. */
static const char *const aliases[] = {
    "linger.ms",           "acks",           "compression.type",
    "delivery.timeout.ms", "retries",        "batch.num.messages",
    "max.in.flight",       "sasl.mechanism", "request.timeout.ms",
};

enum { TEXT = 512, LONGEST_MS = 64000, SMALLEST_BATCH = 16384 };

static int set(rd_kafka_conf_t *rk, const char *name, const char *value,
               struct outtray_error *err)
{
    char text[TEXT];
    if (rd_kafka_conf_set(rk, name, value, text, sizeof(text)) ==
        RD_KAFKA_CONF_OK)
        return 0;
    return ot_fail(err, OUTTRAY_E_CONF, "kafka.%s: %s", name, text);
}

static int set_number(rd_kafka_conf_t *rk, const char *name, int64_t value,
                      struct outtray_error *err)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return set(rk, name, text, err);
}

char *ot_kafka_setting(const rd_kafka_conf_t *rk, const char *name)
{
    size_t n = 0;
    if (rd_kafka_conf_get(rk, name, NULL, &n) != RD_KAFKA_CONF_OK || n == 0)
        return NULL;
    char *text = ot_alloc(n + 1);
    if (text == NULL)
        return NULL;
    text[0] = '\0';
    if (rd_kafka_conf_get(rk, name, text, &n) == RD_KAFKA_CONF_OK &&
        text[0] != '\0')
        return text;
    ot_free(text);
    return NULL;
}

struct nearest {
    const char *to;
    size_t least;
    char name[64];
};

static void compare(struct nearest *best, const char *name)
{
    size_t d = ot_distance(best->to, name);
    if (d < best->least) {
        best->least = d;
        snprintf(best->name, sizeof(best->name), "%s", name);
    }
}

static void compare_all(struct nearest *best, const char **dump, size_t n)
{
    for (size_t i = 0; dump != NULL && i + 1 < n; i += 2)
        compare(best, dump[i]);
    if (dump != NULL)
        rd_kafka_conf_dump_free(dump, n);
}

/* tls of "kafka://host?tls=off" is a key of the sink, not of librdkafka. */
static bool is_of_sink(const char *name)
{
    for (size_t i = 0; i < ot_conf_count(); i++) {
        const char *key = ot_conf_key_at(i)->name;
        if (strncmp(key, "sink.", 5) == 0 && strcmp(key + 5, name) == 0)
            return true;
    }
    return false;
}

static int fail_unknown(const char *name, struct outtray_error *err)
{
    if (is_of_sink(name))
        return ot_fail(err, OUTTRAY_E_CONF,
                       "kafka.%s: librdkafka %s has no such setting; did you "
                       "mean --set sink.%s=...?",
                       name, rd_kafka_version_str(), name);
    /* Further away it is no slip of the finger. */
    struct nearest best = {.to = name, .least = 5};
    size_t n = 0;
    rd_kafka_conf_t *rk = rd_kafka_conf_new();
    rd_kafka_topic_conf_t *topic = rd_kafka_topic_conf_new();
    const char **dump = rd_kafka_conf_dump(rk, &n);
    compare_all(&best, dump, n);
    dump = rd_kafka_topic_conf_dump(topic, &n);
    compare_all(&best, dump, n);
    for (size_t i = 0; i < OT_COUNT(aliases); i++)
        compare(&best, aliases[i]);
    rd_kafka_conf_destroy(rk);
    rd_kafka_topic_conf_destroy(topic);
    if (best.name[0] != '\0')
        return ot_fail(err, OUTTRAY_E_CONF,
                       "kafka.%s: librdkafka %s has no such setting; did you "
                       "mean kafka.%s?",
                       name, rd_kafka_version_str(), best.name);
    return ot_fail(err, OUTTRAY_E_CONF,
                   "kafka.%s: librdkafka %s has no such setting", name,
                   rd_kafka_version_str());
}

static bool is_no(const char *value)
{
    return strcmp(value, "false") == 0 || strcmp(value, "f") == 0 ||
           strcmp(value, "0") == 0 || strcmp(value, "none") == 0;
}

/* One setting of the user. */
struct passing {
    rd_kafka_conf_t *rk;
    bool verify; /* sink.tls = verify */
    struct outtray_error *err;
};

static int pass(void *ctx, const char *name, const char *value)
{
    struct passing *p = ctx;
    for (size_t i = 0; i < OT_COUNT(denied); i++) {
        if (strcmp(denied[i].name, name) != 0 ||
            (denied[i].value != NULL && strcmp(denied[i].value, value) != 0))
            continue;
        return ot_fail(p->err, OUTTRAY_E_CONF, "kafka.%s cannot be %s: %s",
                       name, denied[i].value != NULL ? value : "set",
                       denied[i].why);
    }
    if (p->verify && is_no(value) &&
        (strcmp(name, "enable.ssl.certificate.verification") == 0 ||
         strcmp(name, "ssl.endpoint.identification.algorithm") == 0))
        return ot_fail(p->err, OUTTRAY_E_CONF,
                       "kafka.%s=%s contradicts sink.tls=verify: give the CA "
                       "by kafka.ssl.ca.location, or write sink.tls=off",
                       name, value);
    char text[TEXT];
    switch (rd_kafka_conf_set(p->rk, name, value, text, sizeof(text))) {
    case RD_KAFKA_CONF_OK:
        return 0;
    case RD_KAFKA_CONF_UNKNOWN:
        return fail_unknown(name, p->err);
    default:
        return ot_fail(p->err, OUTTRAY_E_CONF, "kafka.%s: %s", name, text);
    }
}

static bool has(const rd_kafka_conf_t *rk, const char *name)
{
    char *text = ot_kafka_setting(rk, name);
    ot_free(text);
    return text != NULL;
}

/* Where nobody says which authorities are trusted, those of the machine are.
 * The copy of OpenSSL in a wheel knows where the machine that made it had them,
 * which may be elsewhere; librdkafka knows the usual places. */
static int set_authorities(rd_kafka_conf_t *rk, struct outtray_error *err)
{
    if (has(rk, "ssl.ca.location") || has(rk, "ssl.ca.pem") ||
        getenv("SSL_CERT_FILE") != NULL || getenv("SSL_CERT_DIR") != NULL)
        return 0;
    return set(rk, "ssl.ca.location", "probe", err);
}

/* librdkafka's words for a file that is not there are those of OpenSSL. */
static int check_files(const rd_kafka_conf_t *rk, struct outtray_error *err)
{
    static const char *const names[] = {
        "ssl.ca.location",       "ssl.certificate.location", "ssl.key.location",
        "ssl.keystore.location", "ssl.crl.location",
    };
    for (size_t i = 0; i < OT_COUNT(names); i++) {
        char *path = ot_kafka_setting(rk, names[i]);
        int code = 0;
        if (path != NULL && strcmp(path, "probe") != 0 &&
            access(path, R_OK) != 0)
            code = ot_fail(err, OUTTRAY_E_CONF, "kafka.%s: %s: %s", names[i],
                           path, strerror(errno));
        ot_free(path);
        if (code != 0)
            return code;
    }
    return 0;
}

static bool is(const rd_kafka_conf_t *rk, const char *name, const char *value)
{
    char *text = ot_kafka_setting(rk, name);
    bool same = text != NULL && strcmp(text, value) == 0;
    ot_free(text);
    return same;
}

/* What was given that decides about others. */
struct given {
    bool protocol;
    bool mechanism;
    bool tokens; /* sink.token_file */
};

/* A login that nobody could do would be waited for without end. */
static int check_login(const rd_kafka_conf_t *rk, const struct ot_url *url,
                       const struct given *given, struct outtray_error *err)
{
    char *protocol = ot_kafka_setting(rk, "security.protocol");
    bool sasl = protocol != NULL && strncmp(protocol, "sasl", 4) == 0;
    ot_free(protocol);
    if (!sasl)
        return given->mechanism || url->user != NULL
                   ? ot_fail(err, OUTTRAY_E_CONF,
                             "kafka.security.protocol logs nobody in: take "
                             "sasl_ssl or sasl_plaintext, or the login out")
                   : 0;
    if (is(rk, "sasl.mechanisms", "OAUTHBEARER"))
        return given->tokens || is(rk, "sasl.oauthbearer.method", "oidc")
                   ? 0
                   : ot_fail(err, OUTTRAY_E_CONF,
                             "kafka.sasl.mechanism=OAUTHBEARER: say where "
                             "tokens come from: sink.token_file, or "
                             "kafka.sasl.oauthbearer.method=oidc and "
                             "kafka.sasl.oauthbearer.token.endpoint.url");
    bool by_user = !given->mechanism || is(rk, "sasl.mechanisms", "PLAIN") ||
                   is(rk, "sasl.mechanisms", "SCRAM-SHA-256") ||
                   is(rk, "sasl.mechanisms", "SCRAM-SHA-512");
    if (by_user && url->user == NULL)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "kafka.security.protocol wants a login and sink.url "
                       "names no user: write kafka://user:password@host:port");
    return 0;
}

static int set_sizes(rd_kafka_conf_t *rk, const struct outtray_conf *conf,
                     struct outtray_error *err)
{
    /* The window is the limit; the client must never be. */
    int64_t messages = 2 * ot_conf_int(conf, "relay.window_events") + 1000;
    int64_t kbytes = 2 * ot_conf_int(conf, "relay.window_bytes") / 1024 + 65536;
    int64_t largest = ot_conf_int(conf, "enqueue.max_payload_bytes") + 65536;
    if (kbytes > INT32_MAX)
        kbytes = INT32_MAX;
    if (largest > 1000000000)
        largest = 1000000000;
    int code = set_number(rk, "queue.buffering.max.messages", messages, err);
    if (code == 0)
        code = set_number(rk, "queue.buffering.max.kbytes", kbytes, err);
    if (code == 0 && largest > 1000000)
        code = set_number(rk, "message.max.bytes", largest, err);
    return code;
}

static int set_client_id(rd_kafka_conf_t *rk, const struct outtray_conf *conf,
                         struct outtray_error *err)
{
    const char *outbox = ot_conf_text(conf, "store.outbox");
    const char *subscription = ot_conf_text(conf, "relay.subscription");
    bool plain = outbox == NULL || strcmp(outbox, "outtray") == 0;
    char text[200];
    snprintf(text, sizeof(text), "outtray-%.80s%s%.80s", plain ? "" : outbox,
             plain ? "" : "-", subscription != NULL ? subscription : "main");
    return set(rk, "client.id", text, err);
}

static int set_login(rd_kafka_conf_t *rk, const struct ot_url *url,
                     struct outtray_error *err)
{
    if (url->user == NULL || url->user[0] == '\0')
        return 0;
    if (url->password == NULL)
        return ot_fail(err, OUTTRAY_E_URL,
                       "sink.url names the user %s but no password: write "
                       "kafka://user:password@host:port",
                       url->user);
    int code = set(rk, "sasl.mechanism", "PLAIN", err);
    if (code == 0)
        code = set(rk, "sasl.username", url->user, err);
    if (code == 0)
        code = set(rk, "sasl.password", url->password, err);
    return code;
}

static int set_tokens(rd_kafka_conf_t *rk, const struct outtray_conf *conf,
                      const struct ot_url *url, struct given *given,
                      struct outtray_error *err)
{
    const char *path = ot_conf_text(conf, "sink.token_file");
    if (path == NULL || path[0] == '\0')
        return 0;
    const char *other =
        url->user != NULL ? "the user in sink.url"
        : given->mechanism && !is(rk, "sasl.mechanisms", "OAUTHBEARER")
            ? "kafka.sasl.mechanism"
        : is(rk, "sasl.oauthbearer.method", "oidc")
            ? "kafka.sasl.oauthbearer.method"
        : has(rk, "sasl.oauthbearer.config") ? "kafka.sasl.oauthbearer.config"
                                             : NULL;
    if (other != NULL)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.token_file is one login and %s another: take one "
                       "of them out",
                       other);
    given->mechanism = given->tokens = true;
    int code = set(rk, "sasl.mechanism", "OAUTHBEARER", err);
    return code != 0 ? code : ot_kafka_token_use(rk, path, err);
}

static bool speaks_tls(const rd_kafka_conf_t *rk)
{
    char *protocol = ot_kafka_setting(rk, "security.protocol");
    bool tls = protocol != NULL && strstr(protocol, "ssl") != NULL;
    ot_free(protocol);
    return tls;
}

/* Decides between plain text and TLS once everything else is known. */
static int set_protocol(rd_kafka_conf_t *rk, const struct ot_url *url,
                        bool verify, bool given, bool login,
                        struct outtray_error *err)
{
    bool away = !ot_hosts_loopback(url->hosts);
    if (given) {
        if (speaks_tls(rk) || !away || !verify)
            return 0;
        return ot_fail(err, OUTTRAY_E_CONF,
                       "kafka.security.protocol: %s is not on this machine "
                       "and must be spoken to with TLS: take ssl or sasl_ssl, "
                       "or write sink.tls=off",
                       url->hosts);
    }
    bool tls = away && verify;
    const char *protocol = tls     ? login ? "sasl_ssl" : "ssl"
                           : login ? "sasl_plaintext"
                                   : "plaintext";
    return set(rk, "security.protocol", protocol, err);
}

static int find_given(void *ctx, const char *name, const char *value)
{
    struct given *given = ctx;
    (void)value;
    given->protocol |= strcmp(name, "security.protocol") == 0;
    given->mechanism |= strcmp(name, "sasl.mechanism") == 0 ||
                        strcmp(name, "sasl.mechanisms") == 0;
    return 0;
}

/* What the other end does not acknowledge, be it a keepalive while nothing is
 * under way, ends the connection. */
static int make_socket(int domain, int type, int protocol, void *opaque)
{
    static const struct {
        int name, value;
    } options[] = {{TCP_USER_TIMEOUT, 4500},
                   {TCP_KEEPIDLE, 2},
                   {TCP_KEEPINTVL, 1},
                   {TCP_KEEPCNT, 2}};
    int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

    (void)opaque;
    for (size_t i = 0; fd >= 0 && i < OT_COUNT(options); i++)
        setsockopt(fd, IPPROTO_TCP, options[i].name, &options[i].value,
                   sizeof(options[i].value));
    return fd;
}

/* An address of this machine is one that can be bound to. */
static bool is_here(const struct sockaddr *to, size_t n)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } at = {.any = {0}};
    int fd = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || n > sizeof(at)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    memcpy(&at, to, n);
    if (to->sa_family == AF_INET6)
        at.in6.sin6_port = 0;
    else
        at.in.sin_port = 0;
    bool here = bind(fd, &at.any, (socklen_t)n) == 0;
    close(fd);
    return here;
}

/* Brokers name those that clients go to, wherever they are. */
static int connect_here(int fd, const struct sockaddr *to, int n,
                        const char *broker, void *opaque)
{
    (void)broker;
    (void)opaque;
    if (!is_here(to, (size_t)n))
        return OT_KAFKA_ELSEWHERE;
    return connect(fd, to, (socklen_t)n) == 0 || errno == EINPROGRESS ? 0
                                                                      : errno;
}

static long number_of(const rd_kafka_conf_t *rk, const char *name)
{
    char *text = ot_kafka_setting(rk, name);
    long n = text != NULL ? strtol(text, NULL, 10) : 0;

    ot_free(text);
    return n;
}

/* Of a request that is larger than what the link brings over in that time not
 * one ever arrives, so they shrink, too. */
bool ot_kafka_wait_longer(rd_kafka_conf_t *rk)
{
    struct outtray_error err = {0};
    long ms = number_of(rk, "socket.timeout.ms");
    long bytes = number_of(rk, "batch.size");
    long less = bytes / 16 > SMALLEST_BATCH ? bytes / 16 : SMALLEST_BATCH;

    if (ms <= 0 || ms * 2 > LONGEST_MS ||
        set_number(rk, "socket.timeout.ms", ms * 2, &err) != 0)
        return false;
    if (less < bytes)
        (void)set_number(rk, "batch.size", less, &err);
    return true;
}

int ot_kafka_settings(rd_kafka_conf_t **out, const struct outtray_conf *conf,
                      const struct ot_url *url, struct outtray_error *err)
{
    *out = NULL;
    rd_kafka_conf_t *rk = rd_kafka_conf_new();
    const char *mode = ot_conf_text(conf, "sink.tls");
    bool verify = mode == NULL || strcmp(mode, "off") != 0;
    struct passing passing = {rk, verify, err};
    struct given given = {0};
    int code = 0;

    for (size_t i = 0; i < OT_COUNT(defaults) && code == 0; i++)
        code = set(rk, defaults[i].name, defaults[i].value, err);
    if (code == 0)
        code = set_sizes(rk, conf, err);
    if (code == 0)
        code = set_client_id(rk, conf, err);
    if (code == 0)
        code = set_number(rk, "statistics.interval.ms",
                          ot_conf_int(conf, "sink.statistics_ms"), err);
    if (code == 0)
        code = set(rk, "bootstrap.servers", url->hosts, err);
    if (code == 0)
        code = set_login(rk, url, err);
    for (size_t i = 0; i < url->nparams && code == 0; i++)
        code = pass(&passing, url->params[i].name, url->params[i].value);
    for (size_t i = 0; i < url->nparams; i++)
        find_given(&given, url->params[i].name, url->params[i].value);
    if (code == 0)
        code = ot_conf_each_passed(conf, "kafka.", pass, &passing);
    if (code == 0)
        ot_conf_each_passed(conf, "kafka.", find_given, &given);
    if (code == 0)
        code = set_tokens(rk, conf, url, &given, err);
    if (code == 0)
        code = set_protocol(rk, url, verify, given.protocol,
                            given.mechanism || url->user != NULL, err);
    if (code == 0)
        code = check_login(rk, url, &given, err);
    if (code == 0)
        code = set_authorities(rk, err);
    if (code == 0)
        code = check_files(rk, err);
    if (code != 0) {
        rd_kafka_conf_destroy(rk);
        return code;
    }
    rd_kafka_conf_set_socket_cb(rk, make_socket);
    if (verify && !speaks_tls(rk))
        rd_kafka_conf_set_connect_cb(rk, connect_here);
    ot_kafka_trouble_watch(rk);
    rd_kafka_conf_enable_sasl_queue(rk, 1); /* see new_producer */
    rd_kafka_conf_set_events(rk, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
                                     RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS);
    *out = rk;
    return 0;
}
