"""A module of causes (test_reconnect*.py) has CAUSES, and a fixture `case_of`: the
case in which a cause is played. All play at once, before the first is judged;
each is a test."""

import pytest
from outage import play_all


@pytest.fixture(scope="module")
def played(request, case_of):
    at_once = getattr(request.module, "AT_ONCE", 10)
    return play_all(request.module.CAUSES, case_of, at_once)


def pytest_generate_tests(metafunc):
    if "cause" in metafunc.fixturenames:
        causes = metafunc.module.CAUSES
        metafunc.parametrize("cause", causes, ids=lambda cause: cause.__name__)
