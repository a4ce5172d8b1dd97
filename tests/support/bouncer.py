"""A scratch pgbouncer before a scratch PostgreSQL."""

import os
import shutil
import subprocess
import time

import process
import psycopg
from process import Process

SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
logfile = {folder}/log
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
# Its own pauses are not what is tested.
server_login_retry = 1
"""


class Bouncer:
    """It lets in whom `users` names, without a password."""

    def __init__(self, folder, server, users, mode="transaction", size=10):
        self.folder, self.server = folder, server
        self.folder.mkdir()
        self.port = process.free_port()
        (folder / "ini").write_text(
            SETTINGS.format(
                server=server.port, port=self.port, folder=folder, mode=mode, size=size
            )
        )
        lines = [f'"{user}" ""\n' for user in ("postgres", *users)]
        (folder / "users").write_text("".join(lines))
        self.process = None

    def start(self):
        user = self.server.user()  # it refuses root, too
        if user:
            os.chown(self.folder, user["user"], user["group"])
        child = subprocess.Popen(
            [
                shutil.which("pgbouncer") or "/usr/sbin/pgbouncer",
                "-q",
                str(self.folder / "ini"),
            ],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=process.end_with_parent,
            **user,
        )
        child.returncode = 0  # looked after through Process, not Popen
        self.process = Process(child.pid)
        end = time.monotonic() + 60
        while True:
            try:
                self.tell("SHOW VERSION")
                return self
            except psycopg.OperationalError:
                alive = self.process.alive()
                assert alive and time.monotonic() < end, self.log()
                time.sleep(0.02)

    def tell(self, command):
        """A command of its console."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}/pgbouncer"
        with psycopg.connect(url, autocommit=True) as connection:
            psycopg.ClientCursor(connection).execute(command)

    def log(self):
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def kill(self):
        self.process.send(9)
        assert self.process.wait(60)

    def stop(self):
        if self.process is not None:
            self.process.stop(2, 5)
