/* parts.c - what fails, and the clock. */
#include "turns.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BURST = 25 };

static struct {
    const struct outbox *outbox;
    enum turn_kind kind;
    long left; /* passages before it; < 0: it came */
    long nth;
    long count; /* passages */
    bool aside;
    const char *detail;
} turn = {.detail = ""};

const char *turn_kind_name(enum turn_kind kind)
{
    static const char *const names[] = {
        "nothing",         "allocation",
        "25 allocations",  "lost request",
        "lost answer",     "busy store",
        "lost completion", "retry",
        "rejected",        "misconfigured",
        "unavailable",     "unknown",
        "full sink",       "SQLite's allocation",
        "system call",     "25 system calls",
    };

    _Static_assert(OT_COUNT(names) == TURN_KINDS, "a name for each");
    return names[kind];
}

static bool lasts(enum turn_kind kind)
{
    return kind == TURN_ALLOCS || kind == TURN_SYSTEMS;
}

/* Also on the threads of a sink. */
bool turn_now(enum turn_kind kind)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    bool now = false;

    pthread_mutex_lock(&lock);
    if (kind == turn.kind && !turn.aside) {
        turn.count++;
        if (turn.left >= -BURST) {
            turn.left--;
            now = turn.left == -1 || (turn.left < -1 && lasts(kind));
        }
    }
    pthread_mutex_unlock(&lock);
    return now;
}

void turn_detail(const char *detail)
{
    turn.detail = detail != NULL ? detail : "";
}

void turn_aside(bool on)
{
    turn.aside = on;
}

void turn_fail(const char *fmt, ...)
{
    char text[500];
    va_list args;
    enum turn_kind kind = turn.kind;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    turn.kind = TURN_NOTHING;
    turn_memory_free();
    fail_msg("%s, %s%s %ld: %s", turn.outbox->name, turn.detail,
             turn_kind_name(kind), turn.nth, text);
}

/* --- memory ------------------------------------------------------------------ */

static atomic_long live;

static bool no_memory(void)
{
    return turn_now(TURN_ALLOC) || turn_now(TURN_ALLOCS);
}

static void *turn_alloc(size_t n)
{
    void *p = no_memory() ? NULL : malloc(n != 0 ? n : 1);

    live += p != NULL;
    return p;
}

static void *turn_resize(void *old, size_t n)
{
    void *p = no_memory() ? NULL : realloc(old, n);

    live += p != NULL && old == NULL;
    return p;
}

static void turn_release(void *p)
{
    live -= p != NULL;
    free(p);
}

void turn_memory_watch(void)
{
    outtray_set_allocator(turn_alloc, turn_resize, turn_release);
}

long turn_memory_live(void)
{
    return live;
}

void turn_memory_free(void)
{
    outtray_set_allocator(NULL, NULL, NULL);
}

/* --- time -------------------------------------------------------------------- */

static int64_t leapt_us, stopped_us;

static int64_t system_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The linker gives these to the library for its clocks. */
int64_t __wrap_ot_now_us(void);
int64_t __wrap_ot_wall_us(void);

int64_t __wrap_ot_now_us(void)
{
    return turn_clock();
}

int64_t __wrap_ot_wall_us(void)
{
    static int64_t zero_us;

    if (zero_us == 0)
        zero_us = system_us(CLOCK_REALTIME) - turn_clock();
    return zero_us + turn_clock();
}

int64_t turn_clock(void)
{
    if (turn.outbox == NULL || turn.outbox->real_time)
        return leapt_us + system_us(CLOCK_MONOTONIC);
    if (stopped_us == 0)
        stopped_us = system_us(CLOCK_MONOTONIC);
    return leapt_us + stopped_us;
}

int64_t turn_ahead(void)
{
    return turn.outbox->real_time ? leapt_us : 0;
}

void turn_sleep_until(int64_t us)
{
    int64_t now_us = turn_clock();

    if (us > now_us)
        leapt_us += us - now_us;
}

/* --- one after the other ------------------------------------------------------ */

void turn_story(const struct outbox *);

bool turn_run(const struct outbox *outbox, enum turn_kind kind, long nth)
{
    long before;

    turn.outbox = outbox;
    turn.kind = TURN_NOTHING;
    turn.nth = nth;
    turn_memory_watch();
    before = live;
    outbox->make();
    turn.kind = kind;
    turn.left = nth;
    turn.count = 0;
    if (outbox->story != NULL)
        outbox->story();
    else
        turn_story(outbox);
    turn.kind = TURN_NOTHING;
    outbox->drop();
    turn_memory_free();
    if (live != before) {
        turn.kind = kind;
        turn_fail("%ld allocations left behind", live - before);
    }
    return turn.left < 0;
}

void turn_each(const struct outbox *outbox, enum turn_kind kind, long most)
{
    const char *only = getenv("OUTTRAY_TEST_TURN");
    const char *times = getenv("OUTTRAY_TEST_TURNS");
    long stride = 1, count, points = 0;

    if (only != NULL) {
        turn_run(outbox, kind, strtol(only, NULL, 10));
        return;
    }
    turn_run(outbox, kind, INT32_MAX);
    count = turn.count;
    if (times != NULL)
        most *= strtol(times, NULL, 10);
    if (getenv("OUTTRAY_TEST_LONG") == NULL && count > most)
        stride = (count + most - 1) / most;
    for (long n = 0; turn_run(outbox, kind, n); n += stride)
        points++;
    print_message("%s: %ld of %ld: %s%s\n", outbox->name, points, count,
                  turn.detail, turn_kind_name(kind));
    if (points == 0)
        fail_msg("nothing has failed");
}
