"""The setting OUTTRAY, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.core.signals import setting_changed
from django.db import connections
from django.utils.module_loading import import_string

from ..errors import OuttrayError
from ..outbox import Outbox

KEYS = ("NAME", "DATABASES", "SERIALIZER", "OPTIONS")
VENDORS = ("postgresql", "sqlite")


def django_json(payload: Any) -> str:
    """JSON; dates, UUIDs, decimals and lazy texts as Django writes them."""
    return json.dumps(
        payload,
        cls=DjangoJSONEncoder,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the setting says."""

    outbox: Outbox
    databases: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.outbox.name


_configured: Configuration | None = None


def configured() -> Configuration:
    """The setting as it is; read once.

    Raises:
        ImproperlyConfigured: it is wrong.
    """
    global _configured
    if _configured is None:
        _configured = read(getattr(settings, "OUTTRAY", {}))
    return _configured


def read(setting: Any) -> Configuration:
    """A dictionary becomes a Configuration."""
    if not isinstance(setting, dict):
        raise ImproperlyConfigured("OUTTRAY must be a dictionary")
    for key in setting:
        if key not in KEYS:
            near = get_close_matches(str(key).upper(), KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {list(KEYS)}"
            raise ImproperlyConfigured(f"OUTTRAY has no {key!r}: {hint}")
    databases = setting.get("DATABASES", ("default",))
    if isinstance(databases, str) or not databases:
        raise ImproperlyConfigured('OUTTRAY["DATABASES"] must be a list of names')
    serializer = setting.get("SERIALIZER", django_json)
    try:
        if isinstance(serializer, str):
            serializer = import_string(serializer)
        outbox = Outbox(
            setting.get("NAME", "outtray"),
            serializer=serializer,
            **setting.get("OPTIONS", {}),
        )
    except (ImportError, TypeError, OuttrayError) as error:
        raise ImproperlyConfigured(f"OUTTRAY: {error}") from error
    return Configuration(outbox, tuple(databases))


def _changed(*, setting: str, **_: Any) -> None:
    global _configured
    if setting == "OUTTRAY":
        _configured = None


setting_changed.connect(_changed)


# --- the same database for the command ---

# Of OPTIONS: what libpq calls so, too. The rest is for Django or the driver.
_LIBPQ = frozenset(
    "application_name channel_binding connect_timeout gssencmode hostaddr "
    "keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname "
    "load_balance_hosts options passfile require_auth service sslcert sslcrl "
    "sslkey sslmode sslpassword sslrootcert sslsni ssl_min_protocol_version "
    "target_session_attrs tcp_user_timeout".split()
)


def store_url(alias: str) -> str:
    """The URL by which the core reaches a database of Django.

    Raises:
        ImproperlyConfigured: it cannot, and why.
    """
    conn = connections[alias]
    given = conn.settings_dict
    name = str(given["NAME"] or "")
    if conn.vendor == "sqlite":
        if conn.is_in_memory_db():
            raise ImproperlyConfigured(
                f"the database {alias!r} is in memory: only this process can reach it"
            )
        return f"sqlite:{quote(name.removeprefix('file:').partition('?')[0])}"
    if conn.vendor != "postgresql":
        raise ImproperlyConfigured(unsupported(alias))
    query = {k: str(v) for k, v in given["OPTIONS"].items() if k in _LIBPQ}
    host, port = str(given["HOST"] or ""), str(given["PORT"] or "")
    authority = ""
    if given["USER"]:
        authority = quote(given["USER"], safe="")
        if given["PASSWORD"]:
            authority += ":" + quote(given["PASSWORD"], safe="")
        authority += "@"
    if host and "/" not in host and "," not in host:
        authority += f"[{host}]" if ":" in host else host
        authority += f":{port}" if port else ""
    else:
        query |= {k: v for k, v in (("host", host), ("port", port)) if v}
    tail = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql://{authority}/{quote(name, safe='')}{tail}"


def unsupported(alias: str) -> str:
    """What is wrong with a database that can hold no outbox."""
    return (
        f"the database {alias!r} is {connections[alias].vendor}: an outbox lives in "
        "PostgreSQL or SQLite"
    )
