"""The types that the package promises, to its own checkers and to users."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# stubtest imports every module, and those of Django want a project.
STUBTEST = """
import sys
import django
from django.conf import settings
from mypy import stubtest

contrib = [f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes")]
settings.configure(INSTALLED_APPS=[*contrib, "outtray.django"])
django.setup()
sys.exit(stubtest.test_stubs(stubtest.parse_options(sys.argv[1:])))
"""
# Django has no types, so what its metaclasses make is not known.
ALLOWED = """\
outtray\\.django\\.admin\\.UndeliveredAdmin
outtray\\.django\\.models\\.Undelivered(\\..*)?
"""
USER = """
import asyncio
import sqlite3
import uuid
from typing import assert_type

import outtray
import outtray.fastapi
import outtray.testing

conn = sqlite3.connect(":memory:")
outbox = outtray.Outbox(serializer=lambda payload: repr(payload).encode())
assert_type(outbox.enqueue(conn, "t", {"a": 1}, key="k", id=uuid.uuid4()), str)
assert_type(outbox.enqueue_many(conn, [outtray.Event("t")]), list[str])
outbox.enqueue(conn, "t", key=7)  # an error
with outtray.Inbox().once(conn, "billing", "id") as first:
    assert_type(first, bool)
with outtray.Relay("sqlite:a.db", "null:") as relay:
    assert_type(relay.stats().delivered, int)
with outtray.Relay("sqlite:a.db") as relay:

    @relay.handler("orders.*")
    def deliver(event: outtray.BatchEvent) -> None:
        raise outtray.Retry(after=1.5)

    for batch in relay.batches(max_events=10):
        for one in batch:
            assert_type(one.headers, dict[str, str])
            assert_type(one.retry(after=60), bool)
        assert_type(batch.ok(), int)
try:
    pass
except outtray.OuttrayError as error:
    assert_type(error.retryable, bool)
    assert_type(error.sqlstate, str | None)


async def go() -> None:
    assert_type(await outbox.aenqueue(conn, "t"), str)
    async with outtray.AsyncRelay("sqlite:a.db", "null:") as relay:
        await relay.run(tasks=3)
        async for batch in relay.batches():
            assert_type(batch[0].payload, bytes | None)


def test(outtray_outbox: outtray.testing.EnqueuedEvents) -> None:
    event = outtray_outbox.assert_enqueued("t")
    assert_type(event.payload, bytes | None)


lifespan = outtray.fastapi.relay("sqlite:a.db", tasks=3)


@lifespan.handler("orders.*")
async def notify(event: outtray.BatchEvent) -> None:
    assert_type(event.id, str)


asyncio.run(go())
"""


def run(*command, cwd=ROOT, **env):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_stubs(tmp_path):
    """What the stubs say of the raw modules is what they have."""
    (tmp_path / "allowed").write_text(ALLOWED)
    options = ["--mypy-config-file", "pyproject.toml", "--concise"]
    options += ["--ignore-missing-stub", "--ignore-positional-only"]
    options += ["--allowlist", str(tmp_path / "allowed")]
    status, printed = run("-c", STUBTEST, "outtray", "pytest_outtray", *options)
    assert status == 0, printed


def test_a_user(tmp_path):
    """mypy --strict finds the one mistake of a user's program."""
    (tmp_path / "shop.py").write_text(USER)
    command = ["-m", "mypy", "--strict", "--cache-dir", os.devnull, "shop.py"]
    status, printed = run(*command, cwd=tmp_path)
    number = USER[: USER.index("# an error")].count("\n") + 1
    assert f"shop.py:{number}: error: " in printed, printed
    assert "Found 1 error" in printed
