"""Each check of checks.py finds what it is there for."""

import subprocess

import checks
import pytest

GOOD = {
    "libcore/SOURCES": "src/base/a.c\n",
    "libcore/src/base/a.c": "int ot_a(void);\n",
    "libcore/src/conf/keys.def": 'OT_KEY("a.b", INT, "1", 0, 1, NULL, 0,\n'
    '       "How many there are.")\n',
    "libcore/include/outtray/error.def": 'OUTTRAY_ERROR(A, -1, BUG, true, 70, "went wrong")\n',
    "tests/SUITES": "unit\n",
    "tests/unit/test_a.c": "int a; /* OUTTRAY_E_A */\n",
    "docs/reliability.md": "0 known mistakes in it, 0 in what is between; (0 specs)\n"
    "0 configurations must hold, 0 that leave one out must not; 0 stalls\n",
    "a.py": "print(1)\n",
    "a.lua": "return 1\n",
    "a.sh": '#!/bin/sh\necho "$1"\n',
}
BAD = {
    "layers": ("libcore/src/base/a.c", '#include "relay/loop.h"\n'),
    "clients": ("libcore/src/base/a.c", "#include <libpq-fe.h>\n"),
    "library_manners": ("libcore/src/base/a.c", "void f(void) { exit(1); }\n"),
    "sources_listed": ("libcore/src/base/b.c", "int b;\n"),
    "suites_listed": ("tests/new/test_b.py", "print(1)\n"),
    "tables_explained": (
        "libcore/include/outtray/error.def",
        'OUTTRAY_ERROR(A, -1, BUG, true, 70, "")\n',
    ),
    "errors_tested": (
        "libcore/include/outtray/error.def",
        'OUTTRAY_ERROR(B, -1, BUG, true, 70, "a")\n',
    ),
    "figures": ("tests/isolation/specs/a.spec", "one more\n"),
    "file_length": ("libcore/src/base/a.c", "int a;\n" * 901),
    "no_machine_paths": ("a.sh", "#!/bin/sh\ncd /" + "work/x || exit\n"),
    "own_words": ("a.py", "print(1)  # TO" + "DO\n"),
    "clean_text": ("a.py", "print(1) \n"),
    "clang_format": ("libcore/src/base/a.c", "int  a ;\n"),
    "shellcheck": ("a.sh", "#!/bin/sh\necho $1\n"),
    "luacheck": ("a.lua", "a = 1\n"),
    "ruff": ("a.py", "import os\n"),
}


@pytest.fixture
def tree(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name, text in GOOD.items():
        write(tmp_path, name, text)
    return tmp_path


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_check(check, tree):
    assert list(check(tree)) == []
    write(tree, *BAD[check.__name__])
    assert list(check(tree)) != []


@pytest.mark.parametrize(
    ("name", "text", "check"),
    [
        ("libcore/src/engine/a.c", '#include "store/postgres/pg.h"\n', checks.layers),
        ("libcore/src/base/a.c", '#include "a.h"\n', checks.layers),
        ("libcore/src/new/a.c", "int a;\n", checks.layers),
        ("libcore/src/relay/a.c", "#include <librdkafka/rdkafka.h>\n", checks.clients),
        ("libcore/SOURCES", "src/base/a.c\nsrc/base/b.c\n", checks.sources_listed),
        (
            "libcore/src/conf/keys.def",
            'OT_KEY("a.b", INT, "1", 0, 1, NULL, 0,\n       "")\n',
            checks.tables_explained,
        ),
    ],
)
def test_other_cases(name, text, check, tree):
    write(tree, name, text)
    assert list(check(tree)) != []


def test_strings_and_comments_are_not_calls(tree):
    source = '/* exit(1) */\nconst char *a = "exit(1)";\n'
    write(tree, "libcore/src/base/a.c", source)
    assert list(checks.library_manners(tree)) == []
