import outtray.fastapi
from app import app

app.router.lifespan_context = outtray.fastapi.relay(
    sink="file:///tmp/events.jsonl",
    environment=True,  # OUTTRAY_STORE_URL
    lifespan=app.router.lifespan_context,
)


@app.get("/health")
async def health():
    relay = app.state.outtray_relay
    return {"delivered": relay.stats().delivered, "stall": relay.stats().stall}
