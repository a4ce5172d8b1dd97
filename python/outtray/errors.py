"""Every error, from the table of the core.

Made from libcore/include/outtray/error.def by bindings/errors.py; do not edit.

    OuttrayError
     +- ConfigError: A setting or a URL is wrong.
         +- Unsupported
         +- InvalidConfig
         +- InvalidUrl
     +- UsageError: The call is not allowed here.
         +- Misuse
             +- UnsupportedConnection
         +- NotInTransaction
             +- TransactionFailed
             +- ConnectionClosed
         +- Forked
     +- EventError: The event cannot be enqueued as it is.
         +- TooLarge
         +- InvalidText
         +- InvalidEvent
             +- NotSerializable
     +- StoreError: The database said no.
         +- StoreUnavailable
         +- StoreAuth
         +- StoreNoSchema
         +- StoreVersion
         +- StoreStandby
         +- StoreCondition
         +- StorePermission
         +- StoreBehind
         +- StoreBusy
         +- StoreFailed
         +- StoreFull
         +- StoreTwoCopies
         +- CommitUnknown
     +- SinkError: The broker said no.
         +- SinkUnavailable
         +- SinkMisconfigured
         +- SinkFailed
     +- StateError: Something is not as the call needs it.
         +- Interrupted
         +- LeaseHeld
         +- NotFound
         +- Exists
         +- BrokenPromise
         +- Unhealthy
     +- ResourceError: The machine gives no more of something.
         +- OutOfMemory
         +- InputOutputFailed
     +- BugError: It is the fault of outtray.
         +- Internal
"""

from __future__ import annotations

from typing import ClassVar


class OuttrayError(Exception):
    """What all errors of outtray are.

    Attributes:
        code: the number of the core, which an error keeps for ever.
        name: its name in the docs and in the output of the command.
        retryable: may the same call succeed later, with nobody changing
            anything?
        sqlstate: the database's own code, or None.
        native: the client library's own code, or 0.
        detail: all of these, and the message, as a dictionary.
    """

    code: ClassVar[int] = 0
    name: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str = "", *, sqlstate: str | None = None, native: int = 0
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.native = native

    @property
    def detail(self) -> dict[str, str | int | bool | None]:
        """All of it, for a log or an answer in JSON."""
        return {
            "name": self.name,
            "code": self.code,
            "message": str(self),
            "retryable": self.retryable,
            "sqlstate": self.sqlstate,
            "native": self.native,
        }


class ConfigError(OuttrayError):
    """A setting or a URL is wrong."""


class UsageError(OuttrayError):
    """The call is not allowed here."""


class EventError(OuttrayError):
    """The event cannot be enqueued as it is."""


class StoreError(OuttrayError):
    """The database said no."""


class SinkError(OuttrayError):
    """The broker said no."""


class StateError(OuttrayError):
    """Something is not as the call needs it."""


class ResourceError(OuttrayError):
    """The machine gives no more of something."""


class BugError(OuttrayError):
    """It is the fault of outtray."""


class OutOfMemory(ResourceError):
    """Out of memory."""

    code = -1
    name = "NOMEM"
    retryable = True


class Misuse(UsageError):
    """The call is not allowed here."""

    code = -2
    name = "MISUSE"


class Internal(BugError):
    """Internal error, please report it."""

    code = -3
    name = "INTERNAL"


class InputOutputFailed(ResourceError):
    """Input or output failed."""

    code = -4
    name = "IO"
    retryable = True


class Interrupted(StateError):
    """Interrupted."""

    code = -5
    name = "INTERRUPTED"
    retryable = True


class Unsupported(ConfigError):
    """Not built into this library."""

    code = -6
    name = "UNSUPPORTED"


class InvalidConfig(ConfigError):
    """The configuration is wrong."""

    code = -10
    name = "CONF"


class InvalidUrl(ConfigError):
    """The URL cannot be understood."""

    code = -11
    name = "URL"


class TooLarge(EventError):
    """The event is too large."""

    code = -20
    name = "TOO_LARGE"


class InvalidText(EventError):
    """The text is not UTF-8."""

    code = -21
    name = "INVALID_UTF8"


class InvalidEvent(EventError):
    """The event is not valid."""

    code = -22
    name = "INVALID_EVENT"


class NotInTransaction(UsageError):
    """No transaction is open, the event would not be atomic."""

    code = -23
    name = "NOT_IN_TRANSACTION"


class StoreUnavailable(StoreError):
    """The database cannot be reached."""

    code = -30
    name = "STORE_UNAVAILABLE"
    retryable = True


class StoreAuth(StoreError):
    """The database refused the login."""

    code = -31
    name = "STORE_AUTH"


class StoreNoSchema(StoreError):
    """There is no outbox in this database."""

    code = -32
    name = "STORE_NO_SCHEMA"


class StoreVersion(StoreError):
    """The outbox has another schema version than this program."""

    code = -33
    name = "STORE_VERSION"


class StoreStandby(StoreError):
    """The database is a standby or read-only."""

    code = -34
    name = "STORE_STANDBY"
    retryable = True


