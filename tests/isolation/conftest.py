"""Worlds for specs: on the shared server, on servers of other versions, and on
servers of their own that may be killed."""

import os
import pathlib
import shutil
import tempfile

import pytest
from pg_server import Postgres, maven_bin
from world import World, counts

# Of the Maven repository; a version that is installed is taken from there.
NEWEST = {"14": "14.24.0", "15": "15.19.0", "16": "16.15.0", "17": "17.11.0"}
NEWEST["18"] = "18.6.0"


def versions():
    return os.environ.get("OUTTRAY_TEST_PG_VERSIONS", "").split() or ["default"]


def pytest_sessionstart():
    """What must be fetched is, before the time of a test runs."""
    for version in versions():
        if version != "default":
            maven_bin(NEWEST.get(version, version))


class Worlds:
    def __init__(self, version):
        self.version = version
        self.made = {}
        self.servers = []
        # Not below pytest's folders, which the user postgres may not enter.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="iso-"))
        self.folder.chmod(0o755)

    def world(self, spec):
        """The world in which a spec runs."""
        wanted = tuple(spec.settings.items()) if spec.own_server else None
        if wanted not in self.made:
            self.made[wanted] = self._make(spec)
        return self.made[wanted]

    def _make(self, spec):
        program = _environment("OUTTRAY_TEST_BIN")
        if not spec.own_server and self.version == "default":
            return World(_environment("OUTTRAY_TEST_PG"), program)
        version = os.environ.get("OUTTRAY_TEST_PG_VERSION", "system")
        if self.version != "default":
            version = NEWEST.get(self.version, self.version)
        folder = self.folder / str(len(self.servers))
        server = Postgres(folder, version, spec.settings)
        if server.next_xid and not server.can_age():
            pytest.skip(f"PostgreSQL {version} of Maven has no pg_resetwal")
        self.servers.append(server)
        server.start()
        return World(server.url, program, server)

    def close(self):
        for world in self.made.values():
            counts["permutations"] += world.permutations
            world.close()
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.folder)


def _environment(name):
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run it through ./dev test", pytrace=False)
    return value


@pytest.fixture(scope="session", params=versions())
def worlds(request):
    made = Worlds(request.param)
    yield made
    made.close()


# Where test files run in several processes, each tells the first what it counted.


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        found = [sorted(counts["specs"]), counts["permutations"]]
        session.config.workeroutput["isolation"] = found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    specs, permutations = getattr(node, "workeroutput", {}).get("isolation", [[], 0])
    counts["specs"].update(specs)
    counts["permutations"] += permutations


def pytest_terminal_summary(terminalreporter):
    if counts["specs"]:
        terminalreporter.write_line(
            f"isolation: {len(counts['specs'])} specs, "
            f"{counts['permutations']} permutations"
        )
