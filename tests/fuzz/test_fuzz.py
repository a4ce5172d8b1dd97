"""Each fuzzer over its corpus, and for some seconds beyond.

Two minutes for each with `./dev test --long fuzz`. A finding is a file
that is named in the failure: mend what it shows, and add it to
tests/fuzz/corpus, so that it is tried from then on."""

import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build/fuzz"
FUZZERS = sorted(path.stem for path in HERE.glob("fuzz_*.c"))
SECONDS = 120 if os.environ.get("OUTTRAY_TEST_LONG") else 4


@pytest.fixture(scope="module")
def built():
    options = {
        "CMAKE_C_COMPILER": "clang",
        "CMAKE_C_FLAGS": "-fsanitize=fuzzer-no-link",
        "OUTTRAY_SANITIZE": "ON",
        "OUTTRAY_TESTS": "OFF",
        "OUTTRAY_FUZZ": "ON",
        "OUTTRAY_WERROR": "OFF",
    }
    words = [f"-D{name}={value}" for name, value in options.items()]
    for command in (
        ["cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", *words],
        ["ninja", "-C", BUILD, "fuzzers"],
    ):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout[-5000:]
    return BUILD / "tests/fuzz"


def test_there_is_a_corpus_for_each():
    assert {path.name for path in (HERE / "corpus").iterdir()} == set(FUZZERS)


@pytest.mark.parametrize("name", FUZZERS)
def test_fuzz(built, name, tmp_path):
    corpus = HERE / "corpus" / name
    found = ROOT / "build/fuzz/found" / name
    found.mkdir(parents=True, exist_ok=True)
    (tmp_path / "new").mkdir()
    # What is found is kept; what is merely new is not.
    command = [
        built / name,
        f"-max_total_time={SECONDS}",
        "-max_len=2000",
        "-timeout=20",
        f"-artifact_prefix={found}/",
        tmp_path / "new",
        corpus,
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, f"{found}\n{done.stderr[-6000:]}"
    assert "DONE" in done.stderr
    shutil.rmtree(tmp_path / "new")
