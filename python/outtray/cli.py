"""The command ``outtray``, as a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import _core, _sqlite


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what ``outtray ARGUMENT…`` does, and return its exit status.

    It writes to the process's standard output and error, and has its own
    handlers of SIGINT, SIGTERM and SIGHUP while it runs.

    Args:
        arguments: what stands after the name of the command; default: those
            of this process.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    _sqlite.choose(required=False)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return _core.cli_main((b"outtray", *map(os.fsencode, arguments)))
