SELECT subscription, alarm, detail
  FROM outtray.status, LATERAL (VALUES
    ('late', lag > interval '5 minutes',
     format('the oldest of %s waits for %s', pending, lag)),
    ('dead', dead > 0,
     format('%s given up on: outtray dead', dead)),
    ('no relay', NOT lease_live AND NOT paused AND pending > 0,
     format('%s wait, and no relay owns the subscription', pending)),
    ('stalled', report_live AND reason NOT IN ('none', 'limit', 'paused')
                AND reason_since < now() - interval '1 minute',
     format('%s: %s', reason, reason_detail)),
    ('paused', paused,
     format('%s wait for outtray resume', pending))
  ) AS a (alarm, fires, detail)
 WHERE fires;
