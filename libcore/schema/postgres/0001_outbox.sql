-- The outbox: one schema, run in one transaction by `outtray init`.
-- PostgreSQL 14.1 to 18. {{outbox}} stands for the quoted name of the schema.
--
-- Rights that are needed and enough (given by init --app-role, --relay-role):
--   application  USAGE on the schema; INSERT on event (every column but seq:
--                with a grant of the whole table it could plant a seq below a
--                position or at the end of the range)
--   relay        USAGE on the schema; SELECT, DELETE, UPDATE (headers, payload)
--                on event; SELECT on event_seq_seq; SELECT, INSERT, UPDATE,
--                DELETE on cursor, gap, held and command; SELECT on meta and
--                the views
-- A reader of the views needs USAGE on the schema and SELECT on them alone.

-- Not IF NOT EXISTS: that asks for CREATE on the database even where an
-- administrator has made the schema already.
DO $outtray$
BEGIN
    IF to_regnamespace($name${{outbox}}$name$) IS NULL THEN
        CREATE SCHEMA {{outbox}};
    END IF;
END
$outtray$;

-- A UUIDv7: the milliseconds of now in front of a random UUIDv4, whose version
-- 4 becomes 7 by two bits. The body is parsed here and once, so no search_path
-- of a caller can change what it means.
CREATE FUNCTION {{outbox}}.new_id() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid()) PLACING
                substring(int8send(floor(extract(epoch FROM clock_timestamp())
                                         * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
            52, 1), 53, 1),
        'hex')::uuid;

-- The log. Rows are never updated (redact aside) and leave by retention only.
-- The order is seq: CACHE 1, because a session that draws seqs in advance
-- breaks the causal order of keys; ALWAYS, because nobody may choose one.
-- json, not jsonb: the binary form of jsonb halves the speed of reading.
-- No CHECK: each would be read and planned anew by every INSERT (7 us, in the
-- transaction of the application); the builder and enqueue() check instead.
CREATE TABLE {{outbox}}.event (
    seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    id uuid NOT NULL DEFAULT {{outbox}}.new_id(),
    topic text NOT NULL,
    key text,
    type text,
    headers json,
    payload bytea, -- NULL is a tombstone
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deliver_at timestamptz
) WITH (
    -- Cutting off the end of the file locks everybody out for a moment, and
    -- no enqueuer may wait; its pages are used again anyway.
    vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05
);

-- In an encoding other than UTF-8 there is text that has no form in UTF-8, which
-- is what the relay reads in; one such key would stop all others. Not in UTF-8
-- databases: each INSERT pays for it. And SQL_ASCII knows of no encoding.
DO $outtray$ BEGIN
    IF current_setting('server_encoding') NOT IN ('UTF8', 'SQL_ASCII') THEN
        ALTER TABLE {{outbox}}.event ADD CONSTRAINT event_utf8 CHECK (
            convert_to(concat(topic, key, type, headers), 'UTF8') IS NOT NULL);
    END IF;
END $outtray$;

