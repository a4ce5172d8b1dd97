"""Relays whose events the program itself delivers."""

import contextlib
import ctypes
import functools
import gc
import logging
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone

import outtray
import pytest
from lateness import Promise

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from scripted import SOON, enqueue, held, in_order, number  # noqa: E402


def open_relay(where, until_empty=True, **settings):
    return outtray.Relay(
        where.url, until_empty=until_empty, settings={**SOON, **settings}
    )


def threads_here():
    return set(os.listdir("/proc/self/task"))


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def stops(relay, condition):
    """Once it is true: a thread that has to be joined."""

    def look():
        wait_for(condition)
        relay.stop()

    thread = threading.Thread(target=look)
    thread.start()
    return thread


# --- loops ---


def test_a_loop(sqlite_outbox):
    enqueue(sqlite_outbox, 2000)
    numbers, sizes = [], []
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches(max_events=300):
            sizes.append(len(batch))
            numbers += [number(event) for event in batch]
        assert relay.done
        assert relay.stats().delivered == 2000
    assert numbers == list(range(2000))
    assert max(sizes) <= 300


def test_an_event(sqlite_outbox):
    conn = sqlite3.connect(sqlite_outbox.url.removeprefix("sqlite:"))
    before = datetime.now(timezone.utc)
    with conn:
        id = outtray.Outbox().enqueue(
            conn,
            "orders.created",
            b"\x00\xff%\\",
            key="é7",
            type="Created",
            headers={"a": "ü", "b": ""},
        )
        outtray.Outbox().enqueue(conn, "orders.gone", None)
    conn.close()
    with open_relay(sqlite_outbox) as relay:
        first, second = next(relay.batches()).events
        assert (first.topic, first.key, first.type) == (
            "orders.created",
            "é7",
            "Created",
        )
        assert first.payload == b"\x00\xff%\\"
        assert first.headers == {"a": "ü", "b": ""}
        assert (first.id, first.seq, first.order) == (id, 1, "1.1")
        assert (first.attempts, first.maybe_duplicate) == (0, False)
        assert abs((first.created_at - before).total_seconds()) < 60
        assert repr(first) == f"<outtray.BatchEvent 'orders.created' key='é7' id={id}>"
        assert (second.key, second.type, second.payload) == (None, None, None)
        assert (second.headers, second.json()) == ({}, None)
        assert not first.settled and first.ok() and first.settled
        assert not first.ok() and not first.reject()


def test_bounds(sqlite_outbox):
    enqueue(sqlite_outbox, 100)
    with open_relay(sqlite_outbox) as relay:
        for wrong in ({"max_events": 0}, {"max_bytes": 0}, {"linger": -1}):
            with pytest.raises(ValueError):
                relay.batches(**wrong)
        assert len(next(relay.batches(max_bytes=1))) == 1
        # The key of the first is still in somebody's hands, that of others not.
        relay.batches(max_events=10)
        batch = next(relay.batches(max_events=10, linger=60))
        assert len(batch) == 10
        for after in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError):
                batch.retry(after=after)
        batch.ok()


def test_what_is_left_unsettled_is_ok(sqlite_outbox):
    enqueue(sqlite_outbox, 20)
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            batch[3].reject("three")
            assert (len(batch), batch.unsettled) == (20, 19)
        stats = relay.stats()
    assert (stats.delivered, stats.dead) == (19, 1)


def test_a_body_that_raises(sqlite_outbox):
    """The outcome is a retry; the relay goes on, and no key's order is lost."""
    enqueue(sqlite_outbox, 50)
    numbers, raised = [], 0
    with open_relay(sqlite_outbox) as relay:
        while not relay.done:
            try:
                for batch in relay.batches():
                    if raised < 3:
                        assert batch[0].attempts > 0 or raised == 0
                        raised += 1
                        raise KeyError("boom")
                    numbers += map(number, batch)
            except KeyError:
                pass
        stats = relay.stats()
    assert sorted(numbers) == list(range(50)) and in_order(numbers)
    assert (stats.delivered, stats.dead, raised) == (50, 0, 3)


