/* trouble.c - why a broker cannot be worked with, in words for people. */
#include "sink/kafka/trouble.h"

#include <ctype.h>
#include <stdio.h>

#include "sink/kafka/classify.h"
#include "sink/kafka/settings.h"

static const char no_tls[] =
    "hangs up when TLS begins: check the port in sink.url, and whether "
    "kafka.security.protocol should have ssl in it";
static const char wants_certificate[] =
    "asks for a certificate of its clients: set kafka.ssl.certificate.location "
    "and kafka.ssl.key.location";
static const char refuses_certificate[] =
    "refuses the certificate in kafka.ssl.certificate.location: have one made "
    "that it trusts";

/* Words in which librdkafka and OpenSSL hide a plain matter. */
static const struct {
    const char *words;
    const char *says;
} known[] = {
    {"unexpected eof while reading", no_tls},
    {"SSL connection closed by peer", no_tls},
    {"connecting to a PLAINTEXT broker", no_tls},
    {"wrong version number", no_tls},
    {"alert bad certificate", wants_certificate},
    {"alert certificate required", wants_certificate},
    {"SSL alert number 116", wants_certificate},
    {"alert unknown ca", refuses_certificate},
    {"alert certificate unknown", refuses_certificate},
    {"alert certificate expired", refuses_certificate},
    {"alert unsupported certificate", refuses_certificate},
    {OT_KAFKA_ELSEWHERE_TEXT,
     "the broker's advertised.listeners are not on this machine and must be "
     "spoken to with TLS: set kafka.security.protocol to ssl or sasl_ssl, or "
     "write sink.tls=off"},
    {"Invalid response size",
     "what listens there is no Kafka broker: check the port in sink.url, and "
     "kafka.security.protocol"},
    {"not valid in current SASL state",
     "asks for no login on this port: take the user out of sink.url, or check "
     "the port"},
};

static const char *known_words(const char *said)
{
    for (size_t i = 0; i < OT_COUNT(known); i++)
        if (strstr(said, known[i].words) != NULL)
            return known[i].says;
    return NULL;
}

/* "ssl://host:1/bootstrap: text (after 3ms in state UP)": host and text. */
static const char *split(const char *said, char *host, size_t host_size,
                         int *text_n)
{
    const char *at = strstr(said, "://");
    const char *text = at != NULL ? strstr(at, ": ") : NULL;

    host[0] = '\0';
    if (text != NULL && memchr(said, ' ', (size_t)(at - said)) == NULL) {
        size_t n = strcspn(at + 3, "/: ");
        if (at[3 + n] == ':') /* the port */
            n += 1 + strcspn(at + 3 + n + 1, "/: ");
        snprintf(host, host_size, "%.*s", (int)n, at + 3);
        said = text + 2;
    }
    if (strncmp(said, "SASL authentication error: ", 27) == 0)
        said += 27;
    const char *end = strstr(said, " (after ");
    *text_n = (int)(end != NULL ? (size_t)(end - said) : strlen(said));
    return said;
}

/* What token.c has to say stands for itself. */
static const char *of_token_file(const char *text)
{
    const char *at = strstr(text, ": sink.token_file: ");

    return at != NULL ? at + 2 : NULL;
}

/* "… broker's supported mechanisms: PLAIN,SCRAM-SHA-256" */
static bool say_mechanisms(const char *text, int n, const char *host,
                           struct ot_kafka_trouble *out)
{
    static const char before[] = "supported mechanisms: ";
    const char *list = strstr(text, before);

    if (list == NULL || list + sizeof(before) - 1 >= text + n)
        return false;
    list += sizeof(before) - 1;
    snprintf(out->text, sizeof(out->text),
             "%.60s: the logins of this port are %.*s: set "
             "kafka.sasl.mechanism to one of them",
             host, (int)(text + n - list), list);
    return true;
}

/* Brokers may say anything; a line of the log stays one. */
static void make_plain(char *text)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text))
            *text = '?';
}

/* Until 2.6.1 librdkafka repeats its nonce in SCRAM's last message; brokers
 * since Kafka 4 take that for a wrong password. */
static const char *login_advice(const rd_kafka_conf_t *conf, const char *usual)
{
    char *mechanism = ot_kafka_setting(conf, "sasl.mechanisms");
    char *file = ot_kafka_setting(conf, "sasl.oauthbearer.config");
    bool from_file = file != NULL;
    bool tokens = mechanism != NULL && strcmp(mechanism, "OAUTHBEARER") == 0;
    bool scram = mechanism != NULL && strncmp(mechanism, "SCRAM", 5) == 0;

    ot_free(mechanism);
    ot_free(file);
    if (tokens)
        return from_file ? "check the token in sink.token_file"
                         : "check kafka.sasl.oauthbearer.*";
    return scram && rd_kafka_version() < 0x020601ff
               ? "check user and password in sink.url; SCRAM with Kafka 4 "
                 "needs librdkafka 2.6.1"
               : usual;
}

