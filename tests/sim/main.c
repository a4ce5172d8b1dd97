/* main.c - runs schedules, replays one, shrinks one that breaks a promise.
 *
 *     sim [--tapes DIR] [--first N] [--schedules N] [--seconds N] [--partly]
 *     sim --seed N [--verbose]
 *     sim [--verbose] FILE.tape...
 *
 * Many schedules, after the tapes that are kept in a folder; one; or the given
 * tapes. Status 1: an invariant is broken, and the shortest schedule that does
 * it is printed and left as --keep NAME.tape in --into DIR; 3: a state of the
 * protocol was never reached (--partly: that is no failure). */
#include "sim.h"

#include <dirent.h>
#include <stdlib.h>
#include <time.h>

struct arguments {
    uint64_t seed, schedules;
    bool one, verbose, quiet, no_cover;
    const char *tapes; /* folder of tapes to replay first */
    const char *keep;  /* name for a shrunk tape … */
    const char *into;  /* … and its folder */
    double seconds;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- shrinking ------------------------------------------------------------------ */

struct shrink {
    uint8_t best[TAPE_MAX];
    size_t n;
    char law[16];
    unsigned runs;
};

/* Does the tape in s (of length n) still break the same law? */
static bool still(struct sim *s, struct shrink *k, size_t n)
{
    tape_rewind(&s->tape, n);
    k->runs++;
    if (life_run(s) || strcmp(s->law, k->law) != 0)
        return false;
    k->n = s->tape.at < n ? s->tape.at : n;
    memcpy(k->best, s->tape.v, k->n);
    return true;
}

static void delete_chunks(struct sim *s, struct shrink *k)
{
    for (size_t size = 512; size >= 1; size /= 2)
        for (size_t at = 0; at + size <= k->n;) {
            memcpy(s->tape.v, k->best, at);
            memcpy(s->tape.v + at, k->best + at + size, k->n - at - size);
            if (!still(s, k, k->n - size))
                at += size;
        }
}

static void lower_values(struct sim *s, struct shrink *k)
{
    for (size_t at = 0; at < k->n; at++)
        for (unsigned to = 0; to < k->best[at]; to = to * 2 + 1) {
            memcpy(s->tape.v, k->best, k->n);
            s->tape.v[at] = (uint8_t)to;
            if (still(s, k, k->n))
                break;
        }
}

static void shrink(struct sim *s)
{
    static struct shrink k;
    size_t n = s->tape.replay ? s->tape.n : s->tape.at, was = n;
    memset(&k, 0, sizeof(k));
    snprintf(k.law, sizeof(k.law), "%s", s->law);
    memcpy(k.best, s->tape.v, n);
    k.n = n;
    bool talk = s->talk;
    s->talk = false;
    for (size_t before = SIZE_MAX; before > k.n && k.runs < 20000;) {
        before = k.n;
        delete_chunks(s, &k);
        lower_values(s, &k);
    }
    memcpy(s->tape.v, k.best, k.n);
    tape_rewind(&s->tape, k.n);
    s->talk = talk;
    printf("shrunk from %zu to %zu choices in %u runs\n", was, k.n, k.runs);
}

/* --- a broken promise ------------------------------------------------------------- */

static int tell_broken(struct sim *s, const struct arguments *a,
                       const char *which)
{
    char path[512], comment[520];
    printf("BROKEN %s: %s\n  schedule: %s\n", s->law, s->why, which);
    if (a->quiet)
        return 1;
    shrink(s);
    size_t n = s->tape.n;
    s->talk = true;
    life_run(s);
    s->talk = false;
    snprintf(comment, sizeof(comment), "%s: %s", s->law, s->why);
    snprintf(path, sizeof(path), "%s/%s.tape", a->into != NULL ? a->into : ".",
             a->keep != NULL ? a->keep : "broken");
    s->tape.n = n;
    if (tape_save(&s->tape, path, comment) == 0)
        printf("\nThe shortest schedule is above and in %s.\n"
               "Again: sim --verbose %s\n",
               path, path);
    return 1;
}

static int run_tape(struct sim *s, const struct arguments *a, const char *path)
{
    if (tape_load(&s->tape, path) != 0) {
        perror(path);
        return 2;
    }
    s->talk = a->verbose;
    if (life_run(s))
        return 0;
    return tell_broken(s, a, path);
}

static int run_tapes(struct sim *s, const struct arguments *a, unsigned *n)
{
    struct dirent **list;
    int found =
        a->tapes == NULL ? 0 : scandir(a->tapes, &list, NULL, alphasort);
    int status = 0;
    for (int i = 0; i < found; i++) {
        char path[512];
        size_t length = strlen(list[i]->d_name);
        snprintf(path, sizeof(path), "%s/%s", a->tapes, list[i]->d_name);
        if (length > 5 && strcmp(list[i]->d_name + length - 5, ".tape") == 0) {
            ++*n;
            if (run_tape(s, a, path) != 0)
                status = 1;
        }
        free(list[i]);
    }
    if (found > 0)
        free(list);
    return status;
}

/* --- running ------------------------------------------------------------------------ */

static int tell_cover(const struct sim *s, bool strict)
{
    int never = 0;
    for (int i = 0; i < COVERS; i++) {
        printf("%12llu  %s\n", (unsigned long long)s->cover[i],
               cover_text((enum cover)i));
        never += s->cover[i] == 0;
    }
    if (never > 0 && strict)
        printf("%d states were never reached\n", never);
    return never > 0 && strict ? 3 : 0;
}

static int run_seeds(struct sim *s, const struct arguments *a)
{
    double began = now();
    uint64_t n = 0;
    for (; n < a->schedules; n++) {
        char which[60];
        tape_seed(&s->tape, a->seed + n);
        s->talk = a->verbose;
        if (!life_run(s)) {
            snprintf(which, sizeof(which), "number %llu, --seed %llu",
                     (unsigned long long)n + 1,
                     (unsigned long long)(a->seed + n));
            return tell_broken(s, a, which);
        }
        if (a->seconds > 0 && n % 256 == 255 && now() - began > a->seconds) {
            n++;
            break;
        }
    }
    double took = now() - began;
    if (!a->quiet)
        printf("%llu schedules from seed %llu, nothing broken: %.1f s, %.0f a "
               "second\n%.1f steps, %.1f wishes, %.1f events, %.1f published, "
               "%.1f s of virtual time each\n",
               (unsigned long long)n, (unsigned long long)a->seed, took,
               (double)n / took, (double)s->steps / (double)n,
               (double)s->wishes / (double)n, (double)s->events / (double)n,
               (double)s->published / (double)n,
               (double)s->virtual_us / 1e6 / (double)n);
    if (a->one || a->quiet)
        return 0;
    return tell_cover(s, !a->no_cover);
}

static const char *value(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        fprintf(stderr, "sim: %s wants a value\n", argv[*i]);
        exit(2);
    }
    return argv[++*i];
}

