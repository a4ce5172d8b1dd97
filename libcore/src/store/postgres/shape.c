/* shape.c - see shape.h. The lists say what the migrations make; a test holds
 * them against a new outbox. */
#include "store/postgres/shape.h"

#include <stddef.h>

/* --- columns -------------------------------------------------------------- */

/* Table, column, type, schema version, and what stands behind the type where
 * ALTER TABLE ADD COLUMN makes it anew; NULL: what was in it is needed. */
#define COLUMNS_OF_EVENT                                               \
    "('event', 'seq', 'int8', 1, NULL), ('event', 'id', 'uuid', 1, ' " \
    "NOT NULL DEFAULT {{outbox}}.new_id()'), ('event', 'topic', "      \
    "'text', 1, NULL), ('event', 'key', 'text', 1, ''), ('event', "    \
    "'type', 'text', 1, ''), ('event', 'headers', 'json', 1, ''), "    \
    "('event', 'payload', 'bytea', 1, ''), ('event', 'created_at', "   \
    "'timestamptz', 1, ' NOT NULL DEFAULT clock_timestamp()'), "       \
    "('event', 'deliver_at', 'timestamptz', 1, '')"
#define COLUMNS_OF_OTHERS                                                \
    "('cursor', 'subscription', 'text', 1, NULL), ('cursor', "           \
    "'position', 'int8', 1, ' NOT NULL DEFAULT 0'), ('cursor', "         \
    "'topics', 'text', 1, ''), ('cursor', 'paused', 'bool', 1, ' NOT "   \
    "NULL DEFAULT false'), ('cursor', 'owner', 'uuid', 1, ''), "         \
    "('cursor', 'fence', 'int8', 1, ' NOT NULL DEFAULT 0'), ('cursor', " \
    "'lease_expires_at', 'timestamptz', 1, ''), ('cursor', "             \
    "'written_at', 'timestamptz', 1, ''), ('cursor', 'created_at', "     \
    "'timestamptz', 1, ' NOT NULL DEFAULT clock_timestamp()'), "         \
    "('cursor', 'reported_at', 'timestamptz', 2, ''), ('cursor', "       \
    "'report', 'json', 2, ''), ('gap', 'subscription', 'text', 1, "      \
    "NULL), ('gap', 'first', 'int8', 1, NULL), ('gap', 'last', 'int8', " \
    "1, NULL), ('held', 'subscription', 'text', 1, NULL), ('held', "     \
    "'seq', 'int8', 1, NULL), ('held', 'key', 'text', 1, NULL), "        \
    "('held', 'topic', 'text', 1, NULL), ('held', 'state', 'text', 1, "  \
    "NULL), ('held', 'holds_key', 'bool', 1, NULL), ('held', "           \
    "'attempts', 'int4', 1, ' NOT NULL DEFAULT 0'), ('held', "           \
    "'next_attempt_at', 'timestamptz', 1, ''), ('held', "                \
    "'first_error_at', 'timestamptz', 1, ''), ('held', "                 \
    "'last_error_at', 'timestamptz', 1, ''), ('held', 'retried_us', "    \
    "'int8', 1, ' NOT NULL DEFAULT 0'), ('held', 'error_code', 'int4', " \
    "1, ' NOT NULL DEFAULT 0'), ('held', 'error', 'text', 1, ''), "      \
    "('held', 'maybe_duplicate', 'bool', 1, ' NOT NULL DEFAULT "         \
    "false'), ('command', 'id', 'int8', 1, NULL), ('command', "          \
    "'subscription', 'text', 1, NULL), ('command', 'verb', 'text', 1, "  \
    "NULL), ('command', 'argument', 'text', 1, ''), ('command', "        \
    "'asked_by', 'text', 1, ' NOT NULL DEFAULT session_user'), "         \
    "('command', 'asked_at', 'timestamptz', 1, ' NOT NULL DEFAULT "      \
    "clock_timestamp()'), ('meta', 'schema_version', 'int4', 1, NULL), " \
    "('meta', 'system_identifier', 'int8', 1, NULL)"

/* With the table and the column as they are now. */
#define COLUMNS(list)                                                    \
    "(SELECT x.*, c.oid, a.attname, a.atttypid, a.atttypmod, "           \
    "(a.atttypid = x.type::regtype) IS TRUE AS fits FROM (VALUES " list  \
    ") x(relation, name, type, version, definition) JOIN pg_class c ON " \
    "c.relname = x.relation JOIN pg_namespace n ON n.oid = "             \
    "c.relnamespace AND n.nspname = $1 LEFT JOIN pg_attribute a ON "     \
    "a.attrelid = c.oid AND a.attname = x.name AND a.attnum > 0 AND "    \
    "NOT a.attisdropped) x"

