import asyncio

import outtray


async def main():
    async with outtray.AsyncRelay("sqlite:shop.db", until_empty=True) as relay:

        @relay.handler("orders.*")
        async def notify(event):
            await asyncio.sleep(0.01)  # the service's answer
            print("notified of", event.key)

        await relay.run(tasks=20)


asyncio.run(main())
