"""Long work tells a person how far it is, and nobody else."""

import json

from program import on_terminal

LINES = 100_000


def last(seen, what):
    """The last that was drawn of what; each is drawn over the one before."""
    drawn = [part for part in seen.split("\r") if what in part]
    assert drawn, seen[-2000:]
    return drawn[-1]


def test_enqueue_prune(sqlite_shop, tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text('{"topic": "t"}\n' * LINES)
    program = sqlite_shop.program
    with file.open() as lines:
        seen = on_terminal(program, "enqueue", "--ndjson", stdin=lines)
    assert last(seen, " events\x1b[K")
    assert "100,000 events enqueued" in seen
    with file.open() as lines:
        quiet = on_terminal(program, "enqueue", "--ndjson", "-q", stdin=lines)
    assert "\r" not in quiet
    sqlite_shop.relay("null:", "--prune.enabled", "off")
    words = ["prune", "--older-than", "0s", "--prune.batch", 50_000, "--prune.pause_ms"]
    seen = on_terminal(program, *map(str, words), "1ms")
    assert last(seen, "counting: 200,000")
    assert last(seen, "200,000 of 200,000")
    assert "200,000 deleted" in seen


def test_redrive(sqlite_shop):
    sqlite_shop.load([{"topic": "t"} for _ in range(2500)])
    sqlite_shop.relay("fault:?script=reject@topic=t")
    assert sqlite_shop.status()["held"]["dead"] == 2500
    seen = on_terminal(sqlite_shop.program, "redrive", "--all", "--yes")
    assert last(seen, "2500 of 2500")
    silent = sqlite_shop.run("redrive", "--all", "--yes", "--json")
    assert silent.stderr == "" and json.loads(silent.stdout)["events"] == 0
