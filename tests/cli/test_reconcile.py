"""`outtray reconcile`: what was committed against what arrived."""

import contextlib
import json
import random
import re
import sqlite3
import time

import pytest
from program import whole_lines


class Ledger:
    """An outbox whose events went to a file."""

    def __init__(self, shop, folder):
        self.shop = shop
        self.file = folder / "arrived"

    def deliver(self, events):
        self.shop.load(events)
        self.shop.relay(f"file://{self.file}")
        return self.lines()

    def lines(self):
        return [json.loads(line) for line in whole_lines(self.file)]

    def write(self, lines):
        self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def judge(self, *words, status=0, **options):
        words = words or ("--arrived", self.file)
        return self.shop.run("reconcile", "--json", *words, status=status, **options)

    def numbers(self, *words, status=0, **options):
        return self.judge(*words, status=status, **options).json()


@pytest.fixture
def ledger(shop, tmp_path):
    return Ledger(shop, tmp_path)


def events(n, keys=5):
    return [{"topic": "t", "key": str(i % keys), "payload": i} for i in range(n)]


def test_all_arrived(ledger):
    ledger.deliver(events(300))
    got = ledger.numbers("--sink", f"file://{ledger.file}")
    assert got["expected"] == got["arrived"] == 300
    wrong = ("missing", "duplicates", "unknown", "out_of_order", "error_rate")
    assert all(got[name] == 0 for name in wrong), got
    told = ledger.shop.run("reconcile", "--arrived", ledger.file).stdout
    assert re.search(r"^wrong +0   missing, unknown or out of order$", told, re.M)


def test_a_file_whose_name_needs_escapes(ledger):
    ledger.shop.load(events(3))
    ledger.file = ledger.file.with_name("what arrived")
    url = f"file://{ledger.file}".replace(" ", "%20")
    ledger.shop.relay(url)
    assert ledger.numbers("--sink", url)["arrived"] == len(ledger.lines()) == 3


def test_every_fault_is_counted(ledger):
    lines = ledger.deliver(events(200))
    gone = lines[7]["id"]
    lines.insert(50, {"id": lines[3]["id"]})  # again
    lines[60], lines[65] = lines[65], lines[60]  # of one key
    del lines[7]
    newer = "7fffffff-ffff-7fff-8fff-ffffffffffff"
    lines += [{"id": newer}, {"id": newer}]
    ledger.write(lines)
    got = ledger.numbers(status=1)
    assert got["missing"] == 1 and got["expected"] == 200
    assert got["duplicates"] == 2
    assert got["unknown"] == 1
    assert got["out_of_order"] == 1
    assert got["error_rate"] == pytest.approx(3 / 200)
    kinds = {(p["kind"], p["id"]) for p in got["problems"]}
    assert {("missing", gone), ("unknown", newer)} <= kinds
    text = ledger.shop.run("reconcile", "--arrived", ledger.file, status=1).stdout
    assert f"missing {gone} (seq 8)" in text


def test_what_was_pruned_is_not_unknown(ledger):
    lines = ledger.deliver(events(10))
    lines.insert(0, {"id": "01890000-0000-7000-8000-0123456789ab"})
    ledger.write(lines)
    got = ledger.numbers()
    assert (got["unknown"], got["older_than_log"]) == (0, 1)


def test_what_waits_is_not_missing(ledger):
    ledger.deliver(events(5))
    ledger.shop.load(events(3))
    got = ledger.numbers()
    assert (got["expected"], got["not_delivered_yet"]) == (5, 3)


def test_a_part_of_the_log(ledger):
    ledger.deliver(events(20) + [{"topic": "other"}] * 5)
    ledger.write([])
    assert ledger.numbers("--arrived", "-", stdin="", status=1)["missing"] == 25
    words = ("--arrived", "-", "--from", 11, "--to", 15)
    assert ledger.numbers(*words, stdin="", status=1)["missing"] == 5
    words = ("--arrived", "-", "--topic", "other")
    assert ledger.numbers(*words, stdin="", status=1)["missing"] == 5
    words = ("--arrived", "-", "--since", "1h", "--until", "30m")
    assert ledger.numbers(*words, stdin="")["expected"] == 0
    words = ("--arrived", "-", "--since", "2020-01-01T00:00:00Z")
    assert ledger.numbers(*words, stdin="", status=1)["missing"] == 25


def test_ids_on_standard_input(ledger):
    lines = ledger.deliver(events(40))
    ids = "\n".join(line["id"].upper() for line in lines) + "\r\n\n"
    assert ledger.numbers("--arrived", "-", stdin=ids)["arrived"] == 40


