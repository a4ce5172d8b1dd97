"""Whatever keeps events from moving, `status` and `explain` name it within
seconds; and where nothing does, they name nothing.

All stalls happen at once, each in an outbox of its own with a relay of its
own. A row of STALLS: what is done, and the codes that must be among those of
`status` and among those of `explain` for the event that it returns."""

import concurrent.futures
import dataclasses
import pathlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable

import pytest
from lateness import Patience, Promise
from pg_server import Postgres
from scene import SECONDS, Scene, Stage, new_stage

PROMISED = 10  # seconds until the reason is named
INSERT = "SELECT {o}.enqueue('t', 'late')"


def idle_transaction(scene):
    scene.begin(INSERT)
    event = scene.enqueue()
    scene.owned(scene.relay())
    return event


def prepared_transaction(scene):
    connection = scene.begin(INSERT)
    scene.sql("PREPARE TRANSACTION 'forgotten {o}'", connection)
    connection.commit()
    cure = f"ROLLBACK PREPARED 'forgotten {scene.name}'"
    scene.stack.callback(scene.sql, cure)
    event = scene.enqueue()
    scene.owned(scene.relay())
    return event


def bulk_insert(scene):
    scene.begin(
        "INSERT INTO {o}.event (topic, payload) "
        "SELECT 't', 'x' FROM generate_series(1, 20000)"
    )
    event = scene.enqueue()
    scene.owned(scene.relay())
    return event


def lock_on_the_lease(scene):
    scene.owned(scene.relay())
    scene.begin("SELECT FROM {o}.cursor FOR UPDATE")
    return scene.enqueue()


def lock_on_the_log(scene):
    scene.owned(scene.relay())
    event = scene.enqueue()
    scene.begin("LOCK TABLE {o}.event IN ACCESS EXCLUSIVE MODE")
    return event


def lock_on_the_commands(scene):
    """The relay's reads run into their time limit."""
    relay = scene.owned(scene.relay(store_statement_timeout_ms="1s"))
    event = scene.enqueue()
    scene.begin("LOCK TABLE {o}.command IN ACCESS EXCLUSIVE MODE")
    relay.wait_for(lambda: "statement timeout" in relay.stderr, SECONDS)
    return event


def no_relay(scene):
    return scene.enqueue()


def relay_stopped(scene):
    scene.owned(scene.relay()).stop()
    return scene.enqueue()


def relay_killed(scene):
    scene.owned(scene.relay(ttl="1s")).kill()
    return scene.enqueue()


def relay_frozen(scene):
    """For more than half of its lease, which has not ended."""
    relay = scene.owned(scene.relay(ttl="120s"))
    relay.wait_for(lambda: scene.one()["report"], SECONDS)
    relay.send(signal.SIGSTOP)
    scene.sql(
        "UPDATE {o}.cursor SET lease_expires_at = clock_timestamp() + interval '59 s'"
    )
    return scene.enqueue()


def breaker(scene):
    event = scene.enqueue()
    scene.owned(scene.relay("fault:?script=unavailable:600s"))
    return event


def broker_away(scene):
    event = scene.enqueue()
    scene.owned(scene.relay("kafka://127.0.0.1:1"))
    return event


def topic_refused(scene):
    event = scene.enqueue(key="k")
    scene.owned(scene.relay("fault:?script=misconfigured:600s"))
    return event


def limit(scene):
    scene.run("enqueue", "--ndjson", stdin='{"topic": "t"}\n' * 500)
    event = scene.enqueue()
    scene.owned(scene.relay(limit_events_per_s=1))
    return event


def topic_limit(scene):
    scene.run("enqueue", "--ndjson", stdin='{"topic": "t"}\n' * 500)
    event = scene.enqueue()
    scene.owned(scene.relay(limit_topic_events_per_s="t=1"))
    return event


def paused(scene):
    scene.owned(scene.relay())
    scene.run("pause")
    return scene.enqueue()


def blocked_key(scene):
    scene.enqueue(key="k", type="bad")
    event = scene.enqueue(key="k")
    settings = {"relay_on_reject": "block", "relay_ordering": "strict"}
    scene.owned(scene.relay("fault:?script=reject@type=bad", **settings))
    return event


