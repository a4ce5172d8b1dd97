"""A transactional outbox: events written in the caller's own transaction, and a
relay that publishes what was committed, at least once and in order per key.

    outbox = outtray.Outbox()
    with conn:
        conn.execute("INSERT INTO orders …")
        outbox.enqueue(conn, "orders.created", {"id": 7}, key="7")

The relay is a process of its own, ``outtray relay`` (or ``python -m outtray
relay``), or an object of this one: ``Relay``, ``AsyncRelay``.
"""

from . import errors
from ._core import version as _version
from .aio import AsyncRelay
from .errors import *  # noqa: F403
from .inbox import Inbox
from .outbox import Event, Outbox, Serializer, json_serializer
from .relay import Relay, RelayStats

__version__: str = _version()

__all__ = [
    "AsyncRelay",
    "Event",
    "Inbox",
    "Outbox",
    "Relay",
    "RelayStats",
    "Serializer",
    "__version__",
    "errors",
    "json_serializer",
    *errors.__all__,
]
