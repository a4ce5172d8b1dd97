#!/bin/sh
# coverage.sh - which branches of the core (everything that does no I/O: base,
# conf, event, enqueue, engine) its C tests take. Ends with 1 below 90 %.
# Started by ./dev coverage. Counts are atomic: two threads that count at once make
# negative ones.
set -eu
cmake -S . -B build/coverage -G Ninja -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_C_FLAGS="--coverage -fprofile-update=atomic" \
    -DCMAKE_C_COMPILER_LAUNCHER= >/dev/null
# shellcheck disable=SC2046 # a list of words
ninja -C build/coverage $(ninja -C build/coverage -t targets all |
    sed -n 's/^\(unit_test_[a-z0-9_]*\|engine_test_[a-z0-9_]*\): .*/\1/p') \
    >build/coverage/log || {
    cat build/coverage/log
    exit 1
}
find build/coverage -name '*.gcda' -delete
(cd build/coverage && ctest -L '^(unit|engine)$' -j2 --timeout 600 >log) || {
    cat build/coverage/log
    exit 1
}
exec gcovr --root . --object-directory build/coverage \
    --filter 'libcore/src/(base|conf|event|enqueue|engine)/' --branches \
    --print-summary --fail-under-branch 90
