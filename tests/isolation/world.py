"""Where specs run: a database with an outbox, sessions, and relays that are
led step by step."""

import os
import pathlib
import select
import signal
import subprocess
import time

from psycopg import pq

PATIENCE = 90
STEPS = "tests/isolation_relay_steps"
counts = {"specs": set(), "permutations": 0}


class Failed(AssertionError):
    pass


def texts(result):
    return [
        [
            None if (v := result.get_value(i, k)) is None else v.decode()
            for k in range(result.nfields)
        ]
        for i in range(result.ntuples)
    ]


class Session:
    """A connection that one may look at while a statement is under way."""

    def __init__(self, url, name):
        self.url = url
        self.name = name
        self.open()

    def open(self):
        end = time.monotonic() + PATIENCE
        options = f"{self.url}?application_name={self.name}"
        if self.name == "isolation":
            options += "&options=-c%20statement_timeout%3D60s"
        while True:
            self.connection = pq.PGconn.connect(options.encode())
            if self.connection.status == pq.ConnStatus.OK:
                break
            if time.monotonic() > end:
                raise Failed(self.connection.error_message.decode())
            time.sleep(0.02)  # it is starting
        self.pid = self.connection.backend_pid

    @property
    def fd(self):
        return self.connection.socket

    def pids(self, _world):
        return [self.pid]

    def send(self, sql):
        self.answer = {"error": "", "value": "", "rows": "0"}
        try:
            self.connection.send_query(sql.encode())
        except Exception as error:
            self.answer["error"] = "08006"
            self.answer["text"] = str(error)

    def done(self):
        """Has the statement ended? Takes in what came."""
        connection = self.connection
        if self.answer["error"].startswith("08"):
            return True
        try:
            connection.consume_input()
            while not connection.is_busy():
                result = connection.get_result()
                if result is None:
                    return True
                self._hear(result)
        except Exception as error:
            self.answer["error"] = "08006"
            self.answer["text"] = str(error)
            return True
        return False

    def _hear(self, result):
        if result.status == pq.ExecStatus.FATAL_ERROR:
            state = result.error_field(pq.DiagnosticField.SQLSTATE) or b"08006"
            self.answer["error"] = state.decode()
            self.answer["text"] = result.error_message.decode()
        elif result.ntuples:
            self.answer["rows"] = str(result.ntuples)
            self.answer["value"] = texts(result)[0][0]

    def idle(self):
        """Not in a transaction (or not connected any more)."""
        status = self.connection.transaction_status
        return status in (pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN)

    def renew(self, world):
        """A new connection; whatever the old one was doing is over."""
        world.query(f"SELECT pg_terminate_backend({self.pid}, 60000)")
        self.close()
        self.open()

    def close(self):
        self.connection.finish()


