"""Servers of a test's own, that it may kill."""

import contextlib
import pathlib
import shutil
import tempfile

from kafka_server import Kafka
from pg_server import Postgres


@contextlib.contextmanager
def postgres(**options):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    server = Postgres(folder / "1", **options).start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@contextlib.contextmanager
def kafka(folder, **options):
    cluster = Kafka(folder, **options).start()
    yield cluster
    cluster.stop()


def revive(server, broker):
    """A test that failed may have left one stopped or dead."""
    server.resume()
    if not server.process.alive():
        server.start()
    for node in broker.nodes:
        node.resume()
        if not node.process.alive():
            node.boot()
