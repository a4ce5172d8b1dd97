"""An nginx with its Lua module, with a configuration of the caller."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from process import descendants, free_port

PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"


class Nginx:
    """{NAME} in the configuration is filled in: from values, and FOLDER,
    MODULES and PORT."""

    def __init__(self, folder, configuration, values, environment):
        self.folder = folder
        self.port = free_port()
        self.environment = {**os.environ, **environment}
        values = {
            "FOLDER": folder,
            "MODULES": "/usr/lib/nginx/modules",
            "PORT": self.port,
            **values,
        }
        text = configuration.read_text()
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        # The user of the tests may be root, whose workers would be nobody's.
        if os.getuid() == 0:
            text = "user root;\n" + text
        (folder / "nginx.conf").write_text(text)

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "-p", self.folder, "-c", "nginx.conf", "-e", "error.log"],
            cwd=self.folder,
            env=self.environment,
        )
        until = time.monotonic() + 180
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"nginx does not start\n{self.log()}") from None
                time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self):
        path = self.folder / "error.log"
        return path.read_text() if path.exists() else ""

    def workers(self):
        return descendants(self.process.pid)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def post(self, path, body=b"", **arguments):
        """(status, text); status 0: there was no answer."""
        url = self.url(f"{path}?{urllib.parse.urlencode(arguments)}")
        try:
            with urllib.request.urlopen(url, data=body, timeout=180) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()
        except (OSError, http.client.HTTPException):
            return 0, ""


def database(url):
    """What a configuration says of a database, from its URL."""
    parts = urllib.parse.urlsplit(url)
    return {
        "HOST": parts.hostname,
        "PORT_PG": parts.port,
        "DATABASE": parts.path.strip("/"),
    }
