import dataclasses
import json
import sqlite3

import msgpack
import orjson
import outtray
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct


@dataclasses.dataclass
class Order:
    id: int
    total: float


def of_dataclasses(payload):
    return json.dumps(dataclasses.asdict(payload))


def of_many(payload):
    """Several kinds in one application."""
    if isinstance(payload, Message):
        return payload.SerializeToString()
    return orjson.dumps(payload)  # dataclasses, datetime and UUID as well


message = Struct()
message["id"] = 9

conn = sqlite3.connect("shop.db")
with conn:
    for serializer, payload in [
        (of_dataclasses, Order(7, 12.5)),
        (orjson.dumps, Order(8, 3)),
        (msgpack.packb, {"id": 8}),
        (of_many, message),
    ]:
        outbox = outtray.Outbox(serializer=serializer)
        outbox.enqueue(conn, "orders.created", payload)
    for (stored,) in conn.execute("SELECT payload FROM outtray_event ORDER BY seq"):
        print(stored)
    conn.rollback()