class StoreCondition(StoreError):
    """The outbox breaks a condition of ordered capture."""

    code = -35
    name = "STORE_CONDITION"


class StorePermission(StoreError):
    """The database role lacks a right."""

    code = -36
    name = "STORE_PERMISSION"


class StoreBehind(StoreError):
    """The log is behind the cursor: restored or failed over."""

    code = -37
    name = "STORE_BEHIND"


class StoreBusy(StoreError):
    """The database is busy."""

    code = -38
    name = "STORE_BUSY"
    retryable = True


class StoreFailed(StoreError):
    """The database reported an error."""

    code = -39
    name = "STORE"


class StoreFull(StoreError):
    """The database has no room left."""

    code = -40
    name = "STORE_FULL"
    retryable = True


class StoreTwoCopies(StoreError):
    """Two copies of SQLite would open one file in this process."""

    code = -41
    name = "STORE_TWO_COPIES"


class CommitUnknown(StoreError):
    """Whether the transaction was committed is not known."""

    code = -42
    name = "COMMIT_UNKNOWN"
    retryable = True


class SinkUnavailable(SinkError):
    """The broker cannot be reached."""

    code = -50
    name = "SINK_UNAVAILABLE"
    retryable = True


class SinkMisconfigured(SinkError):
    """The broker refuses the destination."""

    code = -51
    name = "SINK_MISCONFIGURED"


class SinkFailed(SinkError):
    """The broker reported an error."""

    code = -52
    name = "SINK"


class LeaseHeld(StateError):
    """Another relay owns the subscription."""

    code = -60
    name = "LEASE_HELD"
    retryable = True


class NotFound(StateError):
    """Not found."""

    code = -61
    name = "NOT_FOUND"


class Exists(StateError):
    """Exists already."""

    code = -62
    name = "EXISTS"


class Forked(UsageError):
    """A handle was used in a forked child."""

    code = -63
    name = "FORKED"


class BrokenPromise(StateError):
    """Events were lost, invented or out of order."""

    code = -64
    name = "BROKEN_PROMISE"


class Unhealthy(StateError):
    """A check failed."""

    code = -65
    name = "UNHEALTHY"
    retryable = True


class TransactionFailed(NotInTransaction):
    """An earlier statement has failed the transaction: only a rollback helps."""


class ConnectionClosed(NotInTransaction):
    """The connection is closed: nothing can be written on it."""


class UnsupportedConnection(Misuse):
    """This is no connection that outtray knows, or the wrong method for it."""


class NotSerializable(InvalidEvent):
    """The serializer does not take the payload."""


_BY_CODE: dict[int, type[OuttrayError]] = {
    -1: OutOfMemory,
    -2: Misuse,
    -3: Internal,
    -4: InputOutputFailed,
    -5: Interrupted,
    -6: Unsupported,
    -10: InvalidConfig,
    -11: InvalidUrl,
    -20: TooLarge,
    -21: InvalidText,
    -22: InvalidEvent,
    -23: NotInTransaction,
    -30: StoreUnavailable,
    -31: StoreAuth,
    -32: StoreNoSchema,
    -33: StoreVersion,
    -34: StoreStandby,
    -35: StoreCondition,
    -36: StorePermission,
    -37: StoreBehind,
    -38: StoreBusy,
    -39: StoreFailed,
    -40: StoreFull,
    -41: StoreTwoCopies,
    -42: CommitUnknown,
    -50: SinkUnavailable,
    -51: SinkMisconfigured,
    -52: SinkFailed,
    -60: LeaseHeld,
    -61: NotFound,
    -62: Exists,
    -63: Forked,
    -64: BrokenPromise,
    -65: Unhealthy,
}


def from_core(
    code: int, message: str, sqlstate: str = "", native: int = 0
) -> OuttrayError:
    """The exception for an error that the core reported."""
    known = _BY_CODE.get(code, OuttrayError)
    return known(message, sqlstate=sqlstate or None, native=native)


__all__ = [
    "BrokenPromise",
    "BugError",
    "CommitUnknown",
    "ConfigError",
    "ConnectionClosed",
    "EventError",
    "Exists",
    "Forked",
    "InputOutputFailed",
    "Internal",
    "Interrupted",
    "InvalidConfig",
    "InvalidEvent",
    "InvalidText",
    "InvalidUrl",
    "LeaseHeld",
    "Misuse",
    "NotFound",
    "NotInTransaction",
    "NotSerializable",
    "OutOfMemory",
    "OuttrayError",
    "ResourceError",
    "SinkError",
    "SinkFailed",
    "SinkMisconfigured",
    "SinkUnavailable",
    "StateError",
    "StoreAuth",
    "StoreBehind",
    "StoreBusy",
    "StoreCondition",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreNoSchema",
    "StorePermission",
    "StoreStandby",
    "StoreTwoCopies",
    "StoreUnavailable",
    "StoreVersion",
    "TooLarge",
    "TransactionFailed",
    "Unhealthy",
    "Unsupported",
    "UnsupportedConnection",
    "UsageError",
]
