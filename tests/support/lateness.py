"""How late the machine itself is. What is promised within seconds is judged
against the promise and, on top, what the machine was late meanwhile: on an
idle one that is nothing, and a loaded one makes no test fail."""

import threading
import time

PAUSE = 0.02
WORK = 0.0005


class Watch(threading.Thread):
    """Sleeps and works in turn, and adds up how much longer both took than they
    should: it waited for a processor, as the others here did."""

    def __init__(self):
        super().__init__(daemon=True)
        self.total = 0.0
        self.due = time.monotonic() + PAUSE + WORK

    def run(self):
        while True:
            time.sleep(PAUSE)
            end = time.thread_time() + WORK
            while time.thread_time() < end:
                pass
            self.note(time.monotonic())

    def note(self, now):
        """A turn ended."""
        self.total += max(0.0, now - self.due)
        self.due = now + PAUSE + WORK

    def late(self, now):
        """In all, and with the turn that has not ended."""
        return self.total + max(0.0, now - self.due)


_watch = None
_starting = threading.Lock()


def _so_far():
    global _watch
    with _starting:
        if _watch is None:
            _watch = Watch()
            _watch.start()
    return _watch.late(time.monotonic())


class Promise:
    """It begins now, and is kept for so many seconds; `others`: what the server,
    the broker and the test itself may take besides, which the watch does not see."""

    def __init__(self, seconds, others=0):
        self.seconds, self.others = seconds, others
        self.late_before = _so_far()
        self.began = time.monotonic()

    def took(self):
        return time.monotonic() - self.began

    def limit(self):
        return self.seconds + self.others + self.late()

    def late(self):
        return _so_far() - self.late_before

    def broken(self):
        return self.took() > self.limit()

    def __str__(self):
        took, late = self.took(), self.late()
        return f"{took:.1f} s, promised {self.seconds} s; {late:.1f} s late"
