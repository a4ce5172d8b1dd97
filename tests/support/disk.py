"""A disk of a test's own: an image with ext4, mounted through a loop device. It
can be full, and its power can be cut: what was not synced is gone. Root only."""

import contextlib
import fcntl
import os
import struct
import subprocess
import time

# EXT4_IOC_SHUTDOWN, and its flag: not even the journal is written.
SHUTDOWN, NO_FLUSH = 0x8004587D, 2


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")


def available():
    return os.getuid() == 0 and os.path.exists("/dev/loop-control")


class Disk:
    def __init__(self, folder, megabytes=64):
        self.image, self.path = folder / "image", folder / "disk"
        self.path.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", self.image)
        self.mount()

    def mount(self):
        run("mount", "-o", "loop", self.image, self.path)
        self.path.chmod(0o777)

    def unmount(self, seconds=20):
        """Once nobody uses it any more."""
        end = time.monotonic() + seconds
        while True:
            try:
                run("umount", self.path)
                return
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def sync(self):
        run("sync", "-f", self.path)

    def cut_power(self):
        """From now on nothing is written; every access fails."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_FLUSH))
        finally:
            os.close(folder)

    def restore_power(self):
        self.unmount()
        self.mount()

    def fill(self):
        """Not a byte is left."""
        for _ in range(20):  # who writes meanwhile may give some back
            with contextlib.suppress(OSError), open(self.path / "filler", "ab") as file:
                for size in (1 << 20, 1 << 12, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(b"x" * size)
                            file.flush()
            if os.statvfs(self.path).f_bavail == 0:
                return
        raise AssertionError(f"{os.statvfs(self.path).f_bavail} blocks are free")

    def clear(self):
        (self.path / "filler").unlink()

    def close(self):
        with contextlib.suppress(RuntimeError):
            self.unmount(5)
            self.image.unlink()
