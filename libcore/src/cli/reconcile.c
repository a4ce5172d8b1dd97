/* reconcile.c - see reconcile.h. */
#include "cli/reconcile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARTS = 32 };

struct committed {
    struct ot_uuid id;
    int64_t seq;
    uint64_t key;
    int64_t expected; /* 0, 1 */
    int64_t seen;     /* 0, 1 */
};

struct arrived {
    struct ot_uuid id;
    int64_t place; /* among all arrivals */
};

/* The first arrival of an event with a key. */
struct first {
    uint64_t key;
    int64_t place;
    int64_t seq;
    struct ot_uuid id;
};

struct ot_reconcile {
    FILE *committed[PARTS]; /* by id */
    FILE *arrived[PARTS];   /* by id */
    FILE *firsts[PARTS];    /* by key */
    int64_t narrived;
};

/* --- the parts ------------------------------------------------------------ */

static const char *folder(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp";
}

static int fail_file(struct outtray_error *err, const char *what)
{
    return ot_fail(err, OUTTRAY_E_IO,
                   "%s a temporary file in %s: %s: make room there, or set "
                   "TMPDIR",
                   what, folder(), strerror(errno));
}

/* It has no name any more, so that nothing is left of it in any case. */
static FILE *temporary(void)
{
    char path[4096];
    FILE *file = NULL;
    int fd, n = snprintf(path, sizeof(path), "%s/outtray-XXXXXX", folder());

    errno = ENAMETOOLONG;
    fd = n > 0 && n < (int)sizeof(path) ? mkstemp(path) : -1;
    if (fd < 0)
        return NULL;
    unlink(path);
    file = fdopen(fd, "w+");
    if (file == NULL)
        close(fd);
    return file;
}

int ot_reconcile_new(struct ot_reconcile **out, struct outtray_error *err)
{
    struct ot_reconcile *r = ot_alloc_zero(1, sizeof(*r));

    *out = NULL;
    if (r == NULL)
        return ot_fail_nomem(err);
    for (int i = 0; i < PARTS; i++) {
        r->committed[i] = temporary();
        r->arrived[i] = temporary();
        r->firsts[i] = temporary();
        if (r->committed[i] == NULL || r->arrived[i] == NULL ||
            r->firsts[i] == NULL) {
            int code = fail_file(err, "cannot make");

            ot_reconcile_free(r);
            return code;
        }
    }
    *out = r;
    return 0;
}

void ot_reconcile_free(struct ot_reconcile *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < PARTS; i++) {
        FILE *files[] = {r->committed[i], r->arrived[i], r->firsts[i]};

        for (size_t k = 0; k < OT_COUNT(files); k++)
            if (files[k] != NULL)
                fclose(files[k]);
    }
    ot_free(r);
}

/* The last bytes are random in every kind of UUID that ids are. */
static int part_of(struct ot_uuid id)
{
    return id.b[15] % PARTS;
}

static int put(FILE *file, const void *p, size_t n, struct outtray_error *err)
{
    return fwrite(p, n, 1, file) == 1 ? 0 : fail_file(err, "cannot write");
}

/* All records of a part; *n of them. *out is to be freed. */
static int load(FILE *file, size_t size, void **out, size_t *n,
                struct outtray_error *err)
{
    long bytes;

    *out = NULL;
    *n = 0;
    if (fflush(file) != 0 || fseek(file, 0, SEEK_END) != 0 ||
        (bytes = ftell(file)) < 0)
        return fail_file(err, "cannot read back");
    rewind(file);
    *out = ot_alloc((size_t)bytes + 1);
    if (*out == NULL)
        return ot_fail_nomem(err);
    *n = fread(*out, size, (size_t)bytes / size, file);
    if (*n * size == (size_t)bytes)
        return 0;
    ot_free(*out);
    *out = NULL;
    return fail_file(err, "cannot read back");
}

int ot_reconcile_committed(struct ot_reconcile *r, struct ot_uuid id,
                           int64_t seq, uint64_t key, bool expected,
                           struct outtray_error *err)
{
    const struct committed c = {id, seq, key, expected, 0};

    return put(r->committed[part_of(id)], &c, sizeof(c), err);
}

int ot_reconcile_arrived(struct ot_reconcile *r, struct ot_uuid id,
                         struct outtray_error *err)
{
    const struct arrived a = {id, r->narrived++};

    return put(r->arrived[part_of(id)], &a, sizeof(a), err);
}

