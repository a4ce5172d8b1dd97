"""What the migrations do: they run the SQL of the core."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.operations.base import Operation

from .. import schema
from .conf import configured, unsupported

_VERSION = {
    "postgresql": 'SELECT schema_version FROM "{0}".meta',
    "sqlite": "SELECT schema_version FROM {0}_meta",
}
_EXISTS = {
    "postgresql": "SELECT to_regclass('\"{0}\".meta') IS NOT NULL",
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE name = '{0}_meta'",
}
_UNDELIVERED = {
    "postgresql": "SELECT coalesce(sum(pending + retrying + waiting + blocked + "
    'scheduled + dead), 0) FROM "{0}".status',
    "sqlite": "SELECT coalesce(sum(pending + retrying + waiting + blocked + "
    "scheduled + dead), 0) FROM {0}_status",
}


def _value(conn: Any, sql: str, name: str) -> Any:
    with conn.cursor() as cursor:
        cursor.execute(sql.format(name))
        return cursor.fetchone()[0]


def outbox_version(conn: Any, name: str) -> int:
    """Of the schema of an outbox; 0: there is none."""
    if not _value(conn, _EXISTS[conn.vendor], name):
        return 0
    return int(_value(conn, _VERSION[conn.vendor], name))


class OutboxSchema(Operation):
    """One migration of the core, in the databases that OUTTRAY names.

    An outbox that ``outtray init`` or ``outtray upgrade`` has brought so far is
    taken as it is. Backwards, the first one removes the outbox, if nothing in
    it is undelivered; the others leave what they made, which is of no harm to an
    older program.
    """

    reduces_to_sql = True
    atomic = False  # sees to its transactions itself, for SQLite's sake

    def __init__(self, number: int) -> None:
        self.number = number

    def describe(self) -> str:
        if self.number == 1:
            return f"Create the outbox {configured().name}"
        return f"Upgrade the outbox {configured().name} to schema {self.number}"

    @property
    def migration_name_fragment(self) -> str:
        return f"outbox_{self.number}"

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Django keeps no model of it."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        conn, name = schema_editor.connection, configured().name
        if not _is_meant(conn, app_label):
            return
        if schema_editor.collect_sql:  # sqlmigrate
            self._run(schema_editor, name)
            return
        if conn.vendor == "sqlite" and not conn.in_atomic_block:
            # WAL is a property of the file; no transaction can change it.
            with conn.cursor() as cursor:
                cursor.execute("PRAGMA journal_mode = WAL")
        with transaction.atomic(using=conn.alias):
            if conn.vendor == "postgresql":
                # As `outtray init` does: the second of two waits.
                with conn.cursor() as cursor:
                    cursor.execute(
                        "SELECT pg_advisory_xact_lock("
                        "hashtextextended('outtray schema ' || %s, 0))",
                        [name],
                    )
            if outbox_version(conn, name) < self.number:
                self._run(schema_editor, name)

    def _run(self, schema_editor: Any, name: str) -> None:
        vendor = schema_editor.connection.vendor
        _execute(schema_editor, schema.sql(vendor, self.number, name))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        conn, name = schema_editor.connection, configured().name
        if self.number > 1 or not _is_meant(conn, app_label):
            return
        if not schema_editor.collect_sql:
            if outbox_version(conn, name) == 0:
                return
            with transaction.atomic(using=conn.alias):
                left = _value(conn, _UNDELIVERED[conn.vendor], name)
            if left:
                raise IrreversibleError(
                    f"undelivered events of the outbox {name!r} would be lost: "
                    f"{left}. Let a relay run until it is empty (`manage.py outtray "
                    "relay --until-empty`), or remove them yourself (`manage.py "
                    "outtray drop --yes`)"
                )
        with transaction.atomic(using=conn.alias):
            _execute(schema_editor, schema.drop_sql(conn.vendor, name))


def _is_meant(conn: Any, app_label: str) -> bool:
    from django.db import router

    if conn.alias not in configured().databases:
        return False
    if not router.allow_migrate(conn.alias, app_label):
        return False
    if conn.vendor not in _EXISTS:
        raise IrreversibleError(unsupported(conn.alias))
    return True


def _execute(schema_editor: Any, script: str) -> None:
    for statement in schema.statements(script):
        schema_editor.execute(statement, params=None)
