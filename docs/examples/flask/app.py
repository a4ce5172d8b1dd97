import os

import outtray
from flask import Flask, jsonify, request
from psycopg_pool import ConnectionPool

app = Flask(__name__)
pool = ConnectionPool(os.environ["OUTTRAY_STORE_URL"], open=True)
outbox = outtray.Outbox()


@app.cli.command("init-db")
def init_db():
    with pool.connection() as conn:
        conn.execute(
            "CREATE TABLE IF NOT EXISTS orders "
            "(id bigserial PRIMARY KEY, total numeric NOT NULL)"
        )


@app.post("/orders")
def create():
    total = request.get_json()["total"]
    # One transaction: committed at the end of the block, or rolled back.
    with pool.connection() as conn:
        (order,) = conn.execute(
            "INSERT INTO orders (total) VALUES (%s) RETURNING id", [total]
        ).fetchone()
        event = outbox.enqueue(
            conn, "orders.created", {"id": order, "total": total}, key=str(order)
        )
        if total < 0:
            raise ValueError("the order and its event are undone")
    return jsonify(id=order, event=event), 201
