"""The specs (busted) of the Lua modules, on Lua 5.4 and on LuaJIT, and what the
modules are made of."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OUTTRAY_TEST_BUILD", ROOT / "build/asan"))
SPECS = sorted(path.name for path in pathlib.Path(__file__).parent.glob("*_spec.lua"))
INTERPRETERS = {"lua5.4": "5.4", "luajit": "5.1"}
MODULES = [(name, version) for name in ("build", "core") for version in ("5.4", "5.1")]


def module(name, version):
    return BUILD / "lua" / version / "outtray" / f"{name}.so"


def environment(interpreter):
    """Where the modules are; their sanitizer must be there first."""
    version = INTERPRETERS[interpreter]
    command = ["gcc", "-print-file-name=libasan.so"]
    asan = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        **os.environ,
        "LUA_PATH": f"{ROOT}/lua/?.lua;{ROOT}/lua/?/init.lua;{ROOT}/tests/lua/?.lua;;",
        "LUA_CPATH": f"{BUILD}/lua/{version}/?.so;;",
        "LD_PRELOAD": asan.stdout.strip(),
    }


def run(interpreter, *arguments, env=None, **options):
    done = subprocess.run(
        [interpreter, *arguments],
        env={**environment(interpreter), **(env or {})},
        capture_output=True,
        text=True,
        **options,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("spec", SPECS)
def test_spec(spec, interpreter, tmp_path):
    path = pathlib.Path(__file__).with_name(spec)
    code, output = run(
        interpreter, "/usr/bin/busted", "--output=TAP", str(path), cwd=tmp_path
    )
    passed = len(re.findall(r"^ok ", output, re.M))
    assert code == 0, output
    assert passed > 0, output
    print(f"{passed} passed")


@pytest.mark.parametrize(("name", "version"), MODULES)
def test_one_name_is_exported(name, version):
    """Two copies of a library in one process must not see each other."""
    command = ["nm", "-D", "--defined-only", module(name, version)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[2::3] == [f"luaopen_outtray_{name}"]


def needed(path):
    done = subprocess.run(
        ["readelf", "-d", path], capture_output=True, text=True, check=True
    )
    found = set(re.findall(r"NEEDED.*\[(.*?)\.so", done.stdout))
    return found - {"libasan", "libubsan", "libc", "libm", "libpthread", "libdl"}


@pytest.mark.parametrize("version", ["5.4", "5.1"])
def test_no_library_behind_the_builder(version):
    assert needed(module("build", version)) == set()


@pytest.mark.parametrize("version", ["5.4", "5.1"])
def test_neither_lua_nor_sqlite_of_its_own(version):
    found = needed(module("core", version))
    assert "libpq" in found
    assert not [name for name in found if "lua" in name or "sqlite" in name]


def test_no_scalar_becomes_a_pointer():
    """What SWIG has no type map for is a userdata in Lua, without a warning."""
    for name in ("build", "core"):
        text = (BUILD / "lua" / f"{name}.c").read_text()
        types = set(re.findall(r'^static swig_type_info .*?\{"(_p_\w+)"', text, re.M))
        assert types
        made = set(re.findall(r"SWIG_NewPointerObj\([^;]*?SWIGTYPE_(p_\w+)", text))
        assert made <= {
            "p_outtray_conf",
            "p_outtray_enqueue_options",
            "p_outtray_handle",
            "p_outtray_relay_stats",
            "p_outtray_taken",
        }
