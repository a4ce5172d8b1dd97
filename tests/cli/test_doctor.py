"""What `doctor` finds beside the conditions of capture (test_mistakes.py): the
topics of recent events."""

import contextlib
import os
import re
import sqlite3


def findings(shop, *words, status=None):
    """By check: level and text. (With PostgreSQL it also tells that no relay
    runs.)"""
    found = shop.run("doctor", "--json", *words, status=status).json()
    return {f["check"]: (f["level"], f["text"]) for f in found["findings"]}


def test_topics_of_recent_events(shop, kafka):
    good, small = kafka.topic(), kafka.topic(max_message_bytes=20000)
    sink = ("--sink", kafka.url)
    assert "topics" not in findings(shop, *sink)
    for topic in (good, small):
        shop.enqueue(topic)
    found = findings(shop, *sink)
    level, text = found["topics"]
    assert level == "ok" and good in text and small in text
    level, text = found[f"topic {small}"]
    assert level == "warning" and "max.message.bytes" in text and "20000" in text
    assert f"topic {good}" not in found
    shop.enqueue("not.there")
    level, text = findings(shop, *sink, status=1)["topic not.there"]
    assert level == "FAILED" and "topic not.there on" in text
    said = shop.run("doctor", *sink, status=1).stdout
    assert "FAILED   topic not.there" in said
    assert re.search(r"try: outtray check .*--topic not\.there\n", said)
    shop.relay("null:")  # it may have been removed since: nothing waits for it
    assert findings(shop, *sink)["topic not.there"][0] == "warning"
    filtered = findings(shop, *sink, "--set", f"relay.topics={good}")
    assert filtered["topics"][1].endswith(f": {good}")
    assert not [check for check in filtered if check.startswith("topic ")]


def test_filter_of_the_subscription(shop, kafka):
    """It is in the database, so doctor need not be told."""
    word = f"orders{os.urandom(4).hex()}"  # a topic that no test has made
    shop.relay("null:", "--set", f"relay.topics={word}*")
    shop.enqueue("other")
    shop.enqueue(f"{word}.new")
    found = findings(shop, "--sink", kafka.url)
    assert f"topic {word}.new" in found and "topic other" not in found


def test_topics_that_are_held_and_many_topics(shop):
    """What waits is asked for first, however old it is."""
    shop.enqueue("held.long.ago", key="k")
    shop.relay("fault:?script=reject", "--set", "relay.on_reject=park")
    shop.load([{"topic": f"t{n % 30}", "payload": {}} for n in range(1100)])
    shop.enqueue("delivered.long.ago")
    shop.load([{"topic": f"t{n % 30}", "payload": {}} for n in range(1100)])
    shop.relay("null:")
    said = shop.run("doctor", "--json", "--sink", "null:").json()["findings"]
    asked, left = [f["text"] for f in said if f["check"] == "topics"]
    names = asked.removeprefix("can be published to: ").split(", ")
    assert names[0] == "held.long.ago" and len(names) == 20
    assert set(names[1:]) <= {f"t{n}" for n in range(30)}
    assert left.startswith("11 more")


def test_topic_that_drives_no_terminal(sqlite_shop, kafka):
    path = sqlite_shop.url.removeprefix("sqlite://")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as own:
        own.execute("INSERT INTO outtray_event (topic) VALUES ('a' || char(27))")
    said = sqlite_shop.run("doctor", "--sink", kafka.url, status=1).stdout
    assert "FAILED   topic a\\x1b" in said and "\x1b" not in said
