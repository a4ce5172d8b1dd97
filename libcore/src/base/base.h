/* base.h - what every file may use: memory, text, time, errors, log.
 *
 * Nothing here knows the project's nouns. No function reads a clock or draws
 * a random number unless its name says so.
 */
#ifndef OT_BASE_H
#define OT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "outtray/types.h"
#include "outtray/error.h"

#define OT_NEVER        INT64_MAX /* a time that does not come */
#define OT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- memory -------------------------------------------------------------
 * All memory of the library goes through these, so that a test can fail the
 * Nth allocation. NULL on failure, except for n = 0, which may give NULL. */
void *ot_alloc(size_t n);
void *ot_alloc_zero(size_t count, size_t size); /* overflow checked */
void *ot_resize(void *p, size_t n);
void ot_free(void *p); /* NULL is fine */
char *ot_strdup(const char *s);
char *ot_strndup(const char *s, size_t n); /* ends with a NUL of its own */

/* --- slice: borrowed bytes ---------------------------------------------- */
struct ot_slice {
    const char *p; /* NULL: absent (SQL NULL); "" with n = 0: empty */
    size_t n;
};

static inline struct ot_slice ot_slice(const char *p, size_t n)
{
    return (struct ot_slice){p, n};
}

static inline struct ot_slice ot_slice_of(const char *s)
{
    return (struct ot_slice){s, s != NULL ? strlen(s) : 0};
}

