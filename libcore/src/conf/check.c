/* check.c - rules that span keys. */
#include "conf/object.h"

#include <stdlib.h>

/* --- one not above another ----------------------------------------------- */

static int check_order(const struct outtray_conf *conf,
                       struct outtray_error *err)
{
    static const char *const pairs[][2] = {
        {"relay.stop_soft_ms", "relay.stop_hard_ms"},
        {"relay.poll_min_ms", "relay.poll_max_ms"},
        {"retry.min_ms", "retry.max_ms"},
        {"probe.min_ms", "probe.max_ms"},
        {"breaker.min_ms", "breaker.max_ms"},
    };

    for (size_t i = 0; i < OT_COUNT(pairs); i++) {
        const char *low = pairs[i][0], *high = pairs[i][1];

        if (ot_conf_int(conf, low) > ot_conf_int(conf, high))
            return ot_fail(err, OUTTRAY_E_CONF,
                           "%s (%lld ms) is above %s (%lld ms)", low,
                           (long long)ot_conf_int(conf, low), high,
                           (long long)ot_conf_int(conf, high));
    }
    return 0;
}

/* A lease is renewed every third of its time, with the cursor. */
static int check_lease(const struct outtray_conf *conf,
                       struct outtray_error *err)
{
    int64_t ttl = ot_conf_int(conf, "relay.lease_ttl_ms");
    int64_t cursor = ot_conf_int(conf, "relay.cursor_ms");

    if (cursor <= ttl / 3)
        return 0;
    return ot_fail(err, OUTTRAY_E_CONF,
                   "relay.cursor_ms (%lld ms) is above a third of "
                   "relay.lease_ttl_ms (%lld ms): the lease could run out "
                   "between two writes",
                   (long long)cursor, (long long)ttl);
}

/* More often it costs more than it tells. */
static int check_statistics(const struct outtray_conf *conf,
                            struct outtray_error *err)
{
    int64_t ms = ot_conf_int(conf, "sink.statistics_ms");

    return ms == 0 || ms >= 1000
               ? 0
               : ot_fail(err, OUTTRAY_E_CONF,
                         "sink.statistics_ms (%lld ms): write 0, or 1s or more",
                         (long long)ms);
}

/* --- names that a database or a broker would refuse later ---------------- */

#define SUBSCRIPTION_MAX 63 /* a CHECK of the schemas */

static int check_names(const struct outtray_conf *conf,
                       struct outtray_error *err)
{
    const char *subscription = ot_conf_text(conf, "relay.subscription");
    const char *at = ot_conf_text(conf, "sink.topic");

    if (strlen(subscription) > SUBSCRIPTION_MAX)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "relay.subscription: the name has %zu bytes, %d are "
                       "allowed",
                       strlen(subscription), SUBSCRIPTION_MAX);
    while (at != NULL && (at = strstr(at, "${")) != NULL) {
        if (strncmp(at, "${topic}", 8) != 0)
            return ot_fail(err, OUTTRAY_E_CONF,
                           "sink.topic: '%s': only ${topic} stands for "
                           "something",
                           at);
        at += 8;
    }
    return 0;
}

static int check_rates(const struct outtray_conf *conf,
                       struct outtray_error *err)
{
    int rc = ot_conf_rates(conf, "limit.topic_events_per_s", NULL, NULL, err);

    return rc != 0 ? rc
                   : ot_conf_rates(conf, "limit.topic_bytes_per_s", NULL, NULL,
                                   err);
}

/* --- no plain text over a network ---------------------------------------- */

static bool off(const struct outtray_conf *conf, const char *key)
{
    return strcmp(ot_conf_text(conf, key), "off") == 0;
}

/* Where libpq would really connect to: host and hostaddr of the query come
 * before the URL's hosts, a service and the environment after them. */
static bool postgres_is_local(const struct ot_url *url)
{
    const char *host = ot_url_param(url, "host");
    const char *address = ot_url_param(url, "hostaddr");

    if (ot_url_param(url, "service") != NULL)
        return false; /* a file decides */
    if (address == NULL)
        address = getenv("PGHOSTADDR");
    if (address != NULL && address[0] != '\0')
        return ot_hosts_loopback(address);
    if (host != NULL && host[0] != '\0')
        return ot_hosts_loopback(host);
    if (url->hosts[0] != '\0')
        return ot_hosts_loopback(url->hosts);
    host = getenv("PGHOST");
    return getenv("PGSERVICE") == NULL &&
           (host == NULL || ot_hosts_loopback(host));
}

