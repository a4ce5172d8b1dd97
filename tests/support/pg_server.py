"""A scratch PostgreSQL: the system's, or a version of the Maven repository."""

import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tarfile
import time
import zipfile

import process
from process import Process

SETTINGS = {
    "wal_level": "logical",
    "max_connections": 200,
    "max_prepared_transactions": 20,
    "max_replication_slots": 10,
    "shared_buffers": "64MB",
    # A test kills processes, never the machine, so the disk need not be
    # waited for; benchmarks turn this on again.
    "fsync": "off",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
}

# Everybody is let in, but for one role, by which a test can see a wrong
# password refused.
HBA = """\
host all needs_password 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
local all all trust
host replication all 127.0.0.1/32 trust
"""


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "outtray"


def system_bin():
    """The folder with the newest PostgreSQL of this machine."""
    folders = sorted(
        pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3].split(".")[0]),
    )
    if folders:
        return folders[-1].parent
    found = shutil.which("initdb")
    if not found:
        raise RuntimeError("no PostgreSQL server here: install `postgresql`")
    return pathlib.Path(found).resolve().parent


def maven_bin(version):
    """The folder with a PostgreSQL of the Maven repository."""
    folder = cache() / f"postgresql-{version}"
    if not (folder / "bin/postgres").exists():
        machine = {"x86_64": "amd64", "aarch64": "arm64v8"}[os.uname().machine]
        artifact = f"embedded-postgres-binaries-linux-{machine}"
        work = folder.with_name(f"{folder.name}.{os.getpid()}")
        work.mkdir(parents=True)
        maven(
            "copy",
            f"-Dartifact=io.zonky.test.postgres:{artifact}:{version}",
            f"-DoutputDirectory={work}",
        )
        with zipfile.ZipFile(next(work.glob("*.jar"))) as jar:
            name = next(n for n in jar.namelist() if n.endswith(".txz"))
            jar.extract(name, work)
        with tarfile.open(work / name) as tar:
            tar.extractall(work / "unpacked")
        if not folder.exists():
            (work / "unpacked").rename(folder)
        shutil.rmtree(work)
    return folder / "bin"


def maven(goal, *options):
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
    command = ["mvn", "-q", "-B", f"{plugin}:{goal}", *options]
    env = {"MAVEN_OPTS": "-XX:-UsePerfData", **os.environ}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


