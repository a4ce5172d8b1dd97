"""Every interleaving of what a spec lets sessions and relays do, on a real
PostgreSQL; and proof that the specs can fail."""

import pathlib
import re

import pytest
from runner import run_given, run_order
from spec import load
from world import Failed, counts

HERE = pathlib.Path(__file__).parent
SPECS = load(HERE / "specs")
BY_NAME = {spec.name: spec for spec in SPECS}
MUTANTS = [
    line.split(maxsplit=2)
    for line in (HERE / "MUTANTS").read_text().splitlines()
    if line and line[0] != "#"
]


def run(world, spec):
    for given in spec.runs:
        run_given(world, spec, given)
    if spec.most:
        for order in spec.interleavings():
            run_order(world, spec, order)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_spec(worlds, spec):
    world = worlds.world(spec)
    world.become("")
    counts["specs"].add(spec.name)
    run(world, spec)


@pytest.mark.parametrize(
    "mutant, name, why", MUTANTS, ids=lambda text: text.replace(" ", "-")
)
def test_a_spec_fails_if_the_relay_is_wrong(worlds, mutant, name, why):
    """By the invariants alone, if they are broken; else by what the spec
    expects of its steps."""
    spec = BY_NAME[name]
    world = worlds.world(spec)
    world.become(mutant)
    with pytest.raises(Failed) as failed:
        for blind in (True, False):
            for given in spec.runs:
                run_given(world, spec, given, blind)
    world.become("")
    assert why in str(failed.value)


def test_every_mutant_is_caught_by_a_spec():
    source = (HERE / "gate.h").read_text()
    known = set(re.findall(r'X\(\w+, "([\w-]+)"\)', source))
    assert known == {mutant for mutant, _, _ in MUTANTS}


def test_there_are_enough():
    given = sum(len(spec.runs) for spec in SPECS)
    drawn = sum(len(spec.interleavings()) for spec in SPECS if spec.most)
    assert len(SPECS) >= 40
    assert given + drawn >= 400
