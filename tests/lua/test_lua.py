"""The specs (busted) of the Lua modules, on Lua 5.4 and on LuaJIT, and what the
modules are made of."""

import os
import pathlib
import re
import subprocess

import pytest
from lua_modules import INTERPRETERS, build, environment, module

FOLDER = pathlib.Path(__file__).parent
SPECS = sorted(path.name for path in FOLDER.glob("*_spec.lua"))
MODULES = [(name, version) for name in ("build", "core") for version in ("5.4", "5.1")]
# LuaDBI loses the result of every statement that failed.
LEAKY = {"outbox_spec.lua"}


def run(interpreter, *arguments, env=None, **options):
    done = subprocess.run(
        [interpreter, *arguments],
        env={**os.environ, **environment(interpreter), **(env or {})},
        capture_output=True,
        text=True,
        **options,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def outboxes(pg, outtray, tmp_path):
    """One in PostgreSQL, one in SQLite."""
    path = tmp_path / "shop.db"
    outtray.run("init", "--store", pg.url)
    outtray.run("init", "--store", f"sqlite:{path}")
    return {"OUTTRAY_SPEC_PG": pg.url, "OUTTRAY_SPEC_SQLITE": str(path)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("collect", [(), ("--helper=collect.lua",)], ids=["", "gc"])
@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("spec", SPECS)
def test_spec(spec, interpreter, collect, outboxes, tmp_path):
    """Once as it is, once with a collector that never rests."""
    env = {**outboxes, "OUTTRAY_SPEC_FOLDER": str(tmp_path)}
    if spec in LEAKY:
        env["ASAN_OPTIONS"] = "detect_leaks=0"
    command = ["/usr/bin/busted", "--output=TAP", *collect, spec]
    code, output = run(interpreter, *command, env=env, cwd=FOLDER)
    assert code == 0, output
    assert re.search(r"^ok ", output, re.M), output


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
        text = (build() / "lua" / f"{name}.c").read_text()
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
