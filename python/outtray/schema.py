"""The SQL that makes an outbox, for migration tools that run it themselves.

``outtray init`` and ``outtray upgrade`` run the same. With Alembic:

    def upgrade():
        op.execute(sqlalchemy.text(outtray.schema.sql("postgresql", 1)))
"""

from __future__ import annotations

import sqlite3

from . import _core
from .errors import Unsupported

DIALECTS = {"postgresql": _core.POSTGRESQL, "sqlite": _core.SQLITE}


def _dialect(name: str) -> int:
    try:
        return DIALECTS[name]
    except KeyError:
        raise Unsupported(
            f"an outbox lives in postgresql or sqlite, not in {name}"
        ) from None


def version(dialect: str) -> int:
    """The number of the newest migration for ``"postgresql"`` or
    ``"sqlite"``."""
    return _core.schema_version(_dialect(dialect))


def sql(dialect: str, number: int, outbox: str = "outtray") -> str:
    """One migration as a script that is to be run in one transaction; they are
    numbered from 1. A file of SQLite must be in journal mode WAL, which no
    transaction can set.

    Raises:
        outtray.NotFound: there is no migration of that number.
        outtray.Misuse: ``outbox`` is no name of one.
    """
    return _core.schema_sql(_dialect(dialect), number, outbox)


def drop_sql(dialect: str, outbox: str = "outtray") -> str:
    """What removes an outbox with every event in it, delivered or not."""
    return _core.schema_drop_sql(_dialect(dialect), outbox)


def statements(script: str) -> list[str]:
    """A script for SQLite, for a driver that takes one statement at a time.
    Drivers of PostgreSQL take theirs as a whole."""
    found, lines = [], ""
    for line in script.splitlines(keepends=True):
        lines += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(lines):
            found.append(lines.strip())
            lines = ""
    return found