/* --- by id ---------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct committed *)a)->id.b,
                  ((const struct committed *)b)->id.b, sizeof(struct ot_uuid));
}

static int by_id_and_place(const void *a, const void *b)
{
    const struct arrived *x = a, *y = b;
    int order = memcmp(x->id.b, y->id.b, sizeof(x->id.b));

    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

struct judge {
    struct ot_reconcile *r;
    struct ot_reconciled *out;
    ot_reconcile_fn *each;
    void *ctx;
    struct outtray_error *err;
};

static int say(const struct judge *j, const char *kind, struct ot_uuid id,
               int64_t seq)
{
    return j->each != NULL ? j->each(j->ctx, kind, id, seq) : 0;
}

/* All arrivals of one id; c NULL: it was never committed. */
static int judge_id(const struct judge *j, struct committed *c,
                    const struct arrived *a, size_t n)
{
    struct first first;

    j->out->duplicates += (int64_t)n - 1;
    if (c == NULL) {
        j->out->unknown++;
        return say(j, "unknown", a->id, 0);
    }
    c->seen = 1;
    if (c->key == 0 || !c->expected)
        return 0;
    memset(&first, 0, sizeof(first));
    first = (struct first){c->key, a->place, c->seq, c->id};
    return put(j->r->firsts[c->key % PARTS], &first, sizeof(first), j->err);
}

static int judge_arrivals(const struct judge *j, struct committed *c, size_t nc,
                          const struct arrived *a, size_t na)
{
    size_t i = 0, n;
    int code = 0;

    for (size_t k = 0; code == 0 && k < na; k += n) {
        struct committed *same = NULL;

        for (n = 1; k + n < na; n++)
            if (memcmp(a[k].id.b, a[k + n].id.b, sizeof(a[k].id.b)) != 0)
                break;
        while (i < nc && memcmp(c[i].id.b, a[k].id.b, sizeof(c[i].id.b)) < 0)
            i++;
        if (i < nc && memcmp(c[i].id.b, a[k].id.b, sizeof(c[i].id.b)) == 0)
            same = &c[i];
        code = judge_id(j, same, &a[k], n);
    }
    return code;
}

static int judge_missing(const struct judge *j, const struct committed *c,
                         size_t n)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < n; i++) {
        if (!c[i].expected ||
            (i > 0 && by_id(&c[i - 1], &c[i]) == 0)) /* the same, once more */
            continue;
        j->out->committed++;
        if (c[i].seen)
            continue;
        j->out->missing++;
        code = say(j, "missing", c[i].id, c[i].seq);
    }
    return code;
}

static int judge_part(const struct judge *j, int part)
{
    void *c = NULL, *a = NULL;
    size_t nc, na = 0;
    int code =
        load(j->r->committed[part], sizeof(struct committed), &c, &nc, j->err);

    if (code == 0)
        code =
            load(j->r->arrived[part], sizeof(struct arrived), &a, &na, j->err);
    if (code == 0) {
        if (c != NULL)
            qsort(c, nc, sizeof(struct committed), by_id);
        if (a != NULL)
            qsort(a, na, sizeof(struct arrived), by_id_and_place);
        j->out->arrived += (int64_t)na;
        code = judge_arrivals(j, c, nc, a, na);
    }
    if (code == 0)
        code = judge_missing(j, c, nc);
    ot_free(c);
    ot_free(a);
    return code;
}

/* --- by key --------------------------------------------------------------- */

static int by_key_and_place(const void *a, const void *b)
{
    const struct first *x = a, *y = b;

    if (x->key != y->key)
        return x->key > y->key ? 1 : -1;
    return (x->place > y->place) - (x->place < y->place);
}

/* Only first arrivals count for the order. */
static int judge_order(const struct judge *j, int part)
{
    struct first *f;
    void *p = NULL;
    size_t n;
    int64_t newest = 0;
    int code = load(j->r->firsts[part], sizeof(*f), &p, &n, j->err);

    f = p;
    if (code != 0 || f == NULL)
        return code;
    qsort(f, n, sizeof(*f), by_key_and_place);
    for (size_t i = 0; code == 0 && i < n; i++) {
        if (i == 0 || f[i].key != f[i - 1].key)
            newest = INT64_MIN;
        if (f[i].seq < newest) {
            j->out->out_of_order++;
            code = say(j, "out_of_order", f[i].id, f[i].seq);
        } else {
            newest = f[i].seq;
        }
    }
    ot_free(p);
    return code;
}

int ot_reconcile_judge(struct ot_reconcile *r, struct ot_reconciled *out,
                       ot_reconcile_fn *each, void *ctx,
                       struct outtray_error *err)
{
    const struct judge j = {r, out, each, ctx, err};
    int code = 0;

    memset(out, 0, sizeof(*out));
    for (int i = 0; code == 0 && i < PARTS; i++)
        code = judge_part(&j, i);
    for (int i = 0; code == 0 && i < PARTS; i++)
        code = judge_order(&j, i);
    return code;
}
