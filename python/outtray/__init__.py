"""A transactional outbox: events written in the caller's own transaction, and a
relay that publishes what was committed, at least once and in order per key.

    outbox = outtray.Outbox()
    with conn:
        conn.execute("INSERT INTO orders …")
        outbox.enqueue(conn, "orders.created", {"id": 7}, key="7")

The relay is a process of its own, ``outtray relay`` (or ``python -m outtray
relay``), or an object of this one: ``Relay``, ``AsyncRelay``.
"""

from . import errors, outcomes
from ._core import version as _version
from .aio import AsyncBatches, AsyncRelay
from .batch import Batch, BatchEvent
from .errors import *  # noqa: F403
from .inbox import Inbox
from .outbox import Event, Outbox, Serializer, json_serializer
from .outcomes import Reject, Retry
from .relay import Batches, Relay, RelayStats

__version__: str = _version()

__all__ = [
    "AsyncBatches",
    "AsyncRelay",
    "Batch",
    "BatchEvent",
    "Batches",
    "Event",
    "Inbox",
    "Outbox",
    "Reject",
    "Relay",
    "RelayStats",
    "Retry",
    "Serializer",
    "__version__",
    "errors",
    "json_serializer",
    "outcomes",
    *errors.__all__,
]
