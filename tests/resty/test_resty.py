"""outtray in nginx: an order and its event, whatever becomes of the request."""

import time

import pytest


@pytest.fixture(scope="module", params=[False, True], ids=["", "gc"])
def collect(request):
    return request.param


def events(query, topic="orders.created"):
    rows = query(f"SELECT id::text, key FROM outtray.event WHERE topic = '{topic}'")
    return {key: event_id for event_id, key in rows}


@pytest.mark.parametrize("builder", ["c", "lua"])
def test_an_order_and_its_event(shop, builder):
    nginx, query = shop
    n = {"c": 1, "lua": 2}[builder]
    status, event_id = nginx.post("/orders", n=n, builder=builder)
    assert (status, events(query)[str(n)]) == (201, event_id)
    rows = query(f"SELECT payload FROM outtray.event WHERE key = '{n}'")
    assert bytes(rows[0][0]) == b'{"n":%d}' % n


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("refused", 409, "INVALID_EVENT: event 0: topic"),
        ("raised", 500, "mine"),
        ("failed", 409, "TRANSACTION_FAILED: "),
        ("exit", 418, ""),
    ],
)
def test_nothing_is_left_of_a_request_that_failed(shop, how, status, text):
    nginx, query = shop
    answered, body = nginx.post("/orders", n=10, how=how)
    assert answered == status
    assert text in body
    # Its connection is as good as new, or gone.
    assert nginx.post("/orders", n=10, how="fine")[0] == 201
    assert query("DELETE FROM orders WHERE n = 10 RETURNING n") == [(10,)]
    assert len(query("DELETE FROM outtray.event WHERE key = '10' RETURNING 1")) == 1


def test_by_hand(shop):
    nginx, query = shop
    status, body = nginx.post("/by-hand", n=20)
    event_id, _, _, alone, why, name = body.split("\n")
    assert (status, events(query)["20"]) == (201, event_id)
    assert (alone, name) == ("nil", "NOT_IN_TRANSACTION")
    assert why.startswith("no transaction is open")
    status, _ = nginx.post("/by-hand", n=21, how="rollback")
    assert status == 201
    assert "21" not in events(query)


def test_a_pool_is_refused(shop):
    nginx, _ = shop
    status, body = nginx.post("/pool")
    assert status == 500
    assert "take one connection" in body


def told(nginx, phase):
    until = time.monotonic() + 120
    while (answer := nginx.post(f"/told?phase={phase}&x=1")[1]) == "nothing":
        assert time.monotonic() < until
        time.sleep(0.05)
    return answer


def test_phases(shop):
    nginx, query = shop
    assert nginx.post("/phases") == (200, "ok")
    for phase in ("rewrite", "access", "content", "timer"):
        assert told(nginx, phase) == "written", phase
    for phase in ("init", "init_worker", "set", "header_filter", "body_filter", "log"):
        text = told(nginx, phase)
        assert text.startswith("WRONG_PHASE: a connection cannot be used in "), text
        assert f" {phase}_by_lua: " in text
    topics = {t for (t,) in query("SELECT topic FROM outtray.event")}
    assert {"rewrite", "access", "content", "timer"} <= topics
    assert "t" not in topics
