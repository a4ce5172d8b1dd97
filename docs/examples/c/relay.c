#include <outtray.h>
#include <signal.h>
#include <stdio.h>

static struct outtray_relay *relay;

static void stop(int signal)
{
    (void)signal;
    outtray_relay_stop(relay);
}

static void tell(void *ctx, enum outtray_log_level level, const char *facility,
                 const char *text)
{
    (void)ctx;
    if (level >= OUTTRAY_LOG_WARN)
        fprintf(stderr, "%s: %s\n", facility, text);
}

int main(void)
{
    struct outtray_conf *conf = outtray_conf_new();
    struct outtray_error err = {.text = "out of memory"};
    int rc = conf == NULL ? OUTTRAY_E_NOMEM : outtray_conf_load_env(conf, &err);

    if (rc == 0)
        rc = outtray_conf_set(conf, "sink.url", "stdout:", &err);
    if (rc == 0)
        rc = outtray_relay_open(&relay, conf, tell, NULL, &err);
    if (rc == 0) {
        signal(SIGTERM, stop);
        outtray_relay_until_empty(relay); /* not in a service */
        rc = outtray_relay_run(relay, &err);
    }
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", outtray_error_name(rc), err.text);
    outtray_relay_close(relay);
    outtray_conf_free(conf);
    return outtray_error_exit(rc);
}
