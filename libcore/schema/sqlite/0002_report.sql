-- What the owner of a subscription says of itself, so that a look at the file
-- tells why nothing moves. It is written along with what is written anyway: the
-- renewals of the lease and the positions.
ALTER TABLE {{outbox}}_cursor ADD COLUMN reported_at INTEGER;
ALTER TABLE {{outbox}}_cursor ADD COLUMN report TEXT;

-- As before, and the report. report_live: its author still has the lease; else
-- it is history.
DROP VIEW {{outbox}}_status;
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
             WHERE m.subscription = c.subscription) AS commands,
           json_extract(c.report, '$.reason') AS reason,
           json_extract(c.report, '$.detail') AS reason_detail,
           strftime('%Y-%m-%dT%H:%M:%fZ',
                    (json_extract(c.report, '$.since_us')) / 1e6, 'unixepoch')
               AS reason_since,
           c.report IS NOT NULL AND c.owner IS NOT NULL
               AND c.lease_expires_at / 1e6
               > (julianday('now') - 2440587.5) * 86400 AS report_live,
           strftime('%Y-%m-%dT%H:%M:%fZ', c.reported_at / 1e6, 'unixepoch')
               AS reported_at,
           c.report
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
                    SELECT 'main', 0, NULL, 0, NULL, 0, NULL, NULL, 0,
                           NULL, NULL
                     WHERE NOT EXISTS (SELECT 1 FROM {{outbox}}_cursor)) b) c;