const char ot_pg_columns_missing[] =
    "(SELECT string_agg(relation || '.' || name, ', ') FROM " COLUMNS(
        COLUMNS_OF_EVENT) " WHERE NOT fits)";

/* A column of the right type that nobody knows may be the one that is missing,
 * by another name. A column that is made anew wants the grants of its
 * neighbours. */
static const char columns[] = "WITH x AS (SELECT * FROM " COLUMNS(
    COLUMNS_OF_EVENT
    ", " COLUMNS_OF_OTHERS) "), other AS (SELECT x.oid, x.name, "
                            "min(t.attname)::text AS found "
                            "FROM x JOIN pg_attribute t ON t.attrelid = x.oid "
                            "AND t.attnum > 0 "
                            "AND NOT t.attisdropped AND t.atttypid = "
                            "x.type::regtype WHERE "
                            "x.attname IS NULL AND NOT EXISTS (SELECT FROM x k "
                            "WHERE k.oid = "
                            "t.attrelid AND k.name = t.attname) GROUP BY "
                            "x.oid, x.name HAVING "
                            "count(*) = 1), writers AS (SELECT "
                            "string_agg(DISTINCT "
                            "coalesce(quote_ident(r.rolname), 'PUBLIC'), ', ') "
                            "AS roles FROM "
                            "pg_attribute t JOIN pg_class c ON c.oid = "
                            "t.attrelid CROSS JOIN "
                            "LATERAL aclexplode(t.attacl) e LEFT JOIN pg_roles "
                            "r ON r.oid = "
                            "e.grantee WHERE t.attrelid = (SELECT min(oid) "
                            "FROM x WHERE "
                            "relation = 'event') AND e.privilege_type = "
                            "'INSERT' AND e.grantee "
                            "<> c.relowner) SELECT 'error', CASE WHEN "
                            "x.attname IS NULL THEN "
                            "format('column %I of %s is missing', x.name, "
                            "x.relation) ELSE "
                            "format('column %I of %s has type %s instead of "
                            "%s', x.name, "
                            "x.relation, format_type(x.atttypid, x.atttypmod), "
                            "format_type(x.type::regtype, NULL)) END, CASE "
                            "WHEN x.attname IS "
                            "NOT NULL THEN format('ALTER TABLE {{outbox}}.%1$I "
                            "ALTER COLUMN "
                            "%2$I TYPE %3$s USING %4$s', x.relation, x.name, "
                            "x.type, CASE WHEN "
                            "x.type = 'bytea' THEN "
                            "format('convert_to(%I::text, ''UTF8'')', "
                            "x.name) ELSE format('%I::text::%s', x.name, "
                            "x.type) END) WHEN "
                            "o.found IS NOT NULL THEN format('ALTER TABLE "
                            "{{outbox}}.%I RENAME "
                            "COLUMN %I TO %I', x.relation, o.found, x.name) "
                            "WHEN x.definition "
                            "IS NOT NULL THEN format('ALTER TABLE "
                            "{{outbox}}.%I ADD COLUMN %I "
                            "%s%s', x.relation, x.name, x.type, x.definition) "
                            "|| coalesce('; "
                            "GRANT INSERT (' || quote_ident(x.name) || ') ON "
                            "{{outbox}}.event "
                            "TO ' || CASE WHEN x.relation = 'event' THEN "
                            "w.roles END, '') ELSE "
                            "'bring its values back from a backup (pg_dump of "
                            "this schema): no "
                            "others will do' END FROM x CROSS JOIN writers w "
                            "LEFT JOIN other o "
                            "ON o.oid = x.oid AND o.name = x.name WHERE NOT "
                            "x.fits AND "
                            "x.version <= (SELECT schema_version FROM "
                            "{{outbox}}.meta)";

/* --- tables ---------------------------------------------------------------- */

static const char tables[] =
    "WITH known(name) AS (SELECT unnest(ARRAY['event', 'cursor', "
    "'gap', 'held', 'command', 'inbox', 'meta'])), there AS (SELECT "
    "c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = "
    "c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')), "
    "strange AS (SELECT min(relname) AS name FROM there WHERE relname "
    "NOT IN (SELECT name FROM known) HAVING count(*) = 1) SELECT "
    "'error', format('the outbox has no table %s', k.name), CASE WHEN "
    "s.name IS NOT NULL THEN format('ALTER TABLE %I.%I RENAME TO %I', "
    "$1, s.name, k.name) ELSE 'bring it back from a backup (pg_dump of "
    "this schema)' END FROM known k LEFT JOIN strange s ON true WHERE "
    "k.name NOT IN (SELECT relname FROM there)";

