/* turns.h - every failure in its turn.
 *
 * One long story of an outbox (story.c) is told again and again, and each time
 * another single thing fails: the nth allocation, the nth request to the store,
 * the nth event given to the sink. Whatever fails, nothing crashes or is left
 * behind, no event is lost or invented, each key keeps its order, and once the
 * fault is over the story ends as it does without one.
 *
 * Time is a number that leaps to whatever is waited for next, so that backoffs
 * and leases of seconds cost nothing.
 */
#ifndef TESTS_TURNS_H
#define TESTS_TURNS_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "sink/sink.h"
#include "store/store.h"

/* What fails. */
enum turn_kind {
    TURN_NOTHING,
    TURN_ALLOC,  /* one allocation of the library */
    TURN_ALLOCS, /* that one and the next 24 */
    TURN_LOST,   /* a request that the store never carries out */
    TURN_LANDED, /* … that it carries out, but the answer is lost */
    TURN_BUSY,   /* … that it refuses for now */
    TURN_SINK,   /* an event: TURN_SINK + enum ot_outcome, but for OT_OK:
                    delivered, the answer lost */
    TURN_SINK_LAST = TURN_SINK + OT_UNKNOWN,
    TURN_ROOM,    /* the sink has no room beside what it has */
    TURN_SQLITE,  /* an allocation of SQLite; from here on by the tests */
    TURN_SYSTEM,  /* a system call */
    TURN_SYSTEMS, /* that one and the next 24 */
    TURN_KINDS,
};
const char *turn_kind_name(enum turn_kind);

/* An application's outbox, and what a test can do to it. Functions that return
 * a code may fail while a fault is armed; the others fail the test. */
struct outbox {
    const char *name;
    bool gaps;      /* writers 0 and 1 may write at a time */
    bool real_time; /* it has a clock of its own */
    /* How many turns of each kind are taken at most, evenly spread (turn_each):
     * what one costs differs by store. */
    struct {
        int alloc, allocs;
        int request, busy; /* of the store */
        int outcome;       /* of the sink, each */
    } most;

    void (*story)(void); /* another than that of story.c; NULL: that one */
    void (*make)(void);  /* a new one */
    void (*drop)(void);
    int (*open)(struct ot_store **out, struct ot_uuid owner,
                struct outtray_error *err);

    int (*begin)(int writer);
    int (*put)(int writer, const struct ot_event *);
    int (*commit)(int writer);
    void (*rollback)(int writer);
    /* After a commit that failed: was it one? */
    bool (*is_there)(int writer, const struct ot_event *);

    int (*command)(enum ot_verb, int64_t seq);
    int64_t (*asked)(void); /* commands that were not carried out yet */
    /* Nobody owns the subscription any more, by the outbox's own clock; NULL:
     * it is the clock of the test. */
    void (*expire)(void);
    /* The seqs and payloads of dead events. */
    size_t (*dead)(int64_t *seqs, int *numbers, size_t max);
    /* What is left: rows of gap, held and command. */
    int64_t (*left)(void);
};

/* The story, once. Returns whether the fault came to its turn. */
bool turn_run(const struct outbox *, enum turn_kind, long nth);

/* The story with every nth, until one is not reached: of at most `most`, evenly
 * spread, unless OUTTRAY_TEST_LONG is set. Prints how many there were. With
 * OUTTRAY_TEST_TURNS=n it is n times as many, with OUTTRAY_TEST_TURN=n the nth
 * alone, to look at a failure. */
void turn_each(const struct outbox *, enum turn_kind, long most);

/* For what a test makes fail by itself: is it its turn? */
bool turn_now(enum turn_kind);
/* What else there is to say of a point: which error. NULL: nothing. */
void turn_detail(const char *);
/* While the test looks for itself nothing fails, and nothing is counted. */
void turn_aside(bool on);

/* --- the parts --------------------------------------------------------------- */

/* Fails the test and names the turn. */
void turn_fail(const char *fmt, ...) OUTTRAY_PRINTF(1, 2);

int64_t turn_clock(void);
void turn_sleep_until(int64_t us); /* leaps */
/* How far a database with a clock of its own is behind: its times are moved on
 * their way to the engine. */
int64_t turn_ahead(void);

/* The library's memory. */
void turn_memory_watch(void); /* from now on */
long turn_memory_live(void);  /* handed out and not returned */
void turn_memory_free(void);  /* the C library's again */

/* A store around another one, whose requests fail in turn. Owns it. */
struct ot_store *turn_store(struct ot_store *);
unsigned turn_store_asked(const struct ot_store *); /* unanswered requests */

/* The broker: what it does by itself is in `try`. Not more than one at a
 * time. */
struct turn_try {
    enum ot_outcome outcome;
    int count; /* the next so many tries */
};
typedef struct turn_try *turn_try_fn(const struct ot_event *);
typedef void turn_answered_fn(const struct ot_event *, enum ot_outcome,
                              bool delivered);
struct ot_sink *turn_sink(turn_try_fn *, turn_answered_fn *);

/* The application and the operator through the library, for an outbox that has
 * this half: conf says where, and outlives it; session_sql (or NULL) asks for the name
 * of a session. */
void turn_admin_use(const struct outtray_conf *, const char *session_sql);
const char *turn_admin_session(int writer); /* the last one of the writer */
void turn_admin_close(void);
int turn_admin_begin(int writer);
int turn_admin_put(int writer, const struct ot_event *);
int turn_admin_commit(int writer);
void turn_admin_rollback(int writer);
int turn_admin_command(enum ot_verb, int64_t seq);
extern struct outtray_error turn_error; /* the last of them */

/* A system call that this program gives to the libraries it uses. */
#define TURN_CALL __attribute__((visibility("default")))

int turn_number(struct ot_slice payload); /* -1: none of ours */

/* What every store goes through (shared.c). The state is its outbox. */
void turn_without_a_fault(void **state);
void turn_allocations(void **state);
void turn_requests(void **state);
void turn_outcomes(void **state);
/* clang-format off */
#define TURN_TESTS(outbox)                                                   \
    cmocka_unit_test_prestate(turn_without_a_fault, (void *)(outbox)),       \
    cmocka_unit_test_prestate(turn_allocations, (void *)(outbox)),           \
    cmocka_unit_test_prestate(turn_requests, (void *)(outbox)),              \
    cmocka_unit_test_prestate(turn_outcomes, (void *)(outbox))
/* clang-format on */

#endif