def test_the_one_at_fault_is_found(sqlite_outbox):
    """Batches get smaller, until one event fails alone."""
    enqueue(sqlite_outbox, 300, keys=300)
    sizes, tries = [], 0
    with outtray.Relay(
        sqlite_outbox.url,
        until_empty=True,
        settings={**SOON, "retry.max_attempts": 8, "relay.on_reject": "dead_letter"},
    ) as relay:
        for batch in relay.batches():
            with batch:
                if any(number(event) == 123 for event in batch.events):
                    sizes.append(len(batch))
                    tries += 1
                    raise ValueError("123 is poison")
        stats = relay.stats()
    assert (stats.delivered, stats.dead) == (299, 1)
    assert sizes[0] == 300 and sizes[-1] == 1 and sizes == sorted(sizes, reverse=True)


def test_a_loop_over_events_that_is_left(sqlite_outbox):
    """What it did not come to is not lost."""
    enqueue(sqlite_outbox, 20)
    numbers = []
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            for event in batch:
                if len(numbers) == 5 and number(event) == 5 and not event.attempts:
                    event.retry("not now")
                    break
                numbers.append(number(event))
                if len(numbers) == 10:
                    break  # it comes again
        assert relay.stats().delivered == 20
    again = [n for n in set(numbers) if numbers.count(n) > 1]
    assert set(numbers) == set(range(20)) and len(again) == 1


def test_a_loop_over_batches_that_is_left(sqlite_outbox):
    enqueue(sqlite_outbox, 6)
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            batch[0].ok()
            break
        batch = next(iter(relay.batches()))
        assert [event.attempts for event in batch] == [1] * len(batch)
        batch.give_back()
        again = next(relay.batches())
        assert all(event.maybe_duplicate for event in again)
        assert again.fail(outtray.Reject("no")) == len(again)


def test_a_loop_that_nobody_ends(sqlite_outbox):
    """What it has in hand is given back with the relay, and keeps nobody waiting."""
    enqueue(sqlite_outbox, 6)
    with open_relay(sqlite_outbox) as relay:
        batches = relay.batches()
        batch = next(batches)
        promise = Promise(5)
    assert not promise.broken(), str(promise)
    assert relay.done and relay.stats().fence == 0 and batch.lost
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            assert {event.attempts for event in batch} == {0}


def test_order_behind_a_failed_event(sqlite_outbox):
    enqueue(sqlite_outbox, 200, keys=3)
    numbers = []
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            for event in batch:
                if number(event) % 17 == 0 and event.attempts < 2:
                    assert event.retry("later")
                else:
                    numbers.append(number(event))
    assert sorted(numbers) == list(range(200)) and in_order(numbers, 3)


OUTCOMES = [
    (ValueError("bad"), "retrying", 1, "ValueError: bad"),
    (outtray.Retry("busy", after=3600), "retrying", 1, "busy"),
    (outtray.Retry(), "retrying", 1, "the program wants to try again"),
    (outtray.Reject("never \0\udc80"), "dead", 1, "never \\0\\udc80"),
    (outtray.SinkMisconfigured("no such"), "waiting", 0, "SinkMisconfigured: no such"),
]


@pytest.mark.parametrize(("error", "state", "attempts", "reason"), OUTCOMES)
def test_outcomes(error, state, attempts, reason, sqlite_outbox):
    """What is raised in a block is the outcome, and kept with the event."""
    enqueue(sqlite_outbox, 1)
    settings = {"retry.min_ms": "1h", "retry.max_ms": "1h"}
    with outtray.Relay(sqlite_outbox.url, settings=settings) as relay:
        batches = relay.batches()
        (event,) = next(batches)
        with event:
            raise error
        assert event.settled
        threading.Timer(0.5, relay.stop).start()
        assert list(batches) == []
    columns = "state, attempts, error"
    rows = held(sqlite_outbox, columns)
    assert [row[:2] for row in rows] == [(state, attempts)]
    assert reason in rows[0][2]


def test_an_outage(sqlite_outbox):
    """SinkUnavailable opens the breaker: no try is counted."""
    enqueue(sqlite_outbox, 30)
    failures, numbers = 0, []
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            with batch:
                assert {event.attempts for event in batch.events} == {0}
                if failures < 1:
                    failures += 1
                    raise outtray.SinkUnavailable("the service is down")
                numbers += map(number, batch)
    assert sorted(numbers) == list(range(30)) and in_order(numbers)


