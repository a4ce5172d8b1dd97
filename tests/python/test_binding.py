"""The raw module: what it covers, and the examples that all languages share."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import outtray
import pytest
from outtray import _core, _native

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/vectors"

# Functions of the library that no language needs.
NOT_BOUND = {
    "outtray_set_allocator": "takes functions, and a language has its own memory",
    "outtray_sqlite_use": "takes a function; sqlite_use_loaded does without",
    "outtray_relay_run": "cannot be interrupted; a language steps",
}


def exported():
    names = set()
    for path in (ROOT / "libcore/include").rglob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        for found in re.finditer(r"^OUTTRAY_API\b[^;]*?\b(outtray_\w+)\(", text, re.M):
            names.add(found[1])
    return names


def test_everything_is_bound():
    text = "".join(
        path.read_text()
        for path in (ROOT / "bindings").rglob("*.[ih]")
        if "generated" not in path.parts
    )
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    mentioned = set(re.findall(r"\bouttray_\w+", code))
    names = exported()
    assert len(names) > 20
    assert names - mentioned - set(NOT_BOUND) == set()
    assert set(NOT_BOUND) <= names - mentioned


def test_the_stub_knows_the_module():
    stub = (ROOT / "python/outtray/_core.pyi").read_text()
    names = set(re.findall(r"^(?:def |class )?(\w+)[:(]", stub, re.M))
    assert {n for n in names if not hasattr(_core, n)} == set()


def test_an_older_swig(tmp_path):
    """That of Debian has no warning either; setup.py takes the newest."""
    command = ["swig", "-python", "-Wall", "-Werror", "-interface", "_native"]
    command += ["-Ibindings", "-Ilibcore/include", "-outdir", tmp_path]
    command += ["-o", tmp_path / "wrap.c", "bindings/outtray.i"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_one_name_is_exported():
    """Two copies of a library in one process must not see each other."""
    command = ["nm", "-D", "--defined-only", _native.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[2::3] == ["PyInit__native"]


def test_no_sqlite_of_its_own():
    done = subprocess.run(
        ["ldd", _native.__file__], capture_output=True, text=True, check=True
    )
    assert "libpq" in done.stdout
    assert "sqlite" not in done.stdout


def test_errors_are_those_of_the_table():
    path = ROOT / "bindings/errors.py"
    spec = importlib.util.spec_from_file_location("make_errors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "python/outtray/errors.py").read_text() == module.write()
    rows = module.table()
    assert len(rows) > 25
    for name, base, _, error, code, retryable in rows:
        cls = getattr(outtray, name)
        assert issubclass(cls, getattr(outtray, base))
        assert issubclass(cls, outtray.OuttrayError)
        assert (cls.code, cls.name, cls.retryable) == (code, error, retryable)
        assert _core.error_name(code) == error
        assert _core.error_retryable(code) == retryable


# --- the shared examples ---

STYLES = {
    "dollar": _core.DOLLAR,
    "percent": _core.PERCENT,
    "qmark": _core.QMARK,
    "literal": _core.LITERAL,
    "copy": _core.COPY,
}
DIALECTS = {"postgresql": _core.POSTGRESQL, "sqlite": _core.SQLITE}
MEMBERS = ("topic", "key", "type", "headers", "payload", "id", "deliver_at_us")


def member(value):
    """A member of an event, as the raw module takes it."""
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        text, times = value["repeat"]
        return text * times
    return value


def build(row, dialect, style):
    options = row.get("options", {})
    made = _core.enqueue_options(
        options.get("outbox", "outtray"),
        STYLES[style],
        DIALECTS[dialect],
        options.get("strict", False),
        options.get("max_payload_bytes", 0),
        options.get("max_headers_bytes", 0),
    )
    events = []
    for event in row["events"]:
        one = tuple(member(event.get(name)) for name in MEMBERS)
        events += [one] * event.get("times", 1)
    return _core.enqueue_build(made, tuple(events))


def rows(name):
    return json.loads((VECTORS / name).read_text())


def param(value):
    if value is None:
        return None
    return value["text"] if "text" in value else bytes.fromhex(value["hex"])


@pytest.mark.parametrize("row", rows("enqueue.json"), ids=lambda row: row["name"])
def test_statements(row):
    strict = row.get("options", {}).get("strict", False)
    assert len(row["expect"]) == (8 if strict else 9)
    for where, expect in row["expect"].items():
        sql, params, ids = build(row, *where.split("/"))
        assert sql == expect["sql"]
        assert list(params) == [param(value) for value in expect["params"]]
        assert list(ids) == row["ids"]


@pytest.mark.parametrize(
    "row", rows("enqueue_errors.json"), ids=lambda row: row["name"]
)
def test_refusals(row):
    dialects = [row["dialect"]] if "dialect" in row else DIALECTS
    styles = [row["style"]] if "style" in row else set(STYLES) - {"copy"}
    for dialect in dialects:
        for style in styles:
            with pytest.raises(outtray.OuttrayError) as caught:
                build(row, dialect, style)
            assert caught.value.name == row["error"]["name"]
            assert str(caught.value) == row["error"]["text"]


def test_wrong_types():
    options = _core.enqueue_options("outtray", 0, 0, False, 0, 0)
    for events in [
        [],
        (1,),
        ((1, 2),),
        ((1, None, None, None, None, None, None),),
        (("t", None, None, None, 1, None, None),),
        (("t", None, None, None, None, None, "soon"),),
        (("t", None, None, None, memoryview(b"abcd")[::2], None, None),),
    ]:
        with pytest.raises((TypeError, BufferError)):
            _core.enqueue_build(options, events)


def test_a_payload_is_let_go():
    options = _core.enqueue_options("outtray", 0, 0, False, 0, 0)
    payload = bytearray(b"payload")
    bad = ("", None, None, None, payload, None, None)
    with pytest.raises(outtray.InvalidEvent):
        _core.enqueue_build(options, (bad, bad))
    _core.enqueue_build(options, (("t", *bad[1:]),))
    payload += b" can grow again"


LEAK = """
import gc, resource, tracemalloc
import outtray
from outtray import _core

outbox = outtray.Outbox()
event = ("t", "k", None, '{"a": "b"}', bytearray(b"x" * 200), None, 2 * 10**15)
wrong = ("", *event[1:])

def rounds(count):
    for _ in range(count):
        outbox._build(0, 0, (event,))
        outbox._build(2, 1, (event, event))
        try:
            outbox._build(0, 0, (event, wrong))
        except outtray.InvalidEvent:
            pass

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

tracemalloc.start()
rounds(2000)
gc.collect()
before, first = tracemalloc.get_traced_memory()[0], resident()
rounds(10000)
gc.collect()
traced, grown = tracemalloc.get_traced_memory()[0] - before, resident() - first
assert traced < 20_000, f"{traced} bytes of Python are kept"
assert grown < 2_000_000, f"{grown} bytes more are resident"
"""


def test_no_leak():
    # What ./dev asan keeps back of freed memory would be counted.
    kept_back = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    env = {**os.environ, "ASAN_OPTIONS": kept_back}
    subprocess.run([sys.executable, "-c", LEAK], check=True, cwd=os.sep, env=env)


def test_types():
    """mypy --strict has nothing to say."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", os.devnull]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
