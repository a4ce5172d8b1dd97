"""Django: an outbox in one of its databases.

    INSTALLED_APPS = [..., "outtray.django"]

    with transaction.atomic():
        order.save()
        outtray.django.enqueue("orders.created", {"id": order.pk}, key=str(order.pk))

The setting OUTTRAY is a dictionary; all of it is optional:

    NAME        schema (PostgreSQL) or table prefix (SQLite); "outtray"
    DATABASES   names of the databases with an outbox; ["default"]
    SERIALIZER  makes bytes or text of a payload: a callable, or its dotted
                name; default: JSON as DjangoJSONEncoder writes it
    OPTIONS     more arguments of outtray.Outbox
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connections

from ..outbox import Event
from .conf import configured

__all__ = ["enqueue", "enqueue_many"]


def enqueue(
    topic: str, payload: Any = None, *, using: str | None = None, **options: Any
) -> str:
    """Add one event to the transaction that is open on a database of Django.

    Args:
        using: the name of the database in DATABASES; default: the first one
            that has an outbox.
        options: as of ``Outbox.enqueue``: key, type, headers, deliver_at, id.

    Returns:
        The event id.

    Raises:
        outtray.NotInTransaction: not inside ``atomic()``. That which
            ``TestCase`` puts around a test does not count.
        outtray.TransactionFailed: an error has broken the block already.
        outtray.EventError: the event cannot be written as it is.
    """
    conf = configured()
    conn = connections[using or conf.databases[0]]
    return conf.outbox.enqueue(conn, topic, payload, **options)


def enqueue_many(events: Iterable[Event], *, using: str | None = None) -> list[str]:
    """Add many events, all of them or none; returns their ids.

    See ``Outbox.enqueue_many``; ``using`` as of ``enqueue``.

    Raises:
        outtray.EventError: its text names the event by its index in
            ``events``, from 0. Nothing was written.
    """
    conf = configured()
    return conf.outbox.enqueue_many(connections[using or conf.databases[0]], events)