/* What a connection ends with may be the fault of its protocol. */
static void ask_protocol(const rd_kafka_conf_t *conf,
                         struct ot_kafka_trouble *out)
{
    char *protocol = ot_kafka_setting(conf, "security.protocol");
    size_t n = strlen(out->text);

    snprintf(out->text + n, sizeof(out->text) - n,
             ": is it up, and is this its port for kafka.security.protocol=%s?",
             protocol != NULL ? protocol : "plaintext");
    ot_free(protocol);
}

void ot_kafka_trouble_of(rd_kafka_resp_err_t err, const char *said,
                         const char *certificate, const rd_kafka_conf_t *conf,
                         struct ot_kafka_trouble *out)
{
    char host[80];
    int n;
    const char *text = split(said, host, sizeof(host), &n);
    const char *token = of_token_file(said);
    const char *words = token != NULL ? token : known_words(text);
    const char *advice = ot_kafka_classify(err)->advice;
    const char *colon = host[0] != '\0' ? ": " : "";

    out->of_token = token != NULL;
    if (words == NULL && certificate[0] != '\0' &&
        strstr(text, "certificate verify failed") != NULL)
        words = certificate;
    out->lasting = words != NULL || err == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
                   err == RD_KAFKA_RESP_ERR__SSL;
    if (err == RD_KAFKA_RESP_ERR__AUTHENTICATION)
        advice = login_advice(conf, advice);
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(out->text, sizeof(out->text),
                 "connections are closed without a word");
    else if (err == RD_KAFKA_RESP_ERR__AUTHENTICATION &&
             say_mechanisms(text, n, host, out))
        ;
    else if (words != NULL)
        snprintf(out->text, sizeof(out->text), "%.60s%s%s", host, colon, words);
    else
        snprintf(out->text, sizeof(out->text), "%.60s%s%.*s%s%s", host, colon,
                 n < 130 ? n : 130, text, advice != NULL ? ": " : "",
                 advice != NULL ? advice : "");
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
        (err == RD_KAFKA_RESP_ERR__TRANSPORT && words == NULL))
        ask_protocol(conf, out);
    make_plain(out->text);
}

/* --- certificates -------------------------------------------------------- */

static const char REFUSED[] = "verification callback failed: ";

/* OpenSSL's numbers (X509_V_ERR_…), which are part of its ABI. */
static const char *certificate_words(int x509_error)
{
    switch (x509_error) {
    case 9:
        return "is not valid yet: check the clocks here and there";
    case 10:
        return "has expired: renew it";
    case 18: /* itself, or its root, or what signed it is not known */
    case 19:
    case 20:
    case 21:
        return "is signed by nobody who is trusted here: set "
               "kafka.ssl.ca.location to the certificate of its authority";
    case 23:
        return "is revoked: replace it";
    case 62:
    case 64:
        return "is for another host: use a name that it holds, in sink.url "
               "and the broker's advertised.listeners";
    default:
        return NULL;
    }
}

/* On a thread of librdkafka. 0 refuses, which nothing but x509_error may
 * decide. */
static int verify(rd_kafka_t *rk, const char *broker, int32_t id,
                  int *x509_error, int depth, const char *der, size_t der_n,
                  char *text, size_t text_size, void *opaque)
{
    (void)rk, (void)broker, (void)id, (void)der, (void)der_n, (void)opaque;
    if (*x509_error == 0)
        return 1;
    const char *whose =
        depth > 0 ? "a certificate above its own" : "its certificate";
    const char *words = certificate_words(*x509_error);
    if (words != NULL)
        snprintf(text, text_size, "%s %s", whose, words);
    else
        snprintf(text, text_size, "%s is not valid (OpenSSL's error %d)", whose,
                 *x509_error);
    return 0;
}

void ot_kafka_trouble_watch(rd_kafka_conf_t *conf)
{
    /* Without TLS in librdkafka it fails, and is not needed. */
    rd_kafka_conf_set_ssl_cert_verify_cb(conf, verify);
}

bool ot_kafka_trouble_certificate(const char *text, char *out, size_t size)
{
    const char *at = strstr(text, REFUSED);

    if (at == NULL)
        return false;
    snprintf(out, size, "%s", at + sizeof(REFUSED) - 1);
    return true;
}
