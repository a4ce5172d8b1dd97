"""What the command line says about itself, and about typing errors."""

import re

import pytest

VERBS = """init upgrade drop check doctor conf enqueue relay status show explain
tail dead redrive skip pause resume reconcile prune help version""".split()


def test_overview(outtray):
    text = outtray.run("--help").stdout
    listed = re.findall(r"^  ([a-z]+) {2,}\S", text, re.M)
    assert set(VERBS) <= set(listed)
    for verb in listed:
        assert outtray.run(verb, "--help").stdout.startswith(f"outtray {verb}: ")
    assert outtray.run(status=2).stdout == text
    assert outtray.run("help").stdout == text


@pytest.mark.parametrize("verb", VERBS)
def test_verb(outtray, verb):
    text = outtray.run(verb, "--help").stdout
    assert text == outtray.run("help", verb).stdout
    assert f"\nusage: outtray {verb}" in text
    example = text.partition("\nexample\n")[2].partition("\nexit status\n")
    assert f"  outtray {verb}" in example[0]
    assert re.match(r" +0  done\n", example[2])
    # No configuration can keep help from helping.
    broken = {"OUTTRAY_CONFIG": "/nonexistent", "OUTTRAY_NO_SUCH": "1"}
    assert outtray.run(verb, "--help", env=broken).stdout == text


def test_lines_fit(outtray):
    for verb in VERBS:
        for line in outtray.run("help", verb).stdout.splitlines():
            if "outtray init --store postgresql" not in line:  # an example
                assert len(line) <= 80, line


@pytest.mark.parametrize(
    "typed, said, tried",
    [
        (["inti"], "unknown verb inti, did you mean init?", "outtray --help"),
        (["stat"], "unknown verb stat, did you mean status?", "outtray --help"),
        (["xyzzy"], "unknown verb xyzzy", "outtray --help"),
        (["help", "realy"], "help: there is no verb realy, did you mean relay?",
         "outtray help relay"),
        (["relay", "--until-emtpy"],
         "relay: unknown option --until-emtpy, did you mean --until-empty?",
         "outtray relay --help"),
        (["init", "--sotre", "x"],
         "init: unknown option --sotre, did you mean --store?",
         "outtray init --help"),
        (["init", "-x"], "init: unknown option -x", "outtray init --help"),
        (["check", "--sink", "null:", "--timeout", "1"],
         "check: --timeout 1: not a duration", "outtray check --help"),
        (["demo", "-kills", "5"],
         "demo: unknown option -kills, did you mean --kills?",
         "outtray demo --help"),
        (["status", "-watch", "2"],
         "status: unknown option -watch, did you mean --watch?",
         "outtray status --help"),
        (["init", "--store"], "init: --store needs a value: URL",
         "outtray init --help"),
        (["init", "--unique-ids=1"], "init: --unique-ids takes no value",
         "outtray init --help"),
        (["conf", "--relay.ordring", "key"],
         "conf: relay.ordring: unknown key, did you mean relay.ordering?",
         "outtray conf"),
        (["conf", "--set", "relay.ordering"],
         "conf: --set relay.ordering: not KEY=VALUE", "outtray conf --help"),
        (["conf", "a", "b"], "conf: one argument too many: b",
         "outtray conf --help"),
        (["show"], "show: an argument is missing: ID|SEQ",
         "outtray show --help"),
        (["tail", "-n", "many"],
         "tail: --lines many: not a whole number from 1 to 10000",
         "outtray tail --help"),
        (["prune", "--older-than", "soon"],
         "prune: --older-than soon: not a duration", "outtray prune --help"),
        (["redrive"], "redrive: say which: event ids", "outtray redrive --help"),
        (["upgrade", "--plan", "--sql"], "upgrade: --plan, --sql and --check",
         "outtray upgrade --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_typing_errors(outtray, typed, said, tried):
    result = outtray.run(*typed, status=2, env={"OUTTRAY_CONFIG": ""})
    first, second = result.stderr.splitlines()
    assert first.startswith(f"outtray: {said}")
    assert second.startswith(f"try: {tried}")
    assert result.stdout == ""


def test_version(outtray):
    assert outtray.run("version").stdout.startswith("outtray 0.")
    assert outtray.run("--version").stdout == outtray.run("version").stdout
    found = outtray.run("version", "--json").json()
    assert found["version"] == found["compiled"]
    assert found["libraries"]["sqlite"]["loaded"].startswith("3.")
    assert found["libraries"]["libpq"]["loaded"]


def test_manual_is_groff(outtray):
    known = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".RS", ".RE",
             ".nf", ".fi", '.\\"'}  # fmt: skip
    for line in outtray.run("help", "--man").stdout.splitlines():
        assert not line.startswith("'")
        if line.startswith("."):
            assert line.split()[0] in known, line
