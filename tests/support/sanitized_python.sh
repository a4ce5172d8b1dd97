#!/bin/sh
# The tests of the Python package with address and undefined-behaviour sanitizer
# in its C, from ./dev asan [ARGUMENT of pytest...].
set -eu
cd "$(dirname "$0")/../.."
package=$PWD/build/asan/python
OUTTRAY_CFLAGS="-O1 -fsanitize=address,undefined" .venv/bin/pip install -q \
    --disable-pip-version-check --no-deps --no-build-isolation --upgrade \
    --target "$package" .
asan=$(gcc -print-file-name=libasan.so)
cpp=$(gcc -print-file-name=libstdc++.so.6) # greenlet throws
# Those left out build packages of their own, weigh memory, or repeat others. The
# workers of gunicorn are forked beside threads, which the allocator of gcc 12's
# sanitizer does not bear: one that was in it at the fork leaves it locked in the
# child.
[ $# -gt 0 ] || set -- tests/python \
    --ignore=tests/python/test_wheel.py --ignore=tests/python/test_sdist.py \
    --ignore=tests/python/test_types.py --ignore=tests/python/test_leaks.py \
    --ignore=tests/python/test_dev_mode.py \
    --deselect=python/test_scripted_processes.py::test_gunicorn
# Leaks: the interpreter itself has many at its end.
exec .venv/bin/python tests/support/run.py servers \
    env LD_PRELOAD="$asan $cpp" PYTHONMALLOC=malloc \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
    PYTHONPATH="$package:$PWD/tests/support" PATH="$package/bin:$PATH" \
    .venv/bin/python -m pytest -ra -q -o timeout=600 "$@"
