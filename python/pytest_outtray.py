"""The plugin of pytest: what the code under test has enqueued.

    def test_order(outtray_outbox):
        create_order(7)
        outtray_outbox.assert_enqueued("orders.created", key="7")

It imports outtray only when a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from outtray.testing import EnqueuedEvent, EnqueuedEvents

HELP = (
    "outtray_outbox does not know which database the code under test writes to. "
    "Override the fixture outtray_connection and return its connection, session "
    "or URL (sqlite:FILE, postgresql://…), or set outtray_store to a URL in the "
    "configuration of pytest"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("outtray_store", "URL of the database with the outbox of tests")
    parser.addini("outtray_name", "name of the outbox", default="outtray")


@pytest.fixture
def outtray_connection(request: pytest.FixtureRequest) -> Any:
    """Where events are looked for: a connection or session of the test, or a
    URL. Override it; without that it is the setting outtray_store, or the
    first database of Django with an outbox."""
    store = request.config.getini("outtray_store")
    if store:
        return store
    try:
        from django.conf import settings

        configured = settings.configured or bool(settings._setup())
    except Exception:
        configured = False
    if not configured:
        raise pytest.UsageError(HELP)
    from django.db import connections
    from outtray.django.conf import configured as outbox

    return connections[outbox().databases[0]]


@pytest.fixture
def outtray_outbox(
    outtray_connection: Any, request: pytest.FixtureRequest
) -> EnqueuedEvents:
    """The events that are enqueued from now on, in the transaction of the test
    or committed: see outtray.testing.EnqueuedEvents."""
    from outtray.testing import EnqueuedEvents

    name = request.config.getini("outtray_name")
    return EnqueuedEvents(outtray_connection, name=name)


@pytest.fixture
def assert_enqueued(outtray_outbox: EnqueuedEvents) -> Callable[..., EnqueuedEvent]:
    """outtray_outbox.assert_enqueued."""
    return outtray_outbox.assert_enqueued
