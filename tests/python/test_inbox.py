"""An event is handled once, in the consumer's own transaction."""

import asyncio
import pathlib
import sys
import uuid

import outtray
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import drivers  # noqa: E402

ALL = [name for name in drivers.ALL if not name.endswith("-add")]


class Undo(Exception):
    """Raised to roll back."""


@pytest.mark.parametrize("name", ALL)
def test_once(name, shared_outboxes):
    cls, kind, options = drivers.ALL[name]
    if options.get("newer") and not drivers.NEWER:
        pytest.skip("the attribute autocommit of sqlite3 needs Python 3.12")
    where = shared_outboxes[kind]
    where.empty()
    inbox = outtray.Inbox()
    event_id = str(uuid.uuid4())
    other = uuid.uuid4()

    async def handle(c, n, consumer="billing", event_id=event_id):
        if isinstance(c, drivers.AsyncDriver):
            async with inbox.aonce(c.target(), consumer, event_id) as first:
                if first:
                    await c.write(n)
        else:
            with inbox.once(c.target(), consumer, event_id) as first:
                if first:
                    await c.write(n)

    async def go():
        async with cls(where.url, **options) as c:
            with pytest.raises(Undo):
                async with c.transaction():
                    await handle(c, 1)
                    raise Undo
            for n in (2, 3):
                async with c.transaction():
                    await handle(c, n)
            async with c.transaction():
                await handle(c, 4, event_id=event_id.upper())
                await handle(c, 5, event_id=other)
                await handle(c, 6, "shipping")
                await handle(c, 7, "shipping")
                with pytest.raises(outtray.InvalidEvent):
                    await handle(c, 8, event_id="no-uuid")
        async with cls(where.url, bare=True, **options) as c:
            with pytest.raises(outtray.NotInTransaction):
                await handle(c, 9, event_id=uuid.uuid4())

    asyncio.run(go())
    assert where.orders() == [2, 5, 6]


def test_there_is_none(memory_outbox):
    inbox = outtray.Inbox("nowhere")
    event_id = uuid.uuid4()
    with pytest.raises(Exception, match="nowhere_inbox") as caught:
        with inbox.once(memory_outbox, "billing", event_id):
            raise AssertionError("not reached")
    assert "`outtray init`" in caught.value.__notes__[0]


def test_names():
    with pytest.raises(outtray.Misuse):
        outtray.Inbox('no" name')
    assert repr(outtray.Inbox("shop")) == "<outtray.Inbox 'shop'>"
