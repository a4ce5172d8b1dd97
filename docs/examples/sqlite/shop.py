import sqlite3
import sys

import outtray

outbox = outtray.Outbox()


def connect():
    # Waits for the relay's writes, which take milliseconds, instead of failing.
    return sqlite3.connect("shop.db", timeout=10)


def create_order(conn, total):
    # `with conn` commits at its end, and rolls back on an exception.
    with conn:
        order = conn.execute("INSERT INTO orders (total) VALUES (?)", [total]).lastrowid
        outbox.enqueue(
            conn, "orders.created", {"id": order, "total": total}, key=str(order)
        )
        if total < 0:
            raise ValueError("a total is not below 0")
    return order


if __name__ == "__main__":
    conn = connect()
    conn.execute(
        "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, total REAL)"
    )
    for argument in sys.argv[1:]:
        try:
            print("order", create_order(conn, float(argument)))
        except ValueError as error:
            print("no order:", error)
    conn.close()
