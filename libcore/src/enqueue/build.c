/* build.c - outtray_enqueue_build: check everything, then make the statement. */
#include "enqueue/enqueue.h"
#include "event/outbox.h"

#include <assert.h>

enum { PAYLOAD_DEFAULT = 921600, HEADERS_DEFAULT = 32768 };
enum { FEW_PARAMS = 9 }; /* of PostgreSQL's statements */
enum { SQL_ROOM = 512 }; /* what a statement has besides its literals */

/* What outtray_statement_free gives back. What one event needs is inside: most
 * statements have one. */
struct memory {
    struct ot_render render;
    char (*ids)[37];
    char *moments;
    char one_id[1][37];
    char one_moment[OT_MOMENT_MAX];
    struct outtray_param few_params[FEW_PARAMS];
};

static void free_memory(struct memory *m)
{
    if (m == NULL)
        return;
    ot_buffer_free(&m->render.sql);
    for (int i = 0; i < OT_TEXTS_MAX; i++)
        ot_buffer_free(&m->render.texts[i]);
    if (m->render.params != m->few_params)
        ot_free(m->render.params);
    if (m->ids != m->one_id) {
        ot_free(m->ids);
        ot_free(m->moments);
    }
    ot_free(m);
}

static int check_options(const struct outtray_enqueue_options *o, size_t n,
                         struct outtray_error *err)
{
    if (n == 0)
        return ot_fail(err, OUTTRAY_E_MISUSE, "there is no event to enqueue");
    if ((unsigned)o->style > OUTTRAY_COPY)
        return ot_fail(err, OUTTRAY_E_MISUSE, "style %d is not known",
                       (int)o->style);
    if ((unsigned)o->dialect > OUTTRAY_SQLITE)
        return ot_fail(err, OUTTRAY_E_MISUSE, "dialect %d is not known",
                       (int)o->dialect);
    if (o->style == OUTTRAY_COPY &&
        (o->dialect != OUTTRAY_POSTGRESQL || o->strict))
        return ot_fail(err, OUTTRAY_E_MISUSE,
                       "COPY is for PostgreSQL and takes no locks of strict: "
                       "use another style");
    if (o->outbox == NULL)
        return 0;
    if (ot_outbox_check(o->outbox, OUTTRAY_E_MISUSE, err) != 0)
        return ot_fail_context(err, OUTTRAY_E_MISUSE, "outbox \"%.80s\"",
                               o->outbox);
    return 0;
}

static int check_events(const struct outtray_enqueue_options *o,
                        const struct outtray_event *events, size_t n,
                        struct outtray_error *err)
{
    const struct ot_enqueue_limits limits = {
        o->max_payload_bytes != 0 ? o->max_payload_bytes : PAYLOAD_DEFAULT,
        o->max_headers_bytes != 0 ? o->max_headers_bytes : HEADERS_DEFAULT,
    };

    for (size_t i = 0; i < n; i++) {
        int rc = ot_enqueue_check(&events[i], i, &limits, err);
        if (rc != 0)
            return rc;
    }
    return ot_enqueue_check_batch(events, n, err);
}

static int check_params(const struct ot_render *r, size_t nparams,
                        struct outtray_error *err)
{
    if (r->dialect != OUTTRAY_SQLITE || nparams <= OT_SQLITE_PARAMS)
        return 0;
    assert(r->n > 0 && nparams >= r->n); /* a topic each */
    return ot_fail(err, OUTTRAY_E_TOO_LARGE,
                   "%zu events need %zu parameters, SQLite takes %d: "
                   "enqueue at most %zu in one call, one transaction can "
                   "hold several",
                   r->n, nparams, OT_SQLITE_PARAMS,
                   OT_SQLITE_PARAMS / (nparams / r->n));
}

/* The ids that were given, as text in lower case, and new ones for the rest:
 * ascending, so that ids of one batch sort as they were made. */
