"""What the admin shows: events that are not delivered yet, or never will be."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.sql import Query
from django.db.models.sql.datastructures import BaseTable

from .conf import configured

#: So many pending events are shown; the rest comes after them.
MOST_PENDING = 10_000

_COLUMNS = (
    "subscription, seq, event_id, topic, key, type, headers, payload_bytes, "
    "created_at, state, attempts, next_attempt_at, last_error_at, error"
)
_POSTGRESQL = """
    SELECT c.subscription, e.seq, e.id::text, e.topic, e.key, e.type,
           e.headers::text, octet_length(e.payload), e.created_at, 'pending',
           0, e.deliver_at, NULL::timestamptz, NULL
      FROM (SELECT subscription, position FROM "{0}".cursor UNION ALL
            SELECT 'main', 0 WHERE NOT EXISTS (SELECT FROM "{0}".cursor)) c
     CROSS JOIN LATERAL (
            SELECT * FROM "{0}".event t
             WHERE t.seq > c.position AND NOT EXISTS (
                    SELECT FROM "{0}".held h WHERE h.seq = t.seq
                       AND h.subscription = c.subscription)
             ORDER BY t.seq LIMIT {1}) e
    UNION ALL
    SELECT h.subscription, h.seq, e.id::text, h.topic, h.key, e.type,
           e.headers::text, octet_length(e.payload), e.created_at, h.state,
           h.attempts, h.next_attempt_at, h.last_error_at, h.error
      FROM "{0}".held h LEFT JOIN "{0}".event e USING (seq)
     WHERE h.state <> 'skipped'"""
# Times are microseconds there. %% because Django's cursor reads %s.
_SQLITE = """
    SELECT * FROM (
        SELECT c.subscription, e.seq, e.id, e.topic, e.key, e.type, e.headers,
               length(CAST(e.payload AS BLOB)), {created}, 'pending', 0,
               {deliver}, NULL, NULL
          FROM (SELECT subscription, position FROM {0}_cursor UNION ALL
                SELECT 'main', 0 WHERE NOT EXISTS (SELECT 1 FROM {0}_cursor)) c
          JOIN {0}_event e ON e.seq > c.position
         WHERE NOT EXISTS (SELECT 1 FROM {0}_held h WHERE h.seq = e.seq
                              AND h.subscription = c.subscription)
         ORDER BY e.seq LIMIT {1})
    UNION ALL
    SELECT h.subscription, h.seq, e.id, e.topic, e.key, e.type, e.headers,
           length(CAST(e.payload AS BLOB)), {created}, h.state, h.attempts,
           {next}, {last}, h.error
      FROM {0}_held h LEFT JOIN {0}_event e ON e.seq = h.seq
     WHERE h.state <> 'skipped'"""


def _moment(column: str) -> str:
    return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', {column} / 1e6, 'unixepoch')"


def undelivered_sql(vendor: str, name: str) -> str:
    """The rows of the model ``Undelivered``."""
    if vendor == "postgresql":
        rows = _POSTGRESQL.format(name, MOST_PENDING)
        joined = "subscription || ':' || seq"
    else:
        rows = _SQLITE.format(
            name,
            MOST_PENDING,
            created=_moment("e.created_at"),
            deliver=_moment("e.deliver_at"),
            next=_moment("h.next_attempt_at"),
            last=_moment("h.last_error_at"),
        )
        joined = "subscription || ':' || CAST(seq AS TEXT)"
    return (
        f"(WITH rows({_COLUMNS}) AS ({rows}) SELECT {joined} AS id, {_COLUMNS} "
        "FROM rows)"
    )


class _Rows(BaseTable):
    """Stands in FROM where a table would."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        alias = connection.ops.quote_name(self.table_alias)
        sql = undelivered_sql(connection.vendor, configured().name)
        return f"{sql} {alias}", []


class _RowsQuery(Query):
    base_table_class = _Rows


class UndeliveredManager(models.Manager):
    """Reads the outbox that is in the database of the query."""

    def get_queryset(self) -> Any:
        return models.QuerySet(self.model, _RowsQuery(self.model), self._db)


class Undelivered(models.Model):
    """An event that a subscription has not delivered: pending (at most the
    oldest 10,000 are shown), held with its reason, or dead.

    Read-only, and no table of its own: the outbox is what is read.
    """

    class State(models.TextChoices):
        PENDING = "pending", "pending"
        RETRYING = "retrying", "retrying"
        WAITING = "waiting", "waiting for its destination"
        BLOCKED = "blocked", "blocked behind its key"
        SCHEDULED = "scheduled", "scheduled"
        DEAD = "dead", "dead"

    id = models.CharField(primary_key=True, max_length=90, editable=False)
    subscription = models.CharField(max_length=63)
    seq = models.BigIntegerField()
    event_id = models.CharField("event", max_length=36, null=True)
    topic = models.CharField(max_length=249, null=True)
    key = models.CharField(max_length=1024, null=True)
    type = models.CharField(max_length=255, null=True)
    headers = models.TextField(null=True)
    payload_bytes = models.BigIntegerField("payload, bytes", null=True)
    created_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=9, choices=State.choices)
    attempts = models.IntegerField()
    next_attempt_at = models.DateTimeField(null=True)
    last_error_at = models.DateTimeField(null=True)
    error = models.TextField(null=True)

    objects = UndeliveredManager()

    class Meta:
        managed = False
        db_table = "outtray_undelivered"
        default_permissions = ("view",)
        permissions = [("redrive_undelivered", "Can send dead events again")]
        verbose_name = "undelivered event"
        verbose_name_plural = "undelivered events"

    def __str__(self) -> str:
        return f"{self.topic} {self.event_id}"