-- One row per subscription: how far it has read, and who may write here.
-- Written up to 20 times a second, so nearly all of each page is left free and
-- no index covers what changes: every update is a HOT update.
CREATE TABLE {{outbox}}.cursor (
    subscription text PRIMARY KEY
        CHECK (octet_length(subscription) BETWEEN 1 AND 63),
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    topics text, -- the filter: names by comma, a trailing * is the rest; NULL all
    paused boolean NOT NULL DEFAULT false,
    owner uuid, -- NULL: nobody
    fence bigint NOT NULL DEFAULT 0, -- only grows; every write checks it
    lease_expires_at timestamptz,
    written_at timestamptz, -- the last write of the position
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    fillfactor = 10,
    vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- seqs at or below a position that were neither seen nor proved dead, both
-- ends included. Rows, written by difference: one column of ranges would be
-- written anew as a whole with every position.
CREATE TABLE {{outbox}}.gap (
    subscription text NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (subscription, first),
    CHECK (first <= last)
) WITH (
    vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

-- Events taken out of the stream, with the reason. Nobody but the owner of the
-- lease writes here: operators ask through command.
CREATE TABLE {{outbox}}.held (
    subscription text NOT NULL,
    seq bigint NOT NULL,
    key text,  -- of the event, for the index
    topic text NOT NULL, -- of the event, so that loading needs no look-ups
    state text NOT NULL CHECK (state IN
        ('retrying', 'waiting', 'blocked', 'scheduled', 'dead', 'skipped')),
    holds_key boolean NOT NULL, -- later events of the key wait for it
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz, -- NULL: not by time
    first_error_at timestamptz,
    last_error_at timestamptz,
    retried_us bigint NOT NULL DEFAULT 0, -- time in its own backoff: what
                                          -- giving up by age counts
    error_code integer NOT NULL DEFAULT 0, -- the sink's own
    error text,
    maybe_duplicate boolean NOT NULL DEFAULT false, -- a try of it may have
                                                    -- been persisted
    PRIMARY KEY (subscription, seq)
) WITH (
    fillfactor = 80,
    vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX held_due ON {{outbox}}.held (subscription, state, next_attempt_at);
CREATE INDEX held_key ON {{outbox}}.held (subscription, key, seq);
-- Pruning asks for a seq, whoever holds it.
CREATE INDEX held_seq ON {{outbox}}.held (seq);

-- What operators ask of the owner, who applies and deletes it together with
-- its next cursor write.
CREATE TABLE {{outbox}}.command (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text NOT NULL,
    verb text NOT NULL, -- redrive, skip (argument: a seq), pause, resume
    argument text,
    asked_by text NOT NULL DEFAULT session_user,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX command_subscription ON {{outbox}}.command (subscription, id);

-- For consumers: makes the handling of an event idempotent.
CREATE TABLE {{outbox}}.inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, event_id)
);

CREATE TABLE {{outbox}}.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), -- one row
    schema_version integer NOT NULL,
    system_identifier bigint NOT NULL, -- of the server the outbox was made on
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO {{outbox}}.meta (schema_version, system_identifier)
    SELECT 1, system_identifier FROM pg_control_system();

-- --- enqueue -----------------------------------------------------------------
-- For callers without a builder of their own: PHP, psql, triggers. The rules
-- are those of the builder in the library. A limit on the payload other than
-- 921600 bytes: ALTER DATABASE ... SET outtray.max_payload_bytes = '...'.
--
-- pg_temp is named last in each search_path: it would be searched first
-- otherwise, and an event could land in somebody's temporary table.
CREATE FUNCTION {{outbox}}.enqueue_bytes(
    topic text,
    payload bytea,
    key text DEFAULT NULL,
    type text DEFAULT NULL,
    headers json DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, {{outbox}}, pg_temp
AS $outtray$
#variable_conflict use_variable
DECLARE
    most integer := coalesce(nullif(
        current_setting('outtray.max_payload_bytes', true), ''), '921600');
    bad text;
BEGIN
    IF topic IS NULL OR topic = '' THEN
        RAISE EXCEPTION 'outtray: an event needs a topic'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(topic) > 249 THEN
        RAISE EXCEPTION 'outtray: the topic has % bytes, 249 are allowed',
            octet_length(topic) USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF octet_length(key) > 1024 THEN
        RAISE EXCEPTION 'outtray: the key has % bytes, 1024 are allowed',
            octet_length(key) USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF octet_length(type) > 255 THEN
        RAISE EXCEPTION 'outtray: the type has % bytes, 255 are allowed',
            octet_length(type) USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF octet_length(payload) > most THEN
        RAISE EXCEPTION 'outtray: the payload has % bytes, % are allowed',
            octet_length(payload), most
            USING ERRCODE = 'program_limit_exceeded',
                  HINT = 'Store the body elsewhere and send a reference.';
    END IF;
    IF NOT isfinite(deliver_at) THEN
        RAISE EXCEPTION 'outtray: deliver_at must be a finite time'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF headers IS NOT NULL THEN
        IF octet_length(headers::text) > 32768 THEN
            RAISE EXCEPTION 'outtray: the headers have % bytes, 32768 are allowed',
                octet_length(headers::text)
                USING ERRCODE = 'program_limit_exceeded';
        END IF;
        IF json_typeof(headers) <> 'object' THEN
            RAISE EXCEPTION 'outtray: headers must be a JSON object of strings, not %',
                json_typeof(headers) USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- #>> decodes the string, which refuses \u0000.
        SELECT h.key INTO bad FROM json_each(headers) h
            WHERE json_typeof(h.value) <> 'string'
               OR (h.value #>> '{}') IS NULL LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'outtray: the header "%" is not a string', bad
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        SELECT h.key INTO bad FROM json_object_keys(headers) h(key)
            WHERE lower(h.key) IN ('', 'id', 'type')
               OR lower(h.key) LIKE 'outtray-%' LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'outtray: the header name "%" is reserved', bad
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'The relay writes "id", "type" and what begins with "outtray-".';
        END IF;
        SELECT h.key INTO bad FROM json_object_keys(headers) h(key)
            GROUP BY h.key HAVING count(*) > 1 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'outtray: the header "%" is there twice', bad
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;
    id := coalesce(id, {{outbox}}.new_id());
    INSERT INTO {{outbox}}.event
            (id, topic, key, type, headers, payload, deliver_at)
        VALUES (id, topic, key, type, headers, payload, deliver_at);
    RETURN id;
END
$outtray$;

-- These bodies are parsed here and once and become part of the caller's
-- statement: they need no path of their own and cost nothing.
CREATE FUNCTION {{outbox}}.enqueue(
    topic text,
    payload text,
    key text DEFAULT NULL,
    type text DEFAULT NULL,
    headers json DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    RETURN {{outbox}}.enqueue_bytes(topic, convert_to(payload, 'UTF8'),
                                    key, type, headers, deliver_at, id);

CREATE FUNCTION {{outbox}}.enqueue(
    topic text,
    payload json,
    key text DEFAULT NULL,
    type text DEFAULT NULL,
    headers json DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    RETURN {{outbox}}.enqueue_bytes(topic, convert_to(payload::text, 'UTF8'),
                                    key, type, headers, deliver_at, id);

CREATE FUNCTION {{outbox}}.enqueue(
    topic text,
    payload jsonb,
    key text DEFAULT NULL,
    type text DEFAULT NULL,
    headers json DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE sql VOLATILE
    RETURN {{outbox}}.enqueue_bytes(topic, convert_to(payload::text, 'UTF8'),
                                    key, type, headers, deliver_at, id);

-- --- views for people ----------------------------------------------------------
-- They work with no relay running. The inner ORDER BY seq ... LIMIT keeps each
-- look at the log on its index, whatever the statistics say: a plan that scans
-- the log would make a glance at the status as dear as the history is long.

-- Committed and not passed by a subscription. No payload: a listing shows none.
CREATE VIEW {{outbox}}.pending AS
    SELECT c.subscription, e.seq, e.id, e.topic, e.key, e.type, e.headers,
           octet_length(e.payload) AS payload_bytes, e.created_at, e.deliver_at,
           false AS in_gap
      FROM {{outbox}}.cursor c
     CROSS JOIN LATERAL (SELECT * FROM {{outbox}}.event t
                          WHERE t.seq > c.position ORDER BY t.seq) e
     WHERE NOT EXISTS (SELECT FROM {{outbox}}.held h
                        WHERE h.subscription = c.subscription AND h.seq = e.seq)
    UNION ALL
    SELECT g.subscription, e.seq, e.id, e.topic, e.key, e.type, e.headers,
           octet_length(e.payload), e.created_at, e.deliver_at, true
      FROM {{outbox}}.gap g
      JOIN {{outbox}}.cursor c USING (subscription)
     CROSS JOIN LATERAL (SELECT * FROM {{outbox}}.event t
                          WHERE t.seq BETWEEN g.first AND g.last
                            AND t.seq <= c.position ORDER BY t.seq) e;

-- Given up on: `outtray redrive` sends them again, `outtray skip` drops them.
CREATE VIEW {{outbox}}.dead AS
    SELECT h.subscription, h.seq, e.id, h.topic, h.key, e.type, h.attempts,
           h.error_code, h.error, h.first_error_at, h.last_error_at,
           h.holds_key, e.created_at
      FROM {{outbox}}.held h
      LEFT JOIN {{outbox}}.event e USING (seq)
     WHERE h.state = 'dead';

-- One row per subscription; an outbox that no relay has run on yet shows "main"
-- at 0. Counts above 10,000 are estimates from the seqs, and say so. A function
-- because of its settings: with the guesses for tables without statistics the
-- planner would compile the query for a second (jit), or scan the log. It runs
-- with the rights of its owner, as a view does.
CREATE FUNCTION {{outbox}}.status_now() RETURNS TABLE (
    subscription text,
    "position" bigint,
    last_seq bigint,
    pending bigint,
    pending_is_estimate boolean,
    oldest_undelivered timestamptz,
    lag interval,
    retrying bigint,
    waiting bigint,
    blocked bigint,
    scheduled bigint,
    dead bigint,
    gaps bigint,
    topics text,
    paused boolean,
    owner uuid,
    fence bigint,
    lease_expires_at timestamptz,
    lease_live boolean,
    written_at timestamptz,
    commands bigint
)
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, {{outbox}}, pg_temp
    SET jit = off
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $outtray$
    SELECT c.subscription, c.position, s.last_seq,
           CASE WHEN p.n > 10000 THEN greatest(s.last_seq - c.position, p.n)
                ELSE greatest(p.n - h.above, 0) END + g.events AS pending,
           p.n > 10000 OR g.events > 10000 AS pending_is_estimate,
           o.at AS oldest_undelivered,
           -- before PostgreSQL 17 infinite times have no difference
           CASE WHEN o.at IS NULL OR o.at = 'infinity' THEN interval '0'
                WHEN o.at = '-infinity'
                THEN clock_timestamp() - timestamptz 'epoch'
                ELSE greatest(clock_timestamp() - o.at, interval '0')
                END AS lag,
           h.retrying, h.waiting, h.blocked, h.scheduled, h.dead,
           g.ranges AS gaps, c.topics, c.paused, c.owner, c.fence,
           c.lease_expires_at,
           coalesce(c.owner IS NOT NULL
                    AND c.lease_expires_at > clock_timestamp(), false)
               AS lease_live,
           c.written_at, m.n AS commands
      FROM (SELECT subscription, position, topics, paused, owner, fence,
                   lease_expires_at, written_at FROM {{outbox}}.cursor
            UNION ALL
            SELECT 'main', 0, NULL, false, NULL, 0, NULL, NULL
             WHERE NOT EXISTS (SELECT FROM {{outbox}}.cursor)) c
     CROSS JOIN (SELECT CASE WHEN is_called THEN last_value ELSE 0 END
                        AS last_seq FROM {{outbox}}.event_seq_seq) s
     CROSS JOIN LATERAL (
            SELECT count(*) AS n
              FROM (SELECT e.seq FROM {{outbox}}.event e
                     WHERE e.seq > c.position
                     ORDER BY e.seq LIMIT 10001) x) p
     CROSS JOIN LATERAL (
            SELECT (SELECT count(*) FROM {{outbox}}.gap r
                     WHERE r.subscription = c.subscription) AS ranges,
                   (SELECT count(*) FROM (
                        SELECT e.seq FROM {{outbox}}.gap r
                         CROSS JOIN LATERAL (
                             SELECT t.seq FROM {{outbox}}.event t
                              WHERE t.seq BETWEEN r.first AND r.last
                                AND t.seq <= c.position
                              ORDER BY t.seq LIMIT 10001) e
                         WHERE r.subscription = c.subscription
                         LIMIT 10001) x) AS events) g
     CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE t.state = 'retrying') AS retrying,
                   count(*) FILTER (WHERE t.state = 'waiting') AS waiting,
                   count(*) FILTER (WHERE t.state = 'blocked') AS blocked,
                   count(*) FILTER (WHERE t.state = 'scheduled') AS scheduled,
                   count(*) FILTER (WHERE t.state = 'dead') AS dead,
                   count(*) FILTER (WHERE t.seq > c.position) AS above,
                   -- a scheduled event is not late before its time
                   min(t.seq) FILTER (WHERE t.state IN
                       ('retrying', 'waiting', 'blocked')) AS oldest
              FROM {{outbox}}.held t
             WHERE t.subscription = c.subscription) h
     CROSS JOIN LATERAL (
            SELECT least(
                (SELECT e.created_at FROM {{outbox}}.event e
                  WHERE e.seq > c.position
                    AND NOT EXISTS (SELECT FROM {{outbox}}.held t
                                     WHERE t.subscription = c.subscription
                                       AND t.seq = e.seq)
                  ORDER BY e.seq LIMIT 1),
                (SELECT e.created_at FROM {{outbox}}.gap r
                  CROSS JOIN LATERAL (
                      SELECT t.created_at FROM {{outbox}}.event t
                       WHERE t.seq BETWEEN r.first AND r.last
                         AND t.seq <= c.position
                       ORDER BY t.seq LIMIT 1) e
                  WHERE r.subscription = c.subscription
                  ORDER BY r.first LIMIT 1),
                (SELECT e.created_at FROM {{outbox}}.event e
                  WHERE e.seq = h.oldest)) AS at) o
     CROSS JOIN LATERAL (
            SELECT count(*) AS n
              FROM (SELECT FROM {{outbox}}.command t
                     WHERE t.subscription = c.subscription LIMIT 10001) x) m
$outtray$;

CREATE VIEW {{outbox}}.status AS
    SELECT * FROM {{outbox}}.status_now();

COMMENT ON TABLE {{outbox}}.event IS
    'outtray: the log of events, in the order of seq. Written by applications.';
COMMENT ON TABLE {{outbox}}.cursor IS
    'outtray: how far each subscription has read, and which relay owns it.';
COMMENT ON TABLE {{outbox}}.gap IS
    'outtray: seqs below a position whose transaction may still commit.';
COMMENT ON TABLE {{outbox}}.held IS
    'outtray: events taken out of the stream. Change them with the command line only.';
COMMENT ON TABLE {{outbox}}.command IS
    'outtray: what operators ask of the relay that owns the subscription.';
COMMENT ON TABLE {{outbox}}.inbox IS
    'outtray: what consumers have processed.';
COMMENT ON VIEW {{outbox}}.pending IS
    'outtray: committed events that a subscription has not passed.';
COMMENT ON VIEW {{outbox}}.dead IS
    'outtray: events given up on, with the reason.';
COMMENT ON VIEW {{outbox}}.status IS
    'outtray: lag, oldest undelivered event, held events and owner of each subscription.';
