"""Real servers are killed, frozen and misled while an application writes; then
what arrived is counted against what was committed: nothing lost, nothing
invented, each key in order. And the relay never ends, says once what is wrong,
and goes on by itself."""

import os
import pathlib
import signal
import time

import mortal
import psycopg
import pytest
from outage import ends_told
from shop import Shop

SHORT_LEASE = ("--set", "relay.lease_ttl_ms=1s")


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL that these tests may kill."""
    with mortal.postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A Kafka that these tests may kill."""
    with mortal.kafka(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def shop(server, broker, outtray):
    mortal.revive(server, broker)
    return Shop(server, broker, outtray)


def test_relays_that_die_or_sleep_beyond_their_lease(shop):
    with shop.traffic() as traffic:
        relays = [shop.relay(*SHORT_LEASE) for _ in range(2)]
        for _ in range(2):
            shop.moved(relays[1])
            owner = max(relays, key=lambda r: r.stderr.count("relaying from"))
            owner.kill()
            relays.remove(owner)
            relays.append(shop.relay(*SHORT_LEASE))
        sleeper = relays[0]
        shop.moved(sleeper)
        sleeper.send(signal.SIGSTOP)
        shop.moved(relays[1])
        sleeper.send(signal.SIGCONT)
        sleeper.wait_for(lambda: "owns the subscription" in sleeper.stderr)
        relays[1].kill()
        shop.moved(sleeper)
        # Giving up its own events is no news about the broker.
        assert "breaker" not in sleeper.stderr
    shop.tally(traffic).good()


def once_per_change(relay, words, most):
    """However often it tried. On a machine so slow that there was trouble again
    it says first that the one before was over."""
    most = max(most, ends_told(relay.stderr.splitlines()))
    assert relay.stderr.count(words) <= most, relay.stderr


def test_a_database_that_crashes_restarts_and_cuts_off(shop):
    with shop.traffic() as traffic:
        relay = shop.relay()
        shop.moved(relay)
        for hurt in (shop.server.kill, shop.server.stop):
            hurt()
            time.sleep(0.5)
            shop.server.start()
            shop.moved(relay)
        for _ in range(10):
            shop.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'outtray%%' AND datname = %s",
                shop.name,
            )
            time.sleep(0.1)
        shop.moved(relay)
    shop.tally(traffic).good()
    once_per_change(relay, "Connection refused", 2)


def test_a_database_that_says_nothing_is_named(shop):
    with shop.traffic() as traffic:
        relay = shop.relay()
        shop.moved(relay)
        shop.server.pause()
        try:
            relay.wait_for(lambda: "has not answered" in relay.stderr, 10)
        finally:
            shop.server.resume()
        shop.moved(relay)
    shop.tally(traffic).good()
    once_per_change(relay, "has not answered", 1)


def test_open_transactions_hold_back_nobody_else(shop):
    with shop.traffic() as traffic:
        shop.query("INSERT INTO ledger (key) VALUES ('open'), ('ready')")
        relay = shop.relay()
        shop.moved(relay)
        writer = psycopg.connect(shop.url)
        traffic.event(writer, "ready")
        writer.execute("PREPARE TRANSACTION 'ready'")
        writer.close()
        shop.moved(relay)
        shop.server.kill()  # gives the prepared transaction another lock
        shop.server.start()
        shop.moved(relay)
        writer = psycopg.connect(shop.url)
        traffic.event(writer, "open")
        for _ in range(3):
            shop.moved(relay)
        shop.query("COMMIT PREPARED 'ready'")
        writer.commit()
        writer.close()
    shop.tally(traffic).good()


def test_a_broker_that_dies_or_sleeps(shop):
    # The address sanitizer would keep what was freed: that is no growth.
    options = os.environ.get("ASAN_OPTIONS", "")
    shop.outtray.env["ASAN_OPTIONS"] = options + ":quarantine_size_mb=1"
    with shop.traffic(filler="x" * 1000) as traffic:
        relay = shop.relay("--set", "relay.window_events=500")
        shop.moved(relay)
        shop.node.kill()
        # More than the window takes: it is full, or will be at once.
        relay.wait_for(lambda: traffic.left() > 1500, 60)
        full = memory_at_rest_kb(relay)
        time.sleep(4)
        assert memory_kb(relay.pid) < full + 8192
        shop.node.boot()
        shop.moved(relay)
        shop.node.pause()
        time.sleep(3)
        shop.node.resume()
        shop.moved(relay)
    shop.tally(traffic).good()
    once_per_change(relay, "Connection refused", 2)
    assert shop.query("SELECT count(*) FROM outtray.held WHERE seq > 0") == [(0,)]


def memory_at_rest_kb(relay):
    """The memory of a relay whose window is full, once it has taken that."""
    seen = [memory_kb(relay.pid)]

    def at_rest():
        time.sleep(1)
        seen.append(memory_kb(relay.pid))
        print(f"memory: {seen[-1]} kB")
        return len(seen) > 3 and seen[-1] < seen[-3] + 512

    relay.wait_for(at_rest, 30)
    return seen[-1]


def memory_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError(f"{pid} has ended")


