"""The tests of what has threads find no data race."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)
def test_no_data_race():
    command = ["sh", "tests/support/tsan.sh", "short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-500:])
    assert done.returncode == 0, done.stdout + done.stderr