def test_what_comes_through(sqlite_outbox):
    """The end of the program is no outcome of an event."""
    enqueue(sqlite_outbox, 3)
    for error in (KeyboardInterrupt, SystemExit, MemoryError):
        relay = open_relay(sqlite_outbox, until_empty=False)
        with pytest.raises(error), relay:
            for batch in relay.batches():
                with batch[0]:
                    raise error
        assert relay.done and relay.stats().fence == 0  # a clean stop
    with open_relay(sqlite_outbox) as relay:
        for batch in relay.batches():
            assert {event.attempts for event in batch} == {0}


# --- handlers ---


def test_handlers(sqlite_outbox):
    for topic in ("orders.created", "orders.paid", "mail.sent", "mail.lost"):
        enqueue(sqlite_outbox, 50, topic=topic)
    called = {}

    def count(name, events):
        for event in events:
            called.setdefault(name, []).append((event.topic, number(event)))

    with open_relay(sqlite_outbox) as relay:

        @relay.handler("*")
        def any_topic(event):
            count("*", [event])

        @relay.handler("orders.*", batch=True)
        def orders(batch):
            count("orders.*", batch)

        @relay.handler("orders.paid")
        def paid(event):
            count("paid", [event])

        @relay.handler("mail.[s]*")
        def sent(event):
            count("sent", [event])
            if number(event) == 9 and event.attempts == 0:
                raise OSError("no route")

        with pytest.raises(outtray.Misuse, match="has a handler already"):
            relay.handler("orders.paid")(paid)

        with pytest.raises(outtray.Misuse, match="AsyncRelay"):

            @relay.handler("x")
            async def x(event):
                pass

        relay.run()
        assert relay.stats().delivered == 200
    assert {name: {t for t, _ in found} for name, found in called.items()} == {
        "*": {"mail.lost"},
        "orders.*": {"orders.created"},
        "paid": {"orders.paid"},
        "sent": {"mail.sent"},
    }
    assert len(called["sent"]) == 51


def test_order_of_a_key_over_handlers(sqlite_outbox):
    conn = sqlite3.connect(sqlite_outbox.url.removeprefix("sqlite:"))
    with conn:
        for n in range(300):
            topic = ("a", "b", "c")[n * 7 % 5 % 3]
            outtray.Outbox().enqueue(conn, topic, {"n": n}, key=str(n % 11))
    conn.close()
    numbers = []
    with open_relay(sqlite_outbox) as relay:

        @relay.handler("a", batch=True)
        def a(batch):
            numbers.extend(map(number, batch))

        @relay.handler("[bc]")
        def b(event):
            if number(event) % 50 == 0 and event.attempts == 0:
                raise ValueError
            numbers.append(number(event))

        relay.run()
    assert sorted(numbers) == list(range(300)) and in_order(numbers, 11)


def test_no_handler(sqlite_outbox, caplog):
    """Loud, once, and nothing is lost."""
    enqueue(sqlite_outbox, 5, topic="mail", prefix="mail")
    enqueue(sqlite_outbox, 5, topic="orders")
    seen = []
    with open_relay(sqlite_outbox, until_empty=False) as relay:
        relay.handler("orders")(lambda event: seen.append(event.topic))

        @relay.handler("end")
        def end(event):
            relay.stop()

        enqueue(sqlite_outbox, 1, topic="end", prefix="end")
        relay.run()
    assert seen == ["orders"] * 5
    lines = [r.getMessage() for r in caplog.records if "no handler" in r.getMessage()]
    loud = [line for line in lines if "topic 'mail'" in line]
    assert len(loud) == 1 and "@relay.handler('mail')" in loud[0]
    assert set(held(sqlite_outbox, "state")) <= {("waiting",)}
    with open_relay(sqlite_outbox) as relay:
        relay.handler("mail")(lambda event: seen.append(event.topic))
        relay.run()
    assert seen[5:] == ["mail"] * 5


def test_threads(sqlite_outbox):
    enqueue(sqlite_outbox, 60, keys=6)
    numbers, busy, lock = [], set(), threading.Lock()
    met = threading.Event()
    with open_relay(sqlite_outbox) as relay:

        @relay.handler("orders")
        def slow(event):
            with lock:
                assert event.key not in busy
                busy.add(event.key)
                if len(busy) > 1:
                    met.set()
            assert met.wait(240)  # the others work meanwhile
            time.sleep(0.01)
            with lock:
                busy.remove(event.key)
                numbers.append(number(event))

        relay.run(threads=4)
        assert relay.stats().delivered == 60
    assert sorted(numbers) == list(range(60)) and in_order(numbers, 6)


