"""The models of the capture protocol, in the sizes for every day."""

import pathlib
import re
import subprocess

import pytest


@pytest.mark.timeout(1800)
def test_models():
    run = pathlib.Path(__file__).with_name("run.sh")
    done = subprocess.run([run], capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    passed, failed = map(
        int,
        re.fullmatch(
            r"(\d+) passed, (\d+) failed", done.stdout.splitlines()[-1]
        ).groups(),
    )
    assert passed > 40 and failed == 0
