"""The SQL that makes an outbox, for migration tools that run it themselves.

``outtray init`` and ``outtray upgrade`` run the same. With Alembic:

    def upgrade():
        for statement in schema.statements(schema.sql("postgresql", 1)):
            op.execute(statement)
"""

from __future__ import annotations

import re
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


# What a ; may stand in: a comment, a string, a name, a body between $tags$.
_OPAQUE = re.compile(
    r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|(?P<tag>\$\w*\$).*?(?P=tag)"
    r"|(?P<end>;)",
    re.S,
)


def statements(script: str) -> list[str]:
    """A script of this module, one statement at a time: many drivers take no
    more at once. As text of SQLAlchemy (``op.execute`` of Alembic makes it
    that), or executed without parameters: a % in them is one."""
    found, start = [], 0
    for match in _OPAQUE.finditer(script):
        if match["end"] and _complete(script[start : match.end()]):
            found.append(script[start : match.end()].strip())
            start = match.end()
    return found


def _complete(statement: str) -> bool:
    """Not within the body of a trigger of SQLite."""
    if "CREATE TRIGGER" not in statement:
        return True
    return sqlite3.complete_statement(statement)
