import logging
import signal

import outtray

logging.basicConfig(level=logging.INFO)
relay = outtray.Relay("sqlite:shop.db", subscription="main")


@relay.handler("orders.*")
def notify(event):
    order = event.json()
    if order["total"] < 0:
        raise outtray.Reject("a total below 0")
    print(event.topic, event.key, order["total"], flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: relay.stop())
    with relay:
        relay.run()
