"""Run by Django's own runner, in the database that it makes for tests."""

import json
import unittest
import unittest.mock
from decimal import Decimal

import outtray
import outtray.django
from django.contrib.auth.models import Permission, User
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import (
    DatabaseError,
    IntegrityError,
    connection,
    connections,
    transaction,
)
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.writer import MigrationWriter
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings
from outtray import schema
from outtray.django.conf import store_url
from outtray.django.models import Undelivered
from outtray.django.operations import OutboxSchema

from .models import Order

POSTGRESQL = connection.vendor == "postgresql"
PREFIX = "outtray." if POSTGRESQL else "outtray_"


def query(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("@", PREFIX), parameters)
        return cursor.fetchall() if cursor.description else []


def topics():
    return [topic for (topic,) in query("SELECT topic FROM @event ORDER BY seq")]


class Atomic(TransactionTestCase):
    """Nothing is around these tests."""

    def tearDown(self):
        query("DELETE FROM @event")

    def test_commit_and_rollback(self):
        with transaction.atomic():
            Order.objects.create(total=1)
            event_id = outtray.django.enqueue("kept", {"total": Decimal("1.50")})
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Order.objects.create(total=2)
            outtray.django.enqueue("gone")
            raise ZeroDivisionError
        self.assertEqual(Order.objects.count(), 1)
        rows = query("SELECT id, topic, payload FROM @event")
        self.assertEqual(len(rows), 1)
        self.assertEqual((str(rows[0][0]), rows[0][1]), (event_id, "kept"))
        self.assertEqual(bytes(rows[0][2]), b'{"total":"1.50"}')

    def test_savepoints(self):
        with transaction.atomic():
            outtray.django.enqueue("outer")
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                outtray.django.enqueue("inner")
                raise ZeroDivisionError
            outtray.django.enqueue_many([outtray.Event("a"), outtray.Event("b")])
        self.assertEqual(topics(), ["outer", "a", "b"])

    def test_outside(self):
        with self.assertRaisesMessage(outtray.NotInTransaction, "ATOMIC_REQUESTS"):
            outtray.django.enqueue("alone")
        with transaction.atomic():
            transaction.on_commit(self.too_late)
            outtray.django.enqueue("in time")
        self.assertEqual(topics(), ["in time"])

    def too_late(self):
        with self.assertRaises(outtray.NotInTransaction):
            outtray.django.enqueue("late")

    def test_autocommit_off(self):
        transaction.set_autocommit(False)
        try:
            outtray.django.enqueue("undone")
            transaction.rollback()
            outtray.django.enqueue("done")
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        self.assertEqual(topics(), ["done"])

    def test_a_broken_block(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Order.objects.create(pk=1, total=1)
            try:
                Order.objects.create(pk=1, total=1)
            except IntegrityError:
                # Django knows since the inner atomic block of save().
                with self.assertRaises(outtray.TransactionFailed):
                    outtray.django.enqueue("broken")
                raise
        with transaction.atomic():
            with self.assertRaises(ZeroDivisionError):
                with transaction.atomic(savepoint=False):
                    raise ZeroDivisionError
            with self.assertRaisesMessage(outtray.TransactionFailed, "block"):
                outtray.django.enqueue("broken")
        self.assertEqual(topics(), [])

    def test_a_refused_event(self):
        with transaction.atomic():
            Order.objects.create(total=1)
            for error, arguments in [
                (outtray.NotSerializable, ("t", {1, 2})),
                (outtray.TooLarge, ("t", b"x" * 1_000_000)),
                (outtray.InvalidEvent, ("",)),
            ]:
                with self.assertRaises(error):
                    outtray.django.enqueue(*arguments)
            outtray.django.enqueue("fine")
        self.assertEqual(topics(), ["fine"])
        self.assertEqual(Order.objects.count(), 1)

    def test_another_database(self):
        with transaction.atomic():
            with self.assertRaises(outtray.NotInTransaction):
                outtray.django.enqueue("t", using="other")

    databases = ("default", "other")

    @unittest.skipUnless(POSTGRESQL, "a file has no server that could go")
    def test_a_connection_that_was_closed(self):
        with self.assertRaises(DatabaseError), transaction.atomic():
            with self.assertRaises(DatabaseError):
                query("SELECT pg_terminate_backend(pg_backend_pid())")
            outtray.django.enqueue("t")
        connection.close()
        self.assertEqual(topics(), [])

    def test_requests(self):
        with self.assertRaises(outtray.NotInTransaction):
            self.client.get("/orders/")
        with self.atomic_requests():
            self.assertEqual(self.client.get("/orders/").status_code, 200)
            with self.assertRaises(RuntimeError):
                self.client.get("/orders/?fail")
        self.assertEqual(topics(), ["orders.created"])
        # The first one wrote without an event: nobody asked for a transaction.
        self.assertEqual(Order.objects.count(), 2)

    @staticmethod
    def atomic_requests():
        return unittest.mock.patch.dict(connection.settings_dict, ATOMIC_REQUESTS=True)


class InTestCase(TestCase):
    """What TestCase puts around a test is no transaction of the application."""

    def test_it_does_not_count(self):
        with self.assertRaises(outtray.NotInTransaction):
            outtray.django.enqueue("alone")
        with transaction.atomic():
            outtray.django.enqueue("together")
        self.assertEqual(topics(), ["together"])

    def test_nothing_is_left(self):
        self.assertEqual(topics(), [])


class Setting(TestCase):
    def test_mistakes(self):
        for setting, text in [
            ([], "must be a dictionary"),
            ({"DATABASE": ["default"]}, "did you mean DATABASES"),
            ({"DATABASES": "default"}, "must be a list"),
            ({"NAME": "no name"}, "this is no name of an outbox"),
            ({"SERIALIZER": "no.such.thing"}, "No module"),
            ({"OPTIONS": {"no": 1}}, "unexpected keyword"),
        ]:
            with override_settings(OUTTRAY=setting):
                with self.assertRaisesMessage(ImproperlyConfigured, text):
                    outtray.django.enqueue("t")
                self.assertEqual(ids(), ["outtray.E001"])
        with override_settings(OUTTRAY={"DATABASES": ["nowhere"]}):
            self.assertEqual(ids(), ["outtray.E001"])

    def test_serializer(self):
        with override_settings(OUTTRAY={"SERIALIZER": "builtins.repr"}):
            with transaction.atomic():
                outtray.django.enqueue("t", {1})
        self.assertEqual(bytes(query("SELECT payload FROM @event")[0][0]), b"{1}")

    def test_requests_outside(self):
        self.assertEqual(ids(), ["outtray.W003"])
        with Atomic.atomic_requests():
            self.assertEqual(ids(), [])


def ids(**options):
    found = checks.run_checks(**options)
    return [message.id for message in found if message.id.startswith("outtray.")]


NEXT = 100


def event(state, error=None, topic="orders.created", **columns):
    """An event, held in a state; its seq."""
    global NEXT
    NEXT += 1
    with transaction.atomic():
        event_id = outtray.django.enqueue(topic, {"n": NEXT}, key=f"k{NEXT}", **columns)
    ((seq,),) = query("SELECT seq FROM @event WHERE id = %s", event_id)
    if state == "pending":
        return seq
    names = "subscription, seq, state, holds_key, attempts, error, last_error_at"
    more = ", topic, key" if POSTGRESQL else ""
    values = [seq, state, True, 3, error]
    moment = "now()" if POSTGRESQL else "1764000000123456"
    query(
        f"INSERT INTO @held ({names}{more}) "
        f"VALUES ('main', %s, %s, %s, %s, %s, {moment}{', %s, %s' * bool(more)})",
        *values,
        *([topic, f"k{NEXT}"] if more else []),
    )
    return seq


class Admin(TestCase):
    URL = "/admin/outtray/undelivered/"

    @classmethod
    def setUpTestData(cls):
        cls.boss = User.objects.create_superuser("boss")
        cls.clerk = User.objects.create_user("clerk", is_staff=True)
        permissions = Permission.objects.filter(content_type__app_label="outtray")
        cls.permissions = {one.codename: one for one in permissions}
        cls.clerk.user_permissions.add(cls.permissions["view_undelivered"])
        cls.dead = event("dead", "the broker <said> no " * 9)
        cls.retrying = event("retrying", "later")
        cls.blocked = event("blocked")
        cls.pending = event("pending", topic="users.created")

    def get(self, path="", **parameters):
        return self.client.get(self.URL + path, parameters)

    def shown(self, response):
        return [one.seq for one in response.context["cl"].result_list]

    def test_permissions(self):
        self.assertEqual(
            sorted(self.permissions), ["redrive_undelivered", "view_undelivered"]
        )
        self.assertEqual(self.get().status_code, 302)
        self.client.force_login(User.objects.create_user("none", is_staff=True))
        self.assertEqual(self.get().status_code, 403)

    def test_list(self):
        self.client.force_login(self.clerk)
        response = self.get()
        everything = [self.dead, self.retrying, self.blocked, self.pending]
        # Held events of lower seqs come first: the order is that of the log.
        self.assertEqual(self.shown(response), everything)
        self.assertContains(response, "the broker &lt;said&gt; no")
        self.assertNotContains(response, "<said>")
        self.assertEqual(self.shown(self.get(state__exact="dead")), [self.dead])
        self.assertEqual(self.shown(self.get(state__exact="pending")), [self.pending])
        self.assertEqual(self.shown(self.get(q="users.")), [self.pending])
        self.assertEqual(self.shown(self.get(subscription__exact="main")), everything)
        self.assertEqual(self.shown(self.get(o="-3")), [*reversed(everything)])
        one = Undelivered.objects.get(seq=self.dead)
        self.assertEqual(self.shown(self.get(q=one.event_id)), [self.dead])

    def test_one(self):
        self.client.force_login(self.clerk)
        with transaction.atomic():
            outtray.django.enqueue("h", b"secret", headers={"tenant": "acme"})
        seq = Undelivered.objects.get(topic="h").seq
        response = self.get(f"main:{seq}/change/".replace(":", "_3A"))
        self.assertContains(response, "acme")
        self.assertNotContains(response, "secret")
        self.assertNotContains(response, 'name="_save"')
        self.assertEqual(self.get("add/").status_code, 403)
        url = f"{self.URL}main_3A{seq}/delete/"
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        url = f"{self.URL}main_3A{seq}/change/"
        self.assertEqual(self.client.post(url, {"topic": "x"}).status_code, 403)

    def redrive(self, *seqs):
        data = {"action": "redrive", "_selected_action": [f"main:{n}" for n in seqs]}
        return self.client.post(self.URL, data, follow=True)

    def test_redrive_needs_its_permission(self):
        self.client.force_login(self.clerk)
        self.redrive(self.dead)
        self.assertEqual(query("SELECT * FROM @command"), [])

    def test_redrive(self):
        self.clerk.user_permissions.add(self.permissions["redrive_undelivered"])
        self.client.force_login(self.clerk)
        response = self.redrive(self.dead, self.retrying, self.blocked, self.pending)
        self.assertContains(response, "2 events will be sent again, when a relay runs")
        self.assertContains(response, "2 left alone")
        rows = query("SELECT subscription, verb, argument, asked_by FROM @command")
        self.assertEqual(
            sorted((s, verb, int(n), by) for s, verb, n, by in rows),
            [
                ("main", "redrive", self.dead, "clerk"),
                ("main", "redrive", self.retrying, "clerk"),
            ],
        )

    def test_many(self):
        with transaction.atomic():
            outtray.django.enqueue_many(outtray.Event("many") for _ in range(10_100))
        self.client.force_login(self.boss)
        with self.assertNumQueries(5):
            response = self.get()
        self.assertEqual(response.context["cl"].paginator.count, 10_001)
        self.assertEqual(self.shown(self.get(p=2))[0], self.shown(response)[-1] + 1)

    def test_times_and_text(self):
        one = Undelivered.objects.get(seq=self.dead)
        self.assertEqual(str(one), f"orders.created {one.event_id}")
        self.assertEqual(one.created_at.utcoffset().total_seconds(), 0)
        self.assertEqual(
            one.payload_bytes, len(json.dumps({"n": 101}, separators=",:"))
        )
        if not POSTGRESQL:
            self.assertEqual(one.last_error_at.timestamp(), 1764000000.123)


class InDatabases(TestCase):
    databases = ("default", "other")

    def test_the_checks_of_databases(self):
        # This project begins with DEFERRED, as Django does.
        deferred = getattr(connections["default"], "transaction_mode", "") is None
        self.assertEqual(
            ids(tags=["database"], databases=["default"]),
            ["outtray.W007"] if deferred else [],
        )
        self.assertEqual(ids(tags=["database"], databases=["other"]), [])
        with override_settings(OUTTRAY={"NAME": "elsewhere"}):
            found = ids(tags=["database"], databases=["default"])
        self.assertEqual(found, ["outtray.W004"])

    def test_only_where_it_is_meant(self):
        tables = connections["other"].introspection.table_names()
        self.assertIn("shop_order", tables)
        self.assertNotIn("outtray_event", tables)

    def test_an_older_schema(self):
        query("UPDATE @meta SET schema_version = 0")
        with override_settings(OUTTRAY={}):
            found = ids(tags=["database"], databases=["default"])
        # 0 is none at all; there is no older one yet.
        self.assertEqual(found, ["outtray.W004"])


class Migrations(SimpleTestCase):
    databases = ("default",)

    def operations(self):
        loader = MigrationLoader(None)
        ours = [
            loader.disk_migrations[key]
            for key in sorted(loader.disk_migrations)
            if key[0] == "outtray"
        ]
        return [operation for m in ours for operation in m.operations]

    def test_one_for_each_of_the_core(self):
        """A new file in libcore/schema needs OutboxSchema(N) in a migration."""
        numbers = [
            op.number for op in self.operations() if isinstance(op, OutboxSchema)
        ]
        for dialect in ("postgresql", "sqlite"):
            newest = schema.version(dialect)
            self.assertEqual(numbers, list(range(1, newest + 1)))

    def test_squashed(self):
        before = self.operations()
        after = MigrationOptimizer().optimize(before, "outtray")
        self.assertEqual(len(after), len(before))
        squashed = type("Squashed", (Migration,), {"operations": after})
        text = MigrationWriter(squashed("0001_squashed", "outtray")).as_string()
        namespace = {}
        exec(text, namespace)
        made = namespace["Migration"].operations
        self.assertEqual(
            [one.deconstruct()[0] for one in made],
            [one.deconstruct()[0] for one in before],
        )
        self.assertEqual(made[0].number, 1)


class StoreUrl(SimpleTestCase):
    databases = ("default",)

    def test_urls(self):
        empty = dict.fromkeys(("NAME", "USER", "PASSWORD", "HOST", "PORT"), "")
        for given, url in [
            ({"NAME": "shop"}, "postgresql:///shop"),
            ({"NAME": "a b/c", "USER": "u"}, "postgresql://u@/a%20b%2Fc"),
            (
                {"NAME": "s", "USER": "u@x", "PASSWORD": "p:/@%", "HOST": "h"},
                "postgresql://u%40x:p%3A%2F%40%25@h/s",
            ),
            ({"NAME": "s", "HOST": "::1", "PORT": 5433}, "postgresql://[::1]:5433/s"),
            (
                {"NAME": "s", "HOST": "/run/pg", "PORT": "5433"},
                "postgresql:///s?host=%2Frun%2Fpg&port=5433",
            ),
            (
                {"NAME": "s", "HOST": "a,b", "OPTIONS": {"sslmode": "verify-full"}},
                "postgresql:///s?sslmode=verify-full&host=a%2Cb",
            ),
            (
                {"OPTIONS": {"service": "shop", "pool": True, "isolation_level": 4}},
                "postgresql:///?service=shop",
            ),
        ]:
            settings = {**empty, "OPTIONS": {}, **given}
            with (
                unittest.mock.patch.multiple(
                    connections["default"].__class__, vendor="postgresql"
                ),
                unittest.mock.patch.object(
                    connections["default"], "settings_dict", settings
                ),
            ):
                self.assertEqual(store_url("default"), url)
