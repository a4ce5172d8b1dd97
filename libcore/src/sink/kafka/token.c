/* token.c - tokens of OAUTHBEARER that somebody else puts into a file. */
#include "sink/kafka/token.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "conf/conf.h"
#include "sink/kafka/settings.h"

/* librdkafka carries this text from the settings to each client. */
static const char OURS[] = "sink.token_file=";

static const size_t LARGEST = 65536;
static const double LAST_SECOND = 253402300799; /* of the year 9999 */

/* --- one token ----------------------------------------------------------- */

static void trim(struct ot_buffer *text)
{
    while (text->n > 0 && strchr(" \t\r\n", text->p[text->n - 1]) != NULL)
        text->p[--text->n] = '\0';
}

/* The payload of a JWT; NULL: it is none. [RFC 7519] */
static json_t *claims_of(const char *token)
{
    const char *from = strchr(token, '.') + 1;
    size_t n = strcspn(from, ".");
    struct ot_buffer base64 = {0}, text = {0};
    json_t *claims = NULL;

    for (size_t i = 0; i < n; i++)
        ot_buffer_putc(&base64, from[i] == '-'   ? '+'
                                : from[i] == '_' ? '/'
                                                 : from[i]);
    while (base64.n % 4 != 0)
        ot_buffer_putc(&base64, '=');
    if (!base64.failed &&
        ot_base64_decode(ot_slice(base64.p, base64.n), &text) && !text.failed)
        claims = json_loadb(text.p != NULL ? text.p : "", text.n, 0, NULL);
    ot_buffer_free(&base64);
    ot_buffer_free(&text);
    return claims;
}

static int count(const char *text, char c)
{
    int n = 0;

    for (; *text != '\0'; text++)
        n += *text == c;
    return n;
}

/* Other tokens than JWTs mean something to the broker alone. */
static int read_claims(struct ot_kafka_token *out, const char *path,
                       struct outtray_error *err)
{
    if (count(out->text.p, '.') != 2)
        return 0;
    json_t *claims = claims_of(out->text.p);
    json_t *end = json_object_get(claims, "exp");
    const char *subject = json_string_value(json_object_get(claims, "sub"));
    double seconds = json_number_value(end);
    int code = 0;

    if (!json_is_object(claims))
        code = ot_fail(err, OUTTRAY_E_CONF,
                       "sink.token_file: %s: looks like a JWT, and its second "
                       "part is no JSON: is it whole?",
                       path);
    else if (end != NULL && !(seconds > 0 && seconds <= LAST_SECOND))
        code = ot_fail(err, OUTTRAY_E_CONF,
                       "sink.token_file: %s: the claim exp of its JWT is no "
                       "time",
                       path);
    else if (end != NULL)
        out->end_ms = (int64_t)(seconds * 1000);
    if (subject != NULL)
        snprintf(out->subject, sizeof(out->subject), "%s", subject);
    json_decref(claims);
    return code;
}

/* A token is one word. [RFC 6750, section 2.1] */
static int check_word(const struct ot_buffer *text, const char *path,
                      struct outtray_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-._~+/=";

    if (text->n == 0)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "sink.token_file: %s: is empty: put a token into it",
                       path);
    size_t at = strspn(text->p, allowed);
    if (at == text->n)
        return 0;
    return ot_fail(err, OUTTRAY_E_CONF,
                   "sink.token_file: %s: byte %zu cannot be part of a token: "
                   "is it the right file?",
                   path, at + 1);
}

int ot_kafka_token_read(struct ot_kafka_token *out, const char *path,
                        int64_t now_ms, struct outtray_error *err)
{
    *out = (struct ot_kafka_token){.end_ms = now_ms + OT_KAFKA_TOKEN_MS};
    int code = ot_conf_read_file(path, LARGEST, &out->text, err);

    if (code != 0) {
        code = ot_fail_context(err, code, "sink.token_file");
    } else {
        trim(&out->text);
        code = check_word(&out->text, path, err);
    }
    if (code == 0)
        code = read_claims(out, path, err);
    if (code != 0)
        ot_kafka_token_free(out);
    return code;
}

