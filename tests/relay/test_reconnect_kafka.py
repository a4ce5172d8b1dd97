"""The same as test_reconnect.py, with the broker on the other side. `--long`
has five more causes, in which whole clusters go."""

import contextlib
import os
import time

import mortal
import pytest
from breaks import (
    answers_lost,
    black_hole,
    cable_cut,
    closed,
    half_open,
    one_connection_lost,
    requests_lost,
    reset,
    sliced,
    standing_still,
)
from outage import BrokerCase, test_cause  # noqa: F401


def refused(case):
    case.proxy.refuse()
    case.proxy.cut()
    case.notices()
    case.stands(1)
    case.proxy.heal()
    yield


def cable_cut_for_long(case):
    case.proxy.deafen()
    case.stands(16)
    case.proxy.heal()
    yield


def hung(case):
    """Who connects is taken and never answered."""
    case.proxy.accept = "hang"
    case.proxy.cut()
    case.notices()
    case.stands(3)
    case.proxy.heal()
    yield


def reset_on_connecting(case):
    case.proxy.accept = "reset"
    case.proxy.cut()
    case.notices()
    case.stands(1)
    case.proxy.heal()
    yield


def wrong_greeting(case):
    case.proxy.down.garble = 1 << 30
    case.proxy.cut()
    case.notices()
    case.stands(1)
    case.proxy.heal()
    yield


def cut_in_an_answer(case):
    for n in range(5, 600, 40):
        case.proxy.down.cut_after = n
        time.sleep(0.25)
    case.proxy.heal()
    yield


def cut_in_a_request(case):
    for n in range(5, 1200, 80):
        case.proxy.up.cut_after = n
        time.sleep(0.25)
    case.proxy.heal()
    yield


def slow(case):
    case.proxy.up.rate = case.proxy.down.rate = 20000
    case.flows(4, most=40)  # answers in time again after the third late one
    case.proxy.heal()
    yield


def far_away(case):
    case.proxy.up.delay = case.proxy.down.delay = 0.4
    case.flows(5)
    case.proxy.heal()
    yield


# --- the broker goes; each cause has a cluster of its own -------------------------


def killed(case):
    case.node.kill()
    case.notices()
    case.stands(1)
    case.node.boot()
    yield


def halted(case):
    case.node.halt()
    case.notices()
    case.stands(1)
    case.node.boot()
    yield


def frozen(case):
    case.node.pause()
    case.notices()
    case.stands(8)
    case.node.resume()
    yield


def leader_killed(case):
    """Of two nodes; half of the partitions go on at the other one."""
    case.cluster.nodes[1].kill()
    yield
    case.cluster.nodes[1].boot()
    yield


def leader_frozen(case):
    case.cluster.nodes[1].pause()
    time.sleep(8)
    case.cluster.nodes[1].resume()
    yield


def leaders_move(case):
    """A clean stop: the partitions are handed over."""
    case.cluster.nodes[1].halt()
    yield
    case.cluster.nodes[1].boot()
    yield


for pair in (leader_killed, leader_frozen, leaders_move):
    pair.nodes = 2


NETWORK = [
    cable_cut_for_long,
    reset,
    closed,
    half_open,
    refused,
    black_hole,
    requests_lost,
    answers_lost,
    cable_cut,
    one_connection_lost,
    hung,
    reset_on_connecting,
    wrong_greeting,
    cut_in_an_answer,
    cut_in_a_request,
    slow,
    sliced,
    far_away,
    standing_still,
]
# Each starts a cluster. That a single broker dies or freezes is also seen in
# test_faults.py; the others are for the long run.
BROKERS = [leader_killed]
if os.environ.get("OUTTRAY_TEST_LONG"):
    BROKERS += [leader_frozen, leaders_move, killed, halted, frozen]
CAUSES = BROKERS + NETWORK


@pytest.fixture(scope="module")
def server():
    with mortal.postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def case_of(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("causes")
    program = os.environ["OUTTRAY_TEST_BIN"]
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(
            mortal.kafka(folder / "kafka", proxied=len(NETWORK))
        )

        def make(cause):
            cluster, number = shared, 0
            if cause in NETWORK:
                number = NETWORK.index(cause)
            else:
                nodes = getattr(cause, "nodes", 1)
                place = folder / f"kafka-{cause.__name__}"
                own = mortal.kafka(place, count=nodes, proxied=1, heap="256m")
                cluster = stack.enter_context(own)
            name = cause.__name__
            return BrokerCase(name, program, folder, server, cluster, number)

        yield make
