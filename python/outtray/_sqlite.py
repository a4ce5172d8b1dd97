"""Which copy of SQLite the core uses: the interpreter's own.

Two copies of SQLite that open one file in one process lose data without an
error, because locks of POSIX belong to the process. So the core has none of
its own and is shown the one that the module ``sqlite3`` calls; a test with a
scratch database proves that their locks see each other.
"""

from __future__ import annotations

import os
import tempfile
import threading

from . import _core
from .errors import OuttrayError, Unsupported

_lock = threading.Lock()
_chosen = False
_problem: OuttrayError | None = None


def choose(required: bool) -> None:
    """Show the core the copy, once in a process.

    Args:
        required: is a SQLite file about to be opened? Only then what is wrong
            is an error.
    """
    global _chosen, _problem
    with _lock:
        if not _chosen:
            try:
                _show()
            except OuttrayError as error:
                _problem = error
            _chosen = True
    if required and _problem is not None:
        raise _problem


def _show() -> None:
    try:
        import _sqlite3
        import sqlite3
    except ImportError as error:
        raise Unsupported("this Python has no module sqlite3") from error
    path = getattr(_sqlite3, "__file__", None)
    if path is not None:
        _core.sqlite_use_loaded(path)
    # An interpreter with the module inside: its SQLite is found as the
    # program's own, and the test below tells whether it is.
    with tempfile.TemporaryDirectory(prefix="outtray-") as folder:
        scratch = os.path.join(folder, "test.db")
        conn = sqlite3.connect(scratch, isolation_level=None)
        try:
            conn.execute("BEGIN IMMEDIATE")
            _core.sqlite_lock_test(scratch)
            conn.execute("ROLLBACK")
        finally:
            conn.close()
