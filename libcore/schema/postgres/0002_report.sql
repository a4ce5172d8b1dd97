-- What the owner of a subscription says of itself, so that a look at the
-- database tells why nothing moves. It is written along with what is written
-- anyway: the renewals of the lease and the positions.
--
-- report comes last: while it stays as it is, the WAL of a renewal ends before
-- it.
ALTER TABLE {{outbox}}.cursor
    ADD COLUMN reported_at timestamptz,
    ADD COLUMN report json;

-- report_live: its author still has the lease. Else it is history.
CREATE OR REPLACE VIEW {{outbox}}.status AS
    SELECT s.*,
           c.report ->> 'reason' AS reason,
           c.report ->> 'detail' AS reason_detail,
           to_timestamp((c.report ->> 'since_us')::bigint / 1e6)
               AS reason_since,
           coalesce(s.lease_live AND c.report IS NOT NULL, false)
               AS report_live,
           c.reported_at, c.report
      FROM {{outbox}}.status_now() s
      LEFT JOIN {{outbox}}.cursor c USING (subscription);
