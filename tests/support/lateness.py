"""How late the machine itself is. What is promised within seconds is judged
against the promise and, on top, what the machine was late meanwhile: on an
idle one that is nothing, and a loaded one makes no test fail."""

import contextlib
import pathlib
import threading
import time

PAUSE = 0.02
WORK = 0.0005
# How much of a time counts at most, however long others waited in it: a promise
# is always broken in the end.
MOST = 0.9


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


def pressure(folder="/proc/pressure"):
    """Seconds in which something here waited for a processor or a disk, as Linux
    counts them; 0 where it does not. The watch alone is seldom late beside work
    that never sleeps: who sleeps much goes first."""
    total = 0
    for name in ("cpu", "io"):
        with contextlib.suppress(OSError):
            some = pathlib.Path(folder, name).read_text().partition("\n")[0]
            total += int(some.rpartition("total=")[2]) / 1e6
    return total


class Promise:
    """It begins now, and is kept for so many seconds; `others`: what the server,
    the broker and the test itself may take besides, which nobody measures."""

    def __init__(self, seconds, others=0):
        self.seconds, self.others = seconds, others
        self.late_before, self.pressure_before = _so_far(), pressure()
        self.began = time.monotonic()

    def took(self):
        return time.monotonic() - self.began

    def limit(self):
        return self.seconds + self.others + self.late()

    def late(self):
        waited = pressure() - self.pressure_before
        return max(_so_far() - self.late_before, min(waited, MOST * self.took()))

    def broken(self):
        return self.took() > self.limit()

    def __str__(self):
        took, late = self.took(), self.late()
        return f"{took:.1f} s, promised {self.seconds} s; {late:.1f} s late"


class Patience(Promise):
    """With what is promised to nobody, and must come all the same: the limit is
    only there so that a test ends, and tells why, that has waited in vain."""

    def __init__(self, seconds):
        super().__init__(seconds, others=2 * seconds)

    def limit(self):
        return min(super().limit(), 8 * self.seconds)
