"""The same as test_reconnect.py, where the server itself goes away or changes,
a pooler stands between, or the name leads to another place. Each cause has
servers of its own."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import mortal
import psycopg
import pytest
from bouncer import Bouncer
from fault_proxy import FaultProxy
from outage import DatabaseCase, test_cause  # noqa: F401
from pg_server import Postgres, system_bin

# --- the server goes ----------------------------------------------------------


def restarted(case, end):
    end()
    case.notices()
    case.stands(1)
    case.server.start()
    yield


def restarted_fast(case):
    yield from restarted(case, case.server.stop)


def restarted_at_once(case):
    yield from restarted(case, case.server.crash)


def killed(case):
    yield from restarted(case, case.server.kill)


def in_recovery(case):
    """It comes back as a standby, and is promoted later."""
    case.server.stop()
    (case.server.data / "standby.signal").touch()
    case.server.own(case.server.data / "standby.signal")
    case.server.start()
    case.notices()
    case.stands(2)
    case.admin("SELECT pg_promote()")
    yield


def too_many_connections(case):
    """Others took the place."""
    case.admin("CREATE ROLE other LOGIN")
    url = f"postgresql://other@127.0.0.1:{case.server.port}/postgres"
    taken, full = [], False
    while not full or case.backends():
        case.terminate()
        try:
            taken.append(psycopg.connect(url))
            full = False
        except psycopg.OperationalError:
            full = True
    case.notices()
    case.stands(1)
    for connection in taken:
        connection.close()
    yield


too_many_connections.settings = {"max_connections": 13}


def frozen_postmaster(case):
    """Sessions work, and nobody can connect."""
    case.server.process.send(signal.SIGSTOP)
    for pid in case.relay_pids():
        os.kill(pid, signal.SIGTERM)
    case.notices()
    case.stands(4)
    case.server.resume()
    yield


def frozen_session(case):
    """The server is well, but for the processes of the relay."""
    frozen = case.backends()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    yield


def frozen(case):
    case.server.pause()
    case.notices()
    case.stands(1)
    case.server.resume()
    yield


# --- a pooler -----------------------------------------------------------------


class BouncerCase(DatabaseCase):
    """pgbouncer in transaction mode between."""

    def __init__(self, name, path, folder, server, **options):
        super().__init__(name, path, folder, server, proxied=False)
        place = pathlib.Path(tempfile.mkdtemp(prefix="bouncer-"))
        place.chmod(0o755)
        self.stack.callback(shutil.rmtree, place)
        self.bouncer = Bouncer(place / "1", server, [self.role], **options).start()
        self.stack.callback(self.bouncer.stop)
        url = self.relay_url(self.bouncer.port)
        self.program.env["OUTTRAY_STORE_URL"] = url


def bouncer_between(case):
    case.flows(3)
    yield


def bouncer_killed(case):
    case.bouncer.kill()
    case.notices()
    case.stands(1)
    case.bouncer.start()
    yield


def bouncer_reconnects(case):
    for _ in range(5):
        case.bouncer.tell("RECONNECT")
        time.sleep(0.2)
    yield


def bouncer_paused(case):
    case.bouncer.tell("PAUSE")
    case.stands(7)
    case.bouncer.tell("RESUME")
    yield


def bouncer_kills(case):
    case.bouncer.tell(f"KILL {case.database}")
    case.notices()
    case.stands(1)
    case.bouncer.tell(f"RESUME {case.database}")
    yield


def bouncer_suspended(case):
    """It answers nobody."""
    case.bouncer.process.send(signal.SIGSTOP)
    case.notices()
    case.stands(1)
    case.bouncer.process.send(signal.SIGCONT)
    yield


def pool_exhausted(case):
    """Others have all its connections; the relay waits in the queue."""
    others = []
    for _ in range(2):
        connection = psycopg.connect(case.relay_url(case.bouncer.port))
        connection.execute("SELECT 1")  # a transaction begins
        others.append(connection)
    case.stands(6)
    for connection in others:
        connection.close()
    yield


pool_exhausted.bouncer = {"size": 2}


def server_behind_a_bouncer(case):
    yield from restarted(case, case.server.crash)


# --- another server -------------------------------------------------------------


class PairCase(DatabaseCase):
    """A primary, and a standby that has all that was committed."""

    def __init__(self, name, path, folder, server):
        super().__init__(name, path, folder, server)
        self.standby = Postgres(server.folder.parent / "2")
        self.stack.callback(self.standby.stop)
        self.copy()
        self.standby.start()
        self.admin("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.admin("SELECT pg_reload_conf()")
        self.second = FaultProxy(("127.0.0.1", self.standby.port))
        self.stack.callback(self.second.close)
        # Both, for the relay as for the application.
        hosts = f"{self.proxy.address},{self.second.address}"
        self.program.env["OUTTRAY_STORE_URL"] = (
            f"postgresql://{self.role}@{hosts}/{self.database}"
        )
        hosts = f"127.0.0.1:{server.port},127.0.0.1:{self.standby.port}"
        self.traffic.url = self.url = (
            f"postgresql://postgres@{hosts}/{self.database}"
            "?target_session_attrs=read-write&connect_timeout=3"
        )

    def copy(self):
        self.standby.make_folder()
        command = [system_bin() / "pg_basebackup", "-D", self.standby.data, "-R"]
        command += ["-d", self.server.url.replace("/postgres", "/"), "-c", "fast"]
        subprocess.run(command, check=True, capture_output=True, **self.standby.user())

    def promote(self):
        # No standby follows the new primary.
        with psycopg.connect(self.standby.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("SELECT pg_promote()")


def failed_over(case):
    case.server.kill()
    case.notices()
    case.stands(1)
    case.promote()
    yield


def switched_over(case):
    """The old primary comes back as a standby, under its old address."""
    case.server.stop()
    case.promote()
    (case.server.data / "standby.signal").touch()
    case.server.own(case.server.data / "standby.signal")
    case.server.start()
    yield


def power_lost(case):
    """The primary's machine answers nothing any more."""
    case.server.kill()
    case.proxy.deafen()
    case.promote()
    yield


