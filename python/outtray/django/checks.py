"""What ``manage.py check`` says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .. import schema
from .conf import VENDORS, Configuration, configured, unsupported
from .operations import outbox_version


def check_settings(**_: Any) -> list[CheckMessage]:
    """E001: OUTTRAY is wrong; E002: a database can hold no outbox; W003:
    requests run outside a transaction."""
    try:
        return list(_settings(configured()))
    except ImproperlyConfigured as error:
        return [Error(str(error), id="outtray.E001")]


def _settings(conf: Configuration) -> Iterator[CheckMessage]:
    for alias in conf.databases:
        if alias not in connections:
            yield Error(
                f'OUTTRAY["DATABASES"] names {alias!r}, which DATABASES does not have',
                id="outtray.E001",
            )
        elif connections[alias].vendor not in VENDORS:
            yield Error(
                unsupported(alias),
                hint='Name another one in OUTTRAY = {"DATABASES": [...]}.',
                id="outtray.E002",
            )
        elif not connections[alias].settings_dict["ATOMIC_REQUESTS"]:
            yield Warning(
                f"requests run outside a transaction on the database {alias!r}: "
                "outtray.django.enqueue raises NotInTransaction in a view that "
                "does not use transaction.atomic()",
                hint=f"Set ATOMIC_REQUESTS in DATABASES[{alias!r}], or use "
                "transaction.atomic() around the change and its event and put "
                '"outtray.W003" into SILENCED_SYSTEM_CHECKS.',
                id="outtray.W003",
            )


def check_databases(*, databases: Any = None, **_: Any) -> list[CheckMessage]:
    """W004: there is no outbox; W005: it is of an older version; W006: a file
    of SQLite is not in WAL mode; W007: transactions on it begin with a read. For
    ``check --database`` and ``migrate``, so they are warnings: migrate is what
    helps."""
    try:
        conf = configured()
    except ImproperlyConfigured:
        return []
    return [
        message
        for alias in conf.databases
        if alias in (databases or ()) and connections[alias].vendor in VENDORS
        for message in _database(alias, conf.name)
    ]


def _database(alias: str, name: str) -> Iterator[CheckMessage]:
    conn = connections[alias]
    version, newest = outbox_version(conn, name), schema.version(conn.vendor)
    if version < newest and sys.argv[1:2] == ["migrate"]:
        return  # it is being done
    if version == 0:
        yield Warning(
            f"there is no outbox {name!r} in the database {alias!r}: enqueue will fail",
            hint=f"Run `manage.py migrate outtray --database {alias}`.",
            id="outtray.W004",
        )
    elif version < newest:
        yield Warning(
            f"the outbox {name!r} in the database {alias!r} has schema version "
            f"{version}, this outtray makes {newest}",
            hint=f"Run `manage.py migrate outtray --database {alias}`.",
            id="outtray.W005",
        )
    if version and conn.vendor == "sqlite" and not conn.is_in_memory_db():
        with conn.cursor() as cursor:
            mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            yield Warning(
                f"the SQLite file of the database {alias!r} is in journal mode "
                f"{mode}: a relay refuses it, for it would block the application",
                hint="Run `PRAGMA journal_mode = WAL` on it once.",
                id="outtray.W006",
            )
        # Before Django 5.1 there is no such option.
        if getattr(conn, "transaction_mode", "IMMEDIATE") in (None, "DEFERRED"):
            yield Warning(
                f"a transaction on the SQLite file of the database {alias!r} that "
                "reads first fails at once with 'database is locked' when a relay, "
                "or another request, writes before it does",
                hint=f"Set DATABASES[{alias!r}]['OPTIONS'] = "
                '{"transaction_mode": "IMMEDIATE"}.',
                id="outtray.W007",
            )
