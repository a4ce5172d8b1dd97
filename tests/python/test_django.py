"""A project of Django as a user has it, on both databases: the tests of its own
(django_shop/shop/case_django.py), and what manage.py does (case_manage.py)."""

import os
import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).parent / "django_shop"


@pytest.fixture(params=["pg", "sqlite"])
def shop(request, tmp_path):
    """Runs Python in the project, on a database."""
    if request.param == "pg":
        url = request.getfixturevalue("pg").url
    else:
        url = f"sqlite:{tmp_path}/shop.db"

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning", *arguments],
            cwd=PROJECT,
            env={
                **os.environ,
                "SHOP_DATABASE": url,
                "SHOP_TEST_NAME": str(tmp_path / "test.db"),
                "DJANGO_SETTINGS_MODULE": "settings",
                "PYTHONPATH": f"{PROJECT}:{os.environ.get('PYTHONPATH', '')}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def test_the_tests_of_a_project(shop):
    assert "\nOK" in shop("manage.py", "test", "--pattern", "case_*.py", "shop")


def test_manage(shop, request):
    # A process for all: Django takes its time to start.
    own = ["-c", os.devnull, "--rootdir=.", "--noconftest", "-p", "no:cacheprovider"]
    passed = {"pg": 5, "sqlite": 6}[request.node.callspec.params["shop"]]
    printed = shop("-m", "pytest", "-q", *own, "case_manage.py")
    assert f"{passed} passed" in printed
