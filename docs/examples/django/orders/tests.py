from django.db import connection
from django.test import TestCase
from outtray.testing import EnqueuedEvents


class OrderTest(TestCase):
    def test_create(self):
        outbox = EnqueuedEvents(connection)
        self.client.post("/orders/", {"total": "3.00"})
        event = outbox.assert_enqueued("orders.created")
        self.assertEqual(event.json()["total"], "3.00")
