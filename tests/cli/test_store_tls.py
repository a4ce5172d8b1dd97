"""PostgreSQL with TLS: whom the program trusts, and what it says of others.

The server is on 127.0.0.1. By the name 0.0.0.0 it is reached as well, and that
is no loopback address: so the rules for servers elsewhere hold for it."""

import mortal
import psycopg
import pytest
from certificates import Authority

PASSWORD = "a seCret/word"
NAMES = "DNS:db.example.net,IP:127.0.0.1,IP:0.0.0.0"


class Server:
    """A PostgreSQL with certificates of an authority."""

    def __init__(self, postgres, folder):
        self.postgres = postgres
        self.authority = Authority(folder)
        self.other = Authority(folder, "stranger")
        self.ca = self.authority.file
        with self.connect() as connection:
            connection.execute("CREATE ROLE needs_password LOGIN SUPERUSER")
            connection.execute(f"ALTER ROLE needs_password PASSWORD '{PASSWORD}'")

    def connect(self):
        return psycopg.connect(self.postgres.url, autocommit=True)

    def show(self, **certificate):
        """What it shows from now on; nothing: it speaks no TLS."""
        with self.connect() as connection:
            if certificate:
                certificate = {"names": NAMES, **certificate}
                files = self.authority.sign("server", **certificate)
                for name, file in zip(("server.crt", "server.key"), files):
                    place = self.postgres.data / name
                    place.write_bytes(file.read_bytes())
                    place.chmod(0o600)
                    self.postgres.own(place)
            wanted = "on" if certificate else "off"
            connection.execute(f"ALTER SYSTEM SET ssl = {wanted}")
            connection.execute("SELECT pg_reload_conf()")
        for _ in range(100):
            with self.connect() as connection:
                (now,) = connection.execute("SHOW ssl").fetchone()
            if now == wanted:
                return

    def url(self, host="127.0.0.1", user="postgres", **parameters):
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{user}@{host}:{self.postgres.port}/postgres?{query}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mortal.postgres() as postgres:
        yield Server(postgres, tmp_path_factory.mktemp("tls"))


@pytest.fixture
def program(outtray):
    # An authority of the user's own would come before the system's.
    outtray.env = {"HOME": str(outtray.folder), "OUTTRAY_CONFIG": ""}
    return outtray


def check(program, url, status=None, **env):
    """The line about the database."""
    env = {"OUTTRAY_STORE_URL": url, **env}
    done = program.run("check", env=env, status=None)
    lines = [one for one in done.stdout.splitlines() if "database" in one[:20]]
    assert "seCret" not in done.stdout + done.stderr
    assert len(lines) == 1 or not done.stdout, str(done)
    line = lines[0] if lines else done.stderr
    assert status is None or done.status == status, str(done)
    return line


def test_a_valid_certificate(program, server):
    server.show(days=2)
    here = server.url(sslmode="verify-full", sslrootcert=server.ca)
    assert check(program, here).startswith("ok")
    # Elsewhere nothing else is taken, without being asked for.
    there = server.url("0.0.0.0", sslrootcert=server.ca)
    assert check(program, there).startswith("ok")


@pytest.mark.parametrize(
    ("certificate", "root", "words"),
    [
        ({"days": 2}, "other", "certificate verify failed"),
        ({"days": 2}, None, "certificate verify failed"),
        ({"days": -1}, "ca", "certificate verify failed"),
        ({"names": "DNS:db.example.net"}, "ca", "does not match host name"),
        ({}, "ca", "does not support SSL"),
        ({"days": 2}, "missing", "/nowhere/root.crt"),
    ],
)
def test_no_valid_certificate(program, server, certificate, root, words):
    server.show(**certificate)
    roots = {
        "ca": {"sslrootcert": server.ca},
        "other": {"sslrootcert": server.other.file},
        "missing": {"sslrootcert": "/nowhere/root.crt"},
        None: {},
    }
    line = check(program, server.url("0.0.0.0", **roots[root]), status=69)
    assert line.startswith("FAILED") and words in line, line
    assert "check sslmode and sslrootcert of store.url" in line


def test_plain_text_only_if_it_is_asked_for(program, server):
    server.show()
    for mode in ("disable", "prefer", "require", "verify-ca"):
        line = check(program, server.url("0.0.0.0", sslmode=mode), status=2)
        assert "store.tls=off" in line and f"sslmode={mode}" in line
    off = {"OUTTRAY_STORE_TLS": "off"}
    assert check(program, server.url("0.0.0.0"), **off).startswith("ok")
    url = server.url("0.0.0.0", sslmode="disable")
    assert check(program, url, **off).startswith("ok")


@pytest.mark.parametrize("way", ["env", "file"])
def test_a_password_that_stands_elsewhere(program, server, way):
    server.show(days=2)
    user = f"needs_password:{PASSWORD.replace(' ', '%20').replace('/', '%2F')}"
    url = server.url("0.0.0.0", user, sslrootcert=server.ca)
    file = program.folder / "url"
    file.write_text(url + "\n")
    file.chmod(0o600)
    given = {"env": "env:DATABASE", "file": f"file:{file}"}[way]
    assert check(program, given, DATABASE=url).startswith("ok")
    wrong = url.replace("word@", "wrong@")
    file.write_text(wrong)
    line = check(program, given, status=77, DATABASE=wrong)
    assert "check user and password of store.url" in line


def test_a_relay_waits_until_the_certificate_is_renewed(program, server):
    server.show(days=2)
    url = server.url("0.0.0.0", sslrootcert=server.ca)
    program.env["OUTTRAY_STORE_URL"] = url
    program.run("init")
    program.run("enqueue", "orders", "{}")
    server.show(days=-1)
    relay = program.start("relay", "--sink", "null:")
    words = "certificate verify failed"
    relay.wait_for(lambda: words in relay.stderr)
    server.show(days=2)
    relay.wait_for(lambda: "relaying from" in relay.stderr)
    assert relay.stderr.count(words) == 1, relay.stderr
    relay.stop()
