"""What a relay that is gone, or stands still, leaves in the server: its sessions
end with its lease, and with them the locks and snapshots that they hold."""

import signal
import time

import pytest
from fault_proxy import FaultProxy, deafen
from lateness import Promise

LEASE = "--set=relay.lease_ttl_ms=2s", "--set=store.network_timeout_ms=1s"
SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'outtray'"
)


@pytest.fixture
def proxy(pg, outtray):
    """Between the relay and the database."""
    host, port = pg.url.rpartition("/")[0].rpartition("@")[2].split(":")
    outtray.env["OUTTRAY_STORE_URL"] = pg.url
    outtray.run("init")
    with FaultProxy((host, int(port))) as proxy:
        outtray.env["OUTTRAY_STORE_URL"] = pg.url.replace(port, str(proxy.port))
        yield proxy


def sessions(pg):
    return {pid for (pid,) in pg.query(SESSIONS)}


def end_soon(pg, left):
    promise = Promise(4, others=3)
    while left & sessions(pg):
        assert not promise.broken(), str(promise)
        time.sleep(0.05)


def test_sessions_of_a_machine_that_is_gone(outtray, pg, proxy):
    relay = outtray.start("relay", "--sink", "null:", *LEASE)
    relay.wait_for(lambda: len(sessions(pg)) == 2)
    left = sessions(pg)
    relay.send(signal.SIGSTOP)  # it says no farewell
    for connection in proxy.living():
        deafen(connection.server)
    end_soon(pg, left)


def test_a_read_of_a_relay_that_stands_still(outtray, pg, proxy):
    """More is on its way than the buffers of the network take; its snapshot
    keeps VACUUM from its work."""
    proxy.down.rate = 100_000
    large = "--set=relay.batch_bytes=64MiB", "--set=relay.window_bytes=64MiB"
    relay = outtray.start("relay", "--sink", "null:", *large, *LEASE)
    relay.wait_for(lambda: pg.query("SELECT 1 FROM outtray.cursor WHERE fence > 0"))
    pg.query(
        "INSERT INTO outtray.event (topic, payload) SELECT 't', "
        "convert_to(repeat('x', 1000000), 'UTF8') FROM generate_series(1, 50)"
    )
    writes = f"{SESSIONS} AND wait_event = 'ClientWrite'"
    left = relay.wait_for(lambda: {pid for (pid,) in pg.query(writes)})
    relay.send(signal.SIGSTOP)
    proxy.down.rate = None
    end_soon(pg, left)