static int check_postgres(const struct ot_url *url, struct outtray_error *err)
{
    const char *mode = ot_url_param(url, "sslmode");

    /* Not written: the store asks for verify-full. */
    if (postgres_is_local(url) || mode == NULL ||
        strcmp(mode, "verify-full") == 0)
        return 0;
    return ot_fail(err, OUTTRAY_E_CONF,
                   "store.url: the database is not on this machine and "
                   "sslmode=%s does not verify it: write sslmode=verify-full "
                   "(and sslrootcert=…), or store.tls=off if the network is "
                   "to be trusted",
                   mode);
}

static bool is_postgres(const struct ot_url *url)
{
    return strcmp(url->scheme, "postgresql") == 0 ||
           strcmp(url->scheme, "postgres") == 0;
}

bool ot_conf_store_verify(const struct outtray_conf *conf,
                          const struct ot_url *url)
{
    return is_postgres(url) && !off(conf, "store.tls") &&
           !postgres_is_local(url);
}

int ot_conf_check_store(const struct outtray_conf *conf,
                        struct outtray_error *err)
{
    const char *text = ot_conf_secret(conf, "store.url");
    struct ot_url url;
    int rc;

    if (text == NULL)
        return 0;
    rc = ot_url_parse(text, &url, err);
    if (rc != 0)
        return ot_fail_context(err, rc, "store.url");
    if (is_postgres(&url) && !off(conf, "store.tls"))
        rc = check_postgres(&url, err);
    ot_url_free(&url);
    return rc;
}

static const char *passed(const struct outtray_conf *conf, const char *name)
{
    return outtray_conf_get(conf, name);
}

static int check_kafka(const struct outtray_conf *conf,
                       const struct ot_url *url, struct outtray_error *err)
{
    static const char *const elsewhere[] = {"kafka.bootstrap.servers",
                                            "kafka.metadata.broker.list"};
    const char *protocol = passed(conf, "kafka.security.protocol");

    for (size_t i = 0; i < OT_COUNT(elsewhere); i++)
        if (passed(conf, elsewhere[i]) != NULL)
            return ot_fail(err, OUTTRAY_E_CONF,
                           "%s: name the brokers in sink.url instead",
                           elsewhere[i]);
    /* Not written: the sink asks for TLS. */
    if (off(conf, "sink.tls") || ot_hosts_loopback(url->hosts) ||
        protocol == NULL || strcmp(protocol, "ssl") == 0 ||
        strcmp(protocol, "sasl_ssl") == 0 || strcmp(protocol, "SSL") == 0 ||
        strcmp(protocol, "SASL_SSL") == 0)
        return 0;
    return ot_fail(err, OUTTRAY_E_CONF,
                   "kafka.security.protocol=%s: a broker is not on this "
                   "machine: write ssl or sasl_ssl, or sink.tls=off if the "
                   "network is to be trusted",
                   protocol);
}

/* Schemes that speak plain text, and their twin with TLS. */
static int check_plain(const struct ot_url *url, struct outtray_error *err)
{
    static const char *const plain[][2] = {
        {"http", "https"},
        {"amqp", "amqps"},
        {"redis", "rediss"},
        {"nats", "tls"},
    };

    for (size_t i = 0; i < OT_COUNT(plain); i++)
        if (strcmp(url->scheme, plain[i][0]) == 0 &&
            !ot_hosts_loopback(url->hosts))
            return ot_fail(err, OUTTRAY_E_CONF,
                           "sink.url: %s:// is plain text and its host is not "
                           "on this machine: write %s://, or sink.tls=off if "
                           "the network is to be trusted",
                           plain[i][0], plain[i][1]);
    return 0;
}

static int check_sink(const struct outtray_conf *conf,
                      struct outtray_error *err)
{
    const char *text = ot_conf_secret(conf, "sink.url");
    struct ot_url url;
    int rc;

    if (text == NULL)
        return 0;
    rc = ot_url_parse(text, &url, err);
    if (rc != 0)
        return ot_fail_context(err, rc, "sink.url");
    if (strcmp(url.scheme, "kafka") == 0)
        rc = check_kafka(conf, &url, err);
    else if (!off(conf, "sink.tls"))
        rc = check_plain(&url, err);
    ot_url_free(&url);
    return rc;
}

int outtray_conf_check(const struct outtray_conf *conf,
                       struct outtray_error *err)
{
    int rc = check_order(conf, err);

    if (rc == 0)
        rc = check_lease(conf, err);
    if (rc == 0)
        rc = check_statistics(conf, err);
    if (rc == 0)
        rc = check_names(conf, err);
    if (rc == 0)
        rc = check_rates(conf, err);
    if (rc == 0)
        rc = ot_conf_check_store(conf, err);
    if (rc == 0)
        rc = check_sink(conf, err);
    return rc;
}
