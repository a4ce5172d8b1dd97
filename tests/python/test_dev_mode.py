"""The package in the interpreter's development mode: its allocators see writes
beyond a block, asyncio watches its own, and what is left open or is deprecated is
an error. A part of the tests, once more; all: PYTHONDEVMODE=1 ./dev test python."""

import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# Every adapter, and relays of each kind.
FILES = ["test_drivers", "test_inbox", "test_misuse", "test_session", "test_fastapi"]
FILES += ["test_scripted_async"]
ERRORS = ["ResourceWarning", "DeprecationWarning", "RuntimeWarning"]
# Of what __del__ or a thread warns of.
ERRORS += ["pytest.PytestUnraisableExceptionWarning"]
ERRORS += ["pytest.PytestUnhandledThreadExceptionWarning"]


def test_development_mode():
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-ra"]
    command += [f"-Werror::{name}" for name in ERRORS]
    command += ["-k", "not test_drivers or test_commit"]
    command += [str(HERE / f"{name}.py") for name in FILES]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = re.findall(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert int(passed) > 100
