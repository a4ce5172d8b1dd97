/* report.c - see report.h. */
#include "relay/report.h"

#include <stdio.h>

#define LOOK_US    20000
#define CONNECT_US 2000000 /* connecting is no news before that */
#define AGAIN_US   1000000 /* nothing may happen in a stall: look all the same */
#define SHOW_US    2000000 /* what lasts so long is worth a look from outside */

/* Two changes within RELAPSE_US are one trouble that comes and goes: each such
 * pair doubles the time that a change must last to be told, up to CALM_MAX_US,
 * until QUIET_US have passed with nothing to tell. */
#define RELAPSE_US  30000000
#define CALM_MIN_US 1000000
#define CALM_MAX_US 60000000
#define QUIET_US    300000000

/* How a stall is told. Those that are part of normal work are told only when
 * they last, and last although there are moments without. */
static const struct telling {
    enum ot_level level;
    int64_t after_us;
    int64_t linger_us;
} tellings[] = {
    [OT_STALL_NONE] = {OT_DEBUG, OT_NEVER, 0},
    [OT_STALL_STOPPED] = {OT_DEBUG, OT_NEVER, 0},
    [OT_STALL_STORE] = {OT_WARN, 0, 0},
    [OT_STALL_REFUSED] = {OT_ERROR, 0, 0},
    [OT_STALL_LEASE] = {OT_INFO, 0, 0},
    [OT_STALL_PAUSED] = {OT_INFO, 0, 0},
    [OT_STALL_BREAKER] = {OT_WARN, 0, 0},
    [OT_STALL_SINK] = {OT_WARN, 1500000, 1000000},
    [OT_STALL_LIMIT] = {OT_INFO, 10000000, 1000000},
    [OT_STALL_BARRIER] = {OT_WARN, 5000000, 1000000},
    [OT_STALL_HELD_FULL] = {OT_WARN, 0, 0},
    [OT_STALL_GAP] = {OT_INFO, 10000000, 1000000},
};

void ot_report_init(struct ot_report *report, const struct ot_log *log)
{
    memset(report, 0, sizeof(*report));
    report->log = log;
    report->since_us = ot_now_us();
    report->shown_since_us = ot_wall_us();
}

/* --- what is so ---------------------------------------------------------- */

/* The engine knows that the sink does not answer; the sink knows why. */
static void add_sink(const struct ot_driver *driver, enum ot_stall stall,
                     char *detail)
{
    struct ot_health health = {0};
    size_t n = strlen(detail);

    if (driver->sink == NULL ||
        (stall != OT_STALL_BREAKER && stall != OT_STALL_SINK))
        return;
    driver->sink->ops->health(driver->sink, &health);
    if (health.reason[0] == '\0' && stall == OT_STALL_BREAKER)
        snprintf(health.reason, sizeof(health.reason), "%.199s",
                 driver->failure);
    if (health.reason[0] != '\0')
        snprintf(detail + n, OT_REPORT_DETAIL - n, ": %s", health.reason);
}

/* Does a moment without it count? */
static bool lingers(struct ot_report *report, enum ot_stall now, int64_t now_us)
{
    int64_t linger_us = tellings[report->stall].linger_us;

    if (now != OT_STALL_NONE || linger_us == 0)
        return false;
    if (report->gone_us == 0)
        report->gone_us = now_us;
    return now_us - report->gone_us < linger_us;
}

static void look(struct ot_report *report, const struct ot_driver *driver,
                 int64_t now_us)
{
    char detail[OT_REPORT_DETAIL] = "";
    enum ot_stall stall = ot_engine_stall(driver->engine, now_us, detail);

    if (stall != report->stall) {
        if (lingers(report, stall, now_us))
            return;
        report->since_us = report->gone_us != 0 ? report->gone_us : now_us;
        report->stall = stall;
    }
    report->gone_us = 0;
    add_sink(driver, stall, detail);
    memcpy(report->detail, detail, sizeof(report->detail));
}

static int64_t lasted_us(const struct ot_report *report, int64_t now_us)
{
    return now_us - report->since_us;
}

/* --- the log ------------------------------------------------------------- */

/* Was it the end of a trouble? Not when the relay is stopped in it, nor when a
 * database that did not answer answers wrongly. */
static bool over(enum ot_stall before, enum ot_stall now)
{
    return now != OT_STALL_STOPPED &&
           !(before == OT_STALL_STORE && now == OT_STALL_REFUSED);
}