def test_the_missing_are_sent_again(ledger):
    """With no relay the next one sends them, in their order."""
    lines = ledger.deliver(events(60))
    lost = lines[3:40] + lines[59:]
    kept = lines[:3] + lines[40:59]
    ledger.write(kept)
    got = ledger.numbers("--arrived", ledger.file, "--repair", status=1)
    assert got["missing"] == got["repair_asked"] == len(lost)
    assert ledger.shop.status()["held"]["retrying"] == len(lost)
    assert ledger.shop.relay(f"file://{ledger.file}")["delivered"] == len(lost)
    got = ledger.numbers(status=1)  # late is out of order
    assert (got["missing"], got["duplicates"]) == (0, 0)
    sent = [line["id"] for line in ledger.lines()[len(kept) :]]
    assert sent == [line["id"] for line in lost]


def test_the_relay_that_runs_sends_the_missing(ledger):
    lines = ledger.deliver(events(30, keys=30))
    ledger.write(lines[:-2])
    relay = ledger.shop.start("relay", "--sink", f"file://{ledger.file}")
    relay.wait_for(lambda: ledger.shop.status()["state"] == "running")
    ledger.numbers("--arrived", ledger.file, "--repair", status=1)
    relay.wait_for(lambda: len(ledger.lines()) == 30)
    relay.stop()
    assert ledger.numbers()["missing"] == 0


def test_a_topic(ledger, kafka):
    topic = kafka.topic(partitions=3)
    ledger.shop.load([{**event, "topic": topic} for event in events(500, keys=50)])
    ledger.shop.relay(kafka.url)
    got = ledger.numbers("--sink", kafka.url)
    assert got["expected"] == got["arrived"] == 500 and got["out_of_order"] == 0
    # The cursor says delivered, the topic has them not: acknowledged and lost.
    ledger.shop.load([{"topic": topic}] * 3)
    ledger.shop.relay("null:")
    got = ledger.numbers("--sink", kafka.url, "--repair", status=1)
    assert got["missing"] == 3
    ledger.shop.relay(kafka.url)
    assert ledger.numbers("--sink", kafka.url)["missing"] == 0
    ledger.shop.load([{"topic": topic + "x"}])
    ledger.shop.relay("null:")
    done = ledger.judge("--sink", kafka.url, status=78)
    assert "does not know it" in done.stderr


def test_a_topic_and_a_clock_that_is_ahead(sqlite_shop, kafka, tmp_path):
    """Then a record is older than its event."""
    ledger = Ledger(sqlite_shop, tmp_path)
    topic = kafka.topic()
    sqlite_shop.load([{**event, "topic": topic} for event in events(20)])
    ahead = time.time_ns() // 1000 + 45 * 60 * 1_000_000
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("UPDATE outtray_event SET created_at = ?", (ahead,))
        connection.commit()
    sqlite_shop.relay(kafka.url)
    got = ledger.numbers("--sink", kafka.url)
    assert got["expected"] == got["arrived"] == 20 and got["missing"] == 0
    sqlite_shop.load([{"topic": topic}] * 2)
    sqlite_shop.relay("null:")
    got = ledger.numbers("--sink", kafka.url, status=1)
    assert got["missing"] == len(got["problems"]) == 2 and got["arrived"] == 20


def test_the_folder_of_temporary_files(ledger, tmp_path):
    ledger.deliver(events(3))
    gone = {"TMPDIR": str(tmp_path / "gone")}
    done = ledger.judge(status=74, env=gone)
    assert f"in {gone['TMPDIR']}: No such file" in done.stderr
    folder = tmp_path / "here"
    folder.mkdir()
    assert ledger.numbers(env={"TMPDIR": str(folder)})["arrived"] == 3
    assert list(folder.iterdir()) == []


def test_many(ledger):
    """More than one part would hold at once, in any order."""
    lines = ledger.deliver(events(20_000, keys=1000))
    random.Random(1).shuffle(lines)
    ledger.write(lines[:-100])
    got = ledger.numbers("--limit", 5, "--arrived", ledger.file, status=1)
    assert got["missing"] == 100 and got["arrived"] == 19_900
    assert len(got["problems"]) == 5 and got["out_of_order"] > 1000


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "not said where"),
        (["--arrived", "/nowhere/x"], 74, "/nowhere/x"),
        (["--arrived", "/"], 74, "/: Is a directory"),
        (["--arrived", "-", "--since", "soon"], 2, "since"),
        (["--arrived", "-", "--from", "0"], 2, "from"),
    ],
)
def test_refusals(ledger, words, status, text):
    done = ledger.judge("--limit", 1, *words, status=status)
    assert text in done.stderr


def test_a_line_of_something_else(ledger):
    done = ledger.judge("--arrived", "-", stdin='{"name": "x"}\n', status=2)
    assert "standard input, line 1" in done.stderr
