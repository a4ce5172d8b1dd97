"""Every driver, with the same few verbs, so that one test does for all.

Verbs of synchronous drivers are coroutines that never wait.
"""

import contextlib
import sys
import urllib.parse

import outtray

ALL = {}
# The attribute autocommit of sqlite3 came with Python 3.12.
NEWER = sys.version_info >= (3, 12)


def driver(name, kind, **options):
    def register(cls):
        ALL[name] = cls, kind, options
        return cls

    return register


class Driver:
    """A connection. `bare`: the kind of it that commits on its own."""

    def __init__(self, url, bare=False, **options):
        self.url = url
        self.path = url.removeprefix("sqlite:")
        self.bare = bare
        self.outbox = outtray.Outbox()
        self.__dict__.update(options)

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def write(self, n):
        await self.execute(f"INSERT INTO orders (n) VALUES ({int(n)})")

    async def enqueue(self, *arguments, **options):
        return self.outbox.enqueue(self.target(), *arguments, **options)

    async def enqueue_many(self, events):
        return self.outbox.enqueue_many(self.target(), events)

    def target(self):
        return self.conn

    @contextlib.asynccontextmanager
    async def transaction(self):
        await self.begin()
        try:
            yield
        except BaseException:
            await self.rollback()
            raise
        await self.commit()

    @contextlib.asynccontextmanager
    async def savepoint(self):
        await self.execute("SAVEPOINT s")
        try:
            yield
        except BaseException:
            await self.execute("ROLLBACK TO SAVEPOINT s")
            raise
        await self.execute("RELEASE SAVEPOINT s")

    async def begin(self):
        pass

    async def commit(self):
        self.conn.commit()

    async def rollback(self):
        self.conn.rollback()

    async def execute(self, sql):
        self.conn.execute(sql)

    async def close(self):
        self.conn.close()


class AsyncDriver(Driver):
    async def enqueue(self, *arguments, **options):
        return await self.outbox.aenqueue(self.target(), *arguments, **options)

    async def enqueue_many(self, events):
        return await self.outbox.aenqueue_many(self.target(), events)

    async def commit(self):
        await self.conn.commit()

    async def rollback(self):
        await self.conn.rollback()

    async def execute(self, sql):
        await self.conn.execute(sql)

    async def close(self):
        await self.conn.close()


# --- SQLite ---

# Seconds to wait for another writer; the usual 5 are few on a busy machine.
TIMEOUT = 60


@driver("sqlite3", "sqlite")
class Sqlite3(Driver):
    """The driver's own transactions, which begin before an INSERT."""

    level = "DEFERRED"

    async def open(self):
        import sqlite3

        level = None if self.bare else self.level
        self.conn = sqlite3.connect(self.path, timeout=TIMEOUT, isolation_level=level)


@driver("sqlite3-own-begin", "sqlite")
class Sqlite3Own(Sqlite3):
    level = None

    async def begin(self):
        self.conn.execute("BEGIN IMMEDIATE")


@driver("sqlite3-autocommit-false", "sqlite", newer=True)
class Sqlite3Newer(Sqlite3):
    """A transaction is always open; bare: autocommit=True."""

    level = None

    async def open(self):
        import sqlite3

        self.conn = sqlite3.connect(self.path, timeout=TIMEOUT, autocommit=self.bare)


@driver("aiosqlite", "sqlite")
class Aiosqlite(AsyncDriver):
    level = "DEFERRED"

    async def open(self):
        import aiosqlite

        level = None if self.bare else self.level
        self.conn = await aiosqlite.connect(
            self.path, timeout=TIMEOUT, isolation_level=level
        )


@driver("aiosqlite-own-begin", "sqlite")
class AiosqliteOwn(Aiosqlite):
    level = None

    async def begin(self):
        await self.conn.execute("BEGIN IMMEDIATE")


@driver("aiosqlite-autocommit-false", "sqlite", newer=True)
class AiosqliteNewer(Aiosqlite):
    level = None

    async def open(self):
        import aiosqlite

        self.conn = await aiosqlite.connect(
            self.path, timeout=TIMEOUT, autocommit=self.bare
        )


# --- PostgreSQL ---