class Postgres:
    """One cluster under `folder`. As root it runs as the user postgres."""

    def __init__(self, folder, version="system", settings=None):
        self.folder = pathlib.Path(folder)
        self.version = version
        self.settings = {**SETTINGS, **(settings or {})}
        # No setting of the server: the transaction id that it begins with.
        self.next_xid = int(self.settings.pop("next_xid", 0))
        self.data = self.folder / "data"
        self.port = None
        if (self.folder / "port").exists():
            self.port = int((self.folder / "port").read_text())

    @property
    def url(self):
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def process(self):
        return Process.load(self.folder / "pid")

    def start(self, bound=True):
        """Start it (the first time: make it) and wait until it is ready.
        `bound`: it ends with this process."""
        bin_folder = self._bin()
        for attempt in (1, 2, 3):
            if not self.data.exists():
                self._initialise(bin_folder)
            if self.port is None:
                self.port = process.free_port()
                (self.folder / "port").write_text(f"{self.port}\n")
            if self._launch(bin_folder, bound):
                return self
            if "Address already in use" not in self.log() or attempt == 3:
                break
            self.port = None
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-2000:]}")

    def stop(self):
        running = self.process
        if running:
            running.stop(signal.SIGINT)
            (self.folder / "pid").unlink()

    def kill(self):
        """SIGKILL for the postmaster and every backend."""
        self._signal_all(signal.SIGKILL)

    def crash(self):
        """An immediate shutdown: the next start recovers."""
        self.process.stop(signal.SIGQUIT)

    def pause(self):
        """SIGSTOP for the postmaster and every backend."""
        self._signal_all(signal.SIGSTOP)

    def resume(self):
        self._signal_all(signal.SIGCONT)

    def log(self):
        try:
            return (self.folder / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def _signal_all(self, signum):
        tree = self.process.tree() if self.process else []
        for one in tree:
            one.send(signum)
        if signum == signal.SIGKILL:
            for one in tree:
                one.wait(60)

    def _bin(self):
        if self.version == "system":
            return system_bin()
        folder = maven_bin(self.version)
        if self.user() and not self._may_read(folder):
            # The cache is root's alone; the server runs as another user.
            copy = self.folder / "postgresql"
            if not copy.exists():
                self.make_folder()
                shutil.copytree(folder.parent, copy, symlinks=True)
            return copy / "bin"
        return folder

    def user(self):
        """Options for subprocess: which user the server runs as."""
        if os.getuid() != 0:
            return {}
        for name in ("postgres", "nobody"):
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            return {
                "user": user.pw_uid,
                "group": user.pw_gid,
                "extra_groups": [],
            }
        raise RuntimeError("PostgreSQL refuses root, and there is no other user")

    def own(self, path):
        """Give a file to the server; only it may read it."""
        user = self.user()
        if user:
            os.chown(path, user["user"], user["group"])
        path.chmod(0o600)

    def _may_read(self, path):
        return not subprocess.run(["test", "-x", str(path)], **self.user()).returncode

    def make_folder(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        user = self.user()
        if user:
            os.chown(self.folder, user["user"], user["group"])
            if not self._may_read(self.folder):
                raise RuntimeError(
                    f"the user of PostgreSQL may not enter {self.folder}: "
                    "set TMPDIR to a folder that everybody may enter"
                )

    def _initialise(self, bin_folder):
        self.make_folder()
        command = [bin_folder / "initdb", "-D", self.data, "-U", "postgres"]
        command += ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, **self.user()
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
        (self.data / "pg_hba.conf").write_text(HBA)
        if self.next_xid:
            self._age(bin_folder)

    def can_age(self):
        """Servers of the Maven repository come without this program."""
        return (self._bin() / "pg_resetwal").exists()

    def _age(self, bin_folder):
        """Moves the counter of transaction ids; what initdb wrote is frozen
        first, or it would come from the future."""
        segment = self.data / "pg_xact" / f"{self.next_xid >> 20:04X}"
        for program, words, text in (
            ("postgres", ["--single", "-D", self.data, "postgres"], "VACUUM FREEZE\n"),
            ("pg_resetwal", ["-x", str(self.next_xid), self.data], ""),
        ):
            done = subprocess.run(
                [bin_folder / program, *words],
                input=text,
                cwd=self.folder,
                capture_output=True,
                text=True,
                **self.user(),
            )
            if done.returncode:
                raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")
        segment.write_bytes(bytes(1 << 18))
        shutil.chown(segment, self.data.owner())

    def _launch(self, bin_folder, bound):
        settings = {
            **self.settings,
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            # A socket's path may have 107 bytes.
            "unix_socket_directories": self.folder
            if len(str(self.folder)) < 80
            else "",
        }
        command = [str(bin_folder / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={str(value).strip(chr(39))}"]
        pid_file = self.data / "postmaster.pid"
        pid_file.unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=(lambda: process.end_with_parent(signal.SIGQUIT))
                if bound
                else None,
                **self.user(),
            )
        child.returncode = 0  # looked after through Process, not Popen
        running = Process(child.pid)
        running.save(self.folder / "pid")
        end = time.monotonic() + 180
        while running.alive():
            try:
                lines = pid_file.read_text().splitlines()
            except FileNotFoundError:
                lines = []
            if len(lines) > 7 and re.match("ready|standby", lines[7]):
                return True
            if time.monotonic() > end:
                running.stop(signal.SIGQUIT)
                break
            time.sleep(0.01)
        return False
