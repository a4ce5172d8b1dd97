"""Child processes that can be found again: pid files that are never fooled
by a reused pid, process trees, and children that end with their parent."""

import contextlib
import ctypes
import os
import pathlib
import random
import re
import signal
import socket
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent(signum=signal.SIGKILL):
    """For preexec_fn: the child gets `signum` when this process ends."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def adopt_orphans():
    """Make this process the parent of the orphans among its descendants."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat(pid):
    """(state, parent, start time) of a process, or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def command_line(pid):
    try:
        data = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return data.replace(b"\0", b" ").decode(errors="replace").strip()


def pending(pid, signum):
    """Was the signal sent to a process that has not taken it yet? Two that are
    sent before are one."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)", text, re.MULTILINE)
    return any(int(mask, 16) >> (signum - 1) & 1 for mask in masks)


def descendants(pid):
    """Living processes below `pid`, children before grandchildren."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            found = stat(entry)
            if found and found[0] != "Z":
                parents.setdefault(found[1], []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(0), [])
        found += children
        todo += children
    return found


class Process:
    """A process known by its pid and start time."""

    def __init__(self, pid, started=None):
        self.pid = pid
        found = stat(pid)
        self.started = started or (found[2] if found else 0)

    def alive(self):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        found = stat(self.pid)
        return bool(found and found[0] != "Z" and found[2] == self.started)

    def send(self, signum):
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def tree(self):
        """This process and all below it, as they are now."""
        if not self.alive():
            return []
        return [self] + [Process(pid) for pid in descendants(self.pid)]

    def wait(self, seconds):
        """True if it ended in time."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def stop(self, signum=signal.SIGTERM, seconds=60):
        """Ask with `signum`, insist with SIGKILL."""
        tree = self.tree()
        self.send(signal.SIGCONT)
        self.send(signum)
        if not self.wait(seconds):
            for process in tree:
                process.send(signal.SIGKILL)
            self.wait(60)

    def save(self, path):
        path.write_text(f"{self.pid} {self.started}\n")

    @classmethod
    def load(cls, path):
        """The process of a pid file, or None."""
        try:
            pid, started = path.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return cls(int(pid), int(started))


def free_ports(count):
    """Ports on 127.0.0.1 below the range that the kernel gives to outgoing
    connections, so that a server that was killed finds its port free again
    and no client can connect to itself. They are this process's until it
    ends: nothing that asks here gets one a second time, although what it is
    for has not begun to listen."""
    low = 20000
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        high = int(file.read().split()[0])
    if high - low < 1000:
        low, high = 1024 + 9000, 65000
    found = []
    for port in random.SystemRandom().sample(range(low, high), 500):
        # In this order: who looks must not, for a moment, have the port of
        # somebody else who is just about to listen.
        if not (reserve(port) and can_listen(port)):
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports on 127.0.0.1")


def free_port():
    return free_ports(1)[0]


def can_listen(port):
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def reserve(port):
    """Whether no process had it. What is bound is a name in Linux's abstract
    namespace: no file is left, and the kernel frees it with the process."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0outtray-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()  # open until this process ends, and nobody's
    return True