def test_an_error_in_one_thread_ends_all(sqlite_outbox):
    enqueue(sqlite_outbox, 50, keys=50)
    with open_relay(sqlite_outbox, until_empty=False) as relay:

        @relay.handler("orders")
        def handle(event):
            if number(event) == 20:
                raise SystemExit(3)
            time.sleep(0.001)

        with pytest.raises(SystemExit):
            relay.run(threads=3)
        assert relay.done and relay.stats().fence == 0


def test_failures_are_told_once(sqlite_outbox, caplog):
    enqueue(sqlite_outbox, 100, keys=100)
    with open_relay(sqlite_outbox) as relay, caplog.at_level("WARNING"):

        @relay.handler("orders")
        def handle(event):
            if event.attempts == 0:
                raise ValueError("not at first")

        relay.run()
    told = [r for r in caplog.records if "not at first" in r.getMessage()]
    assert len([r for r in told if r.exc_info]) == 1


async def never_awaited(event):
    raise AssertionError("this does not run")


class Called:
    """What a framework may make of a handler."""

    def __call__(self, event):
        yield event

    async def method(self, event):
        pass


def test_handlers_that_a_call_does_not_run(sqlite_outbox):
    """They would count as done, and every event as delivered."""
    with open_relay(sqlite_outbox) as relay:
        for handler, why in [
            (never_awaited, "is async"),
            (Called().method, "is async"),
            (functools.partial(never_awaited), "is async"),
            (Called(), "yield"),
            (Called().__call__, "yield"),
        ]:
            with pytest.raises(outtray.Misuse, match=why):
                relay.handler("*")(handler)


@pytest.mark.parametrize("batch", [False, True])
def test_a_handler_that_returns_a_coroutine(batch, sqlite_outbox, recwarn):
    """As what wraps an async function does: nothing is delivered yet."""
    enqueue(sqlite_outbox, 3)
    relay = open_relay(sqlite_outbox, until_empty=False)
    relay.handler("*", batch=batch)(lambda what: never_awaited(what))
    with relay:
        stopper = stops(relay, lambda: held(sqlite_outbox, "seq"))
        relay.run()
        stopper.join()
        assert relay.stats().delivered == 0
    rows = held(sqlite_outbox, "state, attempts, error")
    assert {row[:2] for row in rows} == {("waiting", 0)}
    assert "returned a coroutine, which nothing has run" in rows[0][2]
    gc.collect()
    assert not [w for w in recwarn if "never awaited" in str(w.message)]


class Wrong(outtray.Retry):
    """Does not call the __init__ of its class."""

    def __init__(self):
        self.why = 7

    def __str__(self):
        return self.why


PAUSES = [
    lambda: outtray.Retry("later", after=-3),
    lambda: outtray.Retry("later", after=float("nan")),
    lambda: outtray.Retry("later", after="5"),
    Wrong,
]


@pytest.mark.parametrize("make", PAUSES)
def test_what_is_wrong_with_a_retry(make, sqlite_outbox):
    """It fails its event, as what else a handler raises, and not the relay."""
    enqueue(sqlite_outbox, 3)
    numbers = []
    with open_relay(sqlite_outbox) as relay:

        @relay.handler("*")
        def handle(event):
            if event.attempts == 0:
                raise make()
            numbers.append(number(event))

        relay.run()
    assert sorted(numbers) == [0, 1, 2]


def test_a_handler_that_runs_its_own_relay(sqlite_outbox):
    """It would wait for what it has in hand, for ever."""
    enqueue(sqlite_outbox, 3)
    with open_relay(sqlite_outbox) as relay:

        @relay.handler("*")
        def handle(event):
            for use in (relay.run, relay.batches):
                with pytest.raises(outtray.Misuse, match="in hand"):
                    use()

        relay.run()
        assert relay.stats().delivered == 3
        assert list(relay.batches()) == []


# --- the thread below ---


def test_misuse(sqlite_outbox):
    with outtray.Relay(sqlite_outbox.url, "null:") as relay:
        with pytest.raises(outtray.Misuse, match="leave the sink out"):
            relay.batches()
        with pytest.raises(outtray.Misuse, match="leave the sink out"):
            relay.handler("*")
    with outtray.Relay(sqlite_outbox.url, "script:") as relay:
        with pytest.raises(outtray.Misuse, match="no sink and no handler"):
            relay.run()
        with pytest.raises(ValueError):
            relay.handler("*")(print)
            relay.run(threads=0)
        relay.batches()
        for use in (relay.step, relay.fileno, relay.timeout):
            with pytest.raises(outtray.Misuse, match="a thread of this relay"):
                use()
    with pytest.raises(outtray.Misuse, match="closed"):
        relay.batches()


