"""The scratch servers: they start, die, hang and come back on request."""

import os
import pathlib
import subprocess
import sys

import process
import psycopg
import pytest
from topics import Topics

SERVERS = pathlib.Path(__file__).with_name("servers.py")


def answer(url, seconds=120):
    with psycopg.connect(url, connect_timeout=seconds) as connection:
        return connection.execute("SELECT 42").fetchone()[0]


def test_no_port_is_given_twice():
    """Although nothing listens yet; neither here nor to another process."""
    mine = process.free_ports(300)
    code = "import process; print(*process.free_ports(300)); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=SERVERS.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        theirs = [int(port) for port in other.stdout.readline().split()]
        later = process.free_ports(300)
        other.communicate("\n")
    assert len({*mine, *theirs, *later}) == 900


def test_no_port_of_another_is_bound_for_a_moment(monkeypatch):
    """That one may just be about to listen on it."""
    monkeypatch.setattr(process, "reserve", lambda port: False)
    monkeypatch.setattr(process, "can_listen", lambda port: pytest.fail(str(port)))
    with pytest.raises(RuntimeError):
        process.free_port()


def test_postgres(own_pg):
    server = own_pg(settings={"max_connections": 17})
    assert answer(server.url) == 42
    with psycopg.connect(server.url, autocommit=True) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("17",)
        connection.execute("CREATE TABLE kept AS SELECT 1")
    server.kill()
    assert server.process.alive() is False
    with pytest.raises(psycopg.OperationalError):
        answer(server.url)
    url = server.url
    server.start()
    assert server.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)
    server.pause()
    with pytest.raises(psycopg.OperationalError):
        answer(server.url, 2)
    server.resume()
    assert answer(server.url) == 42


def test_postgres_checks_the_password_of_one_role(own_pg):
    server = own_pg()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE needs_password LOGIN PASSWORD 'right'")
    good = server.url.replace("postgres@", "needs_password:right@")
    assert answer(good) == 42
    with pytest.raises(psycopg.OperationalError, match="password"):
        answer(good.replace("right", "wrong"))


def test_a_kafka_behind_proxies(own_kafka):
    cluster = own_kafka(2, proxied=1)
    proxies, url = cluster.proxies(0)
    through = Topics(url.partition("//")[2])
    topic = through.topic(replicas=2)
    # Whoever asks a proxy is told of the proxies, and nobody else is.
    for asked, ports in (
        (through, {proxy.port for proxy in proxies}),
        (
            Topics(cluster.bootstrap),
            {int(p[-5:]) for p in cluster.bootstrap.split(",")},
        ),
    ):
        known = asked.admin().list_topics(topic, timeout=100)
        assert {broker.port for broker in known.brokers.values()} == ports
    for proxy in proxies:
        proxy.close()


def test_kafka_nodes(own_kafka):
    cluster = own_kafka(2)
    topics = Topics(cluster.bootstrap)
    assert len(topics.admin().list_topics(timeout=100).brokers) == 2
    second = cluster.nodes[1]
    second.kill()
    assert not second.process.alive()
    second.boot()
    topic = topics.topic(replicas=2)
    assert topics.values(topic) == []
    cluster.nodes[0].pause()
    cluster.nodes[0].resume()
    assert len(topics.admin().list_topics(timeout=100).brokers) == 2


def test_command_line(open_path):
    """What the shell starts stays until it stops it."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, SERVERS, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    folder = open_path / "pg"
    url = run("pg", "start", folder).strip().partition("=")[2]
    try:
        assert run("pg", "env", folder) == f"OUTTRAY_TEST_PG={url}\n"
        assert answer(url) == 42
    finally:
        run("pg", "stop", folder)
    with pytest.raises(psycopg.OperationalError):
        answer(url)


@pytest.mark.skipif(os.getuid() != 0, reason="this user is the normal user")
def test_as_a_normal_user(open_path):
    folder = open_path / "pg"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pg_server import Postgres\n"
        "server = Postgres(sys.argv[2] + '/server').start()\n"
        "print(server.url); server.stop()\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(SERVERS.parent), str(folder)],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("postgresql://")
