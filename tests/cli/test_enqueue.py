"""Events from the command line."""

import base64
import json
import re
import uuid

import pytest

UUID7 = re.compile(
    r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
)


def test_one_event(shop):
    made = shop.enqueue(
        "orders", '{"id": 7}', key="7", type="OrderCreated", header="a=b=c"
    )
    assert UUID7.match(made)
    (event,) = shop.events()
    assert event["id"] == made
    assert event["topic"] == "orders"
    assert event["key"] == "7"
    assert event["type"] == "OrderCreated"
    assert event["headers"] == {"a": "b=c"}
    assert event["payload"] == '{"id": 7}'
    assert event["payload_bytes"] == 9
    assert event["fate"] == "pending"


def test_payloads(shop, tmp_path):
    (tmp_path / "payload").write_bytes(b"\x00\xff bytes")
    shop.run("enqueue", "t", "-", stdin="from standard input\n")
    shop.run("enqueue", "t", "--file", "payload")
    shop.run("enqueue", "t", "--file", "-", stdin=b"\xfe")
    shop.run("enqueue", "t", "")
    shop.run("enqueue", "t")
    shop.run("enqueue", "t", "--", "--dashes")
    events = shop.events()
    assert events[0]["payload"] == "from standard input\n"
    assert base64.b64decode(events[1]["payload_base64"]) == b"\x00\xff bytes"
    assert base64.b64decode(events[2]["payload_base64"]) == b"\xfe"
    assert events[3]["payload"] == ""
    assert events[4]["payload"] is None
    assert events[5]["payload"] == "--dashes"
    raw = shop.run("show", events[0]["id"], "--raw").stdout
    assert raw == "from standard input\n"


def test_given_id_and_time(shop):
    mine = str(uuid.uuid4())
    assert shop.enqueue(id=mine.upper()).lower() == mine
    shop.enqueue(deliver_at="2040-01-02T03:04:05Z")
    shop.enqueue(deliver_at="+2h")
    events = shop.events()
    assert events[0]["id"] == mine
    assert events[0]["deliver_at"] is None
    assert events[1]["deliver_at"].startswith("2040-01-02T03:04:05")
    assert events[2]["deliver_at"] > events[2]["created_at"]


def test_json_answer(shop):
    made = shop.run("enqueue", "t", "x", "--json").json()
    assert made["enqueued"] == 1 and UUID7.match(made["id"])