@driver("psycopg", "pg")
class Psycopg(Driver):
    autocommit = False

    async def open(self):
        import psycopg

        auto = self.bare or self.autocommit
        self.conn = psycopg.connect(self.url, autocommit=auto)


@driver("psycopg-blocks", "pg")
@driver("psycopg-pipeline", "pg", pipeline=True)
class PsycopgBlocks(Driver):
    """Autocommit, and the blocks of transaction()."""

    pipeline = False

    async def open(self):
        import psycopg

        self.conn = psycopg.connect(self.url, autocommit=True)

    @contextlib.asynccontextmanager
    async def transaction(self):
        pipeline = self.conn.pipeline() if self.pipeline else contextlib.nullcontext()
        with pipeline, self.conn.transaction():
            yield

    @contextlib.asynccontextmanager
    async def savepoint(self):
        with self.conn.transaction():
            yield


@driver("psycopg-async", "pg")
class PsycopgAsync(AsyncDriver):
    async def open(self):
        import psycopg

        connect = psycopg.AsyncConnection.connect
        self.conn = await connect(self.url, autocommit=self.bare)


@driver("psycopg-async-blocks", "pg")
@driver("psycopg-async-pipeline", "pg", pipeline=True)
class PsycopgAsyncBlocks(AsyncDriver):
    pipeline = False

    async def open(self):
        import psycopg

        connect = psycopg.AsyncConnection.connect
        self.conn = await connect(self.url, autocommit=True)

    @contextlib.asynccontextmanager
    async def transaction(self):
        async with contextlib.AsyncExitStack() as stack:
            if self.pipeline:
                await stack.enter_async_context(self.conn.pipeline())
            await stack.enter_async_context(self.conn.transaction())
            yield

    @contextlib.asynccontextmanager
    async def savepoint(self):
        async with self.conn.transaction():
            yield


@driver("psycopg2", "pg")
class Psycopg2(Driver):
    async def open(self):
        import psycopg2

        self.conn = psycopg2.connect(self.url)
        self.conn.autocommit = self.bare

    async def execute(self, sql):
        with self.conn.cursor() as cursor:
            cursor.execute(sql)


@driver("psycopg2-own-begin", "pg")
class Psycopg2Own(Psycopg2):
    """Autocommit, and BEGIN by hand."""

    async def open(self):
        await super().open()
        self.conn.autocommit = True

    async def begin(self):
        await self.execute("BEGIN")

    async def commit(self):
        await self.execute("COMMIT")

    async def rollback(self):
        await self.execute("ROLLBACK")


@driver("asyncpg", "pg")
class Asyncpg(AsyncDriver):
    async def open(self):
        import asyncpg

        self.conn = await asyncpg.connect(self.url)

    @contextlib.asynccontextmanager
    async def transaction(self):
        async with self.conn.transaction():
            yield

    savepoint = transaction


@driver("asyncpg-pool", "pg")
class AsyncpgPool(Asyncpg):
    async def open(self):
        import asyncpg

        self.pool = await asyncpg.create_pool(self.url, min_size=1, max_size=2)
        self.conn = await self.pool.acquire()

    async def close(self):
        await self.pool.release(self.conn)
        await self.pool.close()


# --- SQLAlchemy ---


def alchemy_url(url, scheme):
    if url.startswith("sqlite:"):
        return f"{scheme}:///{url.removeprefix('sqlite:')}"
    return urllib.parse.urlsplit(url)._replace(scheme=scheme).geturl()


def alchemy_options(case):
    options = {"isolation_level": "AUTOCOMMIT"} if case.bare else {}
    if case.scheme.startswith("sqlite"):
        options["connect_args"] = {"timeout": TIMEOUT}
    return options


class Alchemy(Driver):
    session = False
    newer = False  # autocommit=False of sqlite3, instead of install()

    async def open(self):
        import outtray.sqlalchemy
        import sqlalchemy
        import sqlalchemy.orm

        options = alchemy_options(self)
        if self.newer:
            options = {"connect_args": {"autocommit": self.bare, "timeout": TIMEOUT}}
        url = alchemy_url(self.url, self.scheme)
        self.engine = sqlalchemy.create_engine(url, **options)
        if self.scheme.startswith("sqlite") and not self.bare and not self.newer:
            outtray.sqlalchemy.install(self.engine)
        if self.session:
            self.conn = sqlalchemy.orm.Session(self.engine)
        else:
            self.conn = self.engine.connect()

    @contextlib.asynccontextmanager
    async def transaction(self):
        with self.conn.begin():
            yield

    @contextlib.asynccontextmanager
    async def savepoint(self):
        with self.conn.begin_nested():
            yield

    async def execute(self, sql):
        import sqlalchemy

        self.conn.execute(sqlalchemy.text(sql))

    async def close(self):
        self.conn.close()
        self.engine.dispose()


