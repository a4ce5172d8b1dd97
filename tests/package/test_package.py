"""What an installation brings: a library that exports its own names alone,
and files that a program can be built with."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OUTTRAY_TEST_BUILD", ROOT / "build/asan"))
PROGRAM = """\
#include <outtray.h>
#include <stdio.h>

int main(void)
{
    puts(outtray_version());
    return 0;
}
"""


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", folder)
    return folder


def test_exported_names(prefix):
    (library,) = prefix.glob("lib*/**/libouttray.so")
    names = run("nm", "-D", "--defined-only", library).split()[2::3]
    assert any(name == "outtray_version" for name in names)
    assert [name for name in names if not name.startswith("outtray_")] == []


def test_one_header_for_everything(prefix):
    include = prefix / "include"
    text = (include / "outtray.h").read_text()
    headers = sorted((include / "outtray").glob("*.h"))
    assert headers
    assert [h.name for h in headers if f'"outtray/{h.name}"' not in text] == []


def pkg_config(prefix, *arguments):
    (pc,) = prefix.glob("lib*/**/outtray.pc")
    env = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent)}
    return run("pkg-config", *arguments, env=env).split()


@pytest.mark.parametrize("kind", ["shared", "static"])
def test_build_with_pkg_config(prefix, tmp_path, kind):
    flags = pkg_config(prefix, "--cflags", "--libs", "outtray")
    if kind == "static":
        flags = [f.replace("-louttray", "-l:libouttray.a") for f in flags]
        needed = pkg_config(prefix, "--print-requires-private", "outtray")
        flags += pkg_config(prefix, "--libs", *needed)
    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text(PROGRAM)
    run("cc", source, "-fsanitize=address,undefined", "-o", program, *flags)
    (library,) = prefix.glob("lib*/**/libouttray.so")
    env = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    assert run(program, env=env).startswith("0.")


def test_manual(prefix):
    """The manual page is there, and groff would find its parts."""
    (page,) = prefix.glob("share/man/man1/outtray.1")
    text = page.read_text()
    for part in ("NAME", "SYNOPSIS", "EXIT STATUS"):
        assert f".SH {part}" in text


def test_program(prefix):
    assert run(prefix / "bin/outtray", "version").startswith("outtray 0.")


HEADERS = sorted((ROOT / "libcore/include").rglob("*.h"))


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_headers_stand_alone(header):
    """A public header needs no other before it."""
    command = "cc -fsyntax-only -Wall -Wextra -Werror -std=c11 -xc /dev/null"
    include = [f"-I{ROOT / 'libcore/include'}", "-include", header]
    run(*command.split(), *include)
