"""Pages that the program writes are those that it writes now."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("docs/configuration.md", ("conf", "--markdown")),
        ("docs/cli.md", ("help", "--markdown")),
        ("docs/man/outtray.1", ("help", "--man")),
    ],
)
def test_page(page, command, outtray):
    wanted = outtray.run(*command).stdout
    assert (ROOT / page).read_text() == wanted, f"{page} is old: run ./dev docs"
