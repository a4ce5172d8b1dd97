"""The specs (busted) of the Lua modules, on Lua 5.4, LuaJIT and Lua 5.1, and what
the modules are made of."""

import os
import pathlib
import re
import signal
import subprocess

import pytest
from lua_modules import INTERPRETERS, ROOT, VERSIONS, build, environment, module

FOLDER = pathlib.Path(__file__).parent
SPECS = sorted(path.name for path in FOLDER.glob("*_spec.lua"))
MODULES = [(name, version) for name in ("build", "core") for version in ("5.4", "5.1")]
# pcall of Lua 5.1 lets no coroutine wait in it.
RUNS = [(one, name) for one in INTERPRETERS for name in SPECS]
RUNS += [("lua5.1", name) for name in SPECS if name != "cqueues_spec.lua"]
# LuaDBI loses the result of every statement that failed.
LEAKY = {"inbox_spec.lua", "outbox_spec.lua"}


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


@pytest.mark.parametrize(("interpreter", "spec"), RUNS)
def test_spec(interpreter, spec, request, tmp_path):
    run_spec(interpreter, spec, (), request, tmp_path)


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("spec", SPECS)
def test_spec_with_a_collector_that_never_rests(interpreter, spec, request, tmp_path):
    run_spec(interpreter, spec, ["--helper=collect.lua"], request, tmp_path)


def run_spec(interpreter, spec, collect, request, tmp_path):
    env = {"OUTTRAY_SPEC_FOLDER": str(tmp_path)}
    if "databases" in (FOLDER / spec).read_text():
        env |= request.getfixturevalue("outboxes")
    if spec in LEAKY:
        env["ASAN_OPTIONS"] = "detect_leaks=0"
    command = ["/usr/bin/busted", "--output=TAP", *collect, spec]
    code, output = run(interpreter, *command, env=env, cwd=FOLDER)
    assert code == 0, output
    assert re.search(r"^ok ", output, re.M), output


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_lsqlite3_has_its_specs(interpreter):
    """They run where it is there."""
    if run(interpreter, "-e", 'require "lsqlite3"')[0]:
        pytest.skip("lsqlite3 is not installed: Debian has lua-lsqlite3 from 13 on")


CYCLES = """
local cycles = 0
local function watch()
    local proxy = newproxy and newproxy(true) or setmetatable({}, {})
    getmetatable(proxy).__gc = function() cycles = cycles + 1; watch() end
    if not newproxy then setmetatable(proxy, getmetatable(proxy)) end
end
watch()
local kept = {}
for i = 1, 20000 do kept[i] = {i} end
for i = 1, 200000 do local garbage = {i} end
print(cycles)
"""


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_collector_that_never_rests(interpreter):
    """What collect.lua is for."""
    cycles = [
        int(run(interpreter, "-e", collect + CYCLES, cwd=FOLDER)[1])
        for collect in ("", 'dofile "collect.lua"')
    ]
    assert cycles[1] > cycles[0] + 10