void ot_kafka_token_free(struct ot_kafka_token *token)
{
    if (token->text.p != NULL)
        memset(token->text.p, 0, token->text.n);
    ot_buffer_free(&token->text);
}

/* --- clients ------------------------------------------------------------- */

static int64_t now_ms(void)
{
    return ot_wall_us() / 1000;
}

static void give(rd_kafka_t *rk, const char *path)
{
    struct outtray_error err = {0};
    struct ot_kafka_token token;
    char said[300] = "", ago[32];
    int64_t now = now_ms();

    if (ot_kafka_token_read(&token, path, now, &err) != 0) {
        rd_kafka_oauthbearer_set_token_failure(rk, err.text);
        return;
    }
    if (token.end_ms <= now) {
        snprintf(said, sizeof(said),
                 "sink.token_file: %.150s: the token ended %s ago: have it "
                 "renewed",
                 path, ot_duration_text((now - token.end_ms) * 1000, ago));
        rd_kafka_oauthbearer_set_token_failure(rk, said);
    } else if (rd_kafka_oauthbearer_set_token(rk, token.text.p, token.end_ms,
                                              token.subject, NULL, 0, said,
                                              sizeof(said)) != 0) {
        rd_kafka_oauthbearer_set_token_failure(rk, said);
    }
    ot_kafka_token_free(&token);
}

/* On librdkafka's background thread, which may wait. */
static void refresh(rd_kafka_t *rk, const char *config, void *opaque)
{
    (void)opaque;
    give(rk, config + sizeof(OURS) - 1);
}

int ot_kafka_token_use(rd_kafka_conf_t *conf, const char *path,
                       struct outtray_error *err)
{
    struct ot_kafka_token token;
    struct ot_buffer ours = {0};
    int code = ot_kafka_token_read(&token, path, now_ms(), err);

    if (code != 0)
        return code;
    ot_kafka_token_free(&token);
    ot_buffer_printf(&ours, "%s%s", OURS, path);
    if (ours.failed)
        code = ot_fail_nomem(err);
    else if (rd_kafka_conf_set(conf, "sasl.oauthbearer.config", ours.p, NULL,
                               0) != RD_KAFKA_CONF_OK)
        code = ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "sink.token_file: librdkafka %s was built without "
                       "OAUTHBEARER",
                       rd_kafka_version_str());
    else
        rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, refresh);
    ot_buffer_free(&ours);
    return code;
}

/* --- changes ------------------------------------------------------------- */

/* What is another one each time the file is written or replaced. */
static uint64_t look_at(const char *path)
{
    struct stat s;

    if (stat(path, &s) != 0)
        return 0;
    struct {
        uint64_t device, inode, size, seconds, nanoseconds;
    } of = {(uint64_t)s.st_dev, (uint64_t)s.st_ino, (uint64_t)s.st_size,
            (uint64_t)s.st_mtim.tv_sec, (uint64_t)s.st_mtim.tv_nsec};
    return ot_hash(ot_slice((const char *)&of, sizeof(of)));
}

bool ot_kafka_token_watch(struct ot_kafka_token_watch *watch,
                          const rd_kafka_conf_t *conf)
{
    char *config = ot_kafka_setting(conf, "sasl.oauthbearer.config");
    bool ours = config != NULL && strncmp(config, OURS, sizeof(OURS) - 1) == 0;

    *watch = (struct ot_kafka_token_watch){0};
    if (ours) {
        watch->path = ot_strdup(config + sizeof(OURS) - 1);
        watch->seen = watch->path != NULL ? look_at(watch->path) : 0;
    }
    ot_free(config);
    return !ours || watch->path != NULL;
}

void ot_kafka_token_watch_end(struct ot_kafka_token_watch *watch)
{
    ot_free(watch->path);
    watch->path = NULL;
}

/* Once it is as it was a look before: it may have been half written. */
void ot_kafka_token_look(struct ot_kafka_token_watch *watch, rd_kafka_t *rk)
{
    uint64_t seen = look_at(watch->path);
    bool changed = seen != watch->seen;

    if (!changed && watch->settling)
        give(rk, watch->path);
    watch->settling = changed;
    watch->seen = seen;
}