static int make_ids(const struct outtray_event *events, size_t n,
                    char (*ids)[37], struct outtray_error *err)
{
    struct ot_uuid_source source = {0};
    struct ot_uuid id;

    for (size_t i = 0; i < n; i++) {
        if (events[i].id.p != NULL)
            (void)ot_uuid_parse(ot_borrow(events[i].id), &id); /* checked */
        else if (ot_uuid_next(&source, &id) != 0)
            return ot_fail(err, OUTTRAY_E_IO,
                           "the system gave no random bytes for an id");
        ot_uuid_text(id, ids[i]);
    }
    return 0;
}

static bool make_room(struct memory *m, size_t nparams)
{
    struct ot_render *r = &m->render;
    const bool one = r->n == 1;

    r->params = nparams <= FEW_PARAMS
                    ? m->few_params
                    : ot_alloc_zero(nparams, sizeof(*r->params));
    m->ids = one ? m->one_id : ot_alloc_zero(r->n, sizeof(*m->ids));
    m->moments = one ? m->one_moment : ot_alloc_zero(r->n, OT_MOMENT_MAX);
    r->sql.size = SQL_ROOM;
    if (one && r->style == OUTTRAY_LITERAL)
        r->sql.size += 2 * r->events[0].payload.n;
    return m->ids != NULL && m->moments != NULL && r->params != NULL;
}

static int make(struct memory *m, size_t nparams, struct outtray_error *err)
{
    struct ot_render *r = &m->render;

    if (!make_room(m, nparams))
        return ot_fail_nomem(err);
    int rc = make_ids(r->events, r->n, m->ids, err);
    if (rc != 0)
        return rc;
    r->ids = (const char(*)[37])m->ids;
    if (r->dialect == OUTTRAY_SQLITE)
        ot_sqlite_insert(r, m->moments);
    else
        ot_postgres_insert(r, m->moments);
    bool failed = r->sql.failed;
    for (int i = 0; i < OT_TEXTS_MAX; i++)
        failed = failed || r->texts[i].failed;
    return failed ? ot_fail_nomem(err) : 0;
}

int outtray_enqueue_build(struct outtray_statement *out,
                          const struct outtray_enqueue_options *options,
                          const struct outtray_event *events, size_t n,
                          struct outtray_error *err)
{
    static const struct outtray_enqueue_options defaults;
    const struct outtray_enqueue_options *o =
        options != NULL ? options : &defaults;

    *out = (struct outtray_statement){0};
    ot_error_clear(err);
    int rc = check_options(o, n, err);
    if (rc == 0)
        rc = check_events(o, events, n, err);
    if (rc != 0)
        return rc;

    struct memory *m = ot_alloc_zero(1, sizeof(*m));
    if (m == NULL)
        return ot_fail_nomem(err);
    m->render = (struct ot_render){
        .style = o->style,
        .dialect = o->dialect,
        .outbox = o->outbox != NULL ? o->outbox : OT_OUTBOX_DEFAULT,
        .strict = o->strict,
        .events = events,
        .n = n,
    };
    size_t nparams = o->dialect == OUTTRAY_SQLITE
                         ? ot_sqlite_params(&m->render)
                         : ot_postgres_params(&m->render);
    rc = check_params(&m->render, nparams, err);
    if (rc == 0)
        rc = make(m, nparams, err);
    if (rc != 0) {
        free_memory(m);
        return rc;
    }
    *out = (struct outtray_statement){
        .sql = m->render.sql.p,
        .sql_n = m->render.sql.n,
        .params = m->render.params,
        .nparams = m->render.nparams,
        .ids = m->render.ids,
        .nids = n,
        .memory = m,
    };
    return 0;
}

void outtray_statement_free(struct outtray_statement *s)
{
    if (s == NULL)
        return;
    free_memory(s->memory);
    *s = (struct outtray_statement){0};
}

int outtray_id_new(char out[37])
{
    struct ot_uuid_source source = {0};
    struct ot_uuid id;
    int rc = ot_uuid_next(&source, &id);

    if (rc != 0) {
        out[0] = '\0';
        return rc;
    }
    ot_uuid_text(id, out);
    return 0;
}
