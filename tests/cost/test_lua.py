"""What building an event costs a program in Lua, in counts: see test_cost.py."""

import platform
import sys

import lua_modules
import pytest
import release

sys.path.insert(0, str(release.ROOT / "bench"))

from counters import allocations, build_counter, instructions, slope  # noqa: E402

pytestmark = pytest.mark.timeout(600)
FEW, MANY = 500, 2000
# Another processor needs other instructions for the same code.
TOLERANCE = 1.05 if platform.machine() == "x86_64" else 1.4

PROGRAM = """
local outbox = require("outtray").outbox {builder = "c"}
collectgarbage("stop") -- it would come in the one run and not in the other
local event = {
    topic = "orders", key = "k7", type = "order.created", payload = ("x"):rep(200),
}
for _ = 1, tonumber(arg[1]) do
    assert(outbox:build(event, "postgresql", arg[2]))
end
"""


@pytest.fixture(scope="module")
def folder():
    return release.build("lua_modules", options=["-DOUTTRAY_LUA=ON"])


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.lua"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize(("style", "limit"), [("$", 4460), ("literal", 7490)])
def test_instructions_of_own_code(style, limit, folder, program):
    env = lua_modules.paths("lua5.4", folder)

    def run(events):
        return instructions(["lua5.4", program, events, style], env)

    found = slope(run, FEW, MANY)
    assert 1000 < found.get("own", 0) <= limit * TOLERANCE, found


@pytest.mark.parametrize(
    ("interpreter", "style", "most"),
    [
        # The statement and the ids. LuaJIT has memory of its own for what is Lua's.
        ("luajit", "$", 2),
        ("luajit", "literal", 2),
        # And what Lua makes of them: strings, tables.
        ("lua5.4", "$", 12),
        ("lua5.4", "literal", 8),
    ],
)
def test_allocations(interpreter, style, most, folder, program):
    env = lua_modules.paths(interpreter, folder)
    library = build_counter()
    few, many = (
        allocations([interpreter, program, events, style], library, env)
        for events in (FEW, MANY)
    )
    assert 2 <= (many - few) / (MANY - FEW) < most + 0.1
