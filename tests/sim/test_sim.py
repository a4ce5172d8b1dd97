"""The simulator: real engines in a world that does its worst.

SIM_SCHEDULES=n changes how many schedules are tried, SIM_SEED=n where they
begin. A schedule that breaks a promise is printed, made as short as it can be
and left in a folder of TMPDIR; put its tape into tests/seeds/ once the mistake
is found.
"""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import mutants  # noqa: E402
import simulator  # noqa: E402

SEEDS = simulator.ROOT / "tests/seeds"
SCHEDULES = int(os.environ.get("SIM_SCHEDULES", 500_000))
SEED = int(os.environ.get("SIM_SEED", 1))


@pytest.fixture(scope="session")
def quick():
    return simulator.build(simulator.ROOT / "build/sim")[0]


def start(program, *arguments):
    command = [program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(1800)
def test_many_schedules(quick):
    """Two processes, other seeds each: nothing is broken, and every state of
    the protocol is reached."""
    children = [
        start(quick, "--tapes", SEEDS, "--first", first, "--schedules", SCHEDULES)
        for first in (SEED, SEED + SCHEDULES)
    ]
    for child in children:
        output = child.communicate()[0]
        print(output[-20000:])
        assert child.returncode == 0


@pytest.mark.timeout(1800)
def test_with_sanitizers():
    """Fewer, and each block of memory is watched."""
    program = pathlib.Path(os.environ["OUTTRAY_TEST_BUILD"]) / "tests/sim"
    child = start(program, "--tapes", SEEDS, "--partly", "--schedules", 10_000)
    output = child.communicate()[0]
    print(output[-20000:])
    assert child.returncode == 0


def test_a_kept_tape_is_replayed(quick):
    """The same choices give the same schedule, word for word."""
    runs = [
        subprocess.run(
            [quick, "--seed", "77", "--verbose"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.rsplit("schedules from seed", 1)[0]
        for _ in range(2)
    ]
    assert len(runs[0].splitlines()) > 20
    assert runs[0].splitlines()[:-1] == runs[1].splitlines()[:-1]


def test_mistakes_are_caught():
    """Each known mistake is noticed: the simulator can fail."""
    survivors, count = [], 0
    for mutant, law, schedules in mutants.run():
        count += 1
        print(f"{mutant.name:28} {law or 'SURVIVED':20} {schedules:>6}")
        if law is None:
            survivors.append(mutant.name)
    assert not survivors
    assert count >= 40