static int parse(int argc, char **argv, struct arguments *a)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--seed") == 0) {
            a->seed = strtoull(value(argc, argv, &i), NULL, 10);
            a->one = true;
        } else if (strcmp(argv[i], "--first") == 0) {
            a->seed = strtoull(value(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--schedules") == 0) {
            a->schedules = strtoull(value(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            a->seconds = strtod(value(argc, argv, &i), NULL);
        } else if (strcmp(argv[i], "--tapes") == 0) {
            a->tapes = value(argc, argv, &i);
        } else if (strcmp(argv[i], "--keep") == 0) {
            a->keep = value(argc, argv, &i);
        } else if (strcmp(argv[i], "--into") == 0) {
            a->into = value(argc, argv, &i);
        } else if (strcmp(argv[i], "--verbose") == 0) {
            a->verbose = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            a->quiet = true;
        } else if (strcmp(argv[i], "--partly") == 0) {
            a->no_cover = true; /* too short a run to reach everything */
        } else {
            fprintf(stderr, "sim: what is %s?\n", argv[i]);
            exit(2);
        }
    }
    if (a->one && a->schedules == 0)
        a->schedules = 1;
    else
        a->one = false;
    if (a->schedules == 0)
        a->schedules = 100000;
    return i;
}

int main(int argc, char **argv)
{
    static struct sim s;
    struct arguments a = {.seed = 1};
    int i = parse(argc, argv, &a), status = 0;
    unsigned tapes = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    memory_install();
    if (i < argc) {
        for (; i < argc; i++)
            status |= run_tape(&s, &a, argv[i]);
        return status;
    }
    if (!a.one)
        status = run_tapes(&s, &a, &tapes);
    if (status == 0 && tapes > 0 && !a.quiet)
        printf("%u kept tapes, nothing broken\n", tapes);
    return status != 0 ? status : run_seeds(&s, &a);
}