# --- names and TLS -----------------------------------------------------------------


class NamedCase(DatabaseCase):
    """The relay has a hosts file of its own, in which names come and go."""

    def __init__(self, name, path, folder, server):
        super().__init__(name, path, folder, server)
        self.hosts = self.program.folder / "hosts"
        self.switch = self.program.folder / "nsswitch"
        self.switch.write_text("hosts: files\n")
        self.name_it("127.0.0.1 db.test")
        url = self.relay_url(self.proxy.port, "db.test")
        self.program.env["OUTTRAY_STORE_URL"] = url
        self.program.env["OUTTRAY_STORE_TLS"] = "off"

    def name_it(self, line):
        # In place: the mount shows the file, not the name.
        with open(self.hosts, "w") as file:
            file.write(line + "\n")

    def start(self, *options):
        script = (
            f"mount --bind {self.hosts} /etc/hosts && "
            f"mount --bind {self.switch} /etc/nsswitch.conf && "
            'exec "$@"'
        )
        flags = "-m" if os.getuid() == 0 else "-Urm"
        prefix = ("unshare", flags, "--propagation", "private", "sh", "-c", script, "-")
        super().start(*options, prefix=prefix)


def name_unknown(case):
    case.name_it("127.0.0.1 another.test")
    case.proxy.cut()
    case.notices()
    case.stands(3)
    case.name_it("127.0.0.1 db.test")
    yield


def name_moved(case):
    """The old address says nothing, the name leads to a new one."""
    new = FaultProxy(("127.0.0.1", case.server.port), case.proxy.port, "127.0.0.2")
    case.stack.callback(new.close)
    case.proxy.deafen()
    case.notices()
    case.name_it("127.0.0.2 db.test")
    yield


class SecretCase(DatabaseCase):
    """All is encrypted."""

    def __init__(self, name, path, folder, server):
        super().__init__(name, path, folder, server)
        url = self.relay_url(self.proxy.port) + "?sslmode=require"
        self.program.env["OUTTRAY_STORE_URL"] = url


def handshake_cut(case):
    for n in range(5, 3000, 150):
        case.proxy.cut()
        case.proxy.down.cut_after = n
        time.sleep(0.15)
    case.proxy.heal()
    yield


def handshake_hangs(case):
    """It says that TLS is possible, and then nothing."""
    case.proxy.accept = "hang"
    case.proxy.cut()
    case.notices()
    case.stands(3)
    case.proxy.heal()
    yield


def sliced_tls(case):
    case.proxy.up.slice = case.proxy.down.slice = 1
    case.flows(3, most=40)  # as slow as the machine is
    case.proxy.heal()
    yield


KINDS = {
    DatabaseCase: [
        restarted_fast,
        restarted_at_once,
        killed,
        in_recovery,
        too_many_connections,
        frozen_postmaster,
        frozen_session,
        frozen,
    ],
    BouncerCase: [
        bouncer_between,
        bouncer_killed,
        bouncer_reconnects,
        bouncer_paused,
        bouncer_kills,
        bouncer_suspended,
        pool_exhausted,
        server_behind_a_bouncer,
    ],
    PairCase: [failed_over, switched_over, power_lost],
    NamedCase: [name_unknown, name_moved],
    SecretCase: [handshake_cut, handshake_hangs, sliced_tls],
}
KIND = {cause: kind for kind, causes in KINDS.items() for cause in causes}
CAUSES = list(KIND)
AT_ONCE = 8
SHARED = (NamedCase, SecretCase)


def certificate(folder):
    """For localhost, by nobody."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    command += ["-keyout", folder / "server.key", "-out", folder / "server.crt"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def shared():
    """A server that stays, for what happens before it."""
    with mortal.postgres() as server:
        certificate(server.data)
        for name in ("server.key", "server.crt"):
            server.own(server.data / name)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture(scope="module")
def case_of(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("causes")
    program = os.environ["OUTTRAY_TEST_BIN"]
    with contextlib.ExitStack() as stack:

        def make(cause):
            kind = KIND[cause]
            server = shared
            if kind not in SHARED:
                settings = getattr(cause, "settings", None)
                server = stack.enter_context(mortal.postgres(settings=settings))
            options = getattr(cause, "bouncer", {})
            return kind(cause.__name__, program, folder, server, **options)

        yield make
