"""What `pip install` gets from an sdist: everything, with no need of SWIG."""

import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REQUIRES = """
from setuptools import build_meta
print(*build_meta.get_requires_for_build_wheel())
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    clone = folder / "clone"
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    assert "swig" in run([sys.executable, "-c", REQUIRES], clone)
    run([sys.executable, "setup.py", "-q", "sdist"], clone)
    assert not (clone / "bindings/generated").exists()
    (archive,) = (clone / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    return folder / archive.name.removesuffix(".tar.gz")


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_swig_is_asked_for(unpacked):
    assert "swig" not in run([sys.executable, "-c", REQUIRES], unpacked)


def test_it_is_complete(unpacked):
    """Every file of C finds what it includes."""
    lines = (unpacked / "libcore/SOURCES").read_text().splitlines()
    names = [line.split()[0] for line in lines if line and line[0] != "#"]
    sources = [f"libcore/{name}" for name in names]
    sources += ["bindings/generated/schema.c", "bindings/generated/outtray_wrap.c"]
    libraries = "libuv inih jansson libpq rdkafka sqlite3".split()
    flags = run(["pkg-config", "--cflags", *libraries], unpacked).split()
    paths = ["import sysconfig; print(sysconfig.get_path('include'))"]
    flags.append("-I" + run([sys.executable, "-c", *paths], unpacked).strip())
    flags += ["-Ilibcore/include", "-Ilibcore/src", "-Ibindings", "-std=c11"]
    flags += ["-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE", "-w"]
    flags += ["-DOUTTRAY_WITH_POSTGRES", "-DOUTTRAY_WITH_KAFKA"]
    run(["cc", "-fsyntax-only", *flags, *sources], unpacked)
    for name in ("__init__.py", "py.typed", "_core.pyi", "adapters/psycopg.py"):
        assert (unpacked / "python/outtray" / name).exists()
