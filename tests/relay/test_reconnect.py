"""Whatever takes the connection to the database away: when it can be had again,
the relay goes on within seconds, loses nothing, keeps the order, and says once
what was wrong.

All causes happen at once, each to an outbox of its own with a relay of its
own. A cause is a generator: it takes the connection away, and yields as soon as
it has given it back."""

import contextlib
import os
import resource
import time

import mortal
import psycopg
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
from outage import DatabaseCase, test_cause  # noqa: F401

# Before what lets everybody in.
HBA = """\
host all +is_shut_out 127.0.0.1/32 reject
host all +needs_a_password 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def server():
    with mortal.postgres() as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE is_shut_out")
            connection.execute("CREATE ROLE needs_a_password")
            file = postgres.data / "pg_hba.conf"
            file.write_text(HBA + file.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield postgres


# --- the network ------------------------------------------------------------


def refused(case):
    case.proxy.refuse()
    case.proxy.cut()
    case.notices()
    case.stands(3)
    case.proxy.heal()
    yield


def cable_cut_for_long(case):
    case.proxy.deafen()
    case.stands(14)
    case.proxy.heal()
    yield


def hung(case):
    """Who connects is taken and never answered."""
    case.proxy.accept = "hang"
    case.proxy.cut()
    case.stands(6)
    case.proxy.heal()
    yield


def reset_on_connecting(case):
    case.proxy.accept = "reset"
    case.proxy.cut()
    case.stands(3)
    case.proxy.heal()
    yield


def wrong_greeting(case):
    case.proxy.down.garble = 1 << 30
    case.proxy.cut()
    case.stands(3)
    case.proxy.heal()
    yield


def cut_in_a_message(case):
    for n in range(10, 400, 20):
        case.proxy.down.cut_after = n
        time.sleep(0.15)
    case.proxy.heal()
    yield


def cut_in_a_request(case):
    for n in range(10, 800, 40):
        case.proxy.up.cut_after = n
        case.proxy.up.cut = "close"
        time.sleep(0.15)
    case.proxy.heal()
    yield


def half_a_request(tail):
    """What the server has of it is done, up to the row of the cursor and its
    lock; the rest never comes. Whatever is cut off the end."""

    def cause(case):
        for connection in case.proxy.living():
            connection.up.tail = tail
        yield

    cause.__name__ = f"half_a_request_{tail}"
    return cause


def half_done(case):
    """Requests of the relay whose rest the server waits for, with locks."""
    return case.admin(
        "SELECT pid FROM pg_stat_activity WHERE usename = %s"
        " AND wait_event_type = 'Client' AND pid IN (SELECT pid FROM pg_locks"
        " WHERE mode = 'RowExclusiveLock')"
        " AND state_change < clock_timestamp() - interval '0.3 s'",
        case.role,
    )


def power_of_the_relay_lost(case):
    """In the middle of a request. The server is not told, and another relay
    takes over as soon as the lease is over."""
    for tail in (20, 30, 40, 60, 80):
        for connection in case.proxy.living():
            connection.up.tail = tail
        end = time.monotonic() + 1
        while not half_done(case) and time.monotonic() < end:
            time.sleep(0.02)
        if half_done(case):
            break
        case.recovers()
    assert half_done(case), "no request was cut in its middle"
    case.relay.kill()
    case.relay = case.program.start("relay", "--log.format", "json", *OPTIONS)
    case.stands(2)
    yield
    assert any("ending process" in text for _, text in case.lines())


OPTIONS = power_of_the_relay_lost.options = ("--relay.lease_ttl_ms", "3s")


def slow(case):
    case.proxy.up.rate = case.proxy.down.rate = 40000
    case.flows(4)
    case.proxy.heal()
    yield


def far_away(case):
    case.proxy.up.delay = case.proxy.down.delay = 0.3
    case.flows(5)
    case.proxy.heal()
    yield


def very_far_away(case):
    """So far that the silence looks like an end, once."""
    case.proxy.up.delay = case.proxy.down.delay = 1.2
    case.flows(8, 30)
    case.proxy.heal()
    yield


def out_of_descriptors(case):
    """The relay may open nothing more."""
    what, pid = resource.RLIMIT_NOFILE, case.relay.pid
    usual = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (3, usual[1]))
    case.proxy.cut()
    case.notices()
    case.stands(1)
    resource.prlimit(pid, what, usual)
    yield


# --- the server has other plans ----------------------------------------------


def terminated(case):
    for _ in range(10):
        case.terminate()
        time.sleep(0.1)
    yield


def renamed(case):
    while True:
        case.terminate("datname")
        with contextlib.suppress(psycopg.errors.ObjectInUse):
            case.admin(f"ALTER DATABASE {case.database} RENAME TO {case.database}x")
            break
    case.notices()
    case.stands(1)
    case.admin(f"ALTER DATABASE {case.database}x RENAME TO {case.database}")
    yield


def altered(case, sickness, cure):
    """An order to the server, with effect on new sessions."""
    names = {"role": case.role, "database": case.database}
    case.admin(sickness.format(**names))
    case.terminate("datname")
    case.notices()
    case.stands(1)
    case.admin(cure.format(**names))
    yield


def no_connections_to_the_database(case):
    order = "ALTER DATABASE {database} ALLOW_CONNECTIONS "
    yield from altered(case, order + "false", order + "true")


def too_many_connections_of_the_role(case):
    order = "ALTER ROLE {role} CONNECTION LIMIT "
    yield from altered(case, order + "0", order + "-1")


def too_many_connections_of_the_database(case):
    order = "ALTER DATABASE {database} CONNECTION LIMIT "
    yield from altered(case, order + "0", order + "-1")


def no_login(case):
    yield from altered(case, "ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN")


def another_password(case):
    case.admin(f"GRANT needs_a_password TO {case.role}")
    order = "ALTER ROLE {role} PASSWORD "
    yield from altered(case, order + "'wrong'", order + "'right'")


def shut_out_by_pg_hba(case):
    yield from altered(
        case, "GRANT is_shut_out TO {role}", "REVOKE is_shut_out FROM {role}"
    )


def no_right_to_connect(case):
    right = "CONNECT ON DATABASE {database}"
    yield from altered(
        case,
        f"REVOKE {right} FROM PUBLIC, {{role}}",
        f"GRANT {right} TO PUBLIC, {{role}}",
    )


def read_only(case):
    setting = "default_transaction_read_only"
    yield from altered(
        case,
        "ALTER ROLE {role} SET " + setting + " = on",
        "ALTER ROLE {role} RESET " + setting,
    )


def no_right_to_read(case):
    case.query(f"REVOKE SELECT ON outtray.event FROM {case.role}")
    case.notices()
    case.stands(1)
    case.query(f"GRANT SELECT ON outtray.event TO {case.role}")
    yield


def role_setting(case, setting):
    """It ends sessions or statements again and again, or does nothing at all
    because the relay knows better."""
    case.admin(f"ALTER ROLE {case.role} SET {setting}")
    case.terminate()
    case.flows(3)
    case.admin(f"ALTER ROLE {case.role} RESET ALL")
    case.terminate()
    yield


def idle_session_timeout(case):
    """Shorter than the pauses of the relay; how far it gets meanwhile is a
    matter of speed."""
    case.admin(f"ALTER ROLE {case.role} SET idle_session_timeout = 40")
    case.terminate()
    time.sleep(3)
    case.admin(f"ALTER ROLE {case.role} RESET ALL")
    case.terminate()
    yield


def idle_in_transaction_timeout(case):
    yield from role_setting(case, "idle_in_transaction_session_timeout = 1")


def statement_timeout(case):
    yield from role_setting(case, "statement_timeout = 1")


def lock_timeout(case):
    """A lock on the cursor, and no patience for it."""
    case.admin(f"ALTER ROLE {case.role} SET lock_timeout = 50")
    case.terminate()
    yield from locked(case, "cursor", 3)


def locked(case, table, seconds):
    with psycopg.connect(case.url) as writer:
        writer.execute(f"LOCK TABLE outtray.{table} IN ACCESS EXCLUSIVE MODE")
        case.stands(seconds)
        writer.rollback()
        yield


def long_statement(case):
    """The server is silent because it is at work: that is no reason to end the
    connection."""
    time.sleep(1)
    before = case.backends()
    for _ in locked(case, "event", 8):
        # For a moment there is one more, which asks what the others do.
        assert set(before) <= set(case.backends())
        yield


CAUSES = [
    cable_cut_for_long,
    very_far_away,
    long_statement,
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
    cut_in_a_message,
    cut_in_a_request,
    *map(half_a_request, (0, 1, 6, 20, 100, 200)),
    power_of_the_relay_lost,
    slow,
    sliced,
    far_away,
    standing_still,
    out_of_descriptors,
    terminated,
    renamed,
    no_connections_to_the_database,
    too_many_connections_of_the_role,
    too_many_connections_of_the_database,
    no_login,
    another_password,
    shut_out_by_pg_hba,
    no_right_to_connect,
    read_only,
    no_right_to_read,
    idle_session_timeout,
    idle_in_transaction_timeout,
    statement_timeout,
    lock_timeout,
]


@pytest.fixture(scope="module")
def case_of(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("causes")
    program = os.environ["OUTTRAY_TEST_BIN"]
    return lambda cause: DatabaseCase(cause.__name__, program, folder, server)
