/* tool.c - see tool.h. */
#include "sink/kafka/tool.h"

#include "sink/kafka/settings.h"

static int set(rd_kafka_conf_t *conf, const char *name, const char *value,
               struct outtray_error *err)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) ==
        RD_KAFKA_CONF_OK)
        return 0;
    return ot_fail(err, OUTTRAY_E_CONF, "kafka.%s: %s", name, text);
}

static int settings_of(rd_kafka_conf_t **out, const struct outtray_conf *conf,
                       struct outtray_error *err)
{
    struct ot_url url;
    int rc = ot_url_parse(ot_conf_secret(conf, "sink.url"), &url, err);

    if (rc != 0)
        return rc;
    rc = ot_kafka_settings(out, conf, &url, err);
    ot_url_free(&url);
    return rc;
}

int ot_kafka_tool_new(rd_kafka_t **out, rd_kafka_type_t type,
                      const struct outtray_conf *conf,
                      const char *const settings[][2], size_t n,
                      struct outtray_error *err)
{
    rd_kafka_conf_t *kafka;
    char text[256];
    int rc = settings_of(&kafka, conf, err);

    *out = NULL;
    if (rc != 0)
        return rc;
    rd_kafka_conf_set_events(kafka, 0);
    /* The template is a producer's: a consumer would warn of each setting. */
    rc = set(kafka, "log_level", "0", err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = set(kafka, settings[i][0], settings[i][1], err);
    if (rc == 0) {
        *out = rd_kafka_new(type, kafka, text, sizeof(text));
        if (*out != NULL) {
            /* Tokens are got on librdkafka's own thread: see new_producer. */
            rd_kafka_error_destroy(
                rd_kafka_sasl_background_callbacks_enable(*out));
            return 0;
        }
        rc = ot_fail(err, OUTTRAY_E_CONF, "%s", text);
    }
    rd_kafka_conf_destroy(kafka);
    return rc;
}
