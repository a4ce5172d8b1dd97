"""manage.py outtray VERB …: the command, on a database of Django."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.core.management.color import no_style
from django.db import DatabaseError, connections

from ....cli import main
from ...conf import configured, store_url
from ...operations import outbox_version


class Command(BaseCommand):
    """All verbs and options are those of the command ``outtray``."""

    help = (
        "The command outtray on the database of this project: relay, status, "
        "dead, redrive, init, … `manage.py outtray help` lists the verbs, "
        "`manage.py outtray VERB --help` its options. --database NAME takes "
        "another one of its databases."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--database", metavar="NAME")
        parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="VERB …")

    def run_from_argv(self, argv: list[str]) -> None:
        # Django's own options come before the verb; what follows it is ours,
        # --help and --version included.
        own = _take_database(argv[2:])
        taken: list[str] = []
        while own and own[0].startswith("-") and own[0] not in ("-h", "--help"):
            option = own.pop(0)
            taken.append(option)
            if "=" not in option and option in _WITH_VALUE and own:
                taken.append(own.pop(0))
        parser = self.create_parser(argv[0], argv[1])
        options = parser.parse_args(taken)
        if own[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return
        try:
            status = self._main(options.database, own or ["help"])
        except CommandError as error:
            self.stderr.write(f"CommandError: {error}", no_style().ERROR)
            status = error.returncode
        finally:
            connections.close_all()
        sys.exit(status)

    def handle(self, *_: Any, **options: Any) -> None:
        arguments = options["arguments"]
        status = self._main(options["database"], arguments)
        if status:
            raise CommandError(
                f"outtray {arguments[0]} ended with status {status}",
                returncode=status,
            )

    def _main(self, alias: str | None, arguments: list[str]) -> int:
        environment = dict(os.environ)
        made: str | None = None  # the database in which Django makes the outbox
        try:
            conf = configured()
            if alias is not None and alias not in connections:
                raise CommandError(f"there is no database {alias!r} in DATABASES")
            # Who has set it for this command, e.g. for a role of its own, has
            # said what is meant.
            if alias is not None or "OUTTRAY_STORE_URL" not in os.environ:
                made = alias or conf.databases[0]
                os.environ["OUTTRAY_STORE_URL"] = store_url(made)
            os.environ.setdefault("OUTTRAY_STORE_OUTBOX", conf.name)
            status = main(arguments)
            if status == _NOT_SET_UP and made and _is_missing(made, conf.name):
                self.stderr.write(
                    "In a project of Django that is `manage.py migrate`: it makes "
                    "the outbox, too.",
                    no_style().NOTICE,
                )
            return status
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        finally:
            os.environ.clear()
            os.environ.update(environment)


def _is_missing(alias: str, name: str) -> bool:
    conn = connections[alias]
    if conn.vendor == "sqlite" and not os.path.exists(conn.settings_dict["NAME"]):
        return True  # and asking would make the file
    try:
        return outbox_version(conn, name) == 0
    except DatabaseError:
        return False  # the database cannot be reached


def _take_database(arguments: list[str]) -> list[str]:
    """--database is Django's; wherever it stands, it comes before the verb."""
    for at, one in enumerate(arguments):
        if one == "--database" or one.startswith("--database="):
            end = at + (1 if "=" in one else 2)
            return arguments[at:end] + arguments[:at] + arguments[end:]
    return arguments


_NOT_SET_UP = 78  # EX_CONFIG, as the command ends where there is no outbox
_WITH_VALUE = ("--database", "--settings", "--pythonpath", "-v", "--verbosity")