const char ot_pg_tables_missing[] =
    "(SELECT string_agg(k.name, ', ') FROM unnest(ARRAY['cursor', 'gap', "
    "'held', 'command', 'meta']) k(name) WHERE NOT EXISTS (SELECT FROM "
    "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname "
    "= $1 AND c.relname = k.name) HAVING count(*) < 4)";

/* By this table an outbox is known: without it nothing else would be looked
 * at. */
static const char meta[] =
    "WITH t AS (SELECT c.oid, c.relname, c.relacl, c.relowner FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1), "
    "readers AS (SELECT string_agg(DISTINCT coalesce(quote_ident(r.rolname), "
    "'PUBLIC'), ', ') AS roles FROM t CROSS JOIN LATERAL aclexplode(t.relacl) "
    "x LEFT JOIN pg_roles r ON r.oid = x.grantee WHERE t.relname = 'cursor' "
    "AND x.grantee <> t.relowner AND x.privilege_type = 'SELECT') "
    "SELECT 'error', 'the outbox has no table meta', format('CREATE TABLE "
    "{{outbox}}.meta (one boolean PRIMARY KEY DEFAULT true CHECK (one), "
    "schema_version integer NOT NULL, system_identifier bigint NOT NULL, "
    "created_at timestamptz NOT NULL DEFAULT clock_timestamp()); INSERT INTO "
    "{{outbox}}.meta (schema_version, system_identifier) SELECT %s, "
    "system_identifier FROM pg_control_system()', CASE WHEN EXISTS (SELECT "
    "FROM t JOIN pg_attribute a ON a.attrelid = t.oid WHERE t.relname = "
    "'cursor' AND a.attname = 'report' AND NOT a.attisdropped) THEN 2 ELSE 1 "
    "END) || coalesce('; GRANT SELECT ON {{outbox}}.meta TO ' || roles, '') "
    "FROM readers WHERE (SELECT count(*) FROM t WHERE relname IN ('event', "
    "'cursor', 'gap', 'held', 'command')) = 5 AND NOT EXISTS (SELECT FROM t "
    "WHERE relname = 'meta')";

const struct ot_pg_check ot_pg_check_meta = {"tables", NULL, meta};

/* --- keys and indexes ------------------------------------------------------ */

/* Table, columns, whether unique, and what makes it anew. */
#define KEYS                                                             \
    "(VALUES ('event', '{seq}', true, 'ALTER TABLE {{outbox}}.event "    \
    "ADD PRIMARY KEY (seq)'), ('cursor', '{subscription}', true, "       \
    "'ALTER TABLE {{outbox}}.cursor ADD PRIMARY KEY (subscription)'), "  \
    "('gap', '{subscription,first}', true, 'ALTER TABLE {{outbox}}.gap " \
    "ADD PRIMARY KEY (subscription, first)'), ('held', "                 \
    "'{subscription,seq}', true, 'ALTER TABLE {{outbox}}.held ADD "      \
    "PRIMARY KEY (subscription, seq)'), ('command', '{id}', true, "      \
    "'ALTER TABLE {{outbox}}.command ADD PRIMARY KEY (id)'), ('held', "  \
    "'{subscription,state,next_attempt_at}', false, 'CREATE INDEX "      \
    "held_due ON {{outbox}}.held (subscription, state, "                 \
    "next_attempt_at)'), ('held', '{subscription,key,seq}', false, "     \
    "'CREATE INDEX held_key ON {{outbox}}.held (subscription, key, "     \
    "seq)'), ('held', '{seq}', false, 'CREATE INDEX held_seq ON "        \
    "{{outbox}}.held (seq)'), ('command', '{subscription,id}', false, "  \
    "'CREATE INDEX command_subscription ON {{outbox}}.command "          \
    "(subscription, id)')) k(relation, columns, is_unique, fix)"

#define KEYS_MISSING                                                          \
    KEYS " JOIN pg_class c ON c.relname = k.relation JOIN pg_namespace n ON " \
         "n.oid = c.relnamespace AND n.nspname = $1 WHERE NOT EXISTS "        \
         "(SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid " \
         "AND i.indpred IS NULL AND (i.indisunique OR NOT k.is_unique) AND "  \
         "k.columns::text[] = (SELECT array_agg(a.attname::text ORDER BY "    \
         "p.place) FROM unnest(i.indkey) WITH ORDINALITY p(attnum, place) "   \
         "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum " \
         "WHERE p.place <= i.indnkeyatts))"

