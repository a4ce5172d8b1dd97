"""The ways to install the modules of Lua: luarocks, CMake and opm."""

import configparser
import os
import re
import shutil
import subprocess

import lua_modules
import pytest

ROOT = lua_modules.ROOT
HELLO = """
local outtray = require "outtray"
assert(require("outtray.builder").kind == "c")
local sql, id = outtray.outbox():build({topic = "t"}, "sqlite", "?")
assert(sql:find("INSERT", 1, true) and #id == 36)
local relay = assert(outtray.relay {
    store = "sqlite:" .. os.tmpname(), sink = "null:", log = false,
})
relay:close()
print "hello"
"""


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(prefix, version, **more):
    """Only what is below a prefix, besides the interpreter's own."""
    lua, c = prefix / "share/lua" / version, prefix / "lib/lua" / version
    return {
        **os.environ,
        "LUA_PATH": f"{lua}/?.lua;{lua}/?/init.lua;;",
        "LUA_CPATH": f"{c}/?.so;;",
        **more,
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("interpreter", lua_modules.INTERPRETERS)
def test_luarocks(interpreter, tmp_path):
    version = lua_modules.INTERPRETERS[interpreter]
    tree = tmp_path / "tree"
    env = {**os.environ, "HOME": str(tmp_path), "CFLAGS": "-O0"}
    command = ["luarocks", f"--lua-version={version}", f"--tree={tree}", "make"]
    run(*command, "lua/outtray-scm-1.rockspec", cwd=ROOT, env=env)
    where = environment(tree, version)
    assert run(interpreter, "-e", HELLO, env=where, cwd=tmp_path) == "hello\n"
    assert "outtray" in run(tree / "bin/outtray-lua", "version", cwd=tmp_path)


def test_cmake(tmp_path):
    prefix = tmp_path / "prefix"
    command = ["cmake", "--install", lua_modules.build(), "--prefix", prefix]
    run(*command, "--component", "lua")
    for interpreter, version in lua_modules.INTERPRETERS.items():
        asan = lua_modules.environment(interpreter)["LD_PRELOAD"]
        env = environment(prefix, version, LD_PRELOAD=asan)
        assert run(interpreter, "-e", HELLO, env=env, cwd=tmp_path) == "hello\n"
        script = prefix / "bin/outtray-lua"
        assert "outtray" in run(interpreter, script, "version", env=env)


def project_version():
    header = (ROOT / "libcore/include/outtray/types.h").read_text()
    return re.search(r'#define OUTTRAY_VERSION "(.*)"', header)[1]


@pytest.fixture
def opm():
    """What dist.ini says; opm knows no sections."""
    parser = configparser.ConfigParser()
    parser.read_string("[opm]\n" + (ROOT / "dist.ini").read_text())
    return parser["opm"]


def packed(opm):
    """The modules of the package, relative to their folder."""
    excluded = set()
    for pattern in opm["exclude_files"].split(", "):
        found = set(ROOT.glob(pattern))
        assert found, f"there is no {pattern}"
        excluded |= found
    folder = ROOT / opm["lib_dir"]
    return sorted(p.relative_to(folder) for p in set(folder.rglob("*.lua")) - excluded)


def test_opm(opm, tmp_path):
    """All modules of the package load with nothing but themselves."""
    modules = packed(opm)
    for path in modules:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / opm["lib_dir"] / path, tmp_path / path)
    assert ROOT / opm["main_module"] == ROOT / "lua/resty/outtray.lua"
    assert opm["license"] == "apache2"
    names = [re.sub("/init$", "", str(path.with_suffix(""))) for path in modules]
    program = tmp_path / "program.lua"
    program.write_text("""
        ngx = {get_phase = function() return "log" end}
        for _, name in ipairs(arg) do
            require((name:gsub("/", ".")))
        end
        local outbox = require("resty.outtray").new()
        assert(select(3, outbox:enqueue({}, {topic = "t"})) == "WRONG_PHASE")
        assert(not package.loaded["outtray.build"])
    """)
    path = f"{tmp_path}/?.lua;{tmp_path}/?/init.lua"
    env = {**os.environ, "LUA_PATH": path, "LUA_CPATH": ""}
    run("luajit", program, *names, env=env)


def test_versions(opm):
    """The project has one."""
    version = project_version()
    assert opm["version"] == version
    for name in ("lua/resty/outtray.lua", "lua/outtray/init.lua"):
        # As opm finds it.
        found = re.search(
            r"\b(?:_?VERSION|version)\s*=\s*(\S+)", (ROOT / name).read_text()
        )
        assert found[1].strip("\"'};,") == version, name
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert f"project(outtray VERSION {version} " in cmake


def test_rockspec():
    run("luarocks", "lint", ROOT / "lua/outtray-scm-1.rockspec")


def test_the_part_in_lua_needs_no_other(tmp_path):
    """What goes where no module in C can."""
    shutil.copytree(ROOT / "lua/outtray", tmp_path / "share/lua/5.1/outtray")
    program = """
        assert(not pcall(require, "outtray.build"))
        local outbox = require("outtray").outbox()
        assert(require("outtray.builder").kind == "lua")
        print((outbox:build({topic = "t", payload = {}}, "postgresql")))
    """
    for interpreter in lua_modules.INTERPRETERS:
        shutil.rmtree(tmp_path / "share/lua/5.4", ignore_errors=True)
        shutil.copytree(tmp_path / "share/lua/5.1", tmp_path / "share/lua/5.4")
        env = environment(tmp_path, lua_modules.INTERPRETERS[interpreter])
        assert run(interpreter, "-e", program, env=env).startswith("INSERT INTO")