def test_its_lease_outlives_a_long_body(sqlite_outbox):
    """Also one that never gives the interpreter's lock away."""
    enqueue(sqlite_outbox, 2)
    held = ctypes.PyDLL(None).usleep  # with the interpreter's lock
    with open_relay(sqlite_outbox, False, **{"relay.lease_ttl_ms": "3s"}) as relay:
        for batch in relay.batches(max_events=1):
            fence = relay.stats().fence
            for _ in range(8 if number(batch[0]) == 0 else 0):
                held(500_000)
            assert not batch.lost
            assert batch.ok() == 1
            assert relay.stats().fence == fence
            if number(batch[0]) == 1:
                break


def test_errors_of_the_relay_surface(tmp_path):
    path = tmp_path / "empty.db"
    sqlite3.connect(path).close()
    with (
        pytest.raises(outtray.StoreNoSchema),
        outtray.Relay(f"sqlite:{path}") as relay,
    ):
        for _ in relay.batches():
            pytest.fail("a batch")
    assert relay.done
    relay = outtray.Relay(f"sqlite:{path}")
    relay.handler("*")(print)
    with pytest.raises(outtray.StoreNoSchema):
        relay.run(threads=2)
    relay.close()


def test_closed_under_a_loop(sqlite_outbox):
    """The loop ends, and what it had comes again."""
    enqueue(sqlite_outbox, 3)
    relay = open_relay(sqlite_outbox, False)
    waiting, batches = threading.Event(), []

    def loop():
        for batch in relay.batches():
            batches.append(batch)
            batch.ok()
            waiting.set()

    thread = threading.Thread(target=loop)
    thread.start()
    assert waiting.wait(240)
    time.sleep(0.1)
    relay.close()
    thread.join(240)
    assert not thread.is_alive() and relay.done
    assert batches[0].lost and not batches[0].ok()
    with pytest.raises(outtray.Misuse, match="is over"):
        batches[0].events  # noqa: B018


def test_forgotten(sqlite_outbox):
    """Its thread ends with it."""
    before = threads_here()
    relay = open_relay(sqlite_outbox, False)
    relay.batches()
    (its,) = threads_here() - before
    with pytest.warns(ResourceWarning):
        del relay
        gc.collect()
    wait_for(lambda: its not in threads_here())


FORGETS = """
import sys, outtray
relay = outtray.Relay(sys.argv[1])
batch = next(relay.batches())
print(len(batch))
"""


def test_the_program_ends(sqlite_outbox):
    """With a relay that it has not closed: it is stopped cleanly."""
    enqueue(sqlite_outbox, 3)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", FORGETS, sqlite_outbox.url],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    (owner,) = sqlite_outbox.query("SELECT owner FROM outtray_cursor")
    assert owner == (None,)


def test_many_relays(sqlite_outbox):
    """Opened and closed, they leave nothing."""

    def one():
        with open_relay(sqlite_outbox, False) as relay:
            relay.batches()

    one()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threads_here()
    for _ in range(30):
        one()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    # The kernel lists one for a moment after it was joined.
    wait_for(lambda: threads_here() <= threads)


def test_log(sqlite_outbox, caplog):
    with caplog.at_level(logging.DEBUG, "outtray"):
        with open_relay(sqlite_outbox, **{"log.level": "debug"}) as relay:
            assert list(relay.batches()) == []
    assert {record.name for record in caplog.records} == {"outtray.relay"}


def test_fork(sqlite_outbox):
    enqueue(sqlite_outbox, 6, keys=6)
    with open_relay(sqlite_outbox) as relay:
        batches = relay.batches(max_events=3)
        batch = next(batches)
        child = os.fork()
        if child == 0:
            uses = [relay.batches, relay.run, relay.stop, batch.ok, batch[0].ok]
            uses.append(lambda: next(batches))
            failed = len(uses)
            for use in uses:
                with contextlib.suppress(outtray.Forked):
                    use()
                    continue
                failed -= 1
            relay.close()
            del batches, relay, batch
            gc.collect()
            os._exit(failed)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert batch.ok() == 3
        assert sum(map(len, batches)) == 3
        assert relay.stats().delivered == 6
