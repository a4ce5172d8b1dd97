"""The build that people run: optimised, without sanitizers."""

import fcntl
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/release"


def build(*targets, options=()):
    """Build some of it; returns its folder. One at a time: test files run two
    at a time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(targets, options)


def _build(targets, options):
    if not (FOLDER / "build.ninja").exists() or options:
        command = ["cmake", "-S", ROOT, "-B", FOLDER, "-G", "Ninja", *options]
        command += ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DOUTTRAY_TESTS=OFF"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["ninja", "-C", FOLDER, *targets], check=True, stdout=subprocess.DEVNULL
    )
    return FOLDER
