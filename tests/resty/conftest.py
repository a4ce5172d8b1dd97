"""A real nginx with its Lua module, and the application of shop.lua in it."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import lua_modules
import pytest

FOLDER = pathlib.Path(__file__).parent
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Nginx:
    def __init__(self, folder, pg_url):
        self.folder = folder
        self.port = free_port()
        url = urllib.parse.urlsplit(pg_url)
        self.environment = {
            **os.environ,
            **lua_modules.environment("luajit"),
            # Workers end with what they have; leaks are looked for in tests/lua.
            "ASAN_OPTIONS": "detect_leaks=0",
        }
        values = {
            "FOLDER": folder,
            "MODULES": "/usr/lib/nginx/modules",
            "PORT": self.port,
            "HOST": url.hostname,
            "PORT_PG": url.port,
            "DATABASE": url.path.strip("/"),
            "LUA_PATH": f"{FOLDER}/?.lua;" + self.environment["LUA_PATH"],
            "LUA_CPATH": self.environment["LUA_CPATH"],
        }
        text = (FOLDER / "nginx.conf").read_text()
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        # The user of the tests may be root, whose workers would be nobody's.
        if os.getuid() == 0:
            text = "user root;\n" + text
        (folder / "nginx.conf").write_text(text)

    def start(self):
        self.process = subprocess.Popen(
            [NGINX, "-p", self.folder, "-c", "nginx.conf", "-e", "error.log"],
            cwd=self.folder,
            env=self.environment,
        )
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                assert self.process.poll() is None, self.log()
                assert time.monotonic() < until, self.log()
                time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self):
        path = self.folder / "error.log"
        return path.read_text() if path.exists() else ""

    def workers(self):
        command = ["ps", "-o", "pid=", "--ppid", str(self.process.pid)]
        done = subprocess.run(command, capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def post(self, path, **arguments):
        """(status, text); status 0: there was no answer."""
        query = urllib.parse.urlencode(arguments)
        url = f"http://127.0.0.1:{self.port}{path}?{query}"
        try:
            with urllib.request.urlopen(url, data=b"", timeout=30) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()
        except OSError:
            return 0, ""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(nginx, query of its database)"""
    import psycopg

    server = os.environ.get("OUTTRAY_TEST_PG")
    if not server:
        pytest.fail("OUTTRAY_TEST_PG is not set: run it through ./dev test")
    name = f"resty_{os.getpid()}"
    url = server.rpartition("/")[0] + "/" + name

    def on(database, sql):
        with psycopg.connect(database, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    on(server, f"CREATE DATABASE {name}")
    command = [os.environ["OUTTRAY_TEST_BIN"], "init", "--store", url]
    subprocess.run(command, check=True, capture_output=True)
    on(url, "CREATE TABLE orders (n integer PRIMARY KEY)")
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), url).start()
    yield nginx, lambda sql: on(url, sql)
    nginx.stop()
    log = nginx.log()
    on(server, f"DROP DATABASE {name} WITH (FORCE)")
    assert "AddressSanitizer" not in log
    assert "runtime error" not in log