static inline bool ot_slice_equal(struct ot_slice a, struct ot_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Without spaces and tabs at both ends. */
static inline struct ot_slice ot_slice_trim(struct ot_slice s)
{
    while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
        s = ot_slice(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* 64 bits of a good, fast, stable-in-process hash. Not for storage. */
uint64_t ot_hash(struct ot_slice s);
/* Writes v in decimal and returns how many bytes that are; what is behind them
 * in at is lost. */
size_t ot_decimal(char at[20], int64_t v);

/* How many bytes of it are ASCII and no NUL, up to the first that is not. */
size_t ot_ascii(struct ot_slice s);
/* Is it well-formed UTF-8 without a NUL (PostgreSQL's text)? On false *at is
 * the offset of the first bad byte. */
bool ot_utf8_valid(struct ot_slice s, size_t *at);
/* Every byte that is none of it becomes a question mark; the beginning of a
 * character at the end of a text that was cut goes. */
void ot_utf8_mend(char *text, bool cut);

/* Edits from one name to the other: insert, delete, replace, or swap two
 * neighbours; case does not count. For "did you mean"; SIZE_MAX if one of them
 * is too long to be a name (64 characters). */
size_t ot_distance(const char *a, const char *b);

/* Fetch a cache line that will be read and written soon: what is done with an
 * event waits more for memory than it computes. Any address will do. */
#if defined(__GNUC__)
#define OT_PREFETCH(p) __builtin_prefetch((p), 1)
#else
#define OT_PREFETCH(p) ((void)(p))
#endif

/* --- buffer: bytes that grow ---------------------------------------------
 * A failed allocation sticks (failed = true) and makes every later call do
 * nothing, so that a chain of appends is checked once, at its end. */
struct ot_buffer {
    char *p; /* NUL-terminated after every call, if not NULL */
    size_t n;
    size_t size;
    bool failed;
};

/* Room for n more bytes, which a later call then cannot lack. false: there is no
 * memory, and nothing has changed; this failure does not stick. */
bool ot_buffer_room(struct ot_buffer *, size_t n);
void ot_buffer_add(struct ot_buffer *, const void *p, size_t n);
void ot_buffer_puts(struct ot_buffer *, const char *s);
void ot_buffer_slice(struct ot_buffer *, struct ot_slice s);
void ot_buffer_putc(struct ot_buffer *, char c);
void ot_buffer_printf(struct ot_buffer *, const char *fmt, ...)
    OUTTRAY_PRINTF(2, 3);
void ot_buffer_clear(struct ot_buffer *); /* keeps the memory */
void ot_buffer_free(struct ot_buffer *);

/* --- errors --------------------------------------------------------------
 * Fill err (may be NULL) and return code, so that a caller can write
 *     return ot_fail(err, OUTTRAY_E_CONF, "%s: unknown key", name);
 * The text says what failed, which object, what to do. */
int ot_fail(struct outtray_error *err, int code, const char *fmt, ...)
    OUTTRAY_PRINTF(3, 4);
int ot_fail_nomem(struct outtray_error *err);
int ot_fail_random(struct outtray_error *err); /* no ot_random_bytes */
#ifdef __clang_analyzer__
/* It sees one file at a time: that a failure is not 0 it must be told. */
#define ot_fail(err, code, ...) (ot_fail(err, code, __VA_ARGS__), (code))
#define ot_fail_nomem(err)      (ot_fail_nomem(err), OUTTRAY_E_NOMEM)
#define ot_fail_random(err)     (ot_fail_random(err), OUTTRAY_E_IO)
#endif
/* Put "context: " before the text that is there. Returns err->code. */
int ot_fail_context(struct outtray_error *err, int code, const char *fmt, ...)
    OUTTRAY_PRINTF(3, 4);
void ot_error_clear(struct outtray_error *err);

/* --- time ----------------------------------------------------------------
 * Monotonic time is for deadlines, wall time for people and databases; both
 * in microseconds, wall time since 1970 UTC. */
int64_t ot_now_us(void);
int64_t ot_wall_us(void);
/* "2026-11-23T21:18:45.123Z"; out has room for 32 bytes. Returns out. */
char *ot_time_text(int64_t wall_us, char out[32]);
/* Parses RFC 3339 or "+90s", "+5m", "+2h", "+1d" relative to now_us. */
int ot_time_parse(const char *text, int64_t now_us, int64_t *out_us,
                  struct outtray_error *err);
/* "1.2 s", "3 min", "2 h 10 min": for people; out has room for 32 bytes. */
char *ot_duration_text(int64_t us, char out[32]);

/* --- randomness ---------------------------------------------------------- */
int ot_random_bytes(void *p, size_t n); /* from the system; 0 or E_IO */
/* The same from bytes that the thread drew before: for many small ones. Never
 * the same in a process and its child. */
int ot_random_ahead(void *p, size_t n);

/* A small deterministic generator: jitter, simulations. Never for secrets. */
struct ot_rng {
    uint64_t s[2];
};
void ot_rng_seed(struct ot_rng *, uint64_t seed);
uint64_t ot_rng_next(struct ot_rng *);
/* Uniform in [low, high], low <= high. */
int64_t ot_rng_between(struct ot_rng *, int64_t low, int64_t high);

/* --- uuid ---------------------------------------------------------------- */
struct ot_uuid {
    uint8_t b[16];
};
/* A UUIDv7 [RFC 9562] of that wall time; rnd supplies 10 random bytes. */
struct ot_uuid ot_uuid_v7(int64_t wall_us, const uint8_t rnd[10]);
/* From the system's clock and randomness; strictly increasing within one
 * state, so that ids of one batch sort as they were made. */
struct ot_uuid_source {
    uint64_t last_ms;
    uint16_t counter; /* in rand_a, RFC 9562 6.2 method 1 */
};
int ot_uuid_next(struct ot_uuid_source *, struct ot_uuid *out);
char *ot_uuid_text(struct ot_uuid, char out[37]); /* lower case; returns out */
void ot_uuid_put(const struct ot_uuid *, char out[36]); /* the same, no NUL */
bool ot_uuid_parse(struct ot_slice text, struct ot_uuid *out);
int64_t ot_uuid_time_us(struct ot_uuid); /* of a v7; else -1 */

/* --- log -----------------------------------------------------------------
 * The library prints nothing: it tells whoever gave it a log. Never payloads,
 * never secrets. Called on the thread that runs the relay. */
enum ot_level { OT_DEBUG, OT_INFO, OT_WARN, OT_ERROR };
struct ot_log {
    enum ot_level least;
    void (*write)(void *ctx, enum ot_level, const char *facility,
                  const char *text);
    void *ctx;
};
/* log may be NULL or have no write. */
void ot_log(const struct ot_log *log, enum ot_level, const char *facility,
            const char *fmt, ...) OUTTRAY_PRINTF(4, 5);

#endif
