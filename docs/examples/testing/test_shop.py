import shop


def test_order(conn, outtray_outbox):
    shop.create_order(conn, 7)
    outtray_outbox.assert_enqueued(topic="orders.created", key="7", payload={"id": 7})
    assert len(outtray_outbox) == 1


def test_consumer(conn, outtray_outbox):
    shop.create_order(conn, 7)
    bills = []
    outtray_outbox.deliver(lambda event: bills.append(event.json()["id"]))
    assert bills == [7]


def test_mistake(conn, outtray_outbox):
    shop.create_order(conn, 7)
    outtray_outbox.assert_enqueued("orders.created", key="8")
