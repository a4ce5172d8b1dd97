-- The outbox: tables in the application's own file, run in one transaction by
-- `outtray init`. SQLite 3.37 and newer (STRICT). {{outbox}} stands for the
-- prefix of the tables. Times are microseconds since 1970 UTC.

-- The log. Rows are never updated (redact aside) and leave by retention only.
-- AUTOINCREMENT: a plain rowid would be given out again after pruning, and an
-- event with an old seq would never be read. SQLite holds the write lock from
-- the first write to the commit, so seqs become visible in their order.
-- A plain INSERT of topic and payload is enough: the rest has defaults (id is
-- a UUIDv7), and what a relay could not send is refused here. payload comes
-- last, so that nobody reads through a large one to reach a time.
CREATE TABLE {{outbox}}_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL COLLATE NOCASE DEFAULT (
        printf('%08x-%04x-7%03x-%x%03x-%012x',
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)
                >> 16,
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)
                & 65535,
            random() & 4095, 8 + (random() & 3), random() & 4095,
            random() & 281474976710655))
        CONSTRAINT "id is not a UUID" CHECK (id GLOB
'[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]'),
    topic TEXT NOT NULL
        CONSTRAINT "topic has 1 to 249 bytes"
        CHECK (length(CAST(topic AS BLOB)) BETWEEN 1 AND 249),
    key TEXT CONSTRAINT "key has up to 1024 bytes"
        CHECK (length(CAST(key AS BLOB)) <= 1024),
    type TEXT CONSTRAINT "type has up to 255 bytes"
        CHECK (length(CAST(type AS BLOB)) <= 255),
    created_at INTEGER NOT NULL DEFAULT (
        CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)
            * 1000),
    deliver_at INTEGER, -- not before; NULL: at once
    headers TEXT CONSTRAINT "headers is a JSON object"
        CHECK (headers IS NULL OR json_type(headers) = 'object'),
    payload ANY CONSTRAINT "payload is a blob or text" -- NULL: a tombstone
        CHECK (typeof(payload) IN ('blob', 'text', 'null'))
) STRICT;

-- A header that is no string could not be sent, and would stand in the way of
-- its key: refuse it while its author can still see the error.
CREATE TRIGGER {{outbox}}_event_headers BEFORE INSERT ON {{outbox}}_event
    WHEN NEW.headers IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'outtray: headers must be a flat JSON object of strings, and none may be named "id", "type" or "outtray-..."')
      FROM json_each(NEW.headers)
     WHERE type <> 'text' OR key = '' OR lower(key) IN ('id', 'type')
        OR lower(key) LIKE 'outtray-%';
END;

-- One row per subscription: how far it has read, and who may write here.
CREATE TABLE {{outbox}}_cursor (
    subscription TEXT PRIMARY KEY
        CHECK (length(CAST(subscription AS BLOB)) BETWEEN 1 AND 63),
    position INTEGER NOT NULL DEFAULT 0 CHECK (position >= 0),
    topics TEXT, -- the filter: names by comma, a trailing * is the rest
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    owner TEXT, -- NULL: nobody
    fence INTEGER NOT NULL DEFAULT 0, -- only grows; every write checks it
    lease_expires_at INTEGER,
    written_at INTEGER, -- the last write of the position
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- seqs at or below a position that were neither seen nor proved dead, both
-- ends included. SQLite has none; the table is there for what is the same in
-- every store.
CREATE TABLE {{outbox}}_gap (
    subscription TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (subscription, first),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;

-- Events taken out of the stream, with the reason. Nobody but the owner of the
-- lease writes here: operators ask through {{outbox}}_command.
CREATE TABLE {{outbox}}_held (
    subscription TEXT NOT NULL,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('retrying', 'waiting', 'blocked', 'scheduled', 'dead', 'skipped')),
    holds_key INTEGER NOT NULL CHECK (holds_key IN (0, 1)),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER, -- NULL: not by time
    first_error_at INTEGER,
    last_error_at INTEGER,
    retried_us INTEGER NOT NULL DEFAULT 0, -- time in its own backoff
    error_code INTEGER NOT NULL DEFAULT 0, -- the sink's own
    error TEXT,
    maybe_duplicate INTEGER NOT NULL DEFAULT 0 -- a try may have been persisted
        CHECK (maybe_duplicate IN (0, 1)),
    PRIMARY KEY (subscription, seq)
) STRICT, WITHOUT ROWID;
-- Pruning asks for a seq, whoever holds it.
CREATE INDEX {{outbox}}_held_seq ON {{outbox}}_held (seq);

-- What operators ask of the owner, who applies and deletes it together with
-- its next cursor write.
CREATE TABLE {{outbox}}_command (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    verb TEXT NOT NULL CHECK (verb IN ('redrive', 'skip', 'pause', 'resume')),
    argument INTEGER, -- a seq
    asked_by TEXT,
    asked_at INTEGER NOT NULL DEFAULT (
        CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)
            * 1000)
) STRICT;
CREATE INDEX {{outbox}}_command_subscription
    ON {{outbox}}_command (subscription, id);

