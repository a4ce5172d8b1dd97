"""Ten thousand orders, whatever happens to nginx: what was answered is in Kafka."""

import contextlib
import http.client
import os
import random
import signal
import threading
import time

CLIENTS = 16
REQUESTS = 10_000
SIGNALS = (signal.SIGHUP, signal.SIGKILL) * 4
# What becomes of a request, most of the time something good.
HOWS = ["fine"] * 12 + ["slow", "refused", "raised", "failed", "exit"]


class Clients:
    """Clients that ask for the orders one after the other."""

    def __init__(self, port):
        self.port = port
        self.waiting = iter(range(1_000_000, 1_000_000 + REQUESTS))
        self.lock = threading.Lock()
        self.answers = {}  # order: (how, status, text); status 0: no answer
        self.problems = []
        self.threads = [threading.Thread(target=self.client) for _ in range(CLIENTS)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join(120)
        assert not self.problems, self.problems

    def client(self):
        try:
            self.ask_all(random.Random())
        except BaseException as problem:
            self.problems.append(problem)
            raise

    def ask_all(self, rng):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
        while True:
            with self.lock:
                n = next(self.waiting, None)
            if n is None:
                return connection.close()
            how, builder = rng.choice(HOWS), rng.choice(["c", "lua"])
            path = f"/orders?n={n}&how={how}&builder={builder}&seconds=0.03"
            try:
                connection.request("POST", path)
                answer = connection.getresponse()
                status, text = answer.status, answer.read().decode().strip()
            except (OSError, http.client.HTTPException):
                connection.close()
                status, text = 0, ""
            self.answers[str(n)] = (how, status, text)


def harm(nginx, clients):
    """Reload, kill a worker, and so on, while the requests go on."""
    rng = random.Random()
    for number, signum in enumerate(SIGNALS, 1):
        part = REQUESTS * number // (len(SIGNALS) + 1)
        while len(clients.answers) < part and not clients.problems:
            time.sleep(0.01)
        if signum == signal.SIGHUP:
            nginx.process.send_signal(signum)
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(nginx.workers()), signum)


def wait_for_the_end_of_transactions(query):
    """What a killed worker left behind is over once the server notices."""
    until = time.monotonic() + 120
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND "
        "backend_type = 'client backend' AND application_name = '' AND "
        "datname = current_database() AND pid <> pg_backend_pid()"
    )
    while query(open_ones)[0][0]:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_whatever_happens_to_workers(shop, shop_url, outtray, kafka):
    """Every 201 has its order, and its event in Kafka; of all else both are there
    or neither is. Meanwhile workers are reloaded and killed, requests fail."""
    nginx, query = shop
    topic = kafka.topic()
    command = ["relay", "--store", shop_url, "--sink", kafka.url]
    command += ["--set", f"sink.topic={topic}"]
    relay = outtray.start(*command)
    clients = Clients(nginx.port)
    clients.start()
    harm(nginx, clients)
    clients.join()
    wait_for_the_end_of_transactions(query)
    relay.stop(seconds=30)
    outtray.run(*command, "--until-empty")

    arrived = {}
    for message in kafka.read(topic, seconds=60):
        if message.key() is None:
            continue  # of a worker's timer, when it began
        key = message.key().decode()
        event_id = dict(message.headers())["id"].decode()
        # Twice only if it is the same one.
        assert arrived.setdefault(key, event_id) == event_id
        assert message.value() == b'{"n":%s}' % key.encode()
    orders = {str(n) for (n,) in query("SELECT n FROM orders")}
    assert set(arrived) == orders
    assert len(clients.answers) == REQUESTS
    statuses = {}
    for n, (how, status, text) in clients.answers.items():
        statuses.setdefault(status, set()).add(n)
        if status == 201:
            assert arrived[n] == text
            assert how in ("fine", "slow")
        elif status != 0 and not text.startswith("COMMIT_UNKNOWN"):
            assert n not in arrived, (how, status, text)
            assert how not in ("fine", "slow") or status == 503, (how, status, text)
    assert len(statuses[201]) > REQUESTS / 2
    # The workers that were killed had requests under way.
    assert set(statuses) >= {0, 201, 409, 418, 500}