def dead_head(scene):
    scene.enqueue(key="k", type="bad")
    event = scene.enqueue(key="k")
    scene.owned(scene.relay("fault:?script=reject@type=bad", relay_ordering="strict"))
    return event


def dead_event(scene):
    event = scene.enqueue(key="k", type="bad")
    scene.owned(scene.relay("fault:?script=reject@type=bad"))
    return event


def backoff(scene):
    event = scene.enqueue(type="bad")
    scene.owned(scene.relay("fault:?script=retry@type=bad", retry_min_ms="60s"))
    return event


def full_window(scene):
    event = scene.enqueue()
    scene.run("enqueue", "--ndjson", stdin='{"topic": "t"}\n' * 100)
    scene.owned(
        scene.relay("fault:?script=hang", relay_window_events=10, relay_batch_events=10)
    )
    return event


def slow_sink(scene):
    event = scene.enqueue()
    scene.owned(scene.relay("fault:?script=delay:30s"))
    return event


def held_full(scene):
    for _ in range(3):
        scene.enqueue(type="bad")
    scene.owned(
        scene.relay(
            "fault:?script=reject@type=bad", relay_held_max=2, relay_batch_events=1
        )
    )
    scene.program.running[-1].wait_for(
        lambda: scene.one()["held"]["dead"] >= 2, SECONDS
    )
    return scene.enqueue()


def scheduled(scene):
    event = scene.enqueue(deliver_at="+1h")
    scene.owned(scene.relay())
    return event


def filtered(scene):
    event = scene.enqueue("users")
    scene.owned(scene.relay(relay_topics="orders.*"))
    return event


def full_disk(scene):
    event = scene.enqueue()
    scene.owned(scene.relay("file:///dev/full"))
    return event


@dataclasses.dataclass
class Stall:
    inject: Callable
    status: set
    explain: set

    @property
    def name(self):
        return self.inject.__name__


STALLS = [
    Stall(idle_transaction, {"gap", "writer"}, {"passed"}),
    Stall(prepared_transaction, {"gap", "prepared"}, {"passed"}),
    Stall(bulk_insert, {"gap", "writer"}, {"passed"}),
    Stall(lock_on_the_lease, {"lock"}, {"lock"}),
    Stall(lock_on_the_log, {"holds a lock"}, {"holds a lock"}),
    Stall(lock_on_the_commands, {"AccessExclusiveLock"}, {"AccessExclusiveLock"}),
    Stall(no_relay, {"no_subscription"}, {"no_subscription"}),
    Stall(relay_stopped, {"no_relay"}, {"no_relay"}),
    Stall(relay_killed, {"lease_expired"}, {"lease_expired"}),
    Stall(relay_frozen, {"silent"}, {"silent"}),
    Stall(breaker, {"breaker"}, {"breaker"}),
    Stall(broker_away, {"sink"}, {"sink"}),
    Stall(topic_refused, {"1 waiting"}, {"destination"}),
    Stall(limit, {"limit"}, {"limit"}),
    Stall(topic_limit, {"limit"}, {"limit"}),
    Stall(paused, {"paused"}, {"paused"}),
    Stall(blocked_key, {"1 retrying", "1 blocked"}, {"behind_event"}),
    Stall(dead_head, {"1 dead", "1 blocked"}, {"behind_event"}),
    Stall(dead_event, {"1 dead"}, {"dead", "last_error"}),
    Stall(backoff, {"1 retrying"}, {"attempts", "next_attempt"}),
    Stall(full_window, {"sink"}, {"sink"}),
    Stall(slow_sink, {"sink"}, {"sink"}),
    Stall(held_full, {"held_full"}, {"held_full"}),
    Stall(scheduled, {"1 scheduled"}, {"scheduled"}),
    Stall(filtered, set(), {"filtered"}),
    Stall(full_disk, {"breaker"}, {"breaker"}),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with new_stage(tmp_path_factory.mktemp("stalls")) as stage:
        yield stage


def named(look, wanted, promise=None):
    """Each of wanted is soon among, or within, the codes."""
    promise = promise or Promise(PROMISED, others=3)
    while True:
        codes, text = look()
        late = promise.broken()
        if all(any(want in code for code in codes) for want in wanted):
            assert not late, f"{wanted}: {promise}"
            return
        assert promise.took() < 90, f"{wanted} not in {codes}: {promise}\n{text}"
        time.sleep(0.2)


def play(stage, stall):
    """Returns what went wrong, or None; told by the test of this stall."""
    scene = Scene(stage, stall.name)
    try:
        scene.run("init")
        event = stall.inject(scene)
        promise = Promise(PROMISED, others=3)
        named(scene.status, stall.status, promise)
        named(lambda: scene.explain(event), stall.explain, promise)
        print(f"{stall.name}: named after {promise}")
        if stall.name in ("filtered", "scheduled", "topic_refused", "dead_event"):
            # What concerns one event keeps no subscription from moving.
            (relay,) = scene.program.running
            relay.wait_for(lambda: scene.one()["state"] == "running")
        # For people, too.
        assert scene.run("status", status=None).status in (0, 75)
    except BaseException as error:
        return error
    finally:
        scene.close()


@pytest.fixture(scope="module")
def played(stage):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        return dict(
            zip(
                (stall.name for stall in STALLS),
                pool.map(lambda stall: play(stage, stall), STALLS),
                strict=True,
            )
        )


@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: stall.name)
def test_stall(played, stall):
    if played[stall.name] is not None:
        raise played[stall.name]


