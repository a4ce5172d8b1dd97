import outtray

outbox = outtray.Outbox()


def create_order(conn, number):
    with conn:
        conn.execute("INSERT INTO orders VALUES (?)", [number])
        outbox.enqueue(conn, "orders.created", {"id": number}, key=str(number))
