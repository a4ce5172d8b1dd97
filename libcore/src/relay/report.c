/* report.c - see report.h. */
#include "relay/report.h"

#define LOOK_US    20000
#define CONNECT_US 2000000 /* connecting is no news before that */
#define AGAIN_US   1000000 /* nothing may happen in a stall: look all the same */

/* How a stall is told. Those that are part of normal work are told only when
 * they last. */
static const struct telling {
    enum ot_level level;
    int64_t after_us;
} tellings[] = {
    [OT_STALL_NONE] = {OT_DEBUG, OT_NEVER},
    [OT_STALL_STOPPED] = {OT_DEBUG, OT_NEVER},
    [OT_STALL_STORE] = {OT_WARN, 0},
    [OT_STALL_REFUSED] = {OT_ERROR, 0},
    [OT_STALL_LEASE] = {OT_INFO, 0},
    [OT_STALL_PAUSED] = {OT_INFO, 0},
    [OT_STALL_BREAKER] = {OT_WARN, 0},
    [OT_STALL_SINK] = {OT_WARN, 10000000},
    [OT_STALL_LIMIT] = {OT_INFO, 10000000},
    [OT_STALL_BARRIER] = {OT_WARN, 5000000},
    [OT_STALL_HELD_FULL] = {OT_WARN, 0},
    [OT_STALL_GAP] = {OT_INFO, 10000000},
};

void ot_report_init(struct ot_report *report, const struct ot_log *log)
{
    memset(report, 0, sizeof(*report));
    report->log = log;
}

/* Was it the end of a trouble? Not when the relay is stopped in it, nor when a
 * database that did not answer answers wrongly. */
static bool over(enum ot_stall before, enum ot_stall now)
{
    return now != OT_STALL_STOPPED &&
           !(before == OT_STALL_STORE && now == OT_STALL_REFUSED);
}

void ot_report_turn(struct ot_report *report, const struct ot_engine *engine,
                    int64_t now_us)
{
    const struct telling *telling;
    char detail[200] = "", lasted[32];
    enum ot_stall stall;
    int64_t after_us;

    if (now_us < report->next_us)
        return;
    report->next_us = now_us + LOOK_US;
    stall = ot_engine_stall(engine, now_us, detail);
    if (stall != report->stall) {
        if (report->said && over(report->stall, stall))
            ot_log(report->log, OT_INFO, "relay", "%s is over after %s",
                   ot_stall_name(report->stall),
                   ot_duration_text(now_us - report->since_us, lasted));
        report->stall = stall;
        report->since_us = now_us;
        report->said = false;
    }
    telling = &tellings[stall];
    after_us = telling->after_us;
    if (stall == OT_STALL_STORE && ot_engine_error(engine)->code == 0)
        after_us = CONNECT_US;
    if (report->said || after_us == OT_NEVER ||
        now_us - report->since_us < after_us)
        return;
    report->said = true;
    ot_log(report->log, telling->level, "relay", "%s: %s", ot_stall_name(stall),
           detail);
}

int64_t ot_report_wake_us(const struct ot_report *report)
{
    return report->said ? OT_NEVER : report->next_us - LOOK_US + AGAIN_US;
}
