"""The Python package, installed into .venv for the tests that use it."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
STAMP = pathlib.Path(sys.prefix) / "outtray-installed"
WHEEL = ROOT / "build/wheel"
MADE_OF = ["libcore", "bindings", "python", "setup.py", "pyproject.toml"]


def changed():
    """Is anything newer than what is installed?"""
    if not STAMP.exists() or not any(WHEEL.glob("*.whl")):
        return True
    then = STAMP.stat().st_mtime
    for name in MADE_OF:
        path = ROOT / name
        for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
            if "__pycache__" not in one.parts and one.stat().st_mtime > then:
                return True
    return False


def install():
    """Build the wheel and install it, if something changed. The wheel stays,
    for the test of what is made of it."""
    if sys.version_info < (3, 11):
        print("dev: the Python package needs Python 3.11: name one in PYTHON")
        return
    if not changed():
        return
    print("dev: installing the Python package into .venv", flush=True)
    started = STAMP.with_suffix(".new")
    started.touch()
    shutil.rmtree(WHEEL, ignore_errors=True)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", WHEEL, ".")
    pip("install", "--no-deps", "--force-reinstall", *WHEEL.glob("*.whl"))
    started.rename(STAMP)


def pip(*arguments):
    env = dict(os.environ)
    if "CC" not in env and shutil.which("ccache"):
        env["CC"] = "ccache cc"
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    if subprocess.run([*command, *arguments], cwd=ROOT, env=env).returncode:
        sys.exit("dev: the Python package could not be built, see above")