def test_a_topic_that_comes_late(shop):
    topic = f"late.{os.urandom(4).hex()}"
    with shop.traffic(topic=topic) as traffic:
        relay = shop.relay("--set", "probe.max_ms=1s")
        relay.wait_for(lambda: "its events wait" in relay.stderr)
        shop.moved(relay)
        attempts = shop.query("SELECT max(attempts) FROM outtray.held")
        shop.kafka.topic(name=topic)
        relay.wait_for(lambda: "takes events again" in relay.stderr)
    shop.tally(traffic).good()
    assert attempts == [(0,)]
    assert relay.stderr.count("its events wait") == 1


def test_an_event_too_large_for_the_broker(shop):
    topic = shop.kafka.topic(max_message_bytes=20000)
    with shop.traffic(topic=topic, keys=5) as traffic:
        # Pipelined, what is refused together with it could be overtaken.
        relay = shop.relay("--set", "relay.ordering=strict")
        shop.moved(relay)
        with psycopg.connect(shop.url) as writer:
            traffic.event(writer, "k1", filler=os.urandom(30000).hex())
        relay.wait_for(lambda: "is dead" in relay.stderr)
        shop.moved(relay)
    dead = shop.query("SELECT key, attempts FROM outtray.dead")
    assert dead == [("k1", 1)]
    truth = traffic.truth()
    held = "SELECT DISTINCT key FROM outtray.held WHERE seq > 0"
    left = "SELECT count(*) FROM outtray.pending"
    relay.wait_for(lambda: shop.query(left) == [(0,)])
    relay.wait_for(lambda: shop.query(held) == [("k1",)])
    before = traffic.tally(shop.kafka)
    assert {truth[event][0] for event in before.lost} == {"k1"}
    assert not before.ghosts and not before.disorder
    allow(shop.kafka, topic, 200000)
    shop.outtray.run("redrive", "--all", "--yes")
    shop.tally(traffic).good()


def test_events_older_than_their_topic_takes(shop):
    """After an outage that was longer than it says, that is all."""
    topic = shop.kafka.topic(message_timestamp_before_max_ms=3600000)
    with shop.traffic(topic=topic, keys=5, pause=0.02) as traffic:
        traffic.run(20)
    old = "UPDATE outtray.event SET created_at = created_at - interval '2 h'"
    shop.query(old)
    again = shop.traffic(topic=topic, keys=5, pause=0.02, again=True)
    # Pipelined, younger events could overtake what is refused.
    relay = shop.relay("--set", "relay.ordering=strict")
    with again:
        relay.wait_for(lambda: "refuses the times" in relay.stderr)
        shop.moved(relay)
    shop.tally(again).good(duplicates=0)
    assert shop.query("SELECT count(*) FROM outtray.dead") == [(0,)]
    relay.stop()


def allow(kafka, topic, size):
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entry = ConfigEntry(
        "max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET
    )
    admin = kafka.admin()
    resource = ConfigResource(
        ConfigResource.Type.TOPIC, topic, incremental_configs=[entry]
    )
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(120)


def test_a_clean_stop_sends_nothing_twice(shop):
    with shop.traffic() as traffic:
        for _ in range(3):
            relay = shop.relay()
            shop.moved(relay)
            relay.stop(5)
        relay = shop.relay()
        shop.moved(relay)
        shop.server.pause()
        try:
            relay.stop(10)
            assert "is over" not in relay.stderr
        finally:
            shop.server.resume()
        middle = len(shop.kafka.read(traffic.topic))
        relay = shop.relay()
        shop.moved(relay, 40)
    tally = shop.tally(traffic).good()
    # The database could not take the cursor of the fourth.
    assert tally.duplicates <= middle


def test_a_lease_that_somebody_cleared_is_taken_again(shop):
    relay = shop.relay()
    with shop.traffic() as traffic:
        shop.moved(relay)
    traffic.drained()
    time.sleep(0.5)  # the cursor is written: now the renewal meets it first
    shop.query("UPDATE outtray.cursor SET owner = NULL")
    relay.wait_for(lambda: "the lease went to nobody" in relay.stderr)
    relay.wait_for(lambda: shop.query("SELECT owner FROM outtray.cursor")[0][0])
    relay.stop()
    shop.tally(traffic).good(duplicates=0)


def test_a_cache_on_the_sequence_stops_the_relay_until_it_is_gone(shop):
    with shop.traffic() as traffic:
        relay = shop.relay()
        shop.moved(relay)
        sequence = "ALTER SEQUENCE outtray.event_seq_seq CACHE "
        shop.query(sequence + "10")
        relay.wait_for(lambda: "must have CACHE 1" in relay.stderr)
        time.sleep(1)
        shop.query(sequence + "1")
        relay.wait_for(lambda: "refused is over" in relay.stderr)
    tally = shop.tally(traffic)
    assert not tally.lost and not tally.ghosts, str(tally)


def test_a_right_that_retention_lacks_is_named(shop):
    role = f"r{shop.name}"
    shop.query(f"CREATE ROLE {role} LOGIN")
    shop.outtray.run("init", "--relay-role", role)
    shop.query(f"REVOKE DELETE ON outtray.event FROM {role}")
    shop.outtray.env["OUTTRAY_STORE_URL"] = shop.url.replace("postgres@", role + "@")
    with shop.traffic() as traffic:
        relay = shop.relay("--set", "prune.retention_ms=0")
        relay.wait_for(lambda: "cannot be deleted" in relay.stderr)
        shop.moved(relay)
    shop.tally(traffic).good(duplicates=0)
    assert relay.stderr.count("cannot be deleted") == 1
