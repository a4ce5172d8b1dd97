"""Tokens that nobody signed, for the brokers of kafka_secure.py, and where they
come from."""

import http.server
import json
import threading
import time
from base64 import urlsafe_b64encode


def unsigned(user, seconds):
    """A token for so long."""
    now = int(time.time())
    claims = {"sub": user, "iat": now, "exp": now + seconds}
    parts = [
        urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none"}, claims)
    ]
    return ".".join([*parts, ""])


class TokenServer:
    """Gives tokens that nobody signed, once `open` is true."""

    def __init__(self, user):
        self.user, self.open, self.asked = user, False, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size).decode()
                outer.asked.append((self.headers["Authorization"], body))
                self.send_response(200 if outer.open else 401)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(outer.answer().encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"

    def answer(self):
        if not self.open:
            return json.dumps({"error": "not yet"})
        return json.dumps({"access_token": unsigned(self.user, 60)})

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class TokenFile:
    """A file with a token for 8 s that is renewed each second, until `pause`."""

    def __init__(self, path, user):
        self.path, self.user = path, user
        self.put(unsigned(user, 8))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.renew, daemon=True)
        self.thread.start()

    def put(self, text):
        new = self.path.with_suffix(".new")
        new.write_text(text + "\n")
        new.rename(self.path)

    def renew(self):
        while not self.ended.wait(1):
            self.put(unsigned(self.user, 8))

    def pause(self):
        self.ended.set()
        self.thread.join()
