import contextlib
import os

import outtray
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

url = os.environ["OUTTRAY_STORE_URL"]  # the relay reads it as well
engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
sessions = async_sessionmaker(engine)
outbox = outtray.Outbox()


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[float]


class NewOrder(BaseModel):
    total: float


@contextlib.asynccontextmanager
async def lifespan(app):
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def create(new: NewOrder):
    async with sessions.begin() as session:
        order = Order(total=new.total)
        session.add(order)
        await session.flush()  # the order has its id now
        event_id = await outbox.aenqueue(
            session,
            "orders.created",
            {"id": order.id, "total": order.total},
            key=str(order.id),
        )
        order_id = order.id
    return {"id": order_id, "event": event_id}
