"""An outbox for the command line, on both databases."""

import json

import pytest


class Shop:
    """The program with an outbox that is there already."""

    def __init__(self, outtray, url):
        self.program = outtray
        self.url = url
        outtray.env.update(OUTTRAY_STORE_URL=url, OUTTRAY_CONFIG="")
        outtray.run("init")

    def run(self, *arguments, **options):
        return self.program.run(*arguments, **options)

    def start(self, *arguments, **options):
        return self.program.start(*arguments, **options)

    def enqueue(self, topic="orders", payload="{}", **options):
        """Enqueue one event; its id."""
        words = []
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", value]
        return self.run("enqueue", topic, payload, *words).stdout.strip()

    def load(self, events):
        lines = "".join(json.dumps(event) + "\n" for event in events)
        return self.run("enqueue", "--ndjson", "--json", stdin=lines).json()

    def status(self):
        """The subscription main."""
        (one,) = self.run("status", "--json").json()["subscriptions"]
        return one

    def events(self):
        """All of the log, oldest first."""
        return self.run("tail", "-n", 10000, "--json", "--payload").lines()

    def relay(self, sink, *options):
        """Relay all there is; the numbers of the relay."""
        return self.run(
            "relay", "--until-empty", "--json", "--sink", sink, *options
        ).json()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite://{tmp_path}/shop.db"


@pytest.fixture(params=["sqlite", "pg"])
def store_url(request):
    """A database with no outbox in it; own_pg: and no other test beside it."""
    if request.param == "own_pg":
        return request.getfixturevalue("own_pg")().url
    if request.param == "pg":
        return request.getfixturevalue("pg").url
    return request.getfixturevalue("sqlite_url")


@pytest.fixture
def shop(outtray, store_url):
    return Shop(outtray, store_url)


@pytest.fixture
def sqlite_shop(outtray, sqlite_url):
    return Shop(outtray, sqlite_url)