/* Without a key of the log it is slow, without one of these nothing is written.
 */
const char ot_pg_keys_missing[] =
    "(SELECT string_agg(k.relation || ' ' || translate(k.columns, "
    "'{}', '()'), ', ') FROM " KEYS_MISSING
    " AND k.relation IN ('cursor', 'gap', 'held') AND k.is_unique)";

static const char keys[] =
    "SELECT CASE WHEN k.is_unique THEN 'error' ELSE 'warn' END, "
    "format('%s %s has no %s', k.relation, translate(k.columns, '{}', "
    "'()'), CASE WHEN k.is_unique THEN 'primary key: writes fail, or "
    "every look reads the whole table' ELSE 'index: every look reads "
    "the whole table' END), k.fix FROM " KEYS_MISSING;

/* --- who else writes the log ----------------------------------------------- */

const char ot_pg_subscribers[] =
    "(SELECT string_agg(DISTINCT quote_ident(s.subname), ', ') FROM "
    "pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid "
    "WHERE " OT_PG_REPLICATED("o.log") ")";

/* --- rights ---------------------------------------------------------------- */

#define RIGHTS_MISSING(first)                                            \
    "(SELECT string_agg(lower(x.wanted) || ' ' || x.object, ', ') FROM " \
    "(VALUES " first "('event', 'SELECT'), "                             \
    "('event_seq_seq', 'SELECT'), ('cursor', 'SELECT'), ('cursor', "     \
    "'INSERT'), ('cursor', 'UPDATE'), ('gap', 'SELECT'), ('gap', "       \
    "'INSERT'), ('gap', 'UPDATE'), ('gap', 'DELETE'), ('held', "         \
    "'SELECT'), ('held', 'INSERT'), ('held', 'UPDATE'), ('held', "       \
    "'DELETE'), ('command', 'SELECT'), ('command', 'DELETE'), ('meta', " \
    "'SELECT')) x(object, wanted) JOIN pg_class c ON c.relname = "       \
    "x.object JOIN pg_namespace n ON n.oid = c.relnamespace AND "        \
    "n.nspname = $1 WHERE NOT CASE WHEN c.relkind = 'S' THEN "           \
    "has_sequence_privilege(c.oid, x.wanted) ELSE "                      \
    "has_table_privilege(c.oid, x.wanted) END)"

/* Without that one it relays and prunes nothing, and says so. */
const char ot_pg_rights_missing[] = RIGHTS_MISSING("");

/* Everybody may, unless somebody hardened the server. */
#define FUNCTIONS_MISSING                                                   \
    "(SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p "   \
    "WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN "   \
    "('pg_control_system', 'pg_stat_get_wal', 'pg_postmaster_start_time', " \
    "'pg_current_wal_insert_lsn', 'pg_current_wal_flush_lsn', "             \
    "'pg_current_snapshot') AND NOT has_function_privilege(p.oid, 'EXECUTE'))"

const char ot_pg_functions_missing[] = FUNCTIONS_MISSING;

static const char functions[] =
    "SELECT 'error', format('%s may not execute %s: a relay could not tell its "
    "server from a copy', current_user, names), format('GRANT EXECUTE ON "
    "FUNCTION %s TO %I, typed by a superuser in this database', names, "
    "current_user) FROM (SELECT " FUNCTIONS_MISSING " AS names) f WHERE names "
    "IS NOT NULL";

static const char rights[] =
    "SELECT 'error', format('a relay that logs in as %s may not %s', "
    "current_user, m), format('outtray init --relay-role %s', current_user) "
    "FROM (SELECT " RIGHTS_MISSING(
        "('event', 'DELETE'), ") " AS m) x WHERE m IS NOT NULL "
                                 "UNION ALL SELECT 'warn', format('this "
                                 "connection is %s, a "
                                 "superuser: a relay needs a small part of its "
                                 "rights', rolname), "
                                 "'CREATE ROLE relay LOGIN; then: outtray init "
                                 "--relay-role relay' "
                                 "FROM pg_roles WHERE rolname = current_user "
                                 "AND rolsuper";

/* --- triggers --------------------------------------------------------------- */

