#!/bin/sh
# tsan.sh - the tests of what has threads, with ThreadSanitizer: the writer of
# files and of standard output, the relay's loop that others wake, and the Kafka
# sink with its client's threads against its client's mock. Ends with 1 if it
# finds something. Started by ./dev tsan; and with "short", which leaves out most
# of those of Kafka, by test_tsan.py.
set -eu
tests='sink_test_(file|stdout|kafka_mock) relay_test_(loop|relay|script)'
[ "${1:-}" = short ] ||
    tests="$tests sink_test_kafka_(overrides|partitions|settings)"
pattern="($(echo "$tests" | tr ' ' '|'))"
cmake -S . -B build/tsan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    "-DCMAKE_C_FLAGS=-fsanitize=thread" >/dev/null
# shellcheck disable=SC2046 # a list of words
ninja -C build/tsan $(ninja -C build/tsan -t targets all |
    sed -En "s/^($pattern): .*/\\1/p") >build/tsan/log || {
    cat build/tsan/log
    exit 1
}
cc -O1 -g -shared -fPIC -o build/tsan/threads.so tests/support/tsan_threads.c
TSAN_OPTIONS="suppressions=$PWD/tests/support/tsan.supp"
LD_PRELOAD=$PWD/build/tsan/threads.so
export TSAN_OPTIONS LD_PRELOAD
cd build/tsan
exec ctest -R "^$(echo "$pattern" | sed 's/_test_/\/test_/g')\$" -j2 \
    --output-on-failure --no-tests=error --timeout 600
