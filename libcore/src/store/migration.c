/* migration.c - the SQL of the migrations, also for tools that run it. */
#include "outtray/schema.h"

#include <stdio.h>

#include "event/outbox.h"
#include "store/schema.h"

const struct ot_migration *ot_migration_find(const char *store, int number)
{
    for (const struct ot_migration *m = ot_migrations; m->store != NULL; m++)
        if (strcmp(m->store, store) == 0 && m->number == number)
            return m;
    return NULL;
}

struct ot_slice ot_schema_view(const char *store, int number, const char *view)
{
    static const char *const kinds[] = {"", "OR REPLACE "};
    const struct ot_migration *m;
    char text[100];

    for (; (m = ot_migration_find(store, number)) != NULL; number--)
        for (size_t i = 0; i < OT_COUNT(kinds); i++) {
            const char *at, *end;

            snprintf(text, sizeof(text), "CREATE %sVIEW {{outbox}}%c%s AS\n",
                     kinds[i], strcmp(store, "sqlite") == 0 ? '_' : '.', view);
            at = strstr(m->sql, text);
            end = at != NULL ? strstr(at, ";\n") : NULL;
            if (end != NULL)
                return ot_slice(at, (size_t)(end - at));
        }
    return ot_slice("", 0);
}

/* By name and without CASCADE: what somebody built on the outbox, or put
 * beside it into its schema, is not ours to remove. */
static const char drop_postgres[] =
    "DROP VIEW IF EXISTS {{outbox}}.pending, {{outbox}}.dead, "
    "{{outbox}}.status;\n"
    "DROP TABLE IF EXISTS {{outbox}}.event, {{outbox}}.cursor, "
    "{{outbox}}.gap, {{outbox}}.held, {{outbox}}.command, {{outbox}}.inbox, "
    "{{outbox}}.meta;\n"
    "DO $outtray$\n"
    "DECLARE\n"
    "    functions text := (SELECT string_agg(p.oid::regprocedure::text, ', ')"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    " WHERE '\"' || n.nspname || '\"' = $name${{outbox}}$name$"
    " AND p.proname IN ('new_id', 'enqueue', 'enqueue_bytes', 'status_now'));\n"
    "BEGIN\n"
    "    IF functions IS NOT NULL THEN\n"
    "        EXECUTE 'DROP FUNCTION ' || functions;\n"
    "    END IF;\n"
    "    IF (SELECT n.nspname <> 'public'"
    " AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid)"
    " AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid)"
    " AND NOT EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = n.oid)"
    " FROM pg_namespace n"
    " WHERE '\"' || n.nspname || '\"' = $name${{outbox}}$name$) THEN\n"
    "        DROP SCHEMA {{outbox}};\n"
    "    END IF;\n"
    "END $outtray$;\n";

static const char drop_sqlite[] = "DROP VIEW IF EXISTS {{outbox}}_status;\n"
                                  "DROP VIEW IF EXISTS {{outbox}}_dead;\n"
                                  "DROP VIEW IF EXISTS {{outbox}}_pending;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_inbox;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_command;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_held;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_gap;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_cursor;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_event;\n"
                                  "DROP TABLE IF EXISTS {{outbox}}_meta;\n";

const char *ot_drop_sql(const char *store)
{
    return strcmp(store, "sqlite") == 0 ? drop_sqlite : drop_postgres;
}

static const char *store_of(enum outtray_dialect dialect)
{
    return dialect == OUTTRAY_SQLITE ? "sqlite" : "postgres";
}

int outtray_schema_version(enum outtray_dialect dialect)
{
    int number = 0;

    while (ot_migration_find(store_of(dialect), number + 1) != NULL)
        number++;
    return number;
}

static const char *quote_of(enum outtray_dialect dialect)
{
    return dialect == OUTTRAY_SQLITE ? "" : "\"";
}

void ot_sql_expand(struct ot_buffer *out, const char *sql, const char *quote,
                   const char *outbox)
{
    static const char mark[] = "{{outbox}}";
    const char *at;

    for (; (at = strstr(sql, mark)) != NULL; sql = at + sizeof(mark) - 1) {
        ot_buffer_add(out, sql, (size_t)(at - sql));
        ot_buffer_printf(out, "%s%s%s", quote, outbox, quote);
    }
    ot_buffer_puts(out, sql);
}

int ot_sql_lines(char *sql, ot_text_fn *each, void *ctx)
{
    int code = 0;

    while (code == 0 && *sql != '\0') {
        char *end = strchr(sql, '\n');

        if (end != NULL)
            *end = '\0';
        code = each(ctx, sql);
        sql = end != NULL ? end + 1 : sql + strlen(sql);
    }
    return code;
}

/* NULL: out of memory. */
static char *taken(struct ot_buffer *b, struct outtray_error *err)
{
    if (!b->failed)
        return b->p;
    ot_buffer_free(b);
    ot_fail_nomem(err);
    return NULL;
}

char *outtray_schema_sql(enum outtray_dialect dialect, int number,
                         const char *outbox, struct outtray_error *err)
{
    const struct ot_migration *m = ot_migration_find(store_of(dialect), number);
    struct ot_buffer b = {0};

    if (outbox == NULL)
        outbox = OT_OUTBOX_DEFAULT;
    if (m == NULL) {
        ot_fail(err, OUTTRAY_E_NOT_FOUND,
                "there is no migration %d of an outbox, the newest is %d",
                number, outtray_schema_version(dialect));
        return NULL;
    }
    if (ot_outbox_check(outbox, OUTTRAY_E_MISUSE, err) != 0)
        return NULL;
    ot_sql_expand(&b, m->sql, quote_of(dialect), outbox);
    /* The first one writes its number itself. */
    if (number > 1)
        ot_buffer_printf(&b,
                         dialect == OUTTRAY_SQLITE
                             ? "UPDATE %s_meta SET schema_version = %d;\n"
                             : "UPDATE \"%s\".meta SET schema_version = %d;\n",
                         outbox, number);
    return taken(&b, err);
}

char *outtray_schema_drop_sql(enum outtray_dialect dialect, const char *outbox,
                              struct outtray_error *err)
{
    struct ot_buffer b = {0};

    if (outbox == NULL)
        outbox = OT_OUTBOX_DEFAULT;
    if (ot_outbox_check(outbox, OUTTRAY_E_MISUSE, err) != 0)
        return NULL;
    ot_sql_expand(&b, ot_drop_sql(store_of(dialect)), quote_of(dialect),
                  outbox);
    return taken(&b, err);
}

void outtray_schema_free(char *sql)
{
    ot_free(sql);
}