/* The outbox has none of its own. One that returns NULL makes events vanish. */
static const char triggers[] =
    "SELECT 'warn', format('the trigger %s on %s can drop, change or "
    "delay what is written there', t.tgname, c.relname), format('DROP "
    "TRIGGER %I ON %I.%I', t.tgname, $1, c.relname) FROM pg_trigger t "
    "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid "
    "= c.relnamespace WHERE n.nspname = $1 AND c.relname IN ('event', "
    "'cursor', 'gap', 'held', 'command') AND NOT t.tgisinternal AND "
    "t.tgenabled <> 'D' UNION ALL SELECT 'warn', format('the rule %s "
    "on %s can drop or change what is written there', r.rulename, "
    "c.relname), format('DROP RULE %I ON %I.%I', r.rulename, $1, "
    "c.relname) FROM pg_rewrite r JOIN pg_class c ON c.oid = "
    "r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
    "n.nspname = $1 AND c.relname IN ('event', 'cursor', 'gap', "
    "'held', 'command') AND r.ev_enabled <> 'D'";

/* --- text ------------------------------------------------------------------ */

/* In such an event each character that is not ASCII becomes a question mark. */
static const char utf8[] =
    "SELECT 'warn', format('the log takes text that has no form in UTF-8 (the "
    "database is in %s): such an event stops all reads', "
    "current_setting('server_encoding')), CASE WHEN c.conname IS NULL THEN "
    "'ALTER TABLE {{outbox}}.event ADD CONSTRAINT event_utf8 CHECK ("
    "convert_to(concat(topic, key, type, headers), ''UTF8'') IS NOT NULL) "
    "NOT VALID; ' ELSE '' END || 'DO $$ DECLARE s bigint; BEGIN FOR s IN "
    "SELECT seq FROM {{outbox}}.event LOOP BEGIN PERFORM "
    "convert_to(concat(topic, key, type, headers), ''UTF8'') FROM "
    "{{outbox}}.event WHERE seq = s; EXCEPTION WHEN untranslatable_character "
    "THEN UPDATE {{outbox}}.event SET topic = regexp_replace(topic, "
    "''[^\\x01-\\x7f]'', ''?'', ''g''), key = regexp_replace(key, "
    "''[^\\x01-\\x7f]'', ''?'', ''g''), type = regexp_replace(type, "
    "''[^\\x01-\\x7f]'', ''?'', ''g''), headers = "
    "regexp_replace(headers::text, ''[^\\x01-\\x7f]'', ''?'', ''g'')::json "
    "WHERE seq = s; END; END LOOP; END $$; ALTER TABLE {{outbox}}.event "
    "VALIDATE CONSTRAINT event_utf8' FROM pg_class t JOIN pg_namespace n ON "
    "n.oid = t.relnamespace LEFT JOIN pg_constraint c ON c.conrelid = t.oid "
    "AND c.conname = 'event_utf8' WHERE n.nspname = $1 AND t.relname = "
    "'event' AND c.convalidated IS NOT TRUE AND "
    "current_setting('server_encoding') NOT IN ('UTF8', 'SQL_ASCII')";

/* --- the version ----------------------------------------------------------- */

/* What only a newer program knows of cannot be told from a mistake. */
static const char version[] =
    "WITH l AS (SELECT CASE WHEN EXISTS (SELECT FROM pg_attribute a JOIN "
    "pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = "
    "c.relnamespace WHERE n.nspname = $1 AND c.relname = 'cursor' AND "
    "a.attname = 'report' AND NOT a.attisdropped) THEN 2 ELSE 1 END AS v), "
    "m AS (SELECT max(schema_version) AS v FROM {{outbox}}.meta) "
    "SELECT 'error', format('table meta says %s, the tables look like schema "
    "version %s%s', coalesce('schema version ' || m.v, 'nothing'), l.v, CASE "
    "WHEN m.v > 2 THEN ' at least: a newer program has been here, or somebody "
    "changed the number' ELSE ': somebody changed it' END), "
    "CASE WHEN m.v IS NULL THEN format('INSERT INTO {{outbox}}.meta "
    "(schema_version, system_identifier) SELECT %s, system_identifier FROM "
    "pg_control_system()', l.v) WHEN m.v > 2 THEN format('install a newer "
    "outtray; or, if nobody has upgraded the outbox: UPDATE {{outbox}}.meta "
    "SET schema_version = %s', l.v) ELSE format('UPDATE {{outbox}}.meta SET "
    "schema_version = %s', l.v) END FROM l, m WHERE l.v IS DISTINCT FROM m.v";

const struct ot_pg_check ot_pg_check_version = {"version", NULL, version};

const struct ot_pg_check ot_pg_checks_shape[] = {
    {"tables", "every table is there", tables},
    {"columns", "every column has its type", columns},
    {"keys", "every key and index is there", keys},
    {"relay-rights", "this role has what a relay needs", rights},
    {"functions", "this role may ask the server which one it is", functions},
    {"triggers", "no trigger or rule is in the way", triggers},
    {"utf8", "text of events has a form in UTF-8", utf8},
    {NULL, NULL, NULL},
};
