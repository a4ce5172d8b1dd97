"""Django: an outbox on one of its databases."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from .outbox import Outbox

_outbox = Outbox()


def enqueue(
    topic: str,
    payload: Any = None,
    *,
    using: str = DEFAULT_DB_ALIAS,
    outbox: Outbox | None = None,
    **options: Any,
) -> str:
    """Add one event to the transaction that is open on a database of Django.

    Args:
        using: the name of the database in DATABASES.
        outbox: another outbox than that of the name ``outtray``.
        options: as of ``Outbox.enqueue``: key, type, headers, …
    """
    return (outbox or _outbox).enqueue(connections[using], topic, payload, **options)