@pytest.mark.parametrize(("name", "version"), MODULES)
def test_the_modules_are_sanitized(name, version):
    command = ["nm", "-D", "--undefined-only", module(name, version)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "__asan_init" in done.stdout
    assert "__ubsan_handle" in done.stdout


WORKER = """
local outtray = require "outtray"
local relay = assert(outtray.relay {
    store = arg[1], sink = "script:", signals = true,
})
print("ready")
io.stdout:flush()
for batch in relay:batches() do
    for event in batch:events() do
        print(event.topic)
        io.stdout:flush()
        event:ok()
    end
end
print("stopped", relay:stats().delivered)
relay:close()
"""

RAISES = """
local outtray = require "outtray"
local relay = assert(outtray.relay {
    store = arg[1], sink = "script:", until_empty = true,
})
for batch in relay:batches() do
    for event in batch:events() do
        if arg[2] == "raise" then
            error("their API is away")
        end
        print(event.topic)
        event:ok()
    end
end
relay:close()
"""

LEFT_OPEN = """
local outtray = require "outtray"
local kept = {}
for i = 1, 3 do
    local relay = assert(outtray.relay {
        store = arg[1], sink = "script:", subscription = "s" .. i, log = false,
    })
    local batch
    while not batch do
        assert(relay:step(0.1))
        batch = relay:take {max_events = 1}
    end
    kept[i] = {relay, batch, batch:events()}
end
outlives = kept
"""


@pytest.fixture
def one_event(outboxes, outtray):
    url = f"sqlite:{outboxes['OUTTRAY_SPEC_SQLITE']}"
    for _ in range(3):
        outtray.run("enqueue", "--store", url, "orders.created", "x")
    return url


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_worker(number, interpreter, one_event, tmp_path):
    (tmp_path / "worker.lua").write_text(WORKER)
    worker = subprocess.Popen(
        [interpreter, tmp_path / "worker.lua", one_event],
        env={**os.environ, **environment(interpreter)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [worker.stdout.readline() for _ in range(4)]
    assert lines == ["ready\n", *["orders.created\n"] * 3]
    worker.send_signal(number)
    rest, _ = worker.communicate()
    assert rest == "stopped\t3\n"
    assert worker.returncode == 0


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_worker_that_raises(interpreter, one_event, tmp_path):
    """It ends and says why; the next one is given its events."""
    (tmp_path / "raises.lua").write_text(RAISES)
    program = [interpreter, tmp_path / "raises.lua", one_event]
    code, output = run(*program, "raise")
    assert code == 1, output
    assert "their API is away" in output
    assert "Sanitizer" not in output
    code, output = run(*program, "fine")
    assert (code, output.count("orders.created")) == (0, 3), output


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_relays_that_are_left_open(interpreter, one_event, tmp_path):
    (tmp_path / "left.lua").write_text(LEFT_OPEN)
    code, output = run(interpreter, tmp_path / "left.lua", one_event)
    assert (code, output) == (0, "")


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_command(interpreter, one_event):
    script = ROOT / "lua/bin/outtray-lua"
    code, output = run(
        interpreter,
        script,
        "relay",
        *("--store", one_event, "--sink", "stdout:", "--until-empty"),
    )
    assert code == 0, output
    assert output.count('"topic":"orders.created"') == 3
    code, output = run(interpreter, script, "relai")
    assert code == 2, output
    assert "relay" in output


@pytest.mark.parametrize("interpreter", VERSIONS)
def test_the_command_without_a_driver(interpreter, one_event):
    """No driver of SQLite is found: the system's library does, in every Lua."""
    alone = environment(interpreter)["LUA_CPATH"].removesuffix(";;")
    code, output = run(
        interpreter,
        ROOT / "lua/bin/outtray-lua",
        *("status", "--store", one_event),
        env={"LUA_CPATH": alone},
    )
    assert code == 0, output
    assert "pending   3" in output


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
    found = set(re.findall(r"NEEDED.*\[((?!ld-).*?)\.so", done.stdout))
    return found - {"libasan", "libubsan", "libc", "libm", "libpthread", "libdl"}


@pytest.mark.parametrize("version", ["5.4", "5.1"])
def test_no_library_behind_the_builder(version):
    assert needed(module("build", version)) == set()


@pytest.mark.parametrize("version", ["5.4", "5.1"])
def test_neither_lua_nor_sqlite_of_its_own(version):
    found = needed(module("core", version))
    assert "libpq" in found
    assert not [name for name in found if "lua" in name or "sqlite" in name]


def test_a_host_without_memory(tmp_path):
    """Wherever it ends, nothing crashes and nothing is kept."""
    flags = ["pkg-config", "--cflags", "--libs", "lua5.4"]
    done = subprocess.run(flags, capture_output=True, text=True, check=True)
    command = ["gcc", "-std=c11", "-fsanitize=address,undefined", FOLDER / "memory.c"]
    command += ["-o", tmp_path / "memory", "-Wl,-E", *done.stdout.split()]
    subprocess.run(command, check=True)
    env = {**os.environ, **environment("lua5.4"), "LD_PRELOAD": ""}
    done = subprocess.run(
        [tmp_path / "memory"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_no_scalar_becomes_a_pointer():
    """What SWIG has no type map for is a userdata in Lua, without a warning."""
    for name in ("build", "core"):
        text = (build() / "lua" / f"{name}.c").read_text()
        types = set(re.findall(r'^static swig_type_info .*?\{"(_p_\w+)"', text, re.M))
        assert types
        assert not re.findall(r"SWIG_NewPointerObj\([^;]*?SWIGTYPE_(p_\w+)", text)
        made = set(re.findall(r"struct owned \w+ = \{[^}]*?SWIGTYPE_(p_\w+)", text))
        assert made <= {
            "p_outtray_conf",
            "p_outtray_enqueue_options",
            "p_outtray_handle",
            "p_outtray_relay_stats",
            "p_outtray_taken",
            "p_outtray_writer",
        }
