import outtray.fastapi
from app import app

relay = outtray.fastapi.relay(
    environment=True,  # OUTTRAY_STORE_URL
    lifespan=app.router.lifespan_context,
    tasks=10,
)
app.router.lifespan_context = relay


@relay.handler("orders.*")
async def notify(event):
    order = event.json()
    print("order", order["id"], "of", order["total"], flush=True)