static void told(struct ot_report *report, enum ot_stall stall, int64_t now_us)
{
    if (report->told_us == 0 || now_us - report->told_us > QUIET_US)
        report->calm_us = 0;
    else if (stall != OT_STALL_NONE && now_us - report->told_us < RELAPSE_US)
        report->calm_us = report->calm_us == 0 ? CALM_MIN_US
                          : report->calm_us * 2 < CALM_MAX_US
                              ? report->calm_us * 2
                              : CALM_MAX_US;
    report->told = stall;
    report->told_us = now_us;
    report->told_since_us = report->since_us;
}

static void tell_end(struct ot_report *report, int64_t now_us)
{
    char lasted[32];

    if (report->told == OT_STALL_NONE || report->told == report->stall ||
        lasted_us(report, now_us) < report->calm_us)
        return;
    if (over(report->told, report->stall))
        ot_log(report->log, OT_INFO, "relay", "%s is over after %s",
               ot_stall_name(report->told),
               ot_duration_text(report->since_us - report->told_since_us,
                                lasted));
    told(report, OT_STALL_NONE, now_us);
}

static int64_t tell_after_us(const struct ot_report *report,
                             const struct ot_engine *engine)
{
    int64_t after_us = tellings[report->stall].after_us;

    if (report->stall == OT_STALL_STORE && ot_engine_error(engine)->code == 0)
        after_us = CONNECT_US;
    return after_us > report->calm_us ? after_us : report->calm_us;
}

/* An error in full, with what to do about it at its end: the detail is cut, to
 * be kept in the database. */
static const char *told_text(const struct ot_report *report,
                             const struct ot_engine *engine)
{
    const struct outtray_error *error = ot_engine_error(engine);
    bool of_store =
        report->stall == OT_STALL_STORE || report->stall == OT_STALL_REFUSED;

    return of_store && strncmp(error->text, report->detail,
                               strlen(report->detail)) == 0
               ? error->text
               : report->detail;
}

static void tell_start(struct ot_report *report, const struct ot_engine *engine,
                       int64_t now_us)
{
    if (report->told == report->stall ||
        lasted_us(report, now_us) < tell_after_us(report, engine))
        return;
    ot_log(report->log, tellings[report->stall].level, "relay", "%s: %s",
           ot_stall_name(report->stall), told_text(report, engine));
    told(report, report->stall, now_us);
}

/* --- the database -------------------------------------------------------- */

/* What is worth a look from outside now; what was, and is over, never is: under
 * load the small stalls that follow it may each be too short, and leave no
 * moment without one. */
static enum ot_stall worth_a_look(const struct ot_report *report,
                                  const struct ot_driver *driver,
                                  int64_t now_us)
{
    int64_t after_us = tellings[report->stall].after_us;

    after_us = after_us < SHOW_US ? after_us : SHOW_US;
    if (report->stall == OT_STALL_NONE)
        after_us = 0;
    else if (report->stall == OT_STALL_STORE &&
             ot_engine_error(driver->engine)->code == 0)
        after_us = CONNECT_US;
    if (report->shown == report->stall || lasted_us(report, now_us) >= after_us)
        return report->stall;
    return lasted_us(report, now_us) < tellings[report->shown].linger_us
               ? report->shown
               : OT_STALL_NONE;
}

static bool show(struct ot_report *report, const struct ot_driver *driver,
                 int64_t now_us)
{
    enum ot_stall stall = worth_a_look(report, driver, now_us);

    if (report->shown == stall)
        return false;
    report->shown = stall;
    report->shown_since_us =
        ot_driver_wall_us(driver, now_us) - lasted_us(report, now_us);
    report->news = true;
    return true;
}

bool ot_report_turn(struct ot_report *report, const struct ot_driver *driver,
                    int64_t now_us)
{
    if (now_us < report->next_us)
        return false;
    report->next_us = now_us + LOOK_US;
    look(report, driver, now_us);
    tell_end(report, now_us);
    tell_start(report, driver->engine, now_us);
    return show(report, driver, now_us);
}

int64_t ot_report_wake_us(const struct ot_report *report)
{
    bool settled = report->told == report->stall &&
                   report->shown == report->stall && report->gone_us == 0;

    return settled && report->stall != OT_STALL_NONE
               ? OT_NEVER
               : report->next_us - LOOK_US + AGAIN_US;
}