@pytest.mark.parametrize(
    "typed, status, said",
    [
        ([], 2, "an argument is missing"),
        (["t", "x", "y"], 2, "one argument too many: y"),
        (["t", "x", "--file", "f"], 2, "PAYLOAD and --file are both given"),
        (["t", "--file", "missing"], 74, "missing: No such file"),
        (["t", "x", "--header", "nothing"], 2, "--header nothing: not NAME=VALUE"),
        (["t", "x", "--header", "a=1", "--header", "a=2"], 2, "a is given twice"),
        (["t", "x", "--header", "outtray-id=1"], 65, "outtray-id"),
        (["t", "x", "--deliver-at", "tomorrow"], 2, "--deliver-at tomorrow"),
        (["t", "x", "--id", "7"], 65, "id: not a UUID"),
        (["", "x"], 65, "topic: it is empty"),
        (["t" * 250, "x"], 65, "topic: 250 bytes"),
        (["t", "x" * 1001, "--enqueue.max_payload_bytes", "1000"], 65,
         "payload: 1001 bytes, at most 1000"),
        (["t", b"x".decode(), "--key", b"\xff"], 65, "key: not UTF-8"),
    ],
)  # fmt: skip
def test_refused(sqlite_shop, typed, status, said):
    import subprocess

    program = sqlite_shop.program
    words = [w if isinstance(w, bytes) else w.encode() for w in typed]
    done = subprocess.run(
        [program.path.encode(), b"enqueue", *words],
        cwd=program.folder,
        env=program.environment(),
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (status, b"")
    first = done.stderr.decode().splitlines()[0]
    assert first.startswith("outtray: enqueue: ") and said in first
    assert sqlite_shop.events() == []


def test_too_large_input(sqlite_shop):
    failed = sqlite_shop.run("enqueue", "t", "-", stdin="x" * 2_000_000, status=65)
    assert "921600 bytes" in failed.stderr
    assert sqlite_shop.events() == []


def test_many_members(shop):
    made = str(uuid.uuid4())
    lines = [
        '{"topic": "t", "key": "k", "type": "T", "headers": {"h": "v"},'
        f' "payload": "text é\\u0000", "id": "{made}"}}',
        '  { "payload" : { "n" : 1.10, "big": 123456789012345678901234567890,'
        ' "s": "}]\\"" } , "topic":"t" }',
        '{"topic":"t","payload":[1, 2,{"a":[]}]}',
        '{"topic":"t","payload":12.50}',
        '{"topic":"t","payload":null}',
        '{"topic":"t"}',
        "",
        '{"topic":"t","payload_base64":"AP8="}\r',
        '{"topic":"t","payload":"last","deliver_at":"+1h"}',
    ]
    done = shop.run("enqueue", "--ndjson", "--json", stdin="\n".join(lines))
    assert done.json() == {"enqueued": 8}
    events = shop.events()
    assert events[0]["id"] == made
    assert events[0]["headers"] == {"h": "v"}
    assert events[0]["payload"] == "text é\0"
    assert events[1]["payload"] == (
        '{ "n" : 1.10, "big": 123456789012345678901234567890, "s": "}]\\"" }'
    )
    assert events[2]["payload"] == '[1, 2,{"a":[]}]'
    assert events[3]["payload"] == "12.50"
    assert events[4]["payload"] is None
    assert events[5]["payload"] is None
    assert events[6]["payload_base64"] == "AP8="
    assert events[7]["deliver_at"]


@pytest.mark.parametrize(
    "line, said",
    [
        ('{"topic": "t"', "not JSON"),
        ('["t"]', "not an object"),
        ('{"payload": 1}', "topic: it is missing"),
        ('{"topic": 7}', "topic: not a string"),
        ('{"topic": ""}', "topic: it is empty"),
        ('{"topic": "t", "kye": "1"}', "kye: unknown member, did you mean key?"),
        ('{"topic": "t", "key": 7}', "key: not a string"),
        ('{"topic": "t", "key": "a\\u0000"}', "key: a NUL at byte 1"),
        ('{"topic": "t", "topic": "u"}', "duplicate"),
        ('{"topic": "t", "headers": []}', "headers: not an object"),
        ('{"topic": "t", "headers": {"a": 1}}', "headers"),
        ('{"topic": "t", "payload": 1, "payload_base64": ""}', "payload_base64"),
        ('{"topic": "t", "payload_base64": "A"}', "not a string of base64"),
        ('{"topic": "t", "payload_base64": "AB=="}', "not a string of base64"),
        ('{"topic": "t", "deliver_at": "then"}', "deliver_at"),
        ('{"topic": "t", "id": "7"}', "id: not a UUID"),
        ('{"topic": "t", "payload": "' + "x" * 1_000_000 + '"}', "payload: 1000000 by"),
    ],
    ids=range(17),
)
def test_a_bad_line_undoes_all(sqlite_shop, line, said):
    good = '{"topic":"t"}\n'
    text = good * 1500 + line + "\n" + good
    failed = sqlite_shop.run("enqueue", "--ndjson", stdin=text, status=65)
    first, second = failed.stderr.splitlines()
    assert first.startswith("outtray: enqueue: line 1501: ") and said in first
    assert "nothing was enqueued" in second
    assert sqlite_shop.events() == []


def test_a_bad_line_undoes_all_here_too(shop):
    text = '{"topic":"t"}\n' * 2500 + "{}\n"
    failed = shop.run("enqueue", "--ndjson", stdin=text, status=65)
    assert "line 2501: topic" in failed.stderr
    assert shop.status()["pending"] == 0


def test_twice_the_same_id(shop):
    """Within one statement, and over two."""
    twin = json.dumps({"topic": "t", "id": str(uuid.uuid4())}) + "\n"
    failed = shop.run("enqueue", "--ndjson", stdin=twin * 2, status=65)
    assert "lines 1 to 2" in failed.stderr and "id" in failed.stderr
    assert shop.status()["pending"] == 0


def test_100_000_lines(shop):
    text = "".join(
        f'{{"topic":"orders","key":"{n % 100}","payload":{{"n":{n}}}}}\n'
        for n in range(100_000)
    )
    done = shop.run("enqueue", "--ndjson", stdin=text, seconds=100)
    assert done.stdout == "100,000 events enqueued\n"
    assert shop.status()["last_seq"] >= 100_000
    events = shop.run("tail", "-n", 10, "--json", "--payload").lines()
    assert [event["payload"] for event in events] == [
        f'{{"n":{n}}}' for n in range(99_990, 100_000)
    ]


def test_no_outbox(outtray, store_url):
    outtray.env["OUTTRAY_STORE_URL"] = store_url
    for words in (["enqueue", "t", "x"], ["enqueue", "--ndjson"], ["status"]):
        failed = outtray.run(*words, stdin='{"topic":"t"}\n', status=78)
        assert len(failed.stderr.splitlines()) == 2
        assert failed.stderr.splitlines()[1] == "try: outtray init"