class Relay:
    """A process of relay_steps."""

    def __init__(self, name, mutant):
        self.name = name
        binary = pathlib.Path(os.environ["OUTTRAY_TEST_BUILD"]) / STEPS
        self.process = subprocess.Popen(
            [binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OUTTRAY_MUTANT": mutant},
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer = b""
        self.opened = False

    @property
    def fd(self):
        return self.process.stdout.fileno()

    def pids(self, world):
        sql = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = "
            f"'{self.name}' AND datname = current_database()"
        )
        return [int(row[0]) for row in world.query(sql)]

    def send(self, line):
        self.answer = None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def done(self):
        if self.answer is None:
            self.buffer += self.process.stdout.read() or b""
            if b"\n" in self.buffer:
                line, _, self.buffer = self.buffer.partition(b"\n")
                self.answer = self._parse(line.decode())
            elif self.process.poll() is not None:
                raise Failed(f"relay_steps ended: {self.process.returncode}")
        return self.answer is not None

    @staticmethod
    def _parse(line):
        line, _, error = line.partition("error=")
        words = dict(w.split("=", 1) for w in line.split())
        return {**words, "error": error}

    def open(self, url, outbox, options):
        self.ask(f"open {url}?application_name={self.name} {outbox} {options}")
        self.opened = True

    def ask(self, line):
        """Send and wait."""
        self.send(line)
        self._hear_out(line)
        return self.answer

    def _hear_out(self, line="what it does"):
        end = time.monotonic() + PATIENCE
        while not self.done():
            if time.monotonic() > end:
                raise Failed(f"relay {self.name} does not answer to '{line}'")
            select.select([self.fd], [], [], 0.1)

    def crash(self, keep=False):
        """`keep`: the connections may serve the relay of the next spec."""
        if self.opened:
            self._hear_out()
            self.ask("close" if keep else "crash")
        self.opened = False

    def quit(self):
        """An orderly end: its leaks are looked for."""
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        if status:
            raise Failed(f"relay_steps ended with status {status}")


class World:
    """A database of a server, with an outbox."""

    outbox = "outtray"

    def __init__(self, url, program, server=None):
        self.server_url = url
        self.program = program
        self.server = server  # one that may be killed
        self.name = f"iso{os.getpid()}_{os.urandom(3).hex()}"
        self.relay_role = f"{self.name}_relay"
        self.app_role = f"{self.name}_app"
        self.url = url.rpartition("/")[0] + "/" + self.name
        self.relay_url = self.url.replace("postgres@", f"{self.relay_role}@")
        self.sessions, self.relays = {}, {}
        self.mutant = ""
        self.permutations = 0
        self._make()

    def _make(self):
        first = Session(self.server_url, "isolation")
        self.control = first
        self.query(f"CREATE DATABASE {self.name}")
        self.query(f"CREATE ROLE {self.relay_role} LOGIN")
        self.query(f"CREATE ROLE {self.app_role} LOGIN")
        first.close()
        command = [self.program, "init", "-q", "--store", self.url]
        command += ["--relay-role", self.relay_role, "--app-role", self.app_role]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.control = Session(self.url, "isolation")
        self.query(
            "CREATE TABLE said (label text, key text, topic text);"
            f"GRANT INSERT ON said TO {self.app_role};"
            "CREATE TABLE thing (id int PRIMARY KEY, version int);"
            f"GRANT SELECT, UPDATE ON thing TO {self.app_role}"
        )

    def names(self):
        return {
            "outbox": self.outbox,
            "relay": self.relay_role,
            "app": self.app_role,
            "db": self.name,
        }

    def query(self, sql):
        result = self.control.connection.exec_(sql.encode())
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise Failed(f"{result.error_message.decode()} in {sql}")
        return texts(result)

    def reset(self):
        """An outbox in which nothing has happened. One number was drawn, so
        that a transaction draws its first without a transaction id."""
        self.permutations += 1
        if self.control.connection.status != pq.ConnStatus.OK:
            self.control.open()
        tables = "event cursor gap held command".split()
        self.query(
            "".join(f"DELETE FROM {self.outbox}.{t};" for t in tables)
            + "DELETE FROM said; DELETE FROM thing; INSERT INTO thing VALUES (1, 1);"
            f"SELECT setval('{self.outbox}.event_seq_seq', 1, false), "
            f"nextval('{self.outbox}.event_seq_seq');"
            f"INSERT INTO {self.outbox}.cursor (subscription, position) "
            "VALUES ('main', 1)"
        )

    def undo_prepared(self):
        sql = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        for (gid,) in self.query(sql):
            self.query(f"ROLLBACK PREPARED '{gid}'")

    def session(self, name):
        if name not in self.sessions:
            self.sessions[name] = Session(self.url, name)
        session = self.sessions[name]
        if session.connection.status != pq.ConnStatus.OK:
            session.open()
        return session

    def relay(self, name, options):
        if name not in self.relays:
            self.relays[name] = Relay(name, self.mutant)
        relay = self.relays[name]
        relay.open(self.relay_url, self.outbox, options)
        return relay

    def blocked(self, peer):
        """Does the server say that it waits for somebody?"""
        pids = ",".join(map(str, peer.pids(self)))
        if not pids or self.control.connection.status != pq.ConnStatus.OK:
            return False
        sql = (
            "SELECT count(*) FROM unnest(ARRAY[%s]::int[]) p "
            "WHERE cardinality(pg_blocking_pids(p)) > 0"
        )
        return self.query(sql % pids)[0][0] != "0"

    def kill_backend(self, pid):
        """The server ends all sessions and makes its shared memory anew."""
        before = self.server.log().count("database system is ready")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while self.server.log().count("database system is ready") == before:
            if time.monotonic() > end:
                raise Failed("the server did not come back")
            time.sleep(0.01)
        self.control.open()

    def freeze(self, kind):
        """A process of the server does nothing until it is killed."""
        sql = f"SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'"
        os.kill(int(self.query(sql)[0][0]), signal.SIGSTOP)

    def restart(self, kill):
        if kill:
            self.server.kill()
        else:
            self.server.stop()
        self.server.start()
        self.control.open()

    def become(self, mutant):
        """Relays from now on make that mistake."""
        if mutant != self.mutant:
            self.end_relays()
            self.mutant = mutant

    def end_relays(self):
        for relay in self.relays.values():
            relay.quit()
        self.relays = {}

    def close(self):
        self.end_relays()
        for session in self.sessions.values():
            session.close()
        if self.server is None:
            self.control.close()
            self.control = Session(self.server_url, "isolation")
            self.query(f"DROP DATABASE {self.name} WITH (FORCE)")
            self.query(f"DROP ROLE {self.relay_role}, {self.app_role}")
        self.control.close()
