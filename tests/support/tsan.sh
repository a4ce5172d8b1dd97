#!/bin/sh
# tsan.sh - the tests of what has threads, with ThreadSanitizer: the writer of
# files and of standard output, the relay's loop that others wake, and the Kafka
# sink with its client's threads against its client's mock. Ends with 1 if it
# finds something. Started by ./dev tsan.
set -eu
cmake -S . -B build/tsan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    "-DCMAKE_C_FLAGS=-fsanitize=thread" >/dev/null
ninja -C build/tsan sink_test_file sink_test_stdout sink_test_kafka_mock \
    sink_test_kafka_overrides sink_test_kafka_partitions \
    sink_test_kafka_settings relay_test_loop \
    relay_test_relay relay_test_script >build/tsan/log || {
    cat build/tsan/log
    exit 1
}
cc -O1 -g -shared -fPIC -o build/tsan/threads.so tests/support/tsan_threads.c
TSAN_OPTIONS="suppressions=$PWD/tests/support/tsan.supp"
LD_PRELOAD=$PWD/build/tsan/threads.so
export TSAN_OPTIONS LD_PRELOAD
cd build/tsan
kafka='kafka_(mock|overrides|partitions|settings)'
exec ctest -R "^(sink/test_(file|stdout|$kafka)|relay/test_(loop|relay|script))\$" \
    --output-on-failure --no-tests=error --timeout 600
