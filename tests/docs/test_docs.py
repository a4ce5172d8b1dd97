"""Every example of README.md and docs/ does what the text says."""

import getpass
import os
import pathlib
import re
import shutil
import sys
import urllib.parse

import examples
import lua_modules
import process
import pytest
from database import Database

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    path.relative_to(ROOT)
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if path.exists() and examples.parse(path.read_text())[0]
]
# Its brokers are those of tests/sink/test_kafka_page.py.
ELSEWHERE = [pathlib.Path("docs/sinks.md")]
ROLES = ("OWNER", "APP", "RELAY", "WATCH")


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ELSEWHERE], ids=str)
def test_examples(page, roles, pg, kafka, tmp_path):
    program = pathlib.Path(os.environ["OUTTRAY_TEST_BIN"])
    servers = {"PG": pg.url, "KAFKA": kafka.bootstrap, "PORT": str(process.free_port())}
    servers["FILE"] = str(tmp_path / "events.jsonl")
    # The program first, then Python with the package.
    path = f"{program.parent}:{pathlib.Path(sys.executable).parent}"
    if page.stem.startswith("lua"):
        lua_modules.write_programs(tmp_path / ".lua")
        path = f"{tmp_path}/.lua:{path}"
        servers |= of_nginx(pg.url)
    if page.stem == "c":
        write_compiler(tmp_path / ".c")
        path = f"{tmp_path}/.c:{path}"
        servers["BUILD"] = os.environ["OUTTRAY_TEST_BUILD"]
    if page.stem == "operations":
        servers |= roles(pg)
    problems = examples.run((ROOT / page).read_text(), tmp_path, servers, path)
    assert not problems, "\n\n".join(f"{page}: {one}" for one in problems)


@pytest.fixture
def roles():
    """Roles with names of their own, as they are the server's: roles(pg). The
    first owns the database. Dropped after it, so this comes before pg."""
    made = {role: f"{role.lower()}_{os.urandom(4).hex()}" for role in ROLES}

    def make(pg):
        for name in made.values():
            pg.query(f"CREATE ROLE {name} LOGIN")
        pg.query(f"ALTER DATABASE {pg.url.rpartition('/')[2]} OWNER TO {made['OWNER']}")
        urls = {f"PG_{r}": pg.url.replace("//postgres", f"//{made[r]}") for r in made}
        return {**made, **urls}

    yield make
    server = Database(os.environ["OUTTRAY_TEST_PG"])
    for name in made.values():
        server.query(f"DROP ROLE IF EXISTS {name}")


def write_compiler(folder):
    """cc, for programs that are linked with a library that has sanitizers."""
    folder.mkdir()
    compiler = folder / "cc"
    real = shutil.which("cc")
    compiler.write_text(f'#!/bin/sh\nexec {real} -fsanitize=address,undefined "$@"\n')
    compiler.chmod(0o755)


def of_nginx(pg_url):
    """What a configuration of nginx names besides."""
    modules = lua_modules.environment("luajit")
    url = urllib.parse.urlsplit(pg_url)
    return {
        "LUA_PATH": modules["LUA_PATH"].rstrip(";"),
        "LUA_CPATH": modules["LUA_CPATH"].rstrip(";"),
        "PG_PORT": str(url.port),
        "PG_NAME": f'"{url.path.strip("/")}",',
        "USER": getpass.getuser(),
    }


def test_files():
    """docs/examples has the files of the pages (./dev docs writes them)."""
    wanted = {}
    for page in PAGES:
        for path, body in examples.files((ROOT / page).read_text()).items():
            wanted[examples.folder_of(page) / path] = body
    there = {
        path.relative_to(ROOT): path.read_text()
        for path in (ROOT / "docs/examples").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == wanted


def test_links():
    """Links between the pages lead somewhere."""
    bad = []
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                bad.append(f"{path.relative_to(ROOT)}: {target}")
    assert not bad


PAGE = """\
<!-- in tests: localhost:1 is $KAFKA -->
```sh run
name=world
echo hello $name localhost:1
echo more
```
It says:
```text output
hello … broker
…
```
<!-- sh run
echo hidden $name >file
-->
```sh run
cat file
```
```text output
hidden world
```
```python a/b.py
print("in a file")
```
```sh run
cat a/b.py
```
```text output
print("in a file")
```
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", None),
        ("hidden world", "hidden sea", "line 15 prints something else"),
        ("cat a/b.py", "cat a/c.py", "line 24 failed"),
        ("cat file", "cat nothing", "line 15 failed"),
        ("hello … broker", "hello … brokers", "line 2 prints something else"),
    ],
)
def test_the_runner(old, new, problem, tmp_path):
    servers = {"KAFKA": "broker", "PG": ""}
    text = PAGE.replace(old, new) if old else PAGE
    problems = examples.run(text, tmp_path, servers, "/bin")
    if problem is None:
        assert problems == []
    else:
        assert problem in problems[0]
