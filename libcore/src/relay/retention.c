/* retention.c - see retention.h. */
#include "relay/retention.h"

#include "base/crash.h"

#define IDLE_MIN_US 1000000  /* 1 s */
#define IDLE_MAX_US 60000000 /* 1 min */
#define FAILED_US   10000000 /* after an error */

void ot_retention_init(struct ot_retention *retention,
                       const struct outtray_conf *conf)
{
    int64_t idle_us;

    memset(retention, 0, sizeof(*retention));
    retention->enabled = ot_conf_bool(conf, "prune.enabled");
    retention->retention_us = ot_conf_us(conf, "prune.retention_ms");
    retention->pause_us = ot_conf_us(conf, "prune.pause_ms");
    retention->batch = (uint32_t)ot_conf_int(conf, "prune.batch");
    /* An event stays at most a hundredth longer than it was asked to. */
    idle_us = retention->retention_us / 100;
    if (idle_us < IDLE_MIN_US)
        idle_us = IDLE_MIN_US;
    retention->idle_us = idle_us < IDLE_MAX_US ? idle_us : IDLE_MAX_US;
}

bool ot_retention_turn(struct ot_retention *retention, struct ot_store *store,
                       int64_t now_us, int64_t db_now_us)
{
    struct ot_prune_request request;

    if (!retention->enabled || retention->under_way ||
        now_us < retention->next_us)
        return false;
    request.older_than_us = db_now_us - retention->retention_us;
    request.limit = retention->batch;
    retention->under_way = true;
    ot_crash_point("prune.wanted");
    store->ops->prune(store, &request);
    ot_crash_point("prune.asked");
    return true;
}

void ot_retention_told(struct ot_retention *retention,
                       const struct ot_reply *reply, int64_t now_us,
                       const struct ot_log *log)
{
    retention->under_way = false;
    if (reply->code != 0) {
        if (!retention->failing && !outtray_error_retryable(reply->code)) {
            retention->failing = true;
            ot_log(log, OT_WARN, "retention",
                   "delivered events cannot be deleted: %s", reply->err.text);
        }
        retention->next_us = now_us + FAILED_US;
        return;
    }
    if (retention->failing) {
        retention->failing = false;
        ot_log(log, OT_INFO, "retention", "delivered events are deleted again");
    }
    retention->deleted += reply->prune.deleted;
    retention->next_us =
        now_us + (reply->prune.more ? retention->pause_us : retention->idle_us);
}

int64_t ot_retention_wake_us(const struct ot_retention *retention)
{
    if (!retention->enabled || retention->under_way)
        return OT_NEVER;
    return retention->next_us;
}
