"""Every example of README.md and docs/ does what the text says."""

import os
import pathlib
import re
import sys

import examples
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    path.relative_to(ROOT)
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if path.exists() and examples.parse(path.read_text())[0]
]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_examples(page, pg, kafka, tmp_path):
    program = pathlib.Path(os.environ["OUTTRAY_TEST_BIN"])
    servers = {"PG": pg.url, "KAFKA": kafka.bootstrap}
    # The program first, then Python with the package.
    path = f"{program.parent}:{pathlib.Path(sys.executable).parent}"
    problems = examples.run((ROOT / page).read_text(), tmp_path, servers, path)
    assert not problems, "\n\n".join(f"{page}: {one}" for one in problems)


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
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", None),
        ("hidden world", "hidden sea", "line 15 prints something else"),
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