class AlchemyAdd(Alchemy):
    """outbox.add: written by the commit."""

    session = True

    async def enqueue(self, *arguments, **options):
        return self.outbox.add(self.conn, *arguments, **options)

    async def enqueue_many(self, events):
        return [
            self.outbox.add(
                self.conn,
                e.topic,
                e.payload,
                key=e.key,
                type=e.type,
                headers=e.headers,
                deliver_at=e.deliver_at,
                id=e.id,
            )
            for e in events
        ]


class AsyncAlchemy(AsyncDriver):
    session = False

    async def open(self):
        import outtray.sqlalchemy
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        url = alchemy_url(self.url, self.scheme)
        self.engine = create_async_engine(url, **alchemy_options(self))
        if self.scheme.startswith("sqlite") and not self.bare:
            outtray.sqlalchemy.install(self.engine)
        if self.session:
            self.conn = AsyncSession(self.engine)
        else:
            self.conn = await self.engine.connect()

    @contextlib.asynccontextmanager
    async def transaction(self):
        async with self.conn.begin():
            yield

    @contextlib.asynccontextmanager
    async def savepoint(self):
        async with self.conn.begin_nested():
            yield

    async def execute(self, sql):
        import sqlalchemy

        await self.conn.execute(sqlalchemy.text(sql))

    async def close(self):
        await self.conn.close()
        await self.engine.dispose()


class AsyncAlchemyAdd(AsyncAlchemy):
    session = True
    enqueue = AlchemyAdd.enqueue
    enqueue_many = AlchemyAdd.enqueue_many


for scheme, kind, asynchronous in [
    ("postgresql+psycopg", "pg", False),
    ("postgresql+psycopg2", "pg", False),
    ("postgresql+psycopg", "pg", True),
    ("postgresql+asyncpg", "pg", True),
    ("sqlite+pysqlite", "sqlite", False),
    ("sqlite+aiosqlite", "sqlite", True),
]:
    prefix = f"alchemy-{'async-' * asynchronous}{scheme.partition('+')[2]}"
    plain = AsyncAlchemy if asynchronous else Alchemy
    adding = AsyncAlchemyAdd if asynchronous else AlchemyAdd
    driver(prefix, kind, scheme=scheme)(plain)
    driver(f"{prefix}-session", kind, scheme=scheme, session=True)(plain)
    driver(f"{prefix}-add", kind, scheme=scheme)(adding)


driver("alchemy-pysqlite-autocommit-false", "sqlite", scheme="sqlite", newer=True)(
    Alchemy
)


# --- Django ---


def django_database(url):
    if url.startswith("sqlite:"):
        name = url.removeprefix("sqlite:")
        wait = {"timeout": TIMEOUT}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": wait}
    parts = urllib.parse.urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


@driver("django-postgresql", "pg")
@driver("django-sqlite", "sqlite")
class Django(Driver):
    async def open(self):
        import django
        from django.conf import settings
        from django.db import connections

        if not settings.configured:
            memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
            settings.configure(DATABASES={"default": memory}, USE_TZ=True)
            django.setup()
        self.alias = "shop"
        default = dict(connections.databases["default"])
        connections.databases["shop"] = {**default, **django_database(self.url)}
        self.conn = connections["shop"]

    def target(self):
        return self.conn

    @contextlib.asynccontextmanager
    async def transaction(self):
        from django.db import transaction

        with transaction.atomic(using="shop"):
            yield

    savepoint = transaction

    async def execute(self, sql):
        with self.conn.cursor() as cursor:
            cursor.execute(sql)

    async def close(self):
        from django.db import connections

        self.conn.close()
        del connections["shop"]  # of this thread
