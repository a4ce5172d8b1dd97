"""What --json answers has the members that --help names, and no others."""

import re

EVENT = set(
    "seq id topic key type headers created_at deliver_at payload_bytes fate held".split()
)
HELD = set(
    "state holds_key attempts next_attempt_at first_error_at last_error_at "
    "error_code error".split()
)
OPERATED = {"verb", "subscription", "dry_run", "applied"}


def documented(shop, verb, members):
    """The help of the verb names each of them."""
    text = re.sub(r"\s+", " ", shop.run("help", verb).stdout)
    told = text.partition("With --json")[2]
    for member in members:
        assert re.search(rf"\b{member}\b", told), f"{verb}: {member} in {told}"


def test_events(shop):
    made = shop.enqueue(key="k")
    (row,) = shop.run("tail", "--json").lines()
    assert set(row) == EVENT | {"in_gap"} and row["held"] is None
    shown = shop.run("show", made, "--json").json()
    assert shown == row
    with_payload = shop.run("show", made, "--json", "--payload").json()
    assert set(with_payload) == EVENT | {"in_gap", "payload"}
    documented(shop, "show", EVENT | HELD | {"in_gap", "payload", "payload_base64"})
    shop.relay("fault:?script=reject")
    (dead,) = shop.run("dead", "--json").lines()
    assert set(dead) == EVENT and set(dead["held"]) == HELD
    assert shop.run("show", made, "--json").json() == dead
    for verb in ("tail", "dead"):
        documented(shop, verb, {"show"})


def test_bytes(shop, tmp_path):
    (tmp_path / "payload").write_bytes(b"\xff\x00")
    made = shop.run("enqueue", "t", "--file", tmp_path / "payload").stdout.strip()
    shown = shop.run("show", made, "--json", "--payload").json()
    assert shown["payload_base64"] == "/wA=" and "payload" not in shown


def test_explain(shop):
    made = shop.enqueue()
    found = shop.run("explain", made, "--json").json()
    assert set(found) == {"event", "reasons", "try"}
    assert set(found["event"]) == EVENT | {"in_gap"}
    assert all(set(reason) == {"code", "text"} for reason in found["reasons"])
    documented(shop, "explain", {"reasons", "code", "text", *found})


def test_status(shop):
    found = shop.run("status", "--json").json()
    assert {"subscriptions", "obstacles"} <= set(found)
    documented(shop, "status", {"subscriptions", "obstacles", "state", "reasons"})


def test_operators(shop):
    made = shop.enqueue(key="k")
    shop.relay("fault:?script=reject")
    for verb in ("redrive", "skip"):
        found = shop.run(verb, made, "--dry-run", "--json").json()
        assert set(found) == OPERATED | {"events"} and found["verb"] == verb
        documented(shop, verb, found)
    for verb in ("pause", "resume"):
        found = shop.run(verb, "--json").json()
        assert set(found) == OPERATED and found["applied"] is True
        assert found["dry_run"] is False
    documented(shop, "pause", OPERATED)
    documented(shop, "resume", {"pause"})


def test_prune(shop):
    shop.enqueue()
    found = shop.run("prune", "--json", "--dry-run").json()
    assert set(found) == {"found", "deleted", "dry_run"}
    documented(shop, "prune", found)


def test_set_up(shop):
    found = shop.run("init", "--if-not-exists", "--json").json()
    assert set(found) == set(
        "outbox server where created schema_version app_role relay_role".split()
    )
    documented(shop, "init", found)
    found = shop.run("upgrade", "--json").json()
    assert set(found) == {"schema_version", "schema_wanted", "lines"}
    documented(shop, "upgrade", found)
    found = shop.run("drop", "--dry-run", "--json").json()
    assert set(found) == {"outbox", "events", "dropped"}
    documented(shop, "drop", found)


def test_looks(shop):
    found = shop.run("check", "--json", "--sink", "null:").json()
    assert set(found) == {"ok", "items"} and found["items"]
    item = {"item", "ok", "text", "error", "try"}
    assert all(set(one) == item for one in found["items"])
    documented(shop, "check", {*found, *item, "warning"})
    found = shop.run("doctor", "--json", status=None).json()
    assert set(found) == {"errors", "warnings", "findings"} and found["findings"]
    finding = {"check", "level", "text", "fix"}
    assert all(set(one) == finding for one in found["findings"])
    levels = {one["level"] for one in found["findings"]}
    documented(shop, "doctor", {*found, *finding, *levels})
    one = shop.run("conf", "relay.ordering", "--json").json()
    assert set(one) == {"key", "value", "source", "default", "doc"}
    assert one in shop.run("conf", "--json").lines()
    documented(shop, "conf", one)


def test_a_run(shop, tmp_path):
    found = shop.run("enqueue", "orders", "{}", "--json").json()
    assert set(found) == {"enqueued", "id"}
    assert shop.load([{"topic": "orders", "payload": ""}]) == {"enqueued": 1}
    documented(shop, "enqueue", found)
    found = shop.relay(f"file://{tmp_path}/arrived")
    assert set(found) == set(
        "delivered failed dead pruned position last_seq held seconds".split()
    )
    documented(shop, "relay", found)
    (tmp_path / "ids").write_text("")
    found = shop.run(
        "reconcile", "--json", "--arrived", tmp_path / "ids", status=1
    ).json()
    numbers = (
        "expected arrived missing duplicates unknown out_of_order "
        "not_delivered_yet older_than_log error_rate repair_asked"
    )
    assert set(found) == {*numbers.split(), "problems"}
    problem = {"kind", "id", "seq"}
    assert [set(one) for one in found["problems"]] == [problem, problem]
    documented(shop, "reconcile", {*found, *problem})
