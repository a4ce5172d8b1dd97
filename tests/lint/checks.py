#!/usr/bin/env python3
"""The rules of the code. `./dev lint` runs every check; --fix lets the
formatters write. The last line is `N passed, N failed`.

A check is a function that is given the root of a tree and yields what is
wrong, a line each; its doc string is its title.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKS = []

# Each part may include itself and these.
LAYERS = {
    "base": "",
    "conf": "base",
    "event": "base",
    "enqueue": "base conf event",
    "engine": "base conf event enqueue",
    "store": "base conf event enqueue engine",
    "sink": "base conf event enqueue engine",
    "relay": "base conf event enqueue engine store sink",
    "admin": "base conf event enqueue engine store sink relay",
    "cli": "base conf event enqueue engine store sink relay admin",
}
# Headers with types only, that a lower part may include.
TYPES = {("engine", "store/store.h"), ("engine", "sink/sink.h")}
# Where a client library may be included.
CLIENTS = {
    "libpq-fe.h": ("store/postgres/", "admin/", "cli/"),
    "sqlite3.h": ("store/sqlite/", "admin/", "cli/"),
    "librdkafka/rdkafka.h": ("sink/kafka/", "admin/", "cli/"),
    "librdkafka/rdkafka_mock.h": ("sink/kafka/", "cli/"),
    "uv.h": ("relay/", "admin/", "cli/"),
}
WARN_LINES, MOST_LINES = 600, 900


def check(function):
    CHECKS.append(function)
    return function


def files(root, *patterns):
    """The files under version control (or new and not ignored) that people
    write: what fuzzers found is as it is."""
    command = ["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run([*command, *patterns], stdout=subprocess.PIPE, check=True)
    names = done.stdout.decode().split("\0")[:-1]
    return sorted(
        n
        for n in names
        if (pathlib.Path(root) / n).is_file() and not n.startswith("tests/fuzz/corpus/")
    )


def text(root, name):
    data = (pathlib.Path(root) / name).read_bytes()
    return "" if b"\0" in data else data.decode(errors="replace")


def lines(root, name):
    return enumerate(text(root, name).splitlines(), 1)


def without_comments(source):
    """C source with comments and strings blanked, line for line."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'

    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])

    return re.sub(pattern, blank, source, flags=re.S)


