/* script.c - see script.h. */
#include "store/postgres/script.h"

#include <assert.h>
#include <limits.h>

/* A large write may leave much memory behind; it is not kept. */
#define KEEP_BYTES ((size_t)1 << 20)

static void clear(struct ot_buffer *b)
{
    if (b->size > KEEP_BYTES || b->failed)
        ot_buffer_free(b);
    else
        ot_buffer_clear(b);
}

void ot_pg_script_clear(struct ot_pg_script *s)
{
    clear(&s->text);
    clear(&s->bytes);
    s->nstatements = 0;
    s->nparams = 0;
}

void ot_pg_script_free(struct ot_pg_script *s)
{
    ot_buffer_free(&s->text);
    ot_buffer_free(&s->bytes);
}

void ot_pg_say_begin(struct ot_pg_script *s, int tag)
{
    struct ot_pg_statement *statement = &s->statements[s->nstatements++];

    assert(s->nstatements <= OT_PG_STATEMENTS);
    *statement = (struct ot_pg_statement){
        .sql = s->text.n, .tag = tag, .param = s->nparams};
}

void ot_pg_said(struct ot_pg_script *s)
{
    ot_buffer_putc(&s->text, '\0');
}

void ot_pg_say(struct ot_pg_script *s, int tag, const char *fmt, ...)
{
    char text[8192];
    va_list args;
    int n;

    ot_pg_say_begin(s, tag);
    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    assert(n >= 0 && n < (int)sizeof(text));
    (void)n; /* without assertions */
    ot_buffer_puts(&s->text, text);
    ot_pg_said(s);
}

/* --- parameters ---------------------------------------------------------- */

void ot_pg_bytes_param(struct ot_pg_script *s, enum ot_pg_type type,
                       const void *p, size_t n)
{
    struct ot_pg_param *param = &s->params[s->nparams++];

    assert(s->nparams <= OT_PG_PARAMS && n <= INT_MAX);
    *param = (struct ot_pg_param){.type = type, .at = s->bytes.n, .n = (int)n};
    s->statements[s->nstatements - 1].nparams++;
    ot_buffer_add(&s->bytes, p, n);
}

void ot_pg_null_param(struct ot_pg_script *s, enum ot_pg_type type)
{
    ot_pg_bytes_param(s, type, "", 0);
    s->params[s->nparams - 1].n = -1;
}

