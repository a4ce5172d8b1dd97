"""An outbox as the first version made it."""

import contextlib
import os
import pathlib
import sqlite3

import psycopg


def oldest(url):
    kind = "postgres" if url.startswith("postgresql") else "sqlite"
    root = pathlib.Path(os.environ["OUTTRAY_SOURCE_DIR"])
    sql = (root / f"libcore/schema/{kind}/0001_outbox.sql").read_text()
    name = '"outtray"' if kind == "postgres" else "outtray"
    sql = sql.replace("{{outbox}}", name)
    if kind == "postgres":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql)
    else:
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite://"))) as c:
            c.executescript("PRAGMA journal_mode = WAL;" + sql)