def run(command, root, names):
    if names:
        done = subprocess.run(
            [*command, *names],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            yield from done.stdout.splitlines()


@check
def layers(root):
    """a part of the core includes only itself and the parts below it"""
    for name in files(root, "libcore/src/*.[ch]"):
        part = name.split("/")[2]
        if part not in LAYERS:
            yield f"{name}: there is no part '{part}'"
            continue
        below = {part, *LAYERS[part].split()}
        for number, line in lines(root, name):
            found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not found:
                continue
            other = found[1].split("/")[0]
            if "/" not in found[1]:
                yield f'{name}:{number}: name the part: "{part}/{found[1]}"'
            elif other == "outtray" or other in below:
                continue
            elif (part, found[1]) not in TYPES:
                yield f"{name}:{number}: {part} may not include {found[1]}"


@check
def clients(root):
    """client libraries are included only where they are spoken to"""
    for name in files(root, "libcore/*.[ch]"):
        inside = name.removeprefix("libcore/src/")
        for number, line in lines(root, name):
            found = re.match(r"\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", line)
            if found and found[1] in CLIENTS:
                if not inside.startswith(CLIENTS[found[1]]):
                    yield f"{name}:{number}: {found[1]} does not belong here"


@check
def library_manners(root):
    """the library does not exit, print or allocate behind ot_alloc's back"""
    words = r"exit|_exit|abort|printf|puts|putchar|malloc|calloc|realloc|strdup"
    pattern = re.compile(rf"(?<![\w.>])({words}|fprintf\s*\(\s*std\w+)\s*\(")
    for name in files(root, "libcore/src/*.c"):
        if name.startswith(("libcore/src/base/alloc", "libcore/src/cli/")):
            continue
        source = without_comments(text(root, name))
        for number, line in enumerate(source.splitlines(), 1):
            found = pattern.search(line)
            if found:
                yield f"{name}:{number}: {found[1]}() in the library"


@check
def sources_listed(root):
    """libcore/SOURCES lists every C file, and only files that exist"""
    listed = set()
    for number, line in lines(root, "libcore/SOURCES"):
        if line.strip() and line[0] != "#":
            path, *part = line.split()
            if path in listed:
                yield f"libcore/SOURCES:{number}: {path} stands twice"
            listed.add(path)
            if part not in ([], ["postgres"], ["kafka"]):
                yield f"libcore/SOURCES:{number}: unknown part {part}"
    found = {n.removeprefix("libcore/") for n in files(root, "libcore/src/*.c")}
    found.discard("src/cli/main.c")
    for path in sorted(found - listed):
        yield f"libcore/SOURCES: {path} is missing"
    for path in sorted(listed - found):
        yield f"libcore/SOURCES: there is no {path}"


@check
def suites_listed(root):
    """tests/SUITES lists every folder with tests"""
    rows = text(root, "tests/SUITES").splitlines()
    listed = {row.split()[0] for row in rows if row and row[0] != "#"}
    for name in files(root, "tests/*/test_*.c", "tests/*/test_*.py"):
        folder = name.split("/")[1]
        if folder not in listed:
            yield f"{name}: its suite '{folder}' is not in tests/SUITES"


@check
def tables_explained(root):
    """every error has a text and a code of its own, every setting a doc"""
    name = "libcore/include/outtray/error.def"
    codes, rows = {}, 0
    source = re.sub(r"/\*.*?\*/", "", text(root, name), flags=re.S)
    for row in re.finditer(r"^OUTTRAY_ERROR\((.*?)\)$", source, re.S | re.M):
        rows += 1
        error, code, *_ = (field.strip() for field in row[1].split(","))
        if code in codes:
            yield f"{name}: {error} and {codes[code]} share the code {code}"
        codes[code] = error
        if not re.search(r'"[^"]{5,}"\s*$', row[1]):
            yield f"{name}: {error} has no text"
    name = "libcore/src/conf/keys.def"
    source = re.sub(r"/\*.*?\*/", "", text(root, name), flags=re.S)
    for row in re.finditer(r"^OT_KEY\((.*?)\)$", source, re.S | re.M):
        rows += 1
        key = re.match(r'"([^"]+)"', row[1])[1]
        doc = "".join(re.findall(r'"([^"]*)"', row[1].rsplit(",\n", 1)[-1]))
        if not doc.endswith(".") or len(doc) < 10:
            yield f"{name}: the doc of {key} is not a sentence"
    if not rows:
        yield "the tables were not found"


@check
def file_length(root):
    """a file can be read in one sitting (600 lines, at most 900)"""
    wanted = "*.c *.h *.py *.sh *.sql *.lua *.i dev".split()
    for name in files(root, *wanted):
        count = text(root, name).count("\n")
        if count > MOST_LINES:
            yield f"{name}: {count} lines, split it"
        elif count > WARN_LINES:
            print(f"  warning: {name}: {count} lines")


@check
def no_machine_paths(root):
    """nothing names a folder or a host of one machine"""
    words = ["/" + "work/", "/tmp/" + "outtray/", "/" + "root/", "r-" + "seed"]
    pattern = re.compile("|".join(map(re.escape, words)))
    for name in files(root):
        for number, line in lines(root, name):
            if pattern.search(line):
                yield f"{name}:{number}: {line.strip()[:70]}"


@check
def own_words(root):
    """the project explains itself: no notes to do, no numbers of issues, no
    documents that are not here"""
    words = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
    words += ["DE" + r"SIGN(\.md)?( section)? ?\d", r"[Ii]s" + r"sue #?\d"]
    words += ["proto" + "type (folder|code)", "assis" + "tant", r"CLAU" + "DE"]
    pattern = re.compile(r"\b(" + "|".join(words) + r")\b")
    for name in files(root):
        for number, line in lines(root, name):
            found = pattern.search(line)
            if found:
                yield f"{name}:{number}: '{found[0]}'"


@check
def figures(root):
    """docs/reliability.md has the number of mutants, specs and so on of today"""
    rows = r"^[^#\s]"
    counted = [  # what the page says; the files, and what is there of each
        (r"(\d+) known mistakes", "tests/sim/mutants.txt", "^@ .+"),
        (r"(\d+) in what is between", "tests/isolation/MUTANTS", rows + r"\S*"),
        (r"\((\d+) specs\)", "tests/isolation/specs/*.spec", r"\A"),
        (
            r"(\d+) configurations must hold",
            "tests/model/configurations",
            rows + r"\S* +\S+ +\w+ +holds",
        ),
        (
            r"(\d+) that leave",
            "tests/model/configurations",
            rows + r"\S* +\S+ +\w+ +(?!holds)\w+",
        ),
        (r"(\d+) stalls", "tests/relay/test_stalls.py", r"^    Stall\(.+"),
    ]
    name = "docs/reliability.md"
    page = " ".join(text(root, name).split())
    for says, where, pattern in counted:
        found = set()
        for path in files(root, where):
            matches = re.findall(pattern, text(root, path), re.MULTILINE)
            found |= {match or path for match in matches}
        told = re.search(says, page)
        if told is None or int(told[1]) != len(found):
            yield f"{name}: {where} has {len(found)}, not {told and told[0]!r}"


@check
def errors_tested(root):
    """every error of error.def is raised by a test that names it, not only as
    what a stand-in answers"""
    # Only a program with a mistake can: the demo's judge is tested by its parts.
    spared = {"BROKEN_PROMISE"}
    table = "".join(text(root, name) for name in files(root, "*/error.def"))
    names = set(re.findall(r"^OUTTRAY_ERROR\((\w+)", table, re.MULTILINE))
    tests = [
        text(root, name)
        for name in files(root, "tests/*.c", "tests/*.py")
        if name != "tests/unit/test_base.c"
    ]
    told = r"(?<!return )(?<!code = )OUTTRAY_E_(\w+)"
    named = set(re.findall(told, "".join(tests)))
    for name in sorted(names - named - spared):
        yield f"OUTTRAY_E_{name}: no test names it"


@check
def clean_text(root):
    """text files end with a newline and have no trailing blanks or tabs"""
    for name in files(root):
        source = text(root, name)
        if not source or name.endswith((".md", "/LICENSE")):
            continue
        if not source.endswith("\n"):
            yield f"{name}: no newline at the end"
        for number, line in lines(root, name):
            if line != line.rstrip():
                yield f"{name}:{number}: blanks at the end of the line"
            if "\t" in line and name.endswith((".c", ".h", ".py")):
                yield f"{name}:{number}: a tab"


def tool(name):
    beside = pathlib.Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


@check
def clang_format(root):
    """C is formatted (./dev lint --fix)"""
    names = files(root, "*.c", "*.h")
    yield from run([tool("clang-format"), "--dry-run", "-Werror"], root, names)


@check
def shellcheck(root):
    """shell scripts are shellcheck-clean"""
    names = [
        name
        for name in files(root)
        if re.match(
            r"#!/(usr/)?bin/(env )?(ba)?sh\b|# shellcheck shell", text(root, name)
        )
    ]
    yield from run(["shellcheck", "-x"], root, names)


@check
def luacheck(root):
    """Lua is luacheck-clean"""
    names = files(root, "*.lua", "lua/bin/*")
    config = str(pathlib.Path(__file__).with_name("luacheckrc"))
    command = ["luacheck", "-q", "--no-color", "--codes", "--config", config]
    yield from run(command, root, names)


@check
def ruff(root):
    """Python is linted and formatted (./dev lint --fix)"""
    names = files(root, "*.py")
    config = ["--config", str(pathlib.Path(__file__).with_name("ruff.toml"))]
    command = [tool("ruff"), "check", "--no-cache", "-q", *config]
    yield from run(command, root, names)
    command = [tool("ruff"), "format", "--no-cache", "--check", *config]
    yield from run(command, root, names)


def fix(root):
    config = ["--config", str(pathlib.Path(__file__).with_name("ruff.toml"))]
    list(run([tool("clang-format"), "-i"], root, files(root, "*.c", "*.h")))
    names = files(root, "*.py")
    list(run([tool("ruff"), "check", "-q", "--fix", *config], root, names))
    list(run([tool("ruff"), "format", "-q", *config], root, names))


def main(arguments):
    os.chdir(ROOT)
    if "--fix" in arguments:
        fix(ROOT)
    failed = 0
    for one in CHECKS:
        problems = list(one(ROOT))
        title = " ".join(one.__doc__.split())
        print(f"{'FAIL' if problems else 'ok  '} {one.__name__}: {title}")
        for problem in problems[:50]:
            print(f"     {problem}")
        if len(problems) > 50:
            print(f"     and {len(problems) - 50} more")
        failed += bool(problems)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
