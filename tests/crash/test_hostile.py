"""Servers die and networks break while relays work, writers are hostile, and
relays die too; then everything is counted. A seed that failed is in the
output."""

import pathlib
import random
import shutil
import tempfile
import time

import campaign
import pytest
from bouncer import Bouncer
from fault_proxy import FaultProxy
from hostile import Crowd, HostileTraffic

SERVER_ROUNDS = 40 if campaign.LONG else 8
NETWORK_ROUNDS = 80 if campaign.LONG else 14
BULK = 1000000 if campaign.LONG else 20000


class Servers:
    """What happens to them. Each comes back."""

    def __init__(self, shop, pack):
        self.server, self.node, self.pack = shop.server, shop.node, pack

    def database_killed(self):
        self.server.kill()
        self.server.start()

    def database_ends_at_once(self):
        self.server.crash()
        self.server.start()

    def database_restarted(self):
        self.server.stop()
        self.server.start()

    def broker_killed(self):
        self.node.kill()
        time.sleep(self.pack.dice.uniform(0, 1))
        self.node.boot()

    def broker_frozen(self):
        self.node.pause()
        time.sleep(self.pack.dice.uniform(1, 5))
        self.node.resume()

    def relay_harmed(self):
        self.pack.harm()

    def relay_harmed_in_the_dark(self):
        """The database is away, and the relay dies as well."""
        self.server.kill()
        self.pack.harm()
        self.server.start()


class Network:
    """What happens to the ways between. Each is good again afterwards."""

    def __init__(self, pack, proxies, bouncer):
        self.pack, self.proxies, self.bouncer = pack, proxies, bouncer

    def _one(self):
        return self.pack.dice.choice(self.proxies)

    def _pause(self, most):
        time.sleep(self.pack.dice.uniform(0, most))

    def reset(self):
        self._one().cut("reset")

    def closed(self):
        self._one().cut("close")

    def half_open(self):
        self._one().forget()

    def black_hole(self):
        proxy = self._one()
        proxy.black_hole(*self.pack.dice.choice([(1, 1), (1, 0), (0, 1)]))
        self._pause(6)
        proxy.heal()

    def cable_cut(self):
        proxy = self._one()
        proxy.deafen()
        self._pause(6)
        proxy.heal()

    def cut_in_a_message(self):
        proxy = self._one()
        side = self.pack.dice.choice([proxy.up, proxy.down])
        side.cut_after = self.pack.dice.randrange(2000)
        self._pause(1)
        proxy.heal()

    def slow(self):
        proxy = self._one()
        proxy.up.rate = proxy.down.rate = 20000
        proxy.down.slice = 7
        self._pause(2)
        proxy.heal()

    def pooler_killed(self):
        self.bouncer.kill()
        self._pause(1)
        self.bouncer.start()

    def pooler_reconnects(self):
        self.bouncer.tell("RECONNECT")

    def relay_harmed(self):
        self.pack.harm()

    def relay_harmed_in_the_dark(self):
        proxy = self._one()
        proxy.black_hole()
        self._pause(2)
        self.pack.harm()
        proxy.heal()


def play(shop, make, faults, n, relays):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    traffic = HostileTraffic(shop.url, shop.kafka.topic(), writers=4, pause=0.01)
    with traffic, Crowd(traffic, BULK, seed) as crowd:
        pack = campaign.Pack(shop, relays, dice)
        there = make(pack)
        order = campaign.rounds(dice, faults, n)
        try:
            for fault in order:
                campaign.go_on(pack)
                getattr(there, fault)()
            campaign.go_on(pack)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {order}: {error}") from None
        pack.kill_all()
        traffic.stop()
    crowd.settle()
    crashes = len(order) + pack.kills + pack.pauses + relays
    tally = campaign.settled(shop, traffic, crashes, 600 if campaign.LONG else 60)
    assert crowd.bulk_done and crowd.prepared > 0
    print(
        f"{n} faults, {pack.kills} kills of relays, {crowd.prepared} prepared, "
        f"{crowd.dumps} dumps, {crowd.vacuums} vacuums, bulk {BULK}: {tally}"
    )


@pytest.mark.timeout(3600 if campaign.LONG else 900)
def test_servers_that_die(shop):
    shop = shop("postgres")
    faults = campaign.faults_of(Servers)
    play(shop, lambda pack: Servers(shop, pack), faults, SERVER_ROUNDS, 2)


@pytest.fixture
def bouncer(server):
    # Not below tmp_path, which the user postgres may not enter.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bouncer-"))
    folder.chmod(0o755)
    made = Bouncer(folder / "1", server, [], size=20).start()
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.mark.timeout(3600 if campaign.LONG else 900)
def test_networks_that_break(shop, bouncer):
    shop = shop("postgres")
    proxies, url = shop.broker.proxies(0)
    proxies.append(FaultProxy(("127.0.0.1", bouncer.port)))
    name = shop.url.rpartition("/")[2]
    shop.outtray.env = {
        "OUTTRAY_STORE_URL": f"postgresql://postgres@{proxies[-1].address}/{name}",
        "OUTTRAY_SINK_URL": url,
    }
    faults = campaign.faults_of(Network)
    try:
        play(
            shop,
            lambda pack: Network(pack, proxies, bouncer),
            faults,
            NETWORK_ROUNDS,
            2,
        )
    finally:
        for proxy in proxies:
            proxy.close()