static void put_u32(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static void put_i64(unsigned char *p, int64_t v)
{
    put_u32(p, (uint32_t)((uint64_t)v >> 32));
    put_u32(p + 4, (uint32_t)(uint64_t)v);
}

void ot_pg_i64_param(struct ot_pg_script *s, int64_t v)
{
    unsigned char b[8];

    put_i64(b, v);
    ot_pg_bytes_param(s, OT_PG_INT8, b, sizeof(b));
}

void ot_pg_time_param(struct ot_pg_script *s, int64_t wall_us)
{
    unsigned char b[8];

    put_i64(b, wall_us - OT_PG_EPOCH_US);
    ot_pg_bytes_param(s, OT_PG_TIMESTAMPTZ, b, sizeof(b));
}

void ot_pg_bool_param(struct ot_pg_script *s, bool v)
{
    char b = v ? 1 : 0;

    ot_pg_bytes_param(s, OT_PG_BOOL, &b, 1);
}

void ot_pg_text_param(struct ot_pg_script *s, struct ot_slice text)
{
    if (text.p == NULL)
        ot_pg_null_param(s, OT_PG_TEXT);
    else
        ot_pg_bytes_param(s, OT_PG_TEXT, text.p, text.n);
}

/* --- arrays --------------------------------------------------------------
 * dimensions, has nulls, element type, length, lower bound; then each element
 * behind its length. */
#define ARRAY_HEAD 20

static enum ot_pg_type element_of(enum ot_pg_type array)
{
    switch (array) {
    case OT_PG_BOOL_ARRAY:
        return OT_PG_BOOL;
    case OT_PG_INT4_ARRAY:
        return OT_PG_INT4;
    case OT_PG_TEXT_ARRAY:
        return OT_PG_TEXT;
    case OT_PG_TIMESTAMPTZ_ARRAY:
        return OT_PG_TIMESTAMPTZ;
    default:
        return OT_PG_INT8;
    }
}

void ot_pg_array_begin(struct ot_pg_script *s, enum ot_pg_type type)
{
    unsigned char head[ARRAY_HEAD];

    put_u32(head, 1);
    put_u32(head + 4, 1);
    put_u32(head + 8, element_of(type));
    put_u32(head + 12, 0);
    put_u32(head + 16, 1);
    s->array = s->bytes.n;
    ot_pg_bytes_param(s, type, head, sizeof(head));
}

/* The length so far is kept in the head. */
static void element(struct ot_pg_script *s, const void *p, int n)
{
    unsigned char length[4];
    char *count;

    put_u32(length, (uint32_t)n);
    ot_buffer_add(&s->bytes, length, sizeof(length));
    if (n > 0)
        ot_buffer_add(&s->bytes, p, (size_t)n);
    if (s->bytes.failed)
        return;
    count = s->bytes.p + s->array + 12;
    put_u32((unsigned char *)count, ot_pg_u32(count) + 1);
}

void ot_pg_array_i64(struct ot_pg_script *s, int64_t v)
{
    unsigned char b[8];

    put_i64(b, v);
    element(s, b, sizeof(b));
}

void ot_pg_array_i32(struct ot_pg_script *s, int32_t v)
{
    unsigned char b[4];

    put_u32(b, (uint32_t)v);
    element(s, b, sizeof(b));
}

void ot_pg_array_bool(struct ot_pg_script *s, bool v)
{
    char b = v ? 1 : 0;

    element(s, &b, 1);
}

void ot_pg_array_time(struct ot_pg_script *s, int64_t wall_us)
{
    if (wall_us == 0)
        element(s, NULL, -1);
    else if (wall_us == OT_NEVER)
        ot_pg_array_i64(s, INT64_MAX); /* infinity */
    else
        ot_pg_array_i64(s, wall_us - OT_PG_EPOCH_US);
}

void ot_pg_array_text(struct ot_pg_script *s, struct ot_slice text)
{
    element(s, text.p, text.p == NULL ? -1 : (int)text.n);
}

void ot_pg_array_end(struct ot_pg_script *s)
{
    size_t n = s->bytes.n - s->array;

    if (s->bytes.failed)
        return;
    if (n > INT_MAX) {
        s->bytes.failed = true;
        return;
    }
    if (n == ARRAY_HEAD) { /* an empty array has no dimension */
        put_u32((unsigned char *)s->bytes.p + s->array, 0);
        n = 12;
    }
    s->params[s->nparams - 1].n = (int)n;
}

/* --- sending ------------------------------------------------------------- */

bool ot_pg_script_failed(const struct ot_pg_script *s)
{
    return s->text.failed || s->bytes.failed;
}

static bool send_one(const struct ot_pg_script *s, PGconn *conn,
                     struct ot_pg_statement *statement,
                     struct ot_pg_plans *plans)
{
    const char *sql = s->text.p + statement->sql;
    Oid types[OT_PG_PARAMS];
    const char *values[OT_PG_PARAMS];
    int lengths[OT_PG_PARAMS], formats[OT_PG_PARAMS];
    char name[32];

    for (int i = 0; i < statement->nparams; i++) {
        const struct ot_pg_param *param = &s->params[statement->param + i];

        types[i] = param->type;
        values[i] = param->n < 0 ? NULL : s->bytes.p + param->at;
        lengths[i] = param->n < 0 ? 0 : param->n;
        formats[i] = 1;
    }
    statement->parses = false;
    statement->plan = plans == NULL ? OT_NO_PLAN : ot_pg_plans_say(plans, sql);
    if (statement->plan == OT_NO_PLAN)
        return PQsendQueryParams(conn, sql, statement->nparams, types, values,
                                 lengths, formats, 1) == 1;
    ot_pg_plans_name(plans, statement->plan, name);
    if (!plans->plans[statement->plan].ready) {
        statement->parses = true;
        if (PQsendPrepare(conn, name, sql, statement->nparams, types) != 1)
            return false;
    }
    return PQsendQueryPrepared(conn, name, statement->nparams, values, lengths,
                               formats, 1) == 1;
}

bool ot_pg_script_send(struct ot_pg_script *s, PGconn *conn,
                       struct ot_pg_plans *plans)
{
    for (int i = 0; i < s->nstatements; i++)
        if (!send_one(s, conn, &s->statements[i], plans))
            return false;
    return PQpipelineSync(conn) == 1;
}
