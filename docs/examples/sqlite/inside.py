import threading
import time

import outtray
import shop

with outtray.Relay("sqlite:shop.db", "stdout:") as relay:
    thread = threading.Thread(target=relay.run)
    thread.start()
    conn = shop.connect()
    shop.create_order(conn, 7.5)
    conn.close()
    while relay.stats().delivered < 1:
        time.sleep(0.01)
    relay.stop()
    thread.join()
