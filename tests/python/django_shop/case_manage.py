"""What manage.py does. One process and one database, so each test cleans up."""

import contextlib
import json
import sqlite3
import subprocess
import sys

import django
import outtray.django
import pytest
from django.core.management import CommandError, ManagementUtility, call_command
from django.db import OperationalError, connection, transaction
from django.test import Client

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from outtray import schema  # noqa: E402
from outtray.django.models import Undelivered  # noqa: E402
from outtray.django.operations import outbox_version  # noqa: E402

SQLITE = connection.vendor == "sqlite"


@pytest.fixture
def manage(capfd, monkeypatch):
    """manage.py ARGUMENT…: what it printed."""

    def run(*arguments, status=0):
        capfd.readouterr()
        ended = 0
        monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
        try:
            ManagementUtility(["manage.py", *arguments]).execute()
        except SystemExit as end:
            ended = end.code or 0
        sys.stdout.flush()
        printed = "".join(capfd.readouterr())
        assert ended == status, printed
        return printed

    yield run
    if outbox_version(connection, "outtray"):
        run("outtray", "drop", "--yes")
    run("migrate", "outtray", "zero", "-v0")


def enqueue():
    with transaction.atomic():
        outtray.django.enqueue("orders.created", {"n": 1}, key="7")


def has_outbox():
    return outbox_version(connection, "outtray") > 0


def pending(manage, *arguments):
    status = json.loads(manage("outtray", *arguments, "status", "--json"))
    return status["subscriptions"][0]["pending"]


def test_migrations(manage):
    manage("makemigrations", "--check")
    assert "Create the outbox outtray" in manage("migrate", "outtray", "--plan")
    assert not has_outbox()
    sql = manage("sqlmigrate", "outtray", "0001")
    assert "CREATE VIEW" in sql
    assert "outtray.W004" in manage("check", "--database", "default")
    assert "`manage.py migrate`" in manage("outtray", "status", status=78)
    assert "Create the outbox" not in manage("migrate", "outtray")
    assert outbox_version(connection, "outtray") == schema.version(connection.vendor)
    assert "W004" not in manage("check", "--database", "default")
    assert "FAILED" not in manage("outtray", "doctor")

    # An older one is told, and brought forward.
    manage("migrate", "outtray", "0001")
    manage("outtray", "drop", "--yes")
    manage("migrate", "outtray", "zero", "--fake")
    manage("migrate", "outtray", "0001")
    assert outbox_version(connection, "outtray") == 1
    assert "outtray.W005" in manage("check", "--database", "default")
    assert "W005" not in manage("migrate", "outtray")
    assert outbox_version(connection, "outtray") == schema.version(connection.vendor)

    # Back: not while an event would be lost.
    enqueue()
    with pytest.raises(Exception, match="'outtray' would be lost: 1"):
        manage("migrate", "outtray", "zero")
    assert has_outbox()
    printed = manage("outtray", "relay", "--sink", "stdout:", "--until-empty")
    assert '"key":"7"' in printed
    assert "outbox" in manage("migrate", "outtray", "zero", "--plan")
    assert has_outbox()
    assert "DROP" in manage("sqlmigrate", "outtray", "0001", "--backwards")
    manage("migrate", "outtray", "zero")
    assert not has_outbox()
    manage("migrate", "outtray")
    assert has_outbox()
    assert pending(manage) == 0


def test_an_outbox_that_is_there(manage):
    """Made and removed by the command, around the migrations."""
    manage("outtray", "init")
    manage("migrate", "outtray")
    enqueue()
    manage("outtray", "init", status=73)
    assert pending(manage) == 1
    manage("outtray", "drop", "--yes")
    assert not has_outbox()
    manage("migrate", "outtray", "zero")


@pytest.mark.skipif(not SQLITE, reason="WAL is of SQLite")
def test_not_in_wal_mode(manage):
    manage("migrate", "outtray")
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = DELETE")
    assert "outtray.W006" in manage("check", "--database", "default")
    assert "W006" in manage("migrate", "outtray")


@pytest.mark.skipif(not SQLITE, reason="PostgreSQL has no modes of BEGIN")
def test_transactions_that_read_first(manage):
    """A write between their read and their write fails them, whatever the timeout."""
    manage("migrate", "outtray")
    options = connection.settings_dict["OPTIONS"]

    def another():
        file = sqlite3.connect(connection.settings_dict["NAME"], timeout=0.1)
        with contextlib.closing(file), file:
            outtray.Outbox().enqueue(file, "orders.other", b"")

    def attempt():
        connection.close()
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM outtray_event")
            another()
            outtray.django.enqueue("orders.created", b"")

    try:
        assert "outtray.W007" in manage("check", "--database", "default")
        with pytest.raises(OperationalError, match="locked"):
            attempt()
        if django.VERSION >= (5, 1):
            options["transaction_mode"] = "IMMEDIATE"
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                attempt()  # now it is the other one that waits
            assert "W007" not in manage("check", "--database", "default")
    finally:
        options.clear()
        connection.close()


@pytest.mark.skipif(SQLITE, reason="SQLite has no schema for others to use")
def test_what_is_not_ours(manage):
    """A table that somebody put into the schema survives."""
    manage("migrate", "outtray")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE outtray.mine (n int)")
    manage("migrate", "outtray", "zero")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM outtray.mine")
        cursor.execute("DROP SCHEMA outtray CASCADE")


def test_the_command(manage, monkeypatch, tmp_path):
    manage("migrate", "outtray")
    enqueue()
    assert pending(manage) == 1
    assert "usage: " in manage("outtray", "--help")
    assert "--watch" in manage("outtray", "status", "--help")
    assert "outtray VERB" in manage("outtray")
    assert "in memory" in manage("outtray", "--database", "other", "status", status=1)
    assert "no database 'x'" in manage("outtray", "--database=x", "status", status=1)
    assert "migrate" not in manage("outtray", "stats", status=2)
    # As a function; it raises what the command would exit with.
    call_command("outtray", "status", "--json")
    with pytest.raises(CommandError) as caught:
        call_command("outtray", "show", "99")
    assert caught.value.returncode == 66
    assert "in memory" in manage("outtray", "status", "--database=other", status=1)
    # Somebody's own URL, as of a role that relays, is kept.
    monkeypatch.setenv("OUTTRAY_STORE_URL", f"sqlite:{tmp_path}/x.db")
    assert f"{tmp_path}/x.db" in manage("outtray", "status", status=78)
    assert pending(manage, "--database", "default") == 1
    assert "pending   1" in manage("outtray", "status", "--database", "default")
    monkeypatch.delenv("OUTTRAY_STORE_URL")


def test_redrive_in_the_admin(manage):
    manage("migrate", "-v0")
    enqueue()
    manage("outtray", "relay", "--sink", "fault:?script=reject", "--until-empty")
    User.objects.create_superuser("boss")
    client = Client()
    client.force_login(User.objects.get())
    one = Undelivered.objects.get()
    assert (one.state, one.attempts) == ("dead", 1)
    assert one.error
    data = {"action": "redrive", "_selected_action": [one.pk]}
    page = client.post("/admin/outtray/undelivered/", data, follow=True)
    assert b"1 event will be sent again, when a relay runs again." in page.content

    # Beside a relay that runs.
    relay = [sys.executable, "manage.py", "outtray", "relay", "--sink", "stdout:"]
    with subprocess.Popen(relay, stdout=subprocess.PIPE, text=True) as running:
        assert '"key":"7"' in running.stdout.readline()
        while Undelivered.objects.exists():
            pass
        running.terminate()
        assert running.wait(30) == 0