def test_nothing_is_named_while_all_is_well(stage):
    """Also with an old snapshot open, and somebody else's work."""
    scene = Scene(stage, "clean")
    scene.run("init")
    relay = scene.owned(scene.relay(ttl="6s"))
    scene.begin("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
    scene.begin("CREATE TABLE business (id int)", "INSERT INTO business VALUES (1)")
    end = time.monotonic() + 6
    looks = 0
    while time.monotonic() < end or looks < 2:
        scene.run("enqueue", "--ndjson", stdin='{"topic": "t", "key": "k"}\n' * 2000)
        codes, text = scene.status()
        assert codes == set(), text
        looks += 1
    relay.wait_for(lambda: scene.one()["pending"] == 0, SECONDS)

    def live():
        one = scene.one()
        return one["state"] == "running" and one["report"]["live"]

    relay.wait_for(live)
    scene.close()


def test_a_change_is_written_at_once_and_idleness_costs_renewals_only(stage):
    scene = Scene(stage, "idle")
    scene.run("init")
    relay = scene.owned(scene.relay(ttl="30s"))
    relay.wait_for(lambda: scene.one()["report"], SECONDS)
    writes = "SELECT xmin::text FROM {o}.cursor"
    before = after = None  # the first ones tell that it has begun
    patience = Patience(SECONDS)
    while before is None or before != after:
        assert not patience.broken(), "the cursor is written all the time"
        before = scene.sql(writes)
        time.sleep(4)
        after = scene.sql(writes)
    scene.run("pause")
    relay.wait_for(
        lambda: scene.sql("SELECT reason = 'paused' FROM {o}.status") == [(True,)]
    )
    scene.close()


@pytest.fixture(scope="module")
def small():
    """A server of these tests, with few connections."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    server = Postgres(folder / "1", settings={"max_connections": 10}).start()
    yield server
    server.stop()
    shutil.rmtree(folder)


def test_a_server_that_does_not_let_anybody_relay(stage, small, tmp_path):
    """No connection left; read-only; away."""
    here = Stage(stage.path, small.url, tmp_path)
    scene = Scene(here, "small")
    scene.run("init")
    event = scene.enqueue()
    relay = scene.owned(scene.relay(ttl="2s"))
    taken = [scene.connect(autocommit=True) for _ in range(5)]
    named(scene.status, {"connections"})
    for connection in taken:
        connection.close()
    database = small.url.rpartition("/")[2].partition("?")[0]
    scene.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    named(scene.status, {"read_only"})
    small.stop()
    relay.wait_for(lambda: "store:" in relay.stderr, SECONDS)
    for verb in (["status"], ["explain", event]):
        done = scene.run(*verb, status=69)
        assert "cannot connect" in done.stderr or "refused" in done.stderr
    small.start()
    writer = scene.connect(
        autocommit=True, options="-c default_transaction_read_only=off"
    )
    scene.sql(f"ALTER DATABASE {database} RESET default_transaction_read_only", writer)
    relay.wait_for(lambda: scene.one()["state"] == "running", SECONDS)
    scene.close()
