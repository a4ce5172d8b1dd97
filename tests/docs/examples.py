"""Runs the examples of a Markdown file, all of them, in order.

    ```sh run          commands; all blocks of a file share one shell, which
                       stops at the first command that fails
    ```sql run         the same through psql on the database
    ```python a/b.py   a file of that name, written there; the page of python-x.md
                       has all files of docs/examples/x (any language)
    ```text output     what the block before printed; `…` stands for anything
                       within a line, a line of only `…` for any lines
    <!-- sh run ... -->  commands that the reader need not see
    <!-- in tests: localhost:9092 is $KAFKA -->
                       what a placeholder of the text stands for: $PG is the
                       URL of an empty database, $KAFKA the broker's address,
                       $PORT a free port, $FILE the name of a new file

The folder is empty at first, and outtray is in PATH. `examples.py PAGE…` writes
the files of pages to docs/examples.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys

BLOCK = re.compile(
    r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```[ ]*$"
    r"|^<!-- (?P<hidden>sh run)\n(?P<commands>.*?)^-->[ ]*$"
    r"|^<!-- in tests: (?P<placeholder>\S+) is \$(?P<server>\w+) -->[ ]*$",
    re.S | re.M,
)
MARK = "\x1e"
FILE = re.compile(r"\w+ ([\w./-]+\.\w+)")


@dataclasses.dataclass
class Block:
    line: int
    kind: str
    body: str
    output: str = None
    path: str = None


def files(text):
    """{path: content} of a page."""
    return {block.path: block.body for block in parse(text)[0] if block.path}


def parse(text):
    """(blocks to run, {placeholder: server})"""
    blocks, placeholders = [], {}
    previous_end = None
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        info = (found["info"] or found["hidden"] or "").strip()
        if found["placeholder"]:
            placeholders[found["placeholder"]] = found["server"]
        elif info in ("sh run", "sql run"):
            body = found["commands"] if found["hidden"] else found["body"]
            blocks.append(Block(line, info.split()[0], body))
            previous_end = found.end()
        elif file := FILE.fullmatch(info):
            blocks.append(Block(line, "file", found["body"], path=file[1]))
            previous_end = found.end()
        elif info == "text output":
            between = text[previous_end : found.start()] if blocks else "```"
            if "```" in between:
                raise ValueError(f"line {line}: output without a block before it")
            blocks[-1].output = found["body"]
        elif info.endswith((" run", " output")):
            raise ValueError(f"line {line}: cannot run '{info}'")
    return blocks, placeholders


def script(blocks, replace):
    """One shell script of all blocks."""
    parts = ["exec 2>&1\nset -eu\n"]
    for number, block in enumerate(blocks):
        body = replace(block.body)
        parts.append(f"printf '{MARK}{number}\\n'\n")
        if block.kind == "file":
            folder = os.path.dirname(block.path) or "."
            parts.append(
                f"mkdir -p {folder}; cat >{block.path} <<'END_OF_FILE'\n{body}"
            )
            parts.append("END_OF_FILE\n")
        elif block.kind == "sql":
            parts.append(f"psql -qAt -v ON_ERROR_STOP=1 \"$PG\" <<'END_OF_SQL'\n{body}")
            parts.append("END_OF_SQL\n")
        else:
            parts.append(body)
    parts.append(f"printf '{MARK}done\\n'\n")
    return "".join(parts)


def matches(expected, printed):
    """Is this what was printed? `…` stands for anything."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pieces = map(re.escape, line.rstrip().split("…"))
            pattern += r"[^\n]*?".join(pieces) + r"[ ]*\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None


def run(text, folder, servers, path, seconds=500):
    """Run the examples of `text`; returns what is wrong, a string each."""
    blocks, placeholders = parse(text)

    def replace(body):
        for placeholder, server in placeholders.items():
            body = body.replace(placeholder, servers[server])
        return body

    env = {**os.environ, **servers}
    env["PATH"] = f"{path}:{env['PATH']}"
    env["HOME"] = str(folder)
    env.pop("PYTHONPATH", None)  # modules of the tests, which no reader has
    shell = subprocess.Popen(
        ["sh", "-c", script(blocks, replace)],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, _ = shell.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        printed, _ = shell.communicate()
        printed += f"\nnot ready after {seconds} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
    return list(judge(blocks, printed, replace))


def judge(blocks, printed, replace):
    outputs = [part.partition("\n") for part in printed.split(MARK)[1:]]
    complete = bool(outputs) and outputs[-1][0] == "done"
    if not complete:
        block = blocks[max(0, len(outputs) - 1)]
        output = outputs.pop()[2] if outputs else printed
        yield f"line {block.line} failed:\n{block.body}\n-- it printed\n{output}"
    for (_, _, output), block in zip(outputs, blocks):
        if block.output is not None and not matches(replace(block.output), output):
            yield (
                f"line {block.line} prints something else:\n{output}\n"
                f"-- expected\n{block.output}"
            )


ROOT = pathlib.Path(__file__).resolve().parents[2]


def folder_of(page):
    """Where the files of a page are, relative to the root."""
    stem = pathlib.Path(page).stem.removeprefix("python-")
    return pathlib.Path("docs/examples") / stem


def write(page):
    for path, body in files((ROOT / page).read_text()).items():
        target = ROOT / folder_of(page) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(body)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(name)