-- For consumers: makes the handling of an event idempotent.
CREATE TABLE {{outbox}}_inbox (
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL COLLATE NOCASE,
    processed_at INTEGER NOT NULL DEFAULT (
        CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)
            * 1000),
    PRIMARY KEY (consumer, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE {{outbox}}_meta (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1), -- one row
    schema_version INTEGER NOT NULL,
    outbox_id TEXT NOT NULL, -- of this file; a copy has the same
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO {{outbox}}_meta (schema_version, outbox_id, created_at)
    VALUES (1, lower(hex(randomblob(16))),
            strftime('%s', 'now') * 1000000);

-- --- views for people --------------------------------------------------------
-- They work with no relay running. No payload: a listing shows none.

-- Committed and not passed by a subscription.
CREATE VIEW {{outbox}}_pending AS
    SELECT c.subscription, e.seq, e.id, e.topic, e.key, e.type, e.headers,
           length(CAST(e.payload AS BLOB)) AS payload_bytes,
           strftime('%Y-%m-%dT%H:%M:%fZ', e.created_at / 1e6, 'unixepoch')
               AS created_at,
           strftime('%Y-%m-%dT%H:%M:%fZ', e.deliver_at / 1e6, 'unixepoch')
               AS deliver_at
      FROM (SELECT subscription, position FROM {{outbox}}_cursor
            UNION ALL
            SELECT 'main', 0
             WHERE NOT EXISTS (SELECT 1 FROM {{outbox}}_cursor)) c
      JOIN {{outbox}}_event e ON e.seq > c.position
     WHERE NOT EXISTS (SELECT 1 FROM {{outbox}}_held h
                        WHERE h.subscription = c.subscription
                          AND h.seq = e.seq);

-- Given up on: `outtray redrive` sends them again, `outtray skip` drops them.
CREATE VIEW {{outbox}}_dead AS
    SELECT h.subscription, h.seq, e.id, e.topic, e.key, e.type, h.attempts,
           h.error_code, h.error,
           strftime('%Y-%m-%dT%H:%M:%fZ', h.first_error_at / 1e6, 'unixepoch')
               AS first_error_at,
           strftime('%Y-%m-%dT%H:%M:%fZ', h.last_error_at / 1e6, 'unixepoch')
               AS last_error_at,
           h.holds_key,
           strftime('%Y-%m-%dT%H:%M:%fZ', e.created_at / 1e6, 'unixepoch')
               AS created_at
      FROM {{outbox}}_held h LEFT JOIN {{outbox}}_event e ON e.seq = h.seq
     WHERE h.state = 'dead';

-- One row per subscription; an outbox that no relay has run on yet shows "main"
-- at 0. lag_s: seconds since the oldest undelivered event was written; an event
-- that waits for its deliver_at is not late.
CREATE VIEW {{outbox}}_status AS
    SELECT c.subscription, c.position, c.last_seq,
           (SELECT count(*) FROM {{outbox}}_event e WHERE e.seq > c.position)
               - (SELECT count(*) FROM {{outbox}}_held h
                   WHERE h.subscription = c.subscription
                     AND h.seq > c.position) AS pending,
           strftime('%Y-%m-%dT%H:%M:%fZ', c.oldest / 1e6, 'unixepoch')
               AS oldest_undelivered,
           CASE WHEN c.oldest IS NULL THEN 0.0
                ELSE max(0.0, round((julianday('now') - 2440587.5) * 86400
                                    - c.oldest / 1e6, 3)) END AS lag_s,
           c.retrying, c.waiting, c.blocked, c.scheduled, c.dead,
           c.topics, c.paused, c.owner, c.fence,
           strftime('%Y-%m-%dT%H:%M:%fZ', c.lease_expires_at / 1e6,
                    'unixepoch') AS lease_expires_at,
           c.owner IS NOT NULL AND c.lease_expires_at / 1e6
               > (julianday('now') - 2440587.5) * 86400 AS lease_live,
           strftime('%Y-%m-%dT%H:%M:%fZ', c.written_at / 1e6, 'unixepoch')
               AS written_at,
           (SELECT count(*) FROM {{outbox}}_command m
             WHERE m.subscription = c.subscription) AS commands
      FROM (SELECT b.*,
               (SELECT coalesce(max(q.seq), 0) FROM sqlite_sequence q
                 WHERE q.name = '{{outbox}}_event' COLLATE NOCASE)
                    AS last_seq,
               (SELECT count(*) FROM {{outbox}}_held h WHERE h.subscription =
                    b.subscription AND h.state = 'retrying') AS retrying,
               (SELECT count(*) FROM {{outbox}}_held h WHERE h.subscription =
                    b.subscription AND h.state = 'waiting') AS waiting,
               (SELECT count(*) FROM {{outbox}}_held h WHERE h.subscription =
                    b.subscription AND h.state = 'blocked') AS blocked,
               (SELECT count(*) FROM {{outbox}}_held h WHERE h.subscription =
                    b.subscription AND h.state = 'scheduled') AS scheduled,
               (SELECT count(*) FROM {{outbox}}_held h WHERE h.subscription =
                    b.subscription AND h.state = 'dead') AS dead,
               (SELECT min(o.at) FROM (
                    SELECT e.created_at AS at FROM {{outbox}}_event e
                     WHERE e.seq = (SELECT x.seq FROM {{outbox}}_event x
                            WHERE x.seq > b.position AND NOT EXISTS (
                                SELECT 1 FROM {{outbox}}_held h
                                 WHERE h.subscription = b.subscription
                                   AND h.seq = x.seq)
                            ORDER BY x.seq LIMIT 1)
                    UNION ALL
                    SELECT e.created_at FROM {{outbox}}_event e
                     WHERE e.seq = (SELECT min(h.seq) FROM {{outbox}}_held h
                            WHERE h.subscription = b.subscription
                              AND h.state IN ('retrying', 'waiting',
                                              'blocked'))) o) AS oldest
              FROM (SELECT * FROM {{outbox}}_cursor
                    UNION ALL
                    SELECT 'main', 0, NULL, 0, NULL, 0, NULL, NULL, 0
                     WHERE NOT EXISTS (SELECT 1 FROM {{outbox}}_cursor)) b) c;
