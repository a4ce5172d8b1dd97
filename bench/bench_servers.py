"""Servers of a benchmark, with settings from a file in this folder."""

import contextlib
import pathlib
import shutil
import signal
import sys
import tempfile

from kafka_server import Kafka
from pg_server import Postgres


def read_settings(path):
    """{name: value} of a configuration file of PostgreSQL."""
    found = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, _, value = line.partition("=")
            found[name.strip()] = value.strip()
    return found


@contextlib.contextmanager
def servers(settings, properties):
    """A PostgreSQL and a Kafka; they stop with the block, or the program."""
    # A signal ends the block like an exception.
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="outtray-bench-"))
    folder.chmod(0o755)
    pg = Postgres(folder / "pg", settings=settings)
    kafka = Kafka(folder / "kafka", properties=properties, heap="1g")
    try:
        pg.start()
        kafka.start()
        yield pg, kafka
    finally:
        kafka.stop()
        pg.stop()
        shutil.rmtree(folder, ignore_errors=True)
