"""Processor seconds and memory of processes, as the kernel counts them."""

import os
import pathlib

TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """Fields of /proc/PID/stat behind the name; None: it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _children():
    """{parent: [pid, ...]} of everything that runs."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(entry)):
            found.setdefault(int(fields[1]), []).append(int(entry))
    return found


def cpu_seconds(pid):
    """Of a process, those below it, and those below it that have ended and
    were waited for: what a server used so far."""
    children = _children()
    todo, ticks = [pid], 0
    while todo:
        one = todo.pop()
        todo += children.get(one, [])
        if fields := _stat(one):
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICK


def peak_bytes(pid):
    """The largest resident memory of a process so far."""
    return _status_bytes(pid, "VmHWM:")


def resident_bytes(pid):
    """Its resident memory now."""
    return _status_bytes(pid, "VmRSS:")


def _status_bytes(pid, name):
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0
