"""`./dev demo`, the first command that a user types: it builds the program
for users, and the promises hold. No server is needed."""

import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_dev_demo():
    command = [ROOT / "dev", "demo", "--json", "--transactions", "6000"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    for name in ("lost", "ghosts", "out_of_order"):
        assert result[name] == 0, result
    assert result["committed"] > 4000
    assert result["relay_kills"] >= 5
    assert result["broker_outages"] >= 1
